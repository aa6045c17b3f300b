//! What a client publishes, one message after the other: the hooks are asked, then the router, and only then an
//! acknowledgement goes back. The reader runs ahead of this by a bounded number of messages.

use crate::clock;
use crate::hooks::Verdict;
use crate::message::{Message, Qos};
use crate::server::core::Core;
use crate::session::close::Close;
use crate::session::packet::{AckKind, Answer};
use crate::session::state::{Link, Session};
use std::sync::Arc;
use tokio::sync::mpsc;

/// One PUBLISH that the reader let through, or one it refused and whose acknowledgement must keep its turn.
pub(crate) struct Job {
    pub message: Message,
    pub packet_id: Option<u16>,
    /// Already refused: the reason code and text.
    pub refused: Option<(u8, &'static str)>,
}

/// Runs until the reader hangs up or a message could not be made safe.
pub(crate) async fn run(core: Arc<Core>, session: Arc<Session>, link: Link, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        let outcome = match job.refused {
            Some(refused) => Err(refused),
            None => match take(&core, &session, &job.message).await {
                Ok(outcome) => outcome,
                Err(close) => return link.close(close),
            },
        };
        if outcome.is_err() {
            core.counters.dropped(if job.refused.is_some() { "denied" } else { "refused" });
        }
        let Some(packet_id) = job.packet_id else { continue };
        let kind = if job.message.qos == Qos::ExactlyOnce { AckKind::Received } else { AckKind::Taken };
        if kind == AckKind::Received {
            let mut inner = session.inner.lock();
            // v3.1.1 has no refusal: its client goes on to PUBREL as if all were well.
            if outcome.is_err() && link.version == crate::version::Version::V5 {
                inner.received.remove(&packet_id);
            } else {
                inner.received.insert(packet_id, true);
            }
        }
        let (code, reason) = match outcome {
            Ok(()) => (0, None),
            Err((code, reason)) => (code, Some(reason)),
        };
        session.answer(Answer::Ack { kind, packet_id, code, reason });
    }
}

/// `Ok(Err(..))`: refused, with code and text. `Err`: the connection must end so that the client sends again.
async fn take(core: &Core, session: &Session, message: &Message) -> Result<Result<(), (u8, &'static str)>, Close> {
    if clock::is_past(message.expires_at, clock::now()) {
        core.counters.dropped("expired");
        return Ok(Ok(()));
    }
    match core.hooks.publish(&session.who, message).await {
        Verdict::Accept { route: false } => Ok(Ok(())),
        Verdict::Accept { route: true } => match core.router.publish(session.id, message).await {
            Ok(()) => Ok(Ok(())),
            Err(_) => Err(Close::NotNow("the router is gone")),
        },
        Verdict::Refuse(reason) => Ok(Err((0x83, reason))),
        Verdict::NotNow(reason) => Err(Close::NotNow(reason)),
    }
}
