//! Appends that leave without waiting for the answers of those before: over a distance each would cost its writer one more round trip.
//!
//! ```text
//! openraft's stream of appends -> sent in order, unanswered ones SPACING apart -> answers, in order -> the first that is no success is the last
//! ```
//!
//! What is written meanwhile is sent together in the next one: between neighbours an answer is there before [`SPACING`] is over, so each waits for
//! the one before, and is larger. The other side takes them in the order in which they came (`spalla_broker::rpc::Service`).

use futures::stream::FuturesOrdered;
use futures::{Stream, StreamExt};
use openraft::RaftTypeConfig;
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Unanswered at one time.
const UNDER_WAY_MAX: usize = 16;
/// Between two of which the first is not answered yet.
const SPACING: Duration = Duration::from_millis(2);

type Answer<C> = Result<StreamAppendResult<C>, RPCError<C>>;
pub type Answers<'s, C> = BoxFuture<'s, Result<BoxStream<'s, Answer<C>>, RPCError<C>>>;

/// What [`openraft::RaftNetworkV2::stream_append`] is to return, where `send` begins to send at its future's first step.
pub fn pipelined<'s, C, S, F>(requests: S, send: impl Fn(AppendEntriesRequest<C>) -> F + Send + 's) -> Answers<'s, C>
where
    C: RaftTypeConfig,
    S: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 's,
    F: Future<Output = Result<AppendEntriesResponse<C>, RPCError<C>>> + Send + 's,
{
    let mut earlier = false;
    let sent = requests.map(move |request| {
        let first = !std::mem::replace(&mut earlier, true);
        let from = request.prev_log_id.clone();
        let to = request.entries.last().map(RaftEntry::log_id).or_else(|| from.clone());
        let sent = send(request);
        async move {
            let answer = sent.await?.into_stream_result(from, to.clone());
            let whole = matches!(&answer, Ok(matching) if *matching == to);
            // Behind a success that can only be a lack of order, and openraft would take it for a log that has lost what it had.
            if !first && matches!(answer, Err(StreamAppendError::Conflict(_))) {
                return Err(RPCError::Network(NetworkError::from_string("an append arrived before those before it")));
            }
            Ok((answer, whole))
        }
    });
    let answers = futures::stream::unfold(Some(Box::pin(spaced(sent))), |answers| async {
        let mut answers = answers?;
        let (answer, go_on) = match answers.next().await? {
            Ok((answer, whole)) => (Ok(answer), whole),
            Err(error) => (Err(error), false),
        };
        Some((answer, go_on.then_some(answers)))
    });
    let answers: BoxStream<'s, Answer<C>> = Box::pin(answers);
    Box::pin(std::future::ready(Ok(answers)))
}

/// The outputs of `futures`, in order; each is begun when those before are done, or once [`SPACING`] is over since the last one was.
fn spaced<F: Future<Output: Send> + Send>(futures: impl Stream<Item = F> + Send + Unpin) -> impl Stream<Item = F::Output> + Send {
    let begin = (Some(futures), FuturesOrdered::new(), Instant::now());
    futures::stream::unfold(begin, |(mut futures, mut under_way, mut next_at)| async move {
        loop {
            let room = futures.is_some() && under_way.len() < UNDER_WAY_MAX;
            let waits = !under_way.is_empty() && Instant::now() < next_at;
            tokio::select! {
                biased;
                Some(output) = under_way.next() => return Some((output, (futures, under_way, next_at))),
                () = tokio::time::sleep_until(next_at), if room && waits => {}
                future = next_of(&mut futures), if room && !waits => match future {
                    Some(future) => {
                        under_way.push_back(future);
                        next_at = Instant::now() + SPACING;
                    }
                    None => futures = None,
                },
                else => return None,
            }
        }
    })
}

