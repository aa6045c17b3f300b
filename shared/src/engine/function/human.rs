//! `human.approval` and `human.task`: asks a person and waits.

use super::arguments::{Arguments, wrong};
use super::{CallInfo, Started};
use crate::engine::context::Context;
use crate::engine::effect::Owner;
use crate::engine::problem::Problem;
use crate::engine::work_item::{self, WorkItem, WorkItemKind};
use crate::id::Actor;
use crate::value::Value;
use std::sync::Arc;

const CHOICES_MAX: usize = 32;
const CHECKLIST_MAX: usize = 256;
const QUORUM_MAX: u32 = 32;

pub fn approval(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let question = with.text("question")?;
    let mut choices = with.texts("choices")?;
    if choices.is_empty() {
        choices = vec!["approve".into(), "reject".into()];
    }
    if choices.len() > CHOICES_MAX {
        return Err(wrong("choices", &format!("has more than {CHOICES_MAX} entries")));
    }
    let quorum = with.count("quorum", 1, 1..=QUORUM_MAX)?;
    ask(context, owner, call, with, WorkItemKind::Approval { question, choices, quorum })
}

pub fn task(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let title = with.text("title")?;
    let checklist = with.texts("checklist")?;
    if checklist.len() > CHECKLIST_MAX {
        return Err(wrong("checklist", &format!("has more than {CHECKLIST_MAX} lines")));
    }
    let form = with.value("form");
    if !form.is_null() && form.as_object().is_none() {
        return Err(wrong("form", "must be a JSON Schema, or an object of field names and types"));
    }
    ask(context, owner, call, with, WorkItemKind::Task { title, checklist, form })
}

fn ask(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments, kind: WorkItemKind) -> Result<Started, Problem> {
    let to: Arc<str> = with.text("to")?;
    let named = |kind: &str| to.strip_prefix(kind).is_some_and(|name| !name.is_empty());
    if !named("user:") && !named("role:") {
        return Err(wrong("to", "must be `user:<id>` or `role:<name>`"));
    }
    if context.state.work_items.len() >= work_item::WORK_ITEMS_MAX {
        return Err(Problem::own("limit", 429, format!("{} work items are open already", work_item::WORK_ITEMS_MAX)));
    }
    let id = crate::id::WorkItemId::new(context.new_id("work-item"));
    let (action, text) = match &kind {
        WorkItemKind::Approval { question, .. } => ("approval", question.clone()),
        WorkItemKind::Task { title, .. } => ("task", title.clone()),
    };
    let data = Value::object([
        ("kind", Value::from(action)),
        ("to", Value::String(to.clone())),
        ("text", Value::String(text)),
        ("instance", Value::from(call.instance.as_str())),
    ]);
    context.audit(Actor::flow(&call.instance), "work-item.created", id.as_str(), data);
    let item = WorkItem { id, owner, to, kind, data: with.value("data"), created_at: context.now, claimed_by: None, votes: Vec::new() };
    work_item::open(context, item);
    Ok(Started::Waiting("work-item"))
}
