//! The road of a command into the log: waits with others, goes to the leader wherever it is, and comes back with what
//! `apply` said once this gateway's own state has it too.
//!
//! What was certainly not carried out is tried again until time is up; what may have been is never repeated here.

use super::core::{Core, Route};
use super::types::{Body, Proposal};
use super::wire::{self, Propose, Proposed, To};
use super::{ProposeError, Receipt};
use futures::{Stream, StreamExt, TryStreamExt};
use openraft::errors::ClientWriteError;
use spalla_broker::rpc::RpcError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Within 3 s, the way to the caller included.
pub const TIMEOUT: Duration = Duration::from_millis(2_800);
/// Commands that wait to be sent on; more are refused.
pub const WAITING_MAX: usize = 1024;
/// With entry overhead still below [`spalla_broker::rpc::BODY_LEN_MAX`].
pub const COMMAND_LEN_MAX: usize = 768 * 1024;
/// Commands that go on together, in number and bytes. One that is larger goes alone.
const BATCH_MAX: usize = 256;
const BATCH_LEN_MAX: usize = 128 * 1024;
/// Batches under way. While they are, others gather, so that a busy group works in large batches.
const BATCHES_MAX: usize = 16;
/// Left of a forwarded batch's time for the way back.
const WAY_BACK: Duration = Duration::from_millis(200);
/// Waiting for a connection to a leader that may be gone; then the question who leads is asked again.
const CONNECT_WAIT: Duration = Duration::from_millis(250);
/// Between two looks at who leads.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

pub struct Waiting {
    pub command: Body,
    pub deadline: Instant,
    pub answer: oneshot::Sender<Result<Receipt, ProposeError>>,
}

/// Runs until the group is dropped.
pub async fn run(core: Arc<Core>, mut waiting: mpsc::Receiver<Waiting>) {
    let places = Arc::new(Semaphore::new(BATCHES_MAX));
    let mut held_back = None;
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let first = match held_back.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut len = first.command.0.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX {
            let Ok(next) = waiting.try_recv() else { break };
            len += next.command.0.len();
            if len > BATCH_LEN_MAX {
                held_back = Some(next);
                break;
            }
            batch.push(next);
        }
        let core = core.clone();
        tokio::spawn(async move {
            carry(&core, batch).await;
            drop(place);
        });
    }
}