async fn next_of<S: Stream + Unpin>(stream: &mut Option<S>) -> Option<S::Item> {
    stream.as_mut()?.next().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::types::{LogId, RaftVote, Types};
    use futures::FutureExt;
    use openraft::EntryPayload;
    use parking_lot::Mutex;
    use std::collections::VecDeque;
    use std::sync::Arc;
    use tokio::sync::oneshot;

    type Taken = Result<AppendEntriesResponse<Types>, RPCError<Types>>;

    /// By the index behind which it begins.
    type Sent = (Option<u64>, oneshot::Sender<Taken>);

    /// Requests in the order in which they left, until they are answered.
    #[derive(Clone, Default)]
    struct Line(Arc<Mutex<VecDeque<Sent>>>);

    impl Line {
        fn under_way(&self) -> Vec<Option<u64>> {
            self.0.lock().iter().map(|(from, _)| *from).collect()
        }

        fn answer(&self, place: usize, answer: Taken) {
            let (_, tell) = self.0.lock().remove(place).expect("it is under way");
            tell.send(answer).expect("somebody waits");
        }

        fn send(&self, request: AppendEntriesRequest<Types>) -> impl Future<Output = Taken> + Send + use<> {
            let line = self.clone();
            async move {
                let (tell, told) = oneshot::channel();
                line.0.lock().push_back((request.prev_log_id.map(|id| id.index), tell));
                told.await.expect("each is answered")
            }
        }
    }

    fn id(index: u64) -> LogId {
        LogId::new_term_index(1, index)
    }

    /// One entry each, behind 0, 1, 2 and so on.
    fn requests(count: u64) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin {
        futures::stream::iter((0..count).map(|n| AppendEntriesRequest {
            vote: RaftVote::new(1, 1),
            prev_log_id: Some(id(n)),
            entries: vec![openraft::type_config::alias::EntryOf::<Types>::new(id(n + 1), EntryPayload::Blank)],
            leader_commit: None,
        }))
    }

    async fn answers_of(line: &Line, count: u64) -> BoxStream<'static, Answer<Types>> {
        let line = line.clone();
        pipelined(requests(count), move |request| line.send(request)).await.expect("a stream")
    }

    fn matching(answer: Option<Option<Answer<Types>>>) -> u64 {
        answer.expect("answered").expect("goes on").expect("was sent").expect("a success").expect("an entry").index
    }

    /// Nobody answers for so long, of the clock that stands still until all wait.
    async fn nothing_for(answers: &mut BoxStream<'static, Answer<Types>>, time: Duration) {
        assert!(tokio::time::timeout(time, answers.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn far_away_appends_leave_before_those_before_them_are_answered() {
        let line = Line::default();
        let mut answers = answers_of(&line, 40).await;
        nothing_for(&mut answers, SPACING / 2).await;
        assert_eq!(line.under_way(), [Some(0)], "it may be answered at once");
        nothing_for(&mut answers, SPACING).await;
        assert_eq!(line.under_way(), [Some(0), Some(1)]);
        nothing_for(&mut answers, SPACING * 40).await;
        assert_eq!(line.under_way().len(), UNDER_WAY_MAX);
        line.answer(1, Ok(AppendEntriesResponse::Success));
        nothing_for(&mut answers, SPACING / 2).await;
        line.answer(0, Ok(AppendEntriesResponse::Success));
        assert_eq!(matching(answers.next().now_or_never()), 1, "the answers have their order too");
        assert_eq!(matching(answers.next().now_or_never()), 2);
        nothing_for(&mut answers, SPACING * 9).await;
        let all: Vec<_> = (2..18).map(Some).collect();
        assert_eq!(line.under_way(), all, "and so have the appends");
    }

    #[tokio::test(start_paused = true)]
    async fn between_neighbours_one_leaves_when_the_one_before_is_answered() {
        let line = Line::default();
        let mut answers = answers_of(&line, 3).await;
        for n in 0..3 {
            nothing_for(&mut answers, SPACING / 2).await;
            assert_eq!(line.under_way(), [Some(n)]);
            line.answer(0, Ok(AppendEntriesResponse::Success));
            assert_eq!(matching(answers.next().now_or_never()), n + 1);
        }
        assert!(answers.next().await.is_none(), "that was all");
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_failure_nothing_more_is_heard() {
        let line = Line::default();
        let mut answers = answers_of(&line, 3).await;
        nothing_for(&mut answers, SPACING * 9).await;
        line.answer(1, Ok(AppendEntriesResponse::Success));
        line.answer(0, Ok(AppendEntriesResponse::Conflict));
        let first = answers.next().await.expect("an answer").expect("was sent");
        assert_eq!(first, Err(StreamAppendError::Conflict(id(0))), "the first tells what the other side lacks");
        assert!(answers.next().await.is_none());
    }

    /// Openraft panics where a log loses what it had, and this would look like it.
    #[tokio::test(start_paused = true)]
    async fn a_conflict_behind_a_success_is_a_lack_of_order() {
        let line = Line::default();
        let mut answers = answers_of(&line, 3).await;
        nothing_for(&mut answers, SPACING * 9).await;
        line.answer(1, Ok(AppendEntriesResponse::Conflict));
        line.answer(0, Ok(AppendEntriesResponse::Success));
        assert_eq!(matching(answers.next().now_or_never()), 1);
        assert!(matches!(answers.next().await, Some(Err(RPCError::Network(_)))));
        assert!(answers.next().await.is_none());
    }
}
