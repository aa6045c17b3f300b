//! One mesh connection at the server: MQTT 5 in, requests to the service, answers out.
//!
//! Reads go on while answers are written, because the client does not read while it flushes.

use super::server::HANDSHAKE_TIMEOUT;
use super::{BODY_LEN_MAX, FAILURE, IN_WORK_MAX, PACKET_LEN_MAX, RpcError, Service, TOPIC_PREFIX};
use bytes::Bytes;
use futures::FutureExt;
use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Connection, ConnectionOptions, Event, role};
use mqtt_protocol_core::mqtt::packet::{CorrelationData, GenericPacketTrait, Packet, Property, Qos, UserProperty, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, SubackReasonCode};
use spalla_shared::id::NodeId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

/// The client pings every 5 s; a connection that is silent for longer than this is dead.
const SILENCE_MAX: Duration = Duration::from_secs(20);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const READ_LEN: usize = 64 * 1024;
/// Answers that pile up while one write goes out are sent as one.
const WRITE_LEN_MAX: usize = 256 * 1024;

type Stream = TlsStream<TcpStream>;

/// Serves until the peer leaves or breaks the rules; says why it ended.
pub(super) async fn serve(stream: Stream, peer: NodeId, service: Arc<dyn Service>) -> Result<(), String> {
    let (reader, writer) = tokio::io::split(stream);
    // One place per request in work, and some for acknowledgements and pings.
    let (out, outbox) = mpsc::channel(IN_WORK_MAX + 16);
    let mut writing = tokio::spawn(write(writer, outbox));
    let session = Session {
        peer,
        core: Connection::with_options(Version::V5_0, ConnectionOptions::new().maximum_packet_size_recv(PACKET_LEN_MAX)),
        service,
        out,
        places: Arc::new(Semaphore::new(IN_WORK_MAX)),
        work: JoinSet::new(),
        connected: false,
    };
    let ended = tokio::select! {
        ended = session.read(reader) => ended,
        written = &mut writing => Err(written.unwrap_or_else(|error| Err(error.to_string())).err().unwrap_or_else(|| "closed".into())),
    };
    writing.abort();
    ended
}

struct Session {
    peer: NodeId,
    core: Connection<role::Server>,
    service: Arc<dyn Service>,
    out: mpsc::Sender<Vec<u8>>,
    places: Arc<Semaphore>,
    /// Requests in work; they end with the connection.
    work: JoinSet<()>,
    connected: bool,
}

impl Session {
    async fn read(mut self, mut reader: ReadHalf<Stream>) -> Result<(), String> {
        let mut buffer = vec![0; READ_LEN];
        let connect_by = Instant::now() + HANDSHAKE_TIMEOUT;
        loop {
            let until = if self.connected { Instant::now() + SILENCE_MAX } else { connect_by };
            let len = tokio::time::timeout_at(until, reader.read(&mut buffer))
                .await
                .map_err(|_| "silent for too long".to_owned())?
                .map_err(|error| error.to_string())?;
            let Some(data) = buffer.get(..len).filter(|data| !data.is_empty()) else { return Ok(()) };
            self.take(data)?;
            while self.work.try_join_next().is_some() {}
        }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), String> {
        let mut cursor = Cursor::new(data);
        while (cursor.position() as usize) < data.len() {
            let core = &mut self.core;
            // The core panics on some legal packets; such a peer loses its connection, not the process.
            let events =
                catch_unwind(AssertUnwindSafe(|| core.recv(&mut cursor))).map_err(|_| "packet that the decoder cannot take".to_owned())?;
            for event in events {
                self.event(event)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::NotifyPacketReceived(packet) => self.packet(packet),
            Event::RequestSendPacket { packet, .. } => self.send(packet.to_continuous_buffer()),
            Event::NotifyError(error) => Err(format!("protocol error: {error:?}")),
            Event::RequestClose => Err("closed by protocol".into()),
            Event::NotifyPacketIdReleased(_) | Event::RequestTimerReset { .. } | Event::RequestTimerCancel(_) => Ok(()),
        }
    }

    fn packet(&mut self, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::V5_0Connect(_) if !self.connected => {
                self.connected = true;
                let answer = v5_0::Connack::builder()
                    .session_present(false)
                    .reason_code(ConnectReasonCode::Success)
                    .build()
                    .map_err(|error| format!("CONNACK: {error:?}"))?;
                self.through_core(answer.into())
            }
            Packet::V5_0Publish(publish) if self.connected => self.request(&publish),
            // Answers come without a subscription; one that is asked for is granted, so that ordinary tools work.
            Packet::V5_0Subscribe(subscribe) if self.connected => {
                let codes = vec![SubackReasonCode::GrantedQos0; subscribe.entries().len()];
                let answer = v5_0::Suback::builder()
                    .packet_id(subscribe.packet_id())
                    .reason_codes(codes)
                    .build()
                    .map_err(|error| format!("SUBACK: {error:?}"))?;
                self.through_core(answer.into())
            }
            Packet::V5_0Pingreq(_) => self.through_core(v5_0::Pingresp::new().into()),
            Packet::V5_0Disconnect(_) => Err("peer disconnected".into()),
            other => Err(format!("unexpected {:?}", other.packet_type())),
        }
    }

