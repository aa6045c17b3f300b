//! A gateway that starts says so in the log: which site it serves, that its earlier start is over, and which semantics its build
//! knows. The last one of a mesh to be upgraded so switches a new meaning on for all.

use crate::consensus::GroupRef;
use spalla_shared::engine::state::SEMANTICS_VERSION;
use spalla_shared::engine::{Command, semantics};
use spalla_shared::id::SiteId;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries: a group without quorum is not asked faster.
const AGAIN: Duration = Duration::from_millis(500);

/// The newest that this build knows. In a build for tests a variable lowers it: an older build, as far as the others can see.
pub fn known_semantics() -> u32 {
    #[cfg(feature = "simulation")]
    if let Some(older) = std::env::var("TEST_KNOWS_SEMANTICS").ok().and_then(|text| text.parse().ok()) {
        return older;
    }
    SEMANTICS_VERSION
}

/// Proposes `NodeUp` until the local state knows of this start (device effects wait for it), then what this build understands.
pub async fn announce(group: GroupRef, site: SiteId, boot: u64, version: Arc<str>, api: Option<Arc<str>>) {
    let (node, knows) = (group.node(), known_semantics());
    let mut applied = group.applied();
    loop {
        applied.borrow_and_update();
        let command = {
            let state = group.state().read();
            if state.nodes.get(&node).is_none_or(|known| known.boot < boot) {
                Command::NodeUp { node, site: site.clone(), boot, version: version.clone(), api: api.clone() }
            } else if state.understood.get(&node) != Some(&knows) {
                Command::Understands { node, semantics: knows }
            } else {
                break;
            }
        };
        match group.propose(command).await {
            Ok(receipt) => {
                if let Err(rejection) = receipt.reply {
                    tracing::warn!(group = %group.id(), code = %rejection.code, reason = %rejection.message, "this start was not taken");
                    tokio::time::sleep(AGAIN).await;
                }
                // A follower hears of it a moment later.
                let _ = tokio::time::timeout(AGAIN, applied.wait_for(|applied| *applied >= receipt.index)).await;
            }
            Err(error) => {
                tracing::debug!(group = %group.id(), %error, "this start is not in the log yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    enable(&group, knows).await;
}

/// While another gateway's build is older, it is left to that one, when it has been upgraded.
async fn enable(group: &GroupRef, knows: u32) {
    loop {
        {
            let state = group.state().read();
            if state.semantics >= knows {
                return;
            }
            if let Some(waits_for) = semantics::waits_for(&state, knows) {
                tracing::info!(group = %group.id(), semantics = knows, %waits_for, "not switched on yet");
                return;
            }
        }
        match group.propose(Command::EnableSemantics { version: knows }).await {
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(group = %group.id(), %error, "semantics are not in the log yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
