//! What clients of a gateway were not let do, in the audit trail. The gateway gathers equal denials, so that a flood of them
//! is a link a minute and not a link each. Changes nothing but the trail.

use super::command::{Accepted, Denial, Denied, Rejection, Reply};
use super::context::Context;
use super::dedupe;
use crate::id::NodeId;
use crate::value::Value;
use std::sync::Arc;

/// Denials of one gathering.
pub const DENIALS_MAX: usize = 16;
/// Characters of a text that a client chose: enough to recognise a topic by.
pub const TEXT_LEN_MAX: usize = 256;

/// Refused: `limit`.
pub(super) fn note(context: &mut Context, node: NodeId, denials: &[Denial], key: &str) -> Reply {
    let long = |denial: &Denial| denial.who.as_str().len() > 4 * TEXT_LEN_MAX || denial.first.len() > 4 * TEXT_LEN_MAX;
    if denials.len() > DENIALS_MAX || denials.iter().any(long) {
        return Err(Rejection::new("limit", format!("at most {DENIALS_MAX} denials, with texts of {TEXT_LEN_MAX} characters")));
    }
    if !dedupe::first_time(context, Arc::from(format!("denials:{key}"))) {
        return Ok(Accepted::Duplicate);
    }
    for Denial { who, what, first, count } in denials {
        let (action, place) = match what {
            Denied::Login => ("denied.login", "address"),
            Denied::Publish => ("denied.publish", "topic"),
            Denied::Subscribe => ("denied.subscribe", "filter"),
            Denied::Command => ("client.commanded", "topic"),
        };
        let subject = who.as_str().split_once(':').map_or(who.as_str(), |(_, name)| name);
        let data = Value::object([
            (place, Value::String(first.clone())),
            ("count", Value::Int(i64::try_from(*count).unwrap_or(i64::MAX))),
            ("node", Value::Int(i64::try_from(node.0).unwrap_or(i64::MAX))),
        ]);
        context.audit(who.clone(), action, subject, data);
    }
    Ok(Accepted::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::{audited, building};
    use crate::time::Timestamp;

    fn denial(first: &str) -> Denial {
        Denial { who: "device:hq/door".into(), what: Denied::Publish, first: first.into(), count: 40 }
    }

    #[test]
    fn a_gathering_is_told_once_and_is_bounded() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let one = [denial("a/b"), Denial { what: Denied::Login, who: "unknown".into(), ..denial("10.0.0.9") }];
        assert_eq!(note(&mut context, NodeId(1), &one, "1-1-1"), Ok(Accepted::Nothing));
        assert_eq!(note(&mut context, NodeId(1), &one, "1-1-1"), Ok(Accepted::Duplicate));
        let told = audited(&context);
        assert_eq!(told.len(), 2, "{told:?}");
        let many = vec![denial("a"); DENIALS_MAX + 1];
        assert_eq!(note(&mut context, NodeId(1), &many, "k").map_err(|refused| refused.code), Err("limit".into()));
        let long = [denial(&"x".repeat(4 * TEXT_LEN_MAX + 1))];
        assert_eq!(note(&mut context, NodeId(1), &long, "l").map_err(|refused| refused.code), Err("limit".into()));
        assert_eq!(audited(&context).len(), 2);
    }
}
