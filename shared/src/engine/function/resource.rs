//! `resource.allocate`, `resource.release`, `resource.releaseAll`.

use super::arguments::{Arguments, wrong};
use super::{CallInfo, Started, access};
use crate::engine::context::Context;
use crate::engine::effect::Owner;
use crate::engine::pool::{self, Waiter, Which};
use crate::engine::problem::Problem;
use crate::value::Value;
use std::sync::Arc;

/// Units that one call may hold.
const QUANTITY_MAX: u32 = 1_000;

pub fn allocate(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let pool = with.text("pool")?;
    let queued = match with.text_or_none("queue")?.as_deref() {
        None | Some("fifo") => true,
        Some("none") => false,
        Some(_) => return Err(wrong("queue", "must be `fifo` or `none`")),
    };
    let waiter = Waiter {
        holder: holder(call, with)?,
        owner,
        prefer: with.value("prefer"),
        quantity: with.count("quantity", 1, 1..=QUANTITY_MAX)? as usize,
        since: context.now,
    };
    Ok(match pool::allocate(context, &pool, waiter, queued) {
        Some(result) => Started::Done(result),
        None => Started::Waiting("pool"),
    })
}

/// Releasing what is not held is no error, so that a flow's clean-up may run twice.
pub fn release(context: &mut Context, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let pool = with.text("pool")?;
    if !context.state.pools.contains_key(&pool) {
        return Err(Problem::own("not-found", 404, format!("there is no pool `{pool}`")));
    }
    let holder = holder(call, with)?;
    let (unit, lease) = (with.text_or_none("unit")?, with.text_or_none("lease")?);
    let which = match &lease {
        Some(lease) => Which::Lease(lease),
        None => Which::Holder { holder: &holder, unit: unit.as_deref() },
    };
    let released = pool::release(context, &pool, &which);
    Ok(done(released))
}

/// The holder's units in all pools; with `alsoRevokeCredentials` the credentials and grants of this instance too.
pub fn release_all(context: &mut Context, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let holder = holder(call, with)?;
    let released = pool::release_all(context, &Which::Holder { holder: &holder, unit: None });
    if with.flag("alsoRevokeCredentials") {
        access::revoke_of_instance(context, &call.instance);
    }
    Ok(done(released))
}

fn holder(call: &CallInfo, with: Arguments) -> Result<Arc<str>, Problem> {
    Ok(with.text_or_none("holder")?.unwrap_or_else(|| call.instance.as_str().into()))
}

fn done(released: usize) -> Started {
    Started::Done(Ok(Value::object([("released", Value::Int(released as i64))])))
}
