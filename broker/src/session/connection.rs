//! One connection from CONNECT to its end: the reading half. It never waits for the hooks to take a message, so pings are
//! answered while a message waits for its commit; a client that runs further ahead is simply not read.

use crate::clock;
use crate::hooks::{Principal, Verdict};
use crate::message::{Message, Qos};
use crate::server::core::Core;
use crate::session::close::Close;
use crate::session::decode::{DecodeError, Decoder};
use crate::session::encode::{self, Welcome};
use crate::session::handshake::{self, Admitted, Peer};
use crate::session::inbound::{self, Job};
use crate::session::packet::{AckKind, Answer, Incoming, Will};
use crate::session::registry::Place;
use crate::session::state::{Link, Session};
use crate::session::writer;
use crate::topics;
use crate::version::Version;
use bytes::BytesMut;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

/// How long a closing connection may take to write its DISCONNECT.
const FAREWELL_WAIT: Duration = Duration::from_millis(300);
/// How long a message in the hands of the hooks may keep its connection's end waiting.
const LAST_MESSAGE_WAIT: Duration = Duration::from_secs(3);
/// How long a hook may keep a connection from beginning or ending.
const HOOK_WAIT: Duration = Duration::from_secs(4);

/// Serves one client until its end.
pub(crate) async fn serve<S>(core: Arc<Core>, mut stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stopping = core.stopping.subscribe();
    let greeted = {
        let greeting = greet(&core, &mut stream, &peer);
        tokio::select! {
            greeted = greeting => greeted,
            _ = stopping.wait_for(|stopping| *stopping) => None,
        }
    };
    if let Some((decoder, data, admitted)) = greeted {
        run(core, stream, peer, decoder, data, admitted).await;
    }
}

/// CONNECT and its judgement; nothing of it outlives a shutdown.
async fn greet<S>(core: &Core, stream: &mut S, peer: &Peer) -> Option<(Decoder, BytesMut, Admitted)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut decoder = Decoder::new(core.limits.packet_size);
    let mut data = BytesMut::with_capacity(4096);
    let reading = handshake::read_connect(stream, &mut decoder, &mut data);
    let refused = match tokio::time::timeout(core.limits.connect_timeout, reading).await {
        Ok(Ok(connect)) => {
            let version = connect.version;
            match handshake::admit(core, peer, connect).await {
                Ok(admitted) => return Some((decoder, data, admitted)),
                Err((code, text, reason)) => {
                    core.refused(peer, reason);
                    let answer = encode::refusal(version, code, text);
                    tokio::time::timeout(FAREWELL_WAIT, handshake::tell(stream, &answer)).await.ok();
                    return None;
                }
            }
        }
        Ok(Err(reason)) => reason,
        Err(_) => "connect-timeout",
    };
    core.refused(peer, refused);
    None
}

