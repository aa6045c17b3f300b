//! A gateway that votes alone in a building's group hands its vote on before it is removed, so that nothing that it decided is lost with it.
//!
//! ```text
//! leader of the mesh, asked to remove -- member.lay-down --> who is to go: its BuildingKeeper gives the vote to an heir -> "it may go"
//! ```
//! A dead one cannot: its building goes on from a copy (`super::life`).

use super::building::votes_alone;
use super::{LOOK_AGAIN, Members};
use std::time::Duration;
use tokio::time::Instant;

/// From being asked, for the removal to stand in the log. A gateway that was not removed after all votes as before.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(15);
/// For an heir to be level and to have the vote: a group with one voter hears of its copies every five seconds.
const LAY_DOWN_TIME_MAX: Duration = Duration::from_secs(7);

impl Members {
    /// Says whether nobody needs this gateway any more to know what it decided.
    pub(super) async fn lay_down(&self) -> bool {
        let asked = Instant::now();
        self.leaving.send_replace(Some(asked + LEAVING_TIME_MAX));
        loop {
            let groups = self.mesh.upgrade().map(|mesh| mesh.groups()).unwrap_or_default();
            let alone = groups.iter().any(|group| group.id().site().is_some() && votes_alone(self.node(), &group.members()));
            if !alone {
                return true;
            }
            if asked.elapsed() > LAY_DOWN_TIME_MAX {
                return false;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.borrow().is_some_and(|until| Instant::now() < until)
    }
}