    fn request(&mut self, publish: &v5_0::Publish) -> Result<(), String> {
        if publish.qos() != Qos::AtMostOnce {
            return Err("requests are QoS 0".into());
        }
        let (mut answer_topic, mut correlation) = (None, None);
        for property in &publish.props {
            match property {
                Property::ResponseTopic(topic) => answer_topic = Some(topic.val().to_owned()),
                Property::CorrelationData(data) => correlation = Some(data.val().to_vec()),
                _ => {}
            }
        }
        let (Some(answer_topic), Some(correlation)) = (answer_topic, correlation) else {
            return Err("request without response topic or correlation data".into());
        };
        let Some(method) = publish.topic_name().strip_prefix(TOPIC_PREFIX).map(str::to_owned) else {
            return self.send(answer(&answer_topic, correlation, Err(RpcError::Refused("unknown topic".into())))?);
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return self.send(answer(&answer_topic, correlation, Err(RpcError::Refused("too many requests at once".into())))?);
        };
        let body = Bytes::copy_from_slice(publish.payload().as_slice());
        let (service, out, peer) = (self.service.clone(), self.out.clone(), self.peer);
        let mut work = Box::pin(async move {
            let _place = place;
            let result = service.call(peer, &method, body).await;
            match answer(&answer_topic, correlation, result) {
                Ok(packet) => drop(out.send(packet).await),
                Err(reason) => tracing::warn!(%peer, method, reason, "answer cannot be sent"),
            }
        });
        // Tasks begin in any order; the first step of each request is made in that of their coming.
        match catch_unwind(AssertUnwindSafe(|| tokio::task::unconstrained(&mut work).now_or_never())) {
            Ok(None) => drop(self.work.spawn(work)),
            Ok(Some(())) => {}
            // As in a task, it costs this request alone.
            Err(_) => tracing::error!(%peer, "a request panicked"),
        }
        Ok(())
    }

    /// Sends what the core must know of (its own state depends on it).
    fn through_core(&mut self, packet: Packet) -> Result<(), String> {
        let core = &mut self.core;
        let events = catch_unwind(AssertUnwindSafe(|| core.send(packet))).map_err(|_| "packet that the encoder cannot take".to_owned())?;
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => self.send(packet.to_continuous_buffer())?,
                Event::NotifyError(error) => return Err(format!("protocol error: {error:?}")),
                _ => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, packet: Vec<u8>) -> Result<(), String> {
        self.out.try_send(packet).map_err(|_| "peer reads too slowly".to_owned())
    }
}

fn answer(topic: &str, correlation: Vec<u8>, result: Result<Bytes, RpcError>) -> Result<Vec<u8>, String> {
    let (failure, body) = match result {
        Ok(body) if body.len() <= BODY_LEN_MAX => (None, body),
        Ok(body) => (Some("remote"), Bytes::from(format!("answer of {} bytes is too large", body.len()))),
        Err(RpcError::Refused(reason)) => (Some("refused"), Bytes::from(reason)),
        Err(RpcError::Remote(reason)) => (Some("remote"), Bytes::from(reason)),
        Err(error @ (RpcError::Unreachable | RpcError::Timeout)) => (Some("remote"), Bytes::from(error.to_string())),
    };
    let text = |error| format!("answer: {error:?}");
    let mut properties = vec![Property::CorrelationData(CorrelationData::new(correlation).map_err(text)?)];
    if let Some(kind) = failure {
        properties.push(Property::UserProperty(UserProperty::new(FAILURE, kind).map_err(text)?));
    }
    let publish: v5_0::Publish = v5_0::Publish::builder()
        .topic_name(topic)
        .map_err(text)?
        .qos(Qos::AtMostOnce)
        .props(properties)
        .payload(body.as_ref())
        .build()
        .map_err(text)?;
    Ok(publish.to_continuous_buffer())
}

async fn write(mut writer: WriteHalf<Stream>, mut outbox: mpsc::Receiver<Vec<u8>>) -> Result<(), String> {
    while let Some(mut batch) = outbox.recv().await {
        while batch.len() < WRITE_LEN_MAX {
            match outbox.try_recv() {
                Ok(more) => batch.extend_from_slice(&more),
                Err(_) => break,
            }
        }
        let write = async {
            writer.write_all(&batch).await?;
            writer.flush().await
        };
        tokio::time::timeout(WRITE_TIMEOUT, write)
            .await
            .map_err(|_| "peer does not read".to_owned())?
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
