//! The reading half of a connection. It never waits for the hooks to take a message, so pings are answered while a message
//! waits for its commit; a client that runs further ahead, or faster than it may, is simply not read.

use crate::message::{Message, Qos};
use crate::server::core::Core;
use crate::session::alias;
use crate::session::close::Close;
use crate::session::connection::may_publish;
use crate::session::decode::{DecodeError, Decoder};
use crate::session::inbound::Job;
use crate::session::link::Link;
use crate::session::packet::{AckKind, Answer, Incoming};
use crate::session::state::Session;
use crate::topics;
use crate::version::Version;
use bytes::BytesMut;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// v3.1.1 knows no receive maximum; as many unreleased QoS 2 messages are still no conversation.
const V4_UNRELEASED_MAX: usize = 1024;

/// Bytes that are asked for at once: what a device that says little takes, and what one that says much may.
const ROOM_MIN: usize = 256;
const ROOM_MAX: usize = 16 * 1024;

pub(super) struct Reader<'a> {
    core: &'a Arc<Core>,
    session: &'a Arc<Session>,
    link: &'a Link,
    jobs: mpsc::Sender<Box<Job>>,
    decoder: Decoder,
    data: BytesMut,
    room: usize,
    keep_alive: Option<Duration>,
    aliases: alias::Incoming,
    pace: Pace,
    /// From the client's DISCONNECT.
    pub session_expiry_s: Option<u32>,
}

impl<'a> Reader<'a> {
    pub fn new(
        core: &'a Arc<Core>,
        session: &'a Arc<Session>,
        link: &'a Link,
        jobs: mpsc::Sender<Box<Job>>,
        decoder: Decoder,
        data: BytesMut,
        keep_alive: Option<Duration>,
    ) -> Self {
        let aliases = alias::Incoming::new(if link.version == Version::V5 { core.limits.topic_aliases } else { 0 });
        let pace = Pace::new(core.limits.publish_rate);
        Self { core, session, link, jobs, decoder, data, room: ROOM_MIN, keep_alive, aliases, pace, session_expiry_s: None }
    }

    /// Reads until something ends the connection. Bytes that came with the CONNECT are taken first.
    pub async fn run<R: AsyncRead + Unpin>(&mut self, mut input: R) -> Close {
        // The keep-alive counts from whole packets: a socket that trickles bytes is as silent as one that sends none.
        let mut heard = Instant::now();
        let mut begun = None;
        loop {
            loop {
                match self.decoder.next(&mut self.data) {
                    Ok(Some(packet)) => {
                        if let Err(close) = self.take(packet).await {
                            return close;
                        }
                        (heard, begun) = (Instant::now(), None);
                    }
                    Ok(None) => break,
                    Err(DecodeError::Close(close)) => return close,
                    Err(DecodeError::UnsupportedVersion) => return Close::Malformed,
                }
            }
            if self.decoder.is_partial() {
                begun.get_or_insert_with(Instant::now);
            }
            let silence = self.keep_alive.map(|limit| (heard + limit, Close::KeepAlive));
            let trickle = begun.map(|begun: Instant| (begun + self.core.limits.packet_timeout, Close::Trickle));
            let deadline = [silence, trickle].into_iter().flatten().min_by_key(|(at, _)| *at);
            // What a burst needed is given back after it.
            if self.data.is_empty() && self.data.capacity() > 4 * self.room {
                self.data = BytesMut::new();
            }
            if self.data.capacity() - self.data.len() < self.room {
                self.data.reserve(self.room);
            }
            let read = input.read_buf(&mut self.data);
            let read = match deadline {
                Some((at, close)) => match tokio::time::timeout_at(at, read).await {
                    Ok(read) => read,
                    Err(_) => return close,
                },
                None => read.await,
            };
            match read {
                Ok(read @ 1..) if read >= self.room => self.room = (self.room * 4).min(ROOM_MAX),
                Ok(read @ 1..) if read < self.room / 16 => self.room = ROOM_MIN,
                Ok(1..) => {}
                _ => return Close::Gone,
            }
        }
    }

