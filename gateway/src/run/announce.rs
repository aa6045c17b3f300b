//! Says who this gateway is, as soon as the mesh takes it.

use crate::config::Config;
use crate::consensus::GroupRef;
use spalla_shared::engine::Command;
use std::sync::Arc;
use std::time::Duration;

const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Tries until it is committed; repeats change nothing.
pub async fn node_up(group: GroupRef, config: Arc<Config>, boot: u64) {
    let command = Command::NodeUp { node: config.node, site: config.site.clone(), boot, version: env!("CARGO_PKG_VERSION").into(), api: None };
    loop {
        match group.propose(command.clone()).await {
            Ok(receipt) => {
                if let Err(rejection) = receipt.reply {
                    tracing::error!(%rejection, "the mesh does not take this gateway's announcement");
                }
                break;
            }
            Err(error) => tracing::debug!(%error, "not announced yet"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    // Its work is done; the set of rooms expects no end before the gateway's own.
    std::future::pending::<()>().await;
}
