//! The leader's clock of one group: proposes `TimersDue` when the next timer is due and `Continue` while instances wait
//! to go on. Decides nothing: which timers fire is up to `apply`, by the instant that the leader stamps.

use crate::consensus::GroupRef;
pub use spalla_broker::clock::wall_now;
use spalla_shared::engine::Command;
use std::time::Duration;

/// Longest sleep: bounds how late a timer fires after the wall clock was set forward.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// After a refused proposal: no quorum is not cured by asking faster.
const BACKOFF: Duration = Duration::from_millis(200);

/// Keeps the time of `group` while this gateway leads it. Runs until it is dropped; spawn it once per group.
pub async fn keep_time(group: GroupRef) {
    let mut leadership = group.leadership();
    let mut applied = group.applied();
    loop {
        if !leadership.borrow_and_update().is_self {
            if leadership.changed().await.is_err() {
                return;
            }
            continue;
        }
        applied.borrow_and_update();
        let (ready, due) = {
            let state = group.state().read();
            (!state.ready.is_empty(), state.next_due())
        };
        let wait = due.map(|due| Duration::from_millis(due.since(group.now())));
        let command = match wait {
            _ if ready => Command::Continue,
            Some(Duration::ZERO) => Command::TimersDue,
            _ => {
                tokio::select! {
                    () = tokio::time::sleep(wait.map_or(SLEEP_MAX, |wait| wait.min(SLEEP_MAX))) => {}
                    changed = applied.changed() => if changed.is_err() { return },
                    changed = leadership.changed() => if changed.is_err() { return },
                }
                continue;
            }
        };
        match group.propose(command).await {
            Ok(receipt) => {
                if applied.wait_for(|applied| *applied >= receipt.index).await.is_err() {
                    return;
                }
                let moved = ready || group.state().read().next_due() != due;
                if !moved {
                    // The leader's stamp is behind this clock: let it catch up instead of filling the log.
                    tokio::time::sleep(BACKOFF).await;
                }
            }
            Err(error) => {
                tracing::debug!(group = %group.id(), %error, "the clock's command was not committed");
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
}
