//! A gateway that starts says so in the log: which site it serves, and that its earlier start is over.

use crate::consensus::GroupRef;
use spalla_shared::engine::Command;
use spalla_shared::id::SiteId;
use std::sync::Arc;
use std::time::Duration;

/// Between two tries: a group without quorum is not asked faster.
const AGAIN: Duration = Duration::from_millis(500);

/// Proposes `NodeUp` until the local state knows of this start. Device effects wait for it.
pub async fn announce(group: GroupRef, site: SiteId, boot: u64, version: Arc<str>, api: Option<Arc<str>>) {
    let node = group.node();
    let mut applied = group.applied();
    loop {
        applied.borrow_and_update();
        let known = group.state().read().nodes.get(&node).is_some_and(|known| known.boot >= boot);
        if known {
            return;
        }
        let command = Command::NodeUp { node, site: site.clone(), boot, version: version.clone(), api: api.clone() };
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
}
