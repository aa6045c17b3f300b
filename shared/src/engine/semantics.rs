//! Which meaning of the log's commands is in force, and how a later one comes into force.
//!
//! A replica that replays an old log must come to the old state, on whatever build. So a change of what `apply` does for a
//! command that may stand in a log already is guarded by [`State::semantics`](super::State), and both ways stay in the code:
//!
//! | version | what changed |
//! |---|---|
//! | 1 | the start of every log |
//! | 2 | the detail of an expression error says what the expression was given ([`WITH_INPUT`]) |
//! | 3 | areas may have anti-passback; a building alone knows whose credential passed ([`ANTI_PASSBACK`]) |
//! |   | what crosses from a log whose time is ahead is late ([`APART_IS_LATE`]) |
//! |   | the output of `emit` is the event, not its data ([`EMIT_GIVES_EVENT`]) |
//! |   | tasks that end without waiting are counted, and too many are an incident ([`PACED`]) |
//! | 4 | a building's group may begin again with other gateways ([`LIVES`]) |
//!
//! ```text
//! gateway starts -> Understands { node, semantics } -> EnableSemantics { version }: refused until every gateway understands it
//! ```
//! It never depends on the build that applies the entry: a build that does not know what comes into force stops
//! ([`State::known_semantics`](super::State::known_semantics)).

use super::command::{Accepted, Rejection, Reply};
use super::context::Context;
use super::state::{SEMANTICS_FIRST, State};
use crate::id::{Actor, NodeId};
use crate::value::Value;

/// From here on an expression error says what the expression was given. Error texts are state once they are caught.
pub const WITH_INPUT: u32 = 2;
/// From here on there are areas with anti-passback.
pub const ANTI_PASSBACK: u32 = 3;
/// From here on an item of another group that seems to come from the future is late, as one from the past is.
pub const APART_IS_LATE: u32 = 3;
/// From here on `emit` gives the whole event, as the specification's conformance kit wants it.
pub const EMIT_GIVES_EVENT: u32 = 3;
/// From here on a loop without a wait ends as an incident.
pub const PACED: u32 = 3;

/// From here on the mesh says how a building's group goes on whose gateways are gone.
pub const LIVES: u32 = 4;

/// Refused: `not-found` for a gateway that was never up.
pub(super) fn understands(context: &mut Context, node: NodeId, semantics: u32) -> Reply {
    if !context.state.nodes.contains_key(&node) {
        return Err(Rejection::new("not-found", format!("gateway {node} was never up here")));
    }
    match context.state.understood.insert(node, semantics) {
        Some(before) if before == semantics => Ok(Accepted::Duplicate),
        _ => Ok(Accepted::Nothing),
    }
}

/// A gateway whose build does not know `version`.
pub fn waits_for(state: &State, version: u32) -> Option<NodeId> {
    let knows = |node: &NodeId| state.understood.get(node).copied().unwrap_or(SEMANTICS_FIRST) >= version;
    state.nodes.keys().find(|node| !knows(node)).copied()
}

/// Refused with `conflict` while `version` is not in force: `what` would mean nothing to an older build.
pub(super) fn require(state: &State, version: u32, what: &str) -> Result<(), Rejection> {
    if state.semantics >= version {
        return Ok(());
    }
    let waits = waits_for(state, version).map_or_else(|| "try again in a moment".into(), |node| format!("gateway {node} has an older one"));
    Err(Rejection::new("conflict", format!("{what} waits for a build that knows it on every gateway: {waits}")))
}

pub(super) fn enable(context: &mut Context, version: u32) -> Reply {
    let state = &mut *context.state;
    if version <= state.semantics {
        return Ok(Accepted::Duplicate);
    }
    if let Some(node) = waits_for(state, version) {
        return Err(Rejection::new(
            "conflict",
            format!("semantics {version} wait for a newer build on every gateway: gateway {node} does not know them yet"),
        ));
    }
    if state.nodes.is_empty() {
        return Err(Rejection::new("conflict", format!("no gateway has said that it knows semantics {version}")));
    }
    state.semantics = version;
    context.audit(Actor::system(), "semantics.enabled", version.to_string(), Value::Null);
    Ok(Accepted::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::engine::state::{Node, SEMANTICS_VERSION};
    use crate::engine::{Command, Entry, apply};
    use crate::id::GroupId;
    use crate::time::Timestamp;

    fn mesh_of(nodes: &[u64]) -> State {
        let mut state = State::new(GroupId::mesh());
        for node in nodes {
            let known = Node { site: "hq".into(), boot: 1, version: "1".into(), api: None, up_at: Timestamp(0) };
            state.nodes.insert(NodeId(*node), known);
        }
        state
    }

    fn send(state: &mut State, command: Command) -> Result<Accepted, String> {
        let entry = Entry { index: state.applied + 1, at: Timestamp(0), command };
        apply(state, &entry).reply.map_err(|rejection| rejection.message.to_string())
    }

    #[test]
    fn a_new_meaning_waits_for_the_last_gateway_that_does_not_know_it() {
        let mut state = mesh_of(&[1, 2]);
        let enable = Command::EnableSemantics { version: 2 };
        let knows = |node, semantics| Command::Understands { node: NodeId(node), semantics };
        assert!(send(&mut state, enable.clone()).is_err());
        send(&mut state, knows(1, 2)).unwrap();
        assert!(send(&mut state, enable.clone()).unwrap_err().contains("gateway 2"));
        send(&mut state, knows(2, 1)).unwrap();
        assert!(send(&mut state, enable.clone()).unwrap_err().contains("gateway 2"));
        assert_eq!(state.semantics, SEMANTICS_FIRST);
        send(&mut state, knows(2, 3)).unwrap();
        assert_eq!(send(&mut state, enable.clone()), Ok(Accepted::Nothing));
        assert_eq!(send(&mut state, enable), Ok(Accepted::Duplicate));
        assert_eq!(state.semantics, 2);
    }

    /// Replicas of different builds must agree on what came into force, also the one that has to stop for it.
    #[test]
    fn what_comes_into_force_does_not_depend_on_the_build_and_an_old_one_stops() {
        let mut state = mesh_of(&[1]);
        let later = SEMANTICS_VERSION + 1;
        send(&mut state, Command::Understands { node: NodeId(1), semantics: later }).unwrap();
        assert!(state.known_semantics().is_ok());
        assert_eq!(send(&mut state, Command::EnableSemantics { version: later }), Ok(Accepted::Nothing));
        assert_eq!(state.semantics, later);
        assert!(state.known_semantics().unwrap_err().contains("install"));
        let mut restored: State = codec::decode(&codec::encode(&state)).unwrap();
        assert!(restored.rebuild_plans().is_err());
    }

    #[test]
    fn every_log_starts_with_the_first_meaning() {
        assert_eq!(State::new(GroupId::mesh()).semantics, 1, "a log is replayed from its start, by builds that are years apart");
    }
}
