//! The writing half of a connection: takes what is due from the session and writes it. A message's deadline is looked at
//! here, at the last moment before its bytes leave.

use crate::clock;
use crate::message::Qos;
use crate::session::close::Close;
use crate::session::encode::{self, Envelope};
use crate::session::packet::{AckKind, Answer};
use crate::session::state::{Delivered, Express, Inner, Link, Queued, Session};
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
    loop {
        let reason = closed.borrow_and_update().clone();
        if let Some(reason) = reason {
            farewell(&session, &link, &reason, &mut out).await;
            return;
        }
        let rung = session.wake.notified();
        let batch = take(&session, &link);
        if batch.bytes.is_empty() {
            tokio::select! {
                () = rung => {}
                _ = closed.changed() => {}
            }
            continue;
        }
        let written = tokio::select! {
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
        if let Some(bytes) = encode::answer(link.version, link.wants_reasons, &notice) {
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

fn take(session: &Session, link: &Link) -> Batch {
    let now = clock::now();
    let mut batch = Batch::default();
    let mut inner = session.inner.lock();
    if inner.link.as_ref().is_none_or(|current| current.number != link.number) {
        link.close(Close::Internal);
        return batch;
    }
    while batch.bytes.len() < BATCH_BYTES {
        if let Some(answer) = inner.answers.pop_front() {
            batch.bytes.extend(encode::answer(link.version, link.wants_reasons, &answer).unwrap_or_default());
        } else if !take_express(session, link, &mut inner, now, &mut batch)
            && !take_resend(session, link, &mut inner, now, &mut batch)
            && !take_pending(session, link, &mut inner, now, &mut batch)
        {
            break;
        }
    }
    batch
}

/// Each `take_…` answers whether it moved something; its loop ends because its queue shrinks each time.
fn take_express(session: &Session, link: &Link, inner: &mut Inner, now: Timestamp, batch: &mut Batch) -> bool {
    let Some(Express { message, qos, done }) = inner.express.pop_front() else { return false };
    if done.is_closed() {
        return true;
    }
    if clock::is_past(message.expires_at, now) {
        session.counters.dropped("expired");
        done.send(Delivered::Expired).ok();
        return true;
    }
    if qos > Qos::AtMostOnce && inner.in_flight.len() >= usize::from(link.receive_max) {
        inner.express.push_front(Express { message, qos, done });
        return false;
    }
    let queued = Queued { message, qos, retain: false, subscription_ids: Arc::new([]), command: true, replay: false };
    if qos == Qos::AtMostOnce {
        if put(session, link, &queued, None, false, now, batch) {
            batch.written.push(done);
        } else {
            done.send(Delivered::Refused).ok();
        }
        return true;
    }
    let id = inner.start(queued.clone(), Some(done));
    if !put(session, link, &queued, Some(id), false, now, batch)
        && let Some(done) = inner.in_flight.remove(&id).and_then(|sent| sent.done)
    {
        done.send(Delivered::Refused).ok();
    }
    true
}

fn take_resend(session: &Session, link: &Link, inner: &mut Inner, now: Timestamp, batch: &mut Batch) -> bool {
    let Some(id) = inner.resend.pop_front() else { return false };
    let Some(sent) = inner.in_flight.get(&id) else { return true };
    if sent.released {
        let release = Answer::Ack { kind: AckKind::Release, packet_id: id, code: 0, reason: None };
        batch.bytes.extend(encode::answer(link.version, link.wants_reasons, &release).unwrap_or_default());
        return true;
    }
    let queued = sent.queued.clone();
    let expired = clock::is_past(queued.message.expires_at, now);
    if expired {
        session.counters.dropped("expired");
    }
    if expired || !put(session, link, &queued, Some(id), true, now, batch) {
        inner.in_flight.remove(&id);
    }
    true
}

fn take_pending(session: &Session, link: &Link, inner: &mut Inner, now: Timestamp, batch: &mut Batch) -> bool {
    let Some(next) = inner.pending.front() else { return false };
    let window = usize::from(link.receive_max.min(session.limits.in_flight));
    let expired = clock::is_past(next.message.expires_at, now);
    if next.qos > Qos::AtMostOnce && inner.in_flight.len() >= window && !expired {
        return false;
    }
    let Some(queued) = inner.pop_pending() else { return false };
    if expired {
        session.counters.dropped("expired");
    } else if queued.qos == Qos::AtMostOnce {
        put(session, link, &queued, None, false, now, batch);
    } else {
        let id = inner.start(queued.clone(), None);
        if !put(session, link, &queued, Some(id), false, now, batch) {
            inner.in_flight.remove(&id);
        }
    }
    true
}

/// False where the message is larger than the client takes: it is dropped and counted, as the specification says.
fn put(session: &Session, link: &Link, queued: &Queued, packet_id: Option<u16>, dup: bool, now: Timestamp, batch: &mut Batch) -> bool {
    // Rounded up, so that a message in its last second is not sent as one that never lived.
    let expiry_s = queued.message.expires_at.map(|at| u32::try_from(at.since(now).div_ceil(1000)).unwrap_or(u32::MAX).max(1));
    let envelope =
        Envelope { qos: queued.qos, retain: queued.retain, dup, packet_id, subscription_ids: &queued.subscription_ids, expiry_s };
    let fits = encode::publish(link.version, &queued.message, envelope, link.packet_size_max, &mut batch.bytes);
    if fits {
        session.counters.sent.fetch_add(1, Ordering::Relaxed);
    } else {
        session.counters.dropped("too-large-for-client");
    }
    fits
}
