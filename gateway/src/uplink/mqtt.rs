//! The cloud's broker over real MQTT. A publish that was under way when the connection broke is given up, never sent
//! later under an epoch that may have passed: the courier decides what is sent again.

use super::service::{Status, Uplink, UplinkOptions};
use super::{CloudLink, LinkError, LinkEvent, PeerSummaries, SummaryMaker};
use crate::config::{BrokerAddress, Cloud, MqttVersion};
use crate::consensus::GroupRef;
use async_trait::async_trait;
use spalla_broker::client::{Client, ClientConfig, ClientError, ClientEvent, ClientTls, Events};
use spalla_broker::message::{Message, Qos};
use spalla_broker::version::Version;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A dead connection is noticed after one and a half of it.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// The broker must have answered a subscription by then.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(10);
/// Events not yet taken by the uplink's loop.
const EVENTS_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("cloud.url: {0}")]
    Address(String),
    #[error("{0}")]
    File(String),
    #[error("cloud: {0}")]
    Client(String),
}

/// A running uplink. Dropping it stops it too, without waiting.
pub struct Running {
    pub status: watch::Receiver<Status>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Steps back, tells the cloud, and returns within a few seconds.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the uplink did not end in order");
        }
    }
}

/// Starts this gateway's uplink. Call inside a tokio runtime; it does not wait for the cloud.
pub fn start(
    cloud: &Cloud,
    group: GroupRef,
    maker: Arc<SummaryMaker>,
    peers: Arc<dyn PeerSummaries>,
    options: UplinkOptions,
) -> Result<Running, ConnectError> {
    let names = &options.names;
    let node = group.node();
    let client_id = format!("spalla-{}-{}-{node}", names.organisation, names.mesh);
    let will = Uplink::will(names, node, options.encoding, (options.now)());
    let (link, events) = connect(cloud, &client_id, Uplink::subscriptions(names), will)?;
    let uplink = Uplink::new(group, link, maker, peers, options);
    let status = uplink.status();
    let stop = watch::Sender::new(false);
    let task = tokio::spawn(uplink.run(events, stop.subscribe()));
    Ok(Running { status, stop, task })
}

/// A link to the broker that `cloud` names. `Up` comes after all `filters` were granted.
pub fn connect(
    cloud: &Cloud,
    client_id: &str,
    filters: Vec<String>,
    will: Option<Message>,
) -> Result<(Arc<dyn CloudLink>, mpsc::Receiver<LinkEvent>), ConnectError> {
    let BrokerAddress { host, port, tls } = BrokerAddress::parse(&cloud.url).map_err(ConnectError::Address)?;
    let mut config = ClientConfig::new(host, port, client_id);
    config.version = match cloud.mqtt {
        MqttVersion::V4 => Version::V4,
        MqttVersion::V5 => Version::V5,
    };
    config.keep_alive = KEEP_ALIVE;
    config.reconnect_max = RECONNECT_MAX;
    config.will = will;
    config.username = cloud.username.clone();
    if let Some(file) = &cloud.password_file {
        let text = read(file)?;
        config.password = Some(String::from_utf8_lossy(&text).trim_end_matches(['\r', '\n']).to_owned());
    }
    if tls {
        let ca = cloud.ca.as_ref().ok_or_else(|| ConnectError::Address("mqtts needs cloud.ca".into()))?;
        config.tls = Some(ClientTls { ca_pem: read(ca)?, identity_pem: None });
    }
    let (client, client_events) = Client::connect(config).map_err(|error| ConnectError::Client(error.to_string()))?;
    let breaks = watch::Sender::new(0);
    let (events, received) = mpsc::channel(EVENTS_MAX);
    let link = MqttLink { client: client.clone(), breaks: breaks.subscribe() };
    tokio::spawn(carry(client, client_events, filters, events, breaks));
    Ok((Arc::new(link), received))
}

fn read(file: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(file).map_err(|error| ConnectError::File(format!("{}: {error}", file.display())))
}

struct MqttLink {
    client: Client,
    /// Counts the connections that broke.
    breaks: watch::Receiver<u64>,
}

#[async_trait]
impl CloudLink for MqttLink {
    async fn publish(&self, message: Message) -> Result<(), LinkError> {
        let mut breaks = self.breaks.clone();
        breaks.borrow_and_update();
        if !self.client.is_connected() {
            return Err(LinkError::Down);
        }
        tokio::select! {
            outcome = self.client.publish(message) => outcome.map_err(|error| match error {
                ClientError::Closed => LinkError::Down,
                other => LinkError::Refused(other.to_string()),
            }),
            _ = breaks.changed() => Err(LinkError::Down),
        }
    }
}

/// From the client's events to the link's, until the link's owner is gone.
async fn carry(client: Client, mut from: Events, filters: Vec<String>, to: mpsc::Sender<LinkEvent>, breaks: watch::Sender<u64>) {
    let mut subscribed = false;
    loop {
        let event = tokio::select! {
            event = from.recv() => event,
            () = to.closed() => return client.disconnect().await,
        };
        let carried = match event {
            None => return,
            Some(ClientEvent::Message(message)) => LinkEvent::Message(message),
            Some(ClientEvent::Disconnected { reason }) => {
                breaks.send_modify(|count| *count += 1);
                LinkEvent::Down(reason)
            }
            // The client renews its subscriptions by itself once they were granted.
            Some(ClientEvent::Connected { .. }) if subscribed => LinkEvent::Up,
            Some(ClientEvent::Connected { .. }) => match tokio::time::timeout(SUBSCRIBE_WAIT, subscribe(&client, &filters)).await {
                Ok(Ok(())) => {
                    subscribed = true;
                    LinkEvent::Up
                }
                Ok(Err(error)) => LinkEvent::Down(format!("the cloud's broker refuses the subscriptions: {error}")),
                Err(_) => LinkEvent::Down("the cloud's broker does not answer a subscription".into()),
            },
        };
        let ungranted = !subscribed && client.is_connected() && matches!(carried, LinkEvent::Down(_));
        if to.send(carried).await.is_err() {
            return client.disconnect().await;
        }
        if ungranted {
            // Begins anew, not faster than a broker that is away would be asked.
            let _ = tokio::time::timeout(RECONNECT_MAX, to.closed()).await;
            client.cut();
        }
    }
}

async fn subscribe(client: &Client, filters: &[String]) -> Result<(), ClientError> {
    for filter in filters {
        client.subscribe(filter, Qos::AtLeastOnce).await?;
    }
    Ok(())
}