async fn run<S>(core: Arc<Core>, mut stream: S, peer: Peer, decoder: Decoder, data: BytesMut, admitted: Admitted)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Admitted { who, connect, assigned_client_id, session_expiry_s } = admitted;
    let (close, closed) = watch::channel(None);
    let build = |number| Link {
        number,
        version: connect.version,
        wants_reasons: connect.wants_reasons,
        receive_max: connect.receive_max,
        packet_size_max: connect.packet_size_max,
        close: close.clone(),
    };
    let Ok(place) = core.registry.take(&who, connect.clean_start, session_expiry_s, build).await else {
        core.refused(&peer, "sessions-full");
        handshake::tell(&mut stream, &encode::refusal(connect.version, 0x97, "too many sessions")).await;
        return;
    };
    if let Some(replaced) = &place.replaced {
        core.forget(replaced);
    }
    if *core.stopping.borrow() {
        place.link.close(Close::Shutdown);
    }
    tokio::time::timeout(HOOK_WAIT, core.hooks.connected(&who, place.link.number)).await.ok();
    let welcome = Welcome {
        session_present: place.session_present,
        assigned_client_id: assigned_client_id.as_deref(),
        session_expiry_s: (session_expiry_s != connect.session_expiry_s).then_some(session_expiry_s),
        receive_max: core.limits.in_flight,
        packet_size_max: core.limits.packet_size,
    };
    let welcome = encode::welcome(connect.version, &welcome);
    let welcomed = tokio::time::timeout(core.limits.write_timeout, stream.write_all(&welcome)).await;

    let (read_half, write_half) = tokio::io::split(stream);
    let writing = tokio::spawn(writer::run(place.session.clone(), place.link.clone(), write_half));
    let (jobs, jobs_rx) = mpsc::channel(usize::from(core.limits.in_flight));
    let mut taking = tokio::spawn(inbound::run(core.clone(), place.session.clone(), place.link.clone(), jobs_rx));
    let mut reader = Reader {
        core: &core,
        session: &place.session,
        link: &place.link,
        jobs,
        decoder,
        data,
        keep_alive: (connect.keep_alive_s > 0).then(|| Duration::from_millis(u64::from(connect.keep_alive_s) * 1500)),
        session_expiry_s: None,
    };
    let reason = if matches!(welcomed, Ok(Ok(()))) {
        tokio::select! {
            reason = reader.run(read_half) => reason,
            reason = wait_closed(closed) => reason,
            _ = &mut taking => place.link.close.borrow().clone().unwrap_or(Close::Internal),
        }
    } else {
        Close::Gone
    };
    place.link.close(reason);
    let reason = place.link.close.borrow().clone().unwrap_or(Close::Gone);
    place.session.wake.notify_one();
    let session_expiry_s = reader.session_expiry_s;
    drop(reader);

    // What was read before the end still counts, as far as the hooks take it in time.
    let patience = if reason == Close::Shutdown { FAREWELL_WAIT } else { LAST_MESSAGE_WAIT };
    if !taking.is_finished() && tokio::time::timeout(patience, &mut taking).await.is_err() {
        taking.abort();
    }
    let mut writing = writing;
    if tokio::time::timeout(FAREWELL_WAIT, &mut writing).await.is_err() {
        writing.abort();
    }
    finish(&core, &place, connect.will, &reason, session_expiry_s).await;
}

async fn wait_closed(mut closed: watch::Receiver<Option<Close>>) -> Close {
    match closed.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or(Close::Gone),
        Err(_) => Close::Gone,
    }
}

async fn finish(core: &Arc<Core>, place: &Place, will: Option<Will>, reason: &Close, session_expiry_s: Option<u32>) {
    let who = &place.session.who;
    core.counters.ended(reason.label());
    tracing::debug!(client = %who.client_id, principal = %who.name, reason = reason.label(), "connection ended");
    if let Some(will) = will.filter(|_| reason.publishes_will()) {
        if will.delay_s == 0 {
            publish_will(core, &place.session, will).await;
        } else {
            delay_will(core.clone(), place.session.clone(), will);
        }
    }
    if let Some(session) = core.registry.leave(place, session_expiry_s) {
        core.forget(&session);
    }
    tokio::time::timeout(HOOK_WAIT, core.hooks.disconnected(who, place.link.number)).await.ok();
}

/// One timer per session at most: the next connection ends the wait, and only its end can begin another.
fn delay_will(core: Arc<Core>, session: Arc<Session>, will: Will) {
    let mut stopping = core.stopping.subscribe();
    tokio::spawn(async move {
        let expiry_s = session.inner.lock().expiry_s;
        let waited = tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(u64::from(will.delay_s.min(expiry_s)))) => true,
            _ = stopping.wait_for(|stopping| *stopping) => false,
        };
        if waited && session.link().is_none() {
            publish_will(&core, &session, will).await;
        }
    });
}

async fn publish_will(core: &Core, session: &Session, will: Will) {
    let mut message = will.message;
    message.expires_at = will.expiry_s.map(|seconds| clock::now().plus(u64::from(seconds) * 1000));
    match tokio::time::timeout(HOOK_WAIT, core.hooks.publish(&session.who, &message)).await {
        Ok(Verdict::Accept { route }) => {
            if route && core.router.publish(session.id, &message).await.is_err() {
                core.counters.dropped("will");
            }
        }
        // The gateway hears of the disconnection itself; a will that found no quorum is not tried again.
        Ok(Verdict::Refuse(_) | Verdict::NotNow(_)) | Err(_) => core.counters.dropped("will"),
    }
}

