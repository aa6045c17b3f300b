//! What the broker says of itself under `$SYS/broker/`: retained, at intervals, to whoever the hooks let subscribe. A small
//! set on purpose; the whole story is in the metrics.
//!
//! | topic below `$SYS/broker/` | text |
//! |---|---|
//! | `version` | of this program |
//! | `uptime` | seconds |
//! | `clients/connected`, `clients/total` | connected now; sessions remembered, connected or not |
//! | `subscriptions/count`, `retained/count` | now |
//! | `messages/received`, `messages/sent`, `messages/dropped` | PUBLISH packets since the start |
//! | `connections/refused` | since the start |
//! | `router/restarts` | since the start |

use crate::clock;
use crate::message::Message;
use crate::server::Broker;
use crate::server::core::Core;
use std::sync::Arc;

pub(crate) const PREFIX: &str = "$SYS/broker/";

/// Publishes a round at each interval until the broker stops.
pub(crate) async fn run(core: Arc<Core>) {
    let every = core.limits.sys_every;
    if every.is_zero() {
        return;
    }
    let mut stopping = core.stopping.subscribe();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => round(&core),
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

fn round(core: &Core) {
    let stats = Broker::stats_of(core);
    let numbers = [
        ("uptime", clock::now().since(core.started) / 1000),
        ("clients/connected", stats.connections),
        ("clients/total", stats.sessions),
        ("subscriptions/count", stats.subscriptions),
        ("retained/count", stats.retained),
        ("messages/received", stats.received),
        ("messages/sent", stats.sent),
        ("messages/dropped", stats.dropped.values().sum()),
        ("connections/refused", stats.refused.values().sum()),
        ("router/restarts", stats.router_restarts),
    ];
    let texts = numbers.into_iter().map(|(name, number)| (name, number.to_string()));
    let mut table = core.table.lock();
    for (name, text) in texts.chain([("version", env!("CARGO_PKG_VERSION").to_owned())]) {
        let message = Message { topic: format!("{PREFIX}{name}"), payload: text.into(), retain: true, is_text: true, ..Message::default() };
        table.spread(0, message);
    }
}
