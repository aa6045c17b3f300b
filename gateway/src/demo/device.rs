//! A simulated device: a real MQTT client that keeps the native contract. It ignores an id that it has done and a command
//! past its deadline, and publishes each event until it is acknowledged.

use super::ledger::Ledger;
use bytes::Bytes;
use spalla_broker::client::{Client, ClientConfig, ClientEvent};
use spalla_broker::message::{Message, Qos};
use spalla_shared::device::{Ack, AckStatus, Command, CommandClass, Format, Profile};
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use spalla_shared::topic::DeviceTopic;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a lock or barrier needs for its move.
const MOVE_TIME: Duration = Duration::from_millis(40);
/// Events that wait for their acknowledgement.
const EVENTS_LEN_MAX: usize = 1_000;

/// A handle on a running device.
#[derive(Clone)]
pub struct Device {
    pub id: DeviceId,
    events: mpsc::Sender<(String, serde_json::Value)>,
    client: Client,
}

pub struct Setup {
    pub id: DeviceId,
    pub password: String,
    pub profile: Arc<Profile>,
    pub gateway: SocketAddr,
}

impl Device {
    pub fn start(setup: Setup, ledger: Arc<Ledger>, moved: mpsc::Sender<(DeviceId, Command)>) -> anyhow::Result<Self> {
        let online = Message {
            topic: DeviceTopic::Online(setup.id.clone()).to_string(),
            payload: Bytes::from_static(b"false"),
            qos: Qos::AtLeastOnce,
            retain: true,
            ..Message::default()
        };
        let mut config = ClientConfig::new(setup.gateway.ip().to_string(), setup.gateway.port(), setup.id.as_str());
        config.username = Some(setup.id.to_string());
        config.password = Some(setup.password);
        config.will = Some(online.clone());
        config.keep_alive = Duration::from_secs(5);
        let (client, incoming) = Client::connect(config)?;
        let (events, waiting) = mpsc::channel(EVENTS_LEN_MAX);
        tokio::spawn(publish_events(setup.id.clone(), client.clone(), ledger.clone(), waiting));
        tokio::spawn(receive(setup.id.clone(), setup.profile, client.clone(), incoming, ledger, moved, online));
        Ok(Self { id: setup.id, events, client })
    }

    /// Queues an event; it is published until a gateway acknowledges it. `data` carries its own `id` for deduplication.
    pub async fn event(&self, name: &str, data: serde_json::Value) {
        let _ = self.events.send((name.into(), data)).await;
    }

    /// A reading, QoS 0: the next one makes up for a lost one.
    pub async fn reading(&self, property: &str, value: f64) {
        let topic = DeviceTopic::State(self.id.clone(), property.into()).to_string();
        let payload = serde_json::json!({ "value": value }).to_string();
        let _ = self.client.publish(Message { topic, payload: payload.into(), ..Message::default() }).await;
    }

    /// A state of QoS 1, e.g. what a door contact says.
    pub async fn state(&self, property: &str, value: serde_json::Value) {
        let topic = DeviceTopic::State(self.id.clone(), property.into()).to_string();
        let payload = serde_json::json!({ "value": value }).to_string();
        let _ = self.client.publish(Message { topic, payload: payload.into(), qos: Qos::AtLeastOnce, ..Message::default() }).await;
    }

    pub async fn stop(&self) {
        self.client.disconnect().await;
    }
}

/// One event after the other, each until it is acknowledged: what a device with a small journal does.
async fn publish_events(id: DeviceId, client: Client, ledger: Arc<Ledger>, mut waiting: mpsc::Receiver<(String, serde_json::Value)>) {
    while let Some((name, data)) = waiting.recv().await {
        let topic = DeviceTopic::Event(id.clone(), name).to_string();
        let event_id = data["id"].as_str().unwrap_or_default().to_owned();
        let message = Message { topic, payload: data.to_string().into(), qos: Qos::AtLeastOnce, ..Message::default() };
        loop {
            match tokio::time::timeout(Duration::from_secs(5), client.publish(message.clone())).await {
                Ok(Ok(())) => break,
                // Not acknowledged: no quorum, or the link is down. Again, with the same id.
                Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        ledger.acknowledged(&format!("/sites/{}/devices/{}", id.site(), id.name()), &event_id);
    }
}

async fn receive(
    id: DeviceId,
    profile: Arc<Profile>,
    client: Client,
    mut incoming: mpsc::Receiver<ClientEvent>,
    ledger: Arc<Ledger>,
    moved: mpsc::Sender<(DeviceId, Command)>,
    will: Message,
) {
    let command_topic = DeviceTopic::Command(id.clone()).to_string();
    while let Some(event) = incoming.recv().await {
        match event {
            ClientEvent::Connected { .. } => {
                let (client, topic, online) =
                    (client.clone(), command_topic.clone(), Message { payload: Bytes::from_static(b"true"), ..will.clone() });
                tokio::spawn(async move {
                    let _ = client.subscribe(&topic, Qos::AtLeastOnce).await;
                    let _ = client.publish(online).await;
                });
            }
            ClientEvent::Message(message) if message.topic == command_topic => {
                let Ok((format, command)) = Format::read::<Command>(&message.payload) else { continue };
                let Some(spec) = profile.command(&command.name) else {
                    acknowledge(&client, &id, format, &command, AckStatus::Failed).await;
                    continue;
                };
                let opens = spec.class == CommandClass::Opening;
                let late = now() >= command.expires_at;
                let carry_out = ledger.command(&command.id, spec.class, late);
                let (client, id, moved) = (client.clone(), id.clone(), moved.clone());
                tokio::spawn(async move {
                    if late {
                        acknowledge(&client, &id, format, &command, AckStatus::Failed).await;
                        return;
                    }
                    acknowledge(&client, &id, format, &command, AckStatus::Accepted).await;
                    if carry_out && opens {
                        tokio::time::sleep(MOVE_TIME).await;
                    }
                    acknowledge(&client, &id, format, &command, AckStatus::Done).await;
                    if carry_out {
                        let _ = moved.send((id, command)).await;
                    }
                });
            }
            ClientEvent::Message(_) | ClientEvent::Disconnected { .. } => {}
        }
    }
}

async fn acknowledge(client: &Client, id: &DeviceId, format: Format, command: &Command, status: AckStatus) {
    let ack = Ack { id: command.id.clone(), status, detail: spalla_shared::value::Value::Null };
    let message = Message {
        topic: DeviceTopic::Ack(id.clone()).to_string(),
        payload: format.write(&ack).into(),
        qos: Qos::AtLeastOnce,
        ..Message::default()
    };
    let _ = client.publish(message).await;
}

pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