/// What the broker itself and the ACL say of a PUBLISH; the error is a v5 reason code and its text.
pub(crate) fn may_publish(core: &Core, who: &Principal, message: &Message) -> Result<(), (u8, &'static str)> {
    if topics::is_command(&message.topic) {
        if who.name.starts_with("device:") {
            return Err((0x87, "a device may not command"));
        }
        if message.retain {
            return Err((0x87, "a command is never retained"));
        }
    }
    if core.hooks.may_publish(who, &message.topic) { Ok(()) } else { Err((0x87, "not authorised to publish here")) }
}

struct Reader<'a> {
    core: &'a Arc<Core>,
    session: &'a Arc<Session>,
    link: &'a Link,
    jobs: mpsc::Sender<Job>,
    decoder: Decoder,
    data: BytesMut,
    keep_alive: Option<Duration>,
    /// From the client's DISCONNECT.
    session_expiry_s: Option<u32>,
}

impl Reader<'_> {
    /// Reads until something ends the connection. Bytes that came with the CONNECT are taken first.
    async fn run<R: AsyncRead + Unpin>(&mut self, mut input: R) -> Close {
        loop {
            loop {
                match self.decoder.next(&mut self.data) {
                    Ok(Some(packet)) => {
                        if let Err(close) = self.take(packet).await {
                            return close;
                        }
                    }
                    Ok(None) => break,
                    Err(DecodeError::Close(close)) => return close,
                    Err(DecodeError::UnsupportedVersion) => return Close::Malformed,
                }
            }
            let read = input.read_buf(&mut self.data);
            let read = match self.keep_alive {
                Some(limit) => match tokio::time::timeout(limit, read).await {
                    Ok(read) => read,
                    Err(_) => return Close::KeepAlive,
                },
                None => read.await,
            };
            if !matches!(read, Ok(1..)) {
                return Close::Gone;
            }
        }
    }

    async fn take(&mut self, packet: Incoming) -> Result<(), Close> {
        match packet {
            Incoming::Connect(_) => return Err(Close::Protocol("a second CONNECT")),
            Incoming::Publish { message, packet_id } => return self.publish(message, packet_id).await,
            Incoming::Ack { kind, packet_id, failed } => self.session.acknowledged(kind, packet_id, failed),
            Incoming::Subscribe { packet_id, filters } => {
                let codes = filters.into_iter().map(|(filter, options)| self.core.subscribe(self.session, filter, options)).collect();
                self.session.answer(Answer::SubAck { packet_id, codes });
            }
            Incoming::Unsubscribe { packet_id, filters } => {
                let codes = filters.iter().map(|filter| if self.core.unsubscribe(self.session, filter) { 0 } else { 0x11 }).collect();
                self.session.answer(Answer::UnsubAck { packet_id, codes });
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
        if message.qos == Qos::ExactlyOnce
            && let Some(packet_id) = packet_id
        {
            let mut inner = self.session.inner.lock();
            match inner.received.get(&packet_id) {
                Some(true) => {
                    drop(inner);
                    self.session.answer(Answer::Ack { kind: AckKind::Received, packet_id, code: 0, reason: None });
                    return Ok(());
                }
                // Its answer is on the way.
                Some(false) => return Ok(()),
                None if inner.received.len() >= usize::from(self.core.limits.in_flight) => match self.link.version {
                    Version::V5 => return Err(Close::ReceiveMaximum),
                    // v3.1.1 knows no receive maximum; a thousand unreleased messages are still no conversation.
                    Version::V4 if inner.received.len() >= 1024 => return Err(Close::ReceiveMaximum),
                    Version::V4 => {}
                },
                None => {}
            }
            inner.received.insert(packet_id, false);
        }
        let refused = may_publish(self.core, &self.session.who, &message).err();
        let job = Job { message, packet_id, refused };
        self.jobs.send(job).await.map_err(|_| Close::Internal)
    }
}
