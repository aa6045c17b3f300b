//! Appends that leave without waiting for the answers of those before: over a distance each would cost its writer one more round trip.
//!
//! ```text
//! openraft's stream of appends -> at most UNDER_WAY_MAX are sent, in order -> answers, in order -> the first that is no success is the last
//! ```
//!
//! What has no place meanwhile is sent together in the next one. The other side takes them in the order in which they came
//! (`spalla_broker::rpc::Service`).

use futures::{Stream, StreamExt};
use openraft::RaftTypeConfig;
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use std::future::Future;

/// Unanswered at one time. More of them are smaller ones, and each costs both sides. To space them out (16, 2 ms apart) was measured, and was
/// slower with and without a distance.
const UNDER_WAY_MAX: usize = 4;

type Answer<C> = Result<StreamAppendResult<C>, RPCError<C>>;
pub type Answers<'s, C> = BoxFuture<'s, Result<BoxStream<'s, Answer<C>>, RPCError<C>>>;

/// What [`openraft::RaftNetworkV2::stream_append`] is to return, where `send` begins to send at its future's first step.
pub fn pipelined<'s, C, S, F>(requests: S, send: impl Fn(AppendEntriesRequest<C>) -> F + Send + 's) -> Answers<'s, C>
where
    C: RaftTypeConfig,
    S: Stream<Item = AppendEntriesRequest<C>> + Send + 's,
    F: Future<Output = Result<AppendEntriesResponse<C>, RPCError<C>>> + Send + 's,
{
    let mut earlier = false;
    let answers = requests.map(move |request| {
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
    let answers = futures::stream::unfold(Some(Box::pin(answers.buffered(UNDER_WAY_MAX))), |answers| async {
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

    #[tokio::test]
    async fn appends_leave_before_those_before_them_are_answered() {
        let line = Line::default();
        let mut answers = answers_of(&line, 6).await;
        assert!(answers.next().now_or_never().is_none());
        assert_eq!(line.under_way(), [Some(0), Some(1), Some(2), Some(3)], "as many as may be, in order");
        line.answer(1, Ok(AppendEntriesResponse::Success));
        assert!(answers.next().now_or_never().is_none(), "the answers have their order too");
        line.answer(0, Ok(AppendEntriesResponse::Success));
        assert_eq!(matching(answers.next().now_or_never()), 1);
        assert_eq!(matching(answers.next().now_or_never()), 2);
        assert!(answers.next().now_or_never().is_none());
        assert_eq!(line.under_way(), [Some(2), Some(3), Some(4), Some(5)]);
    }

    #[tokio::test]
    async fn behind_a_failure_nothing_more_is_heard() {
        let line = Line::default();
        let mut answers = answers_of(&line, 3).await;
        assert!(answers.next().now_or_never().is_none());
        line.answer(1, Ok(AppendEntriesResponse::Success));
        line.answer(0, Ok(AppendEntriesResponse::Conflict));
        let first = answers.next().await.expect("an answer").expect("was sent");
        assert_eq!(first, Err(StreamAppendError::Conflict(id(0))), "the first tells what the other side lacks");
        assert!(answers.next().await.is_none());
    }

    /// Openraft panics where a log loses what it had, and this would look like it.
    #[tokio::test]
    async fn a_conflict_behind_a_success_is_a_lack_of_order() {
        let line = Line::default();
        let mut answers = answers_of(&line, 3).await;
        assert!(answers.next().now_or_never().is_none());
        line.answer(1, Ok(AppendEntriesResponse::Conflict));
        line.answer(0, Ok(AppendEntriesResponse::Success));
        assert_eq!(matching(answers.next().now_or_never()), 1);
        assert!(matches!(answers.next().await, Some(Err(RPCError::Network(_)))));
        assert!(answers.next().await.is_none());
    }
}
