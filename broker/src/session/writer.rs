//! The writing half of a connection: takes what is due from the session and writes it. A message's deadline is looked at
//! here, at the last moment before its bytes leave.

use crate::clock;
use crate::message::Qos;
use crate::session::alias::Aliases;
use crate::session::close::Close;
use crate::session::encode::{self, Envelope};
use crate::session::link::Link;
use crate::session::packet::{AckKind, Answer};
use crate::session::queue::Express;
use crate::session::queue::{Delivered, Inner, Queued};
use crate::session::state::Session;
use spalla_shared::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

/// Bytes gathered for one write; a batch ends with the packet that reaches it.
const BATCH_BYTES: usize = 64 * 1024;

/// Writes until the link is closed, then says why, where the version has a word for it.
pub(crate) async fn run<W: AsyncWrite + Unpin>(session: Arc<Session>, link: Link, mut out: W) {
    let mut closed = link.close.subscribe();
    let mut aliases = Aliases::new(link.alias_max);
    loop {
        let reason = closed.borrow_and_update().clone();
        if let Some(reason) = reason {
            farewell(&session, &link, &reason, &mut out).await;
            return;
        }
        let rung = session.wake.notified();
        let batch = take(&session, &link, &mut aliases);
        if batch.bytes.is_empty() {
            tokio::select! {
                () = rung => {}
                _ = closed.changed() => {}
            }
            continue;
        }
        // In this order: what is taken already goes out where it can, and the farewell behind it.
        let written = tokio::select! {
            biased;
            written = tokio::time::timeout(session.limits.write_timeout, write(&mut out, &batch.bytes)) => written,
            _ = closed.changed() => {
                // A client that reads nothing must not hold up its own end.
                return;
            }
        };
        match written {
            Ok(Ok(())) => {
                for done in batch.written {
                    done.send(Delivered::Transported).ok();
                }
            }
            Ok(Err(_)) => return link.close(Close::Gone),
            Err(_) => return link.close(Close::Slow),
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(out: &mut W, bytes: &[u8]) -> std::io::Result<()> {
    out.write_all(bytes).await?;
    out.flush().await
}

/// Bounded by the caller: the connection waits for it a moment, then drops the socket.
async fn farewell<W: AsyncWrite + Unpin>(session: &Session, link: &Link, reason: &Close, out: &mut W) {
    if let Some((code, text)) = reason.notice() {
        let notice = Answer::Disconnect { code, reason: text.to_owned() };
        if let Some(bytes) = encode::answer(link.version, true, link.packet_size_max, &notice) {
            write(out, &bytes).await.ok();
        }
    }
    out.shutdown().await.ok();
    session.wake.notify_one();
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Device commands at QoS 0 in it: transported once written.
    written: Vec<oneshot::Sender<Delivered>>,
}

/// What one turn of the writer works on.
struct Turn<'a> {
    session: &'a Session,
    link: &'a Link,
    inner: &'a mut Inner,
    aliases: &'a mut Aliases,
    now: Timestamp,
    batch: Batch,
}

fn take(session: &Session, link: &Link, aliases: &mut Aliases) -> Batch {
    let mut inner = session.inner.lock();
    if inner.link.as_ref().is_none_or(|current| current.number != link.number) {
        link.close(Close::Internal);
        return Batch::default();
    }
    let mut turn = Turn { session, link, inner: &mut inner, aliases, now: clock::now(), batch: Batch::default() };
    while turn.batch.bytes.len() < BATCH_BYTES {
        if let Some(answer) = turn.inner.answers.pop_front() {
            turn.put_answer(&answer);
        } else if !turn.take_express() && !turn.take_resend() && !turn.take_pending() {
            break;
        }
    }
    turn.batch
}

/// Each `take_…` answers whether it moved something; its loop ends because its queue shrinks each time.
impl Turn<'_> {
    fn put_answer(&mut self, answer: &Answer) {
        let bytes = encode::answer(self.link.version, self.link.wants_reasons, self.link.packet_size_max, answer);
        self.batch.bytes.extend(bytes.unwrap_or_default());
    }

    fn take_express(&mut self) -> bool {
        let Some(Express { message, qos, done }) = self.inner.express.pop_front() else { return false };
        if done.is_closed() {
            return true;
        }
        if clock::is_past(message.expires_at, self.now) {
            self.session.counters.dropped("expired");
            done.send(Delivered::Expired).ok();
            return true;
        }
        if qos > Qos::AtMostOnce && self.inner.in_flight.len() >= usize::from(self.link.receive_max) {
            self.inner.express.push_front(Express { message, qos, done });
            return false;
        }
        let queued = Queued { command: true, ..Queued::new(message, qos) };
        if qos == Qos::AtMostOnce {
            if self.put(&queued, None, false) {
                self.batch.written.push(done);
            } else {
                done.send(Delivered::Refused).ok();
            }
            return true;
        }
        let Some(id) = self.inner.start(queued.clone(), Some(done)) else {
            return true;
        };
        if !self.put(&queued, Some(id), false)
            && let Some(done) = self.inner.finish(id).and_then(|sent| sent.done)
        {
            done.send(Delivered::Refused).ok();
        }
        true
    }

    fn take_resend(&mut self) -> bool {
        let Some(id) = self.inner.resend.pop_front() else { return false };
        let Some(sent) = self.inner.in_flight.get(&id) else { return true };
        if sent.released {
            self.put_answer(&Answer::Ack { kind: AckKind::Release, packet_id: id, code: 0, reason: None });
            return true;
        }
        let queued = sent.queued.clone();
        let expired = clock::is_past(queued.message.expires_at, self.now);
        if expired {
            self.session.counters.dropped("expired");
        }
        if (expired || !self.put(&queued, Some(id), true))
            && let Some(sent) = self.inner.finish(id)
        {
            self.session.let_go(self.inner, &sent.queued);
        }
        true
    }

    fn take_pending(&mut self) -> bool {
        let Some(next) = self.inner.pending.front() else { return false };
        let window = usize::from(self.link.receive_max.min(self.session.limits.in_flight));
        let expired = clock::is_past(next.message.expires_at, self.now);
        if !expired && (next.qos > Qos::AtMostOnce && self.inner.in_flight.len() >= window || !self.session.may_leave(next)) {
            return false;
        }
        let Some(queued) = self.inner.pop_pending() else { return false };
        if expired {
            self.session.counters.dropped("expired");
            self.session.let_go(self.inner, &queued);
        } else if queued.qos == Qos::AtMostOnce {
            self.put(&queued, None, false);
        } else {
            let Some(id) = self.inner.start(queued.clone(), None) else {
                self.session.counters.dropped("packet-ids");
                return true;
            };
            if self.put(&queued, Some(id), false) {
                self.session.note_sent(&queued);
            } else if let Some(sent) = self.inner.finish(id) {
                self.session.let_go(self.inner, &sent.queued);
            }
        }
        true
    }

    /// False where the message is larger than the client takes: it is dropped and counted, as the specification says.
    fn put(&mut self, queued: &Queued, packet_id: Option<u16>, dup: bool) -> bool {
        // Rounded up, so that a message in its last second is not sent as one that never lived.
        let expiry_s = queued.message.expires_at.map(|at| u32::try_from(at.since(self.now).div_ceil(1000)).unwrap_or(u32::MAX).max(1));
        let alias = self.aliases.of(&queued.message.topic);
        let envelope = Envelope {
            qos: queued.qos,
            retain: queued.retain,
            dup,
            packet_id,
            subscription_ids: &queued.subscription_ids,
            alias,
            expiry_s,
        };
        let fits = encode::publish(self.link.version, &queued.message, envelope, self.link.packet_size_max, &mut self.batch.bytes);
        if fits {
            self.aliases.used(&queued.message.topic, alias);
            self.session.counters.sent.fetch_add(1, Ordering::Relaxed);
        } else {
            self.session.counters.dropped("too-large-for-client");
        }
        fits
    }
}