    async fn take(&mut self, packet: Incoming) -> Result<(), Close> {
        match packet {
            Incoming::Connect(_) => return Err(Close::Protocol("a second CONNECT")),
            Incoming::Publish { mut message, packet_id, alias } => {
                self.aliases.resolve(&mut message.topic, alias)?;
                self.pace.wait().await;
                return self.publish(message, packet_id).await;
            }
            Incoming::Ack { kind, packet_id, failed } => self.session.acknowledged(kind, packet_id, failed),
            Incoming::Subscribe { packet_id, filters } => {
                if filters.iter().any(|(filter, options)| options.no_local && topics::is_shared(filter)) {
                    return Err(Close::Protocol("no local on a shared subscription"));
                }
                let codes = filters.into_iter().map(|(filter, options)| self.core.subscribe(self.session, filter, options)).collect();
                self.session.answer_when_kept(Answer::SubAck { packet_id, codes });
            }
            Incoming::Unsubscribe { packet_id, filters } => {
                let codes = filters.iter().map(|filter| if self.core.unsubscribe(self.session, filter) { 0 } else { 0x11 }).collect();
                self.session.answer_when_kept(Answer::UnsubAck { packet_id, codes });
            }
            Incoming::Ping => self.session.answer(Answer::Pong),
            Incoming::Disconnect { with_will, session_expiry_s } => {
                if let Some(seconds) = session_expiry_s {
                    let longest = u32::try_from(self.core.limits.session_expiry.as_secs()).unwrap_or(u32::MAX);
                    let had_none = self.session.inner.lock().expiry_s == 0;
                    if had_none && seconds > 0 {
                        return Err(Close::Protocol("a session that ends with its connection cannot be prolonged"));
                    }
                    self.session_expiry_s = Some(seconds.min(longest));
                }
                return Err(if with_will { Close::ClientWithWill } else { Close::Client });
            }
        }
        Ok(())
    }

    async fn publish(&mut self, message: Message, packet_id: Option<u16>) -> Result<(), Close> {
        self.core.counters.received.fetch_add(1, Ordering::Relaxed);
        if !topics::is_publishable(&message.topic, self.core.limits.topic_levels) {
            return Err(Close::TopicInvalid);
        }
        if message.response_topic.as_deref().is_some_and(|topic| topic.contains(['+', '#'])) {
            return Err(Close::Protocol("a response topic with wildcards"));
        }
        if let Some(packet_id) = packet_id
            && !self.count_in(message.qos, packet_id)?
        {
            return Ok(());
        }
        let mut refused = may_publish(self.core, &self.session.who, &message).err();
        if message.is_text && std::str::from_utf8(&message.payload).is_err() {
            refused.get_or_insert((0x99, "the payload is not the text it says it is"));
        }
        let job = Box::new(Job { message, packet_id, refused });
        self.jobs.send(job).await.map_err(|_| Close::Internal)
    }

    /// Books a QoS 1 or 2 message in; false for a QoS 2 message that is in the books already.
    fn count_in(&self, qos: Qos, packet_id: u16) -> Result<bool, Close> {
        let window = usize::from(self.core.limits.in_flight);
        let mut inner = self.session.inner.lock();
        if qos == Qos::ExactlyOnce {
            match inner.received.get(&packet_id) {
                Some(true) => {
                    drop(inner);
                    self.session.answer(Answer::Ack { kind: AckKind::Received, packet_id, code: 0, reason: None });
                    return Ok(false);
                }
                // Its answer is on the way.
                Some(false) => return Ok(false),
                None => {}
            }
        }
        let open = inner.unanswered + inner.received.len();
        let crowded = match self.link.version {
            Version::V5 => open >= window,
            Version::V4 => inner.received.len() >= V4_UNRELEASED_MAX,
        };
        if crowded {
            return Err(Close::ReceiveMaximum);
        }
        if qos == Qos::ExactlyOnce {
            inner.received.insert(packet_id, false);
        } else {
            inner.unanswered += 1;
        }
        Ok(true)
    }
}

/// Messages per second that one client is read at; a second's worth may come at once.
struct Pace {
    per_second: f64,
    credit: f64,
    seen: Instant,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), credit: f64::from(per_second), seen: Instant::now() }
    }

    async fn wait(&mut self) {
        if self.per_second == 0.0 {
            return;
        }
        let now = Instant::now();
        self.credit = (self.credit + (now - self.seen).as_secs_f64() * self.per_second).min(self.per_second) - 1.0;
        self.seen = now;
        if self.credit < 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(-self.credit / self.per_second)).await;
        }
    }
}
