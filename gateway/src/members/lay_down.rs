//! A gateway that votes alone in a building's group hands its vote on before it is removed, so that nothing that it decided is lost with it.
//!
//! ```text
//! leader of the mesh, asked to remove -- member.lay-down --> who is to go: its BuildingKeeper gives the vote to an heir -> "it may go"
//! ```
//! A dead one cannot: its building goes on from a copy (`super::life`).

use super::{LOOK_AGAIN, Members};
use spalla_shared::engine::roster::Roster;
use spalla_shared::id::NodeId;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// For an heir to be heard and to have the vote: a group with one voter hears of its copies every five seconds.
const LAY_DOWN_TIME_MAX: Duration = Duration::from_secs(7);

/// While it is there, this gateway gives away what it decides alone.
struct Leaving<'a>(&'a watch::Sender<Option<Instant>>);

impl<'a> Leaving<'a> {
    fn since(told: &'a watch::Sender<Option<Instant>>, asked: Instant) -> Self {
        told.send_replace(Some(asked));
        Self(told)
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

impl Members {
    /// Says whether every building's group that runs here can decide without this gateway.
    pub(super) async fn lay_down(&self) -> bool {
        let asked = Instant::now();
        let _leaving = Leaving::since(&self.leaving, asked);
        loop {
            if self.is_spare() {
                return true;
            }
            if asked.elapsed() > LAY_DOWN_TIME_MAX {
                return false;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What is still being changed is not known to be well.
    fn is_spare(&self) -> bool {
        let Some(mesh) = self.mesh.upgrade() else { return false };
        let mut left = self.group.state().read().roster.clone();
        left.members.remove(&self.node());
        let groups = mesh.groups();
        let mut buildings = groups.iter().map(|group| group.id()).filter(|id| id.site().is_some());
        buildings.all(|id| mesh.settled_voters(id).is_some_and(|voters| decides_without(self.node(), &voters, &left)))
    }
}

/// Those who were removed before may not have lost their votes yet.
fn decides_without(own: NodeId, voters: &BTreeSet<NodeId>, left: &Roster) -> bool {
    !voters.contains(&own) || left.decides(voters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spalla_shared::engine::roster::{Duty, Member};
    use spalla_shared::time::Timestamp;

    #[test]
    fn a_gateway_may_go_where_most_of_those_who_vote_are_left() {
        let listed = |node: u64| {
            let member = Member { site: "hq".into(), address: "h:1".into(), duty: Duty::Auto, joined_at: Timestamp(0) };
            (NodeId(node), member)
        };
        let roster = Roster { newest: NodeId(9), members: [1, 2, 4].map(listed).into(), ..Roster::default() };
        let may_go = |own: u64, voters: &[u64]| {
            let mut left = roster.clone();
            left.members.remove(&NodeId(own));
            decides_without(NodeId(own), &voters.iter().copied().map(NodeId).collect(), &left)
        };
        assert!(may_go(1, &[2]), "another one has its vote");
        assert!(!may_go(1, &[1]));
        assert!(!may_go(1, &[1, 2]), "two cannot lose one");
        assert!(may_go(1, &[1, 2, 4]));
        assert!(!may_go(1, &[1, 2, 3]), "3 was removed a moment ago");
    }
}
