//! A device: its login, its MQTT connection, what it says and what it is told.

use crate::wait::LONG;
use serde_json::Value;
use spalla_broker::client::{Client, ClientConfig, ClientError, ClientEvent, Events, Version};
use spalla_broker::message::{Message, Qos};
use spalla_shared::device::{Ack, AckStatus, Command, Format};
use spalla_shared::id::DeviceId;
use spalla_shared::topic::DeviceTopic;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

/// What `device add` gave.
#[derive(Clone, Debug)]
pub struct Login {
    /// `site/name`.
    pub id: String,
    pub password: String,
    pub port: u16,
}

impl Login {
    pub fn device(&self) -> DeviceId {
        DeviceId::new(&self.id)
    }
    pub fn event_topic(&self, name: &str) -> String {
        DeviceTopic::Event(self.device(), name.into()).to_string()
    }
    pub fn command_topic(&self) -> String {
        DeviceTopic::Command(self.device()).to_string()
    }
    pub fn client_id(&self) -> String {
        self.id.replace('/', "-")
    }
    pub fn config(&self, version: Version) -> ClientConfig {
        ClientConfig {
            username: Some(self.id.clone()),
            password: Some(self.password.clone()),
            version,
            reconnect_max: Duration::from_millis(200),
            ..ClientConfig::new("127.0.0.1", self.port, self.client_id())
        }
    }
}

pub struct Device {
    pub login: Login,
    pub client: Client,
    pub events: Events,
    /// Ids of commands.
    carried_out: Mutex<BTreeSet<String>>,
}

impl Device {
    /// Connects; does not wait.
    pub fn begin(login: &Login, version: Version) -> Self {
        Self::begin_with(login, login.config(version))
    }

    /// The same by another way than that of its login.
    pub fn begin_with(login: &Login, config: ClientConfig) -> Self {
        let (client, events) = Client::connect(config).expect("a usable config");
        Self { login: login.clone(), client, events, carried_out: Mutex::default() }
    }

    /// Connects and waits until it is in.
    pub async fn connect(login: &Login, version: Version) -> Self {
        let mut device = Self::begin(login, version);
        device.connected().await;
        device
    }

    pub async fn connected(&mut self) {
        self.wait_for("a connection", |event| matches!(event, ClientEvent::Connected { .. }).then_some(())).await;
    }

    /// The first reason for which a connection ended or was refused.
    pub async fn refused(&mut self) -> String {
        self.wait_for("a refusal", |event| if let ClientEvent::Disconnected { reason } = event { Some(reason) } else { None }).await
    }

    /// The next message to this device.
    pub async fn message(&mut self) -> Message {
        self.wait_for("a message", |event| if let ClientEvent::Message(message) = event { Some(message) } else { None }).await
    }

    /// The next command that it has not carried out yet. One that comes again, because its answer took long, is answered again.
    pub async fn command(&mut self) -> Message {
        loop {
            let message = self.message().await;
            let (_, command) = Format::read::<Command>(&message.payload).expect("a command");
            let again = self.carried_out.lock().expect("no panic").contains(&command.id);
            if !again {
                return message;
            }
            self.done(&message).await;
        }
    }

    async fn wait_for<T>(&mut self, what: &str, mut pick: impl FnMut(ClientEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                match self.events.recv().await {
                    Some(event) => {
                        if let Some(found) = pick(event) {
                            return found;
                        }
                    }
                    None => panic!("{}: the client ended while {what} was waited for", self.login.id),
                }
            }
        };
        match tokio::time::timeout(LONG, found).await {
            Ok(found) => found,
            Err(_) => panic!("{}: {what} did not come within {LONG:?}", self.login.id),
        }
    }

    /// Says an event at QoS 1; resolves with its acknowledgement, over reconnects if need be.
    pub async fn say(&self, event: &str, body: &Value) -> Result<(), ClientError> {
        self.publish(&self.login.event_topic(event), body.to_string().as_bytes(), false).await
    }

    pub async fn publish(&self, topic: &str, payload: &[u8], retain: bool) -> Result<(), ClientError> {
        let message =
            Message { topic: topic.into(), payload: payload.to_vec().into(), qos: Qos::AtLeastOnce, retain, ..Message::default() };
        match tokio::time::timeout(LONG, self.client.publish(message)).await {
            Ok(result) => result,
            Err(_) => panic!("{}: no acknowledgement for {topic} within {LONG:?}", self.login.id),
        }
    }

    /// Subscribes to its own commands, as every device does first.
    pub async fn listen(&self) -> Result<(), ClientError> {
        self.client.subscribe(&self.login.command_topic(), Qos::AtLeastOnce).await
    }

    /// Answers a command as done.
    pub async fn done(&self, command: &Message) {
        let (format, command) = Format::read::<Command>(&command.payload).expect("a command");
        self.carried_out.lock().expect("no panic").insert(command.id.clone());
        let ack = Ack { id: command.id, status: AckStatus::Done, detail: spalla_shared::value::Value::Null };
        let topic = DeviceTopic::Ack(self.login.device()).to_string();
        self.publish(&topic, &format.write(&ack), false).await.expect("the answer is taken");
    }
}
