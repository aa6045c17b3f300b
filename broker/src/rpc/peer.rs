//! One connection to another gateway. Dials at the first call and again, with a short pause, whenever it is lost.

use super::{ANSWER_TOPIC, BODY_LEN_MAX, FAILURE, IN_FLIGHT_MAX, PACKET_LEN_MAX, RpcError, TOPIC_PREFIX, Tls, TlsError};
use bytes::Bytes;
use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const KEEP_ALIVE: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT_S: u64 = 2;
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// A gateway that came back must hear of its leader before it elects another.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Unanswered for this long, with a request given up: the connection is taken for dead (a cut line says nothing) and dialled anew.
const UNANSWERED_MAX: Duration = Duration::from_secs(1);

pub struct Peer {
    shared: Arc<Shared>,
    client: AsyncClient,
    connected: watch::Receiver<bool>,
    /// Wakes the dialler once.
    wanted: watch::Sender<bool>,
    places: Semaphore,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<Bytes, RpcError>>>>,
    /// When the first request was sent behind which nothing came in.
    unanswered_since: Mutex<Option<Instant>>,
    redial: Notify,
}

impl Peer {
    /// `address` is `host:port`; the peer's certificate must carry that host. `class` tells the connections to one gateway apart.
    /// Must be called on a tokio runtime, which then carries the connection, whatever runtime calls come from.
    pub fn new(address: &str, tls: &Tls, class: &'static str) -> Result<Self, TlsError> {
        let (host, port) = address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
            .ok_or_else(|| TlsError::Settings(format!("`{address}` is not host:port")))?;
        let mut options = MqttOptions::new(format!("{}-{class}", tls.node()?), host, port);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.client()?)));
        options.set_keep_alive(KEEP_ALIVE);
        options.set_connection_timeout(CONNECT_TIMEOUT_S);
        options.set_max_packet_size(Some(PACKET_LEN_MAX));
        // Requests are at QoS 0. Without a limit rumqttc keeps room for 65,536 others: 13 MiB for each connection.
        options.set_outgoing_inflight_upper_limit(1);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);

        let (client, events) = AsyncClient::new(options, IN_FLIGHT_MAX);
        let shared = Arc::new(Shared::default());
        let (connected_set, connected) = watch::channel(false);
        let (wanted, wanted_seen) = watch::channel(false);
        let task = tokio::spawn(poll(events, shared.clone(), connected_set, wanted_seen, format!("{address} {class}")));
        Ok(Self { shared, client, connected, wanted, places: Semaphore::new(IN_FLIGHT_MAX), task })
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Sends a request and waits for its answer, at most `timeout`, waiting for the connection included.
    pub async fn call(&self, method: &str, body: Bytes, timeout: Duration) -> Result<Bytes, RpcError> {
        if body.len() > BODY_LEN_MAX {
            return Err(RpcError::Refused(format!("body of {} bytes is larger than {BODY_LEN_MAX}", body.len())));
        }
        let deadline = Instant::now() + timeout;
        let _place = tokio::time::timeout_at(deadline, self.places.acquire()).await.map_err(|_| RpcError::Unreachable)?;
        self.connect(deadline).await?;

        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        self.shared.waiting.lock().insert(id, tell);
        // Forgets the request also where the caller goes away.
        let _entry = Entry { shared: &self.shared, id };
        self.shared.unanswered_since.lock().get_or_insert_with(Instant::now);
        let properties = PublishProperties {
            response_topic: Some(ANSWER_TOPIC.into()),
            correlation_data: Some(Bytes::copy_from_slice(&id.to_be_bytes())),
            ..PublishProperties::default()
        };
        let topic = format!("{TOPIC_PREFIX}{method}");
        // There is a place for it in the channel: the channel is as long as requests are many.
        self.client.try_publish_with_properties(topic, QoS::AtMostOnce, false, body, properties).map_err(|_| RpcError::Unreachable)?;
        match tokio::time::timeout_at(deadline, told).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(RpcError::Timeout),
        }
    }

    /// Waits for the connection, at most `timeout`; dials where nobody did yet.
    pub async fn ready(&self, timeout: Duration) -> bool {
        self.connect(Instant::now() + timeout).await.is_ok()
    }

    async fn connect(&self, deadline: Instant) -> Result<(), RpcError> {
        let mut connected = self.connected.clone();
        if *connected.borrow() {
            return Ok(());
        }
        self.wanted.send_replace(true);
        match tokio::time::timeout_at(deadline, connected.wait_for(|up| *up)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RpcError::Unreachable),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Entry<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // Nobody waits for its answer any more: its time is over, or its caller's.
        let given_up = self.shared.waiting.lock().remove(&self.id).is_some();
        if given_up && self.shared.unanswered_since.lock().is_some_and(|since| since.elapsed() > UNANSWERED_MAX) {
            self.shared.redial.notify_one();
        }
    }
}

/// Polls in a task of its own: a caller that polled could wait for itself.
async fn poll(mut events: EventLoop, shared: Arc<Shared>, connected: watch::Sender<bool>, mut wanted: watch::Receiver<bool>, name: String) {
    if wanted.wait_for(|wanted| *wanted).await.is_err() {
        return;
    }
    let mut pause = PAUSE_MIN;
    loop {
        let event = tokio::select! {
            event = events.poll() => event.map_err(|error| error.to_string()),
            () = shared.redial.notified() => Err("no answers".to_owned()),
        };
        if matches!(event, Ok(Event::Incoming(_))) {
            *shared.unanswered_since.lock() = None;
        }
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                pause = PAUSE_MIN;
                connected.send_replace(true);
                tracing::debug!(peer = name, "mesh connection up");
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => take_answer(&shared, publish),
            Ok(_) => {}
            Err(error) => {
                if connected.send_replace(false) {
                    tracing::debug!(peer = name, error, "mesh connection lost");
                }
                *shared.unanswered_since.lock() = None;
                // What was on its way may or may not have arrived.
                for (_, tell) in shared.waiting.lock().drain() {
                    drop(tell.send(Err(RpcError::Timeout)));
                }
                // What was not sent yet must not be sent later: its callers have given up.
                events.clean();
                events.pending.clear();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

fn take_answer(shared: &Shared, publish: Publish) {
    let Some(properties) = publish.properties else { return };
    let Some(id) = properties.correlation_data.as_deref().and_then(|data| <[u8; 8]>::try_from(data).ok()).map(u64::from_be_bytes) else {
        return;
    };
    let Some(tell) = shared.waiting.lock().remove(&id) else { return };
    let failure = properties.user_properties.iter().find(|(key, _)| key == FAILURE).map(|(_, kind)| kind.as_str());
    let text = || String::from_utf8_lossy(&publish.payload).into_owned();
    // Nobody listens any more where the caller gave up in this very moment.
    drop(tell.send(match failure {
        None => Ok(publish.payload),
        Some("refused") => Err(RpcError::Refused(text())),
        Some(_) => Err(RpcError::Remote(text())),
    }));
}
