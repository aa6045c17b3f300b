//! The way of an answer back into the log: proposed until it is there, or no longer of interest.

use crate::consensus::{GroupRef, ProposeError};
use spalla_shared::engine::{Command, Effect, Outcome, Problem};
use spalla_shared::id::NodeId;
use std::time::Duration;

const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(2);
/// Proposals of one answer. The dispatcher ends it earlier, when the effect has left the state.
const PROPOSALS_MAX: u32 = 1_000;

/// Proposes `EffectDone`; `true` once the log has taken it or said that it is too late.
pub(super) async fn report(group: &GroupRef, node: NodeId, effect: &Effect, mut outcome: Outcome) -> bool {
    let mut pause = AGAIN_FIRST;
    for _ in 0..PROPOSALS_MAX {
        let command = Command::EffectDone { effect: effect.id, outcome: outcome.clone(), node };
        match group.propose(command).await {
            Ok(receipt) => {
                if let Err(rejection) = receipt.reply {
                    tracing::debug!(effect = %effect.id, code = %rejection.code, "answer not taken");
                }
                return true;
            }
            Err(ProposeError::TooLarge { size, max }) if !matches!(outcome, Outcome::Failed { .. }) => {
                let detail = format!("the answer has {size} bytes; at most {max} fit");
                outcome = Outcome::Failed { problem: Problem::standard("runtime", 500, detail) };
                continue;
            }
            Err(ProposeError::Stopping | ProposeError::TooLarge { .. }) => return false,
            Err(error) => tracing::debug!(effect = %effect.id, %error, "answer not committed yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MAX);
    }
    false
}
