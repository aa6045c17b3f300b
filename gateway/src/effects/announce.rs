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

/// Proposes `NodeUp` until the local state knows of this start (device effects wait for it), then what this build understands.
pub async fn announce(group: GroupRef, site: SiteId, boot: u64, version: Arc<str>, api: Option<Arc<str>>) {
    let node = group.node();
    let mut applied = group.applied();
    loop {
        applied.borrow_and_update();
        let command = {
            let state = group.state().read();
            if state.nodes.get(&node).is_none_or(|known| known.boot < boot) {
                Command::NodeUp { node, site: site.clone(), boot, version: version.clone(), api: api.clone() }
            } else if state.understood.get(&node) != Some(&SEMANTICS_VERSION) {
                Command::Understands { node, semantics: SEMANTICS_VERSION }
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
    enable(&group).await;
}

/// While another gateway's build is older, it is left to that one, when it has been upgraded.
async fn enable(group: &GroupRef) {
    loop {
        {
            let state = group.state().read();
            if state.semantics >= SEMANTICS_VERSION {
                return;
            }
            if let Some(waits_for) = semantics::waits_for(&state, SEMANTICS_VERSION) {
                tracing::info!(group = %group.id(), semantics = SEMANTICS_VERSION, %waits_for, "not switched on yet");
                return;
            }
        }
        match group.propose(Command::EnableSemantics { version: SEMANTICS_VERSION }).await {
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(group = %group.id(), %error, "semantics are not in the log yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
