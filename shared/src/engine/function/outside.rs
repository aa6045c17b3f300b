//! Functions that ask the world beyond the building's devices: notifications and spreadsheets; and the audit's own word.

use super::arguments::{Arguments, wrong};
use super::{CallInfo, Started};
use crate::device::CommandClass;
use crate::engine::context::Context;
use crate::engine::effect::{Owner, Request};
use crate::engine::problem::Problem;
use crate::event::DATA_SIZE_MAX;
use crate::id::Actor;
use crate::time::Timestamp;
use crate::value::Value;
use std::sync::Arc;

/// Repeated with the same key until then.
const DEADLINE_MS: u64 = 60_000;
const SHEET_DEFAULT: &str = "Sheet1";

/// `to` names the argument: `to` for one, `audience` for many.
pub fn notify(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments, to: &str) -> Result<Started, Problem> {
    let request = Request::Notify { to: with.text(to)?, template: with.text("template")?, data: bounded(with, "data")? };
    Ok(open(context, owner, call, request))
}

pub fn append_row(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let values = bounded(with, "values")?;
    if values.as_array().is_none() && values.as_object().is_none() {
        return Err(wrong("values", "must be a list, or an object by column"));
    }
    let sheet = with.text_or_none("sheet")?.unwrap_or_else(|| SHEET_DEFAULT.into());
    let request = Request::AppendRow { workbook: with.text("workbook")?, sheet, values };
    Ok(open(context, owner, call, request))
}

pub fn find_row(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let conditions = bounded(with, "where")?;
    if conditions.as_object().is_none() {
        return Err(wrong("where", "must be an object: column and value"));
    }
    let request = Request::FindRow { workbook: with.text("workbook")?, sheet: with.text_or_none("sheet")?, conditions };
    Ok(open(context, owner, call, request))
}

pub fn note(context: &mut Context, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let subject: Arc<str> = with.text("subject")?;
    let data = Value::object([
        ("text", Value::String(with.text("text")?)),
        ("data", bounded(with, "data")?),
        ("flow", Value::from(call.flow.to_string())),
        ("task", Value::String(call.reference.clone())),
    ]);
    context.audit(Actor::flow(&call.instance), "note", subject, data);
    Ok(Started::Done(Ok(Value::empty_object())))
}

fn bounded(with: Arguments, name: &str) -> Result<Value, Problem> {
    let value = with.value(name);
    if value.size() > DATA_SIZE_MAX {
        return Err(wrong(name, &format!("is larger than {DATA_SIZE_MAX} bytes")));
    }
    Ok(value)
}

fn open(context: &mut Context, owner: Owner, call: &CallInfo, request: Request) -> Started {
    let deadline = context.now.plus(DEADLINE_MS).min(call.deadline.unwrap_or(Timestamp::MAX));
    context.open_effect(owner, CommandClass::Neutral, deadline, request);
    Started::Waiting("effect")
}