async fn carry(core: &Core, mut batch: Vec<Waiting>) {
    // The oldest comes first and has the least time.
    let Some(deadline) = batch.first().map(|first| first.deadline) else { return };
    loop {
        // Who went away tells somebody else by now: what has not left here yet must not arrive behind that.
        batch.retain(|waiting| !waiting.answer.is_closed());
        if batch.is_empty() || Instant::now() >= deadline {
            break;
        }
        let commands: Vec<Body> = batch.iter().map(|waiting| waiting.command.clone()).collect();
        let results = match core.route() {
            Route::Here if core.may_stamp() => commit(core, commands, deadline).await,
            Route::Here => commands.iter().map(|_| Proposed::NotLeader).collect(),
            Route::To(leader) => forward(core, leader, commands, deadline).await,
            Route::Nowhere => commands.iter().map(|_| Proposed::NotLeader).collect(),
        };
        let mut again = Vec::new();
        for (waiting, result) in batch.into_iter().zip(results) {
            match result {
                // Nobody listens where the caller went away.
                Proposed::Done(receipt) => drop(waiting.answer.send(Ok(receipt))),
                Proposed::Failed(error) => drop(waiting.answer.send(Err(error))),
                Proposed::NotLeader => again.push(waiting),
            }
        }
        batch = again;
        if !batch.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    for waiting in batch {
        drop(waiting.answer.send(Err(ProposeError::NoQuorum(core.id.to_string()))));
    }
}

/// On the leader: stamps the commands and waits until they are applied here.
pub async fn commit(core: &Core, commands: Vec<Body>, deadline: Instant) -> Vec<Proposed> {
    let count = commands.len();
    let all = |result: fn(&Core) -> Proposed| (0..count).map(|_| result(core)).collect();
    // A leader that was cut off must not fill its log with what nobody will confirm.
    while !core.may_stamp() {
        if core.route() != Route::Here {
            return all(|_| Proposed::NotLeader);
        }
        if Instant::now() >= deadline {
            return all(|core| Proposed::Failed(ProposeError::NoQuorum(core.id.to_string())));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let at = core.stamp();
    let proposals: Vec<Proposal> = commands.into_iter().map(|command| Proposal { at, command }).collect();
    let written = match tokio::time::timeout_at(deadline, core.raft.client_write_many(proposals)).await {
        Ok(Ok(written)) => written,
        Ok(Err(_)) => return all(|_| Proposed::Failed(ProposeError::Stopping)),
        Err(_) => return all(|_| Proposed::Failed(ProposeError::Unknown)),
    };
    let answers = gather(written, count, deadline).await.into_iter();
    let results = answers.map(|answer| match answer {
        Some(Ok(written)) => match written.response.0 {
            Some((at, reply)) => Proposed::Done(Receipt { index: written.log_id.index, at, reply }),
            None => Proposed::Failed(ProposeError::Unknown),
        },
        Some(Err(ClientWriteError::ForwardToLeader(_))) => Proposed::NotLeader,
        // Discarded, stopped, or out of time: it may still be committed.
        _ => Proposed::Failed(ProposeError::Unknown),
    });
    results.collect()
}

/// The answers to `count` commands; nothing for those that had none when the stream ended or time was up.
async fn gather<T, E>(answers: impl Stream<Item = Result<T, E>>, count: usize, deadline: Instant) -> Vec<Option<T>> {
    // A leader that steps down ends the stream before all have their answer, and an ended stream must not be asked again.
    let mut answers = std::pin::pin!(answers.fuse());
    let mut gathered = Vec::with_capacity(count);
    while gathered.len() < count {
        let answer = tokio::time::timeout_at(deadline, answers.try_next()).await;
        gathered.push(answer.ok().and_then(Result::ok).flatten());
    }
    gathered
}

async fn forward(core: &Core, leader: spalla_shared::id::NodeId, commands: Vec<Body>, deadline: Instant) -> Vec<Proposed> {
    let count = commands.len();
    let all = |result: fn() -> Proposed| (0..count).map(|_| result()).collect();
    let Ok(link) = core.links.to(leader) else { return all(|| Proposed::NotLeader) };
    let left = deadline.saturating_duration_since(Instant::now());
    if !link.calls.ready(CONNECT_WAIT.min(left)).await {
        return all(|| Proposed::NotLeader);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let budget_ms = u64::try_from(left.saturating_sub(WAY_BACK).as_millis()).unwrap_or(0);
    let body = wire::encode(&To { group: core.id.clone(), node: leader, body: Propose { commands, budget_ms } });
    let answer = core.links.heed(link.calls.call(wire::PROPOSE, body, left).await);
    let results: Vec<Proposed> = match answer.and_then(|bytes| wire::decode(&bytes)) {
        Ok(results) => results,
        Err(RpcError::Unreachable | RpcError::Refused(_)) => return all(|| Proposed::NotLeader),
        Err(RpcError::Timeout | RpcError::Remote(_)) => return all(|| Proposed::Failed(ProposeError::Unknown)),
    };
    if results.len() != count {
        return all(|| Proposed::Failed(ProposeError::Unknown));
    }
    // The caller looks at this gateway's state next: it waits until that has its command.
    let newest = results.iter().filter_map(|result| if let Proposed::Done(receipt) = result { Some(receipt.index) } else { None }).max();
    if let Some(newest) = newest {
        let mut applied = core.view.applied();
        if tokio::time::timeout_at(deadline, applied.wait_for(|index| *index >= newest)).await.is_err() {
            tracing::warn!(group = %core.id, index = newest, "committed, but not applied here yet");
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_ends_before_all_have_their_answer_is_not_asked_again() {
        let one = futures::stream::unfold(0, async |n| (n < 1).then_some((Ok::<u32, ()>(n), n + 1)));
        assert_eq!(gather(one, 3, Instant::now() + TIMEOUT).await, [Some(0), None, None]);
    }
}
