//! The road of one message with a real broker and a real MQTT client: from the device to the log and back.

use super::test_support::{LocalGroup, NODE, no_args};
use super::*;
use crate::consensus::{Group, ProposeError};
use crate::ingress::{Ingress, IngressOptions};
use crate::telemetry::{Quality, Telemetry};
use argon2::password_hash::PasswordHasher;
use spalla_broker::client::{Client, ClientConfig, ClientError, ClientEvent, Events};
use spalla_broker::message::{Message, Qos};
use spalla_broker::server::{Broker, BrokerConfig};
use spalla_broker::version::Version;
use spalla_shared::device::{self, Ack, AckStatus, Format};
use spalla_shared::engine::effect::DeviceStage;
use spalla_shared::engine::{Command, EffectClass, Outcome, Request};
use spalla_shared::id::DeviceId;
use spalla_shared::topic::DeviceTopic;
use spalla_shared::value::Value;
use std::sync::Arc;
use std::time::Duration;

const DOOR: &str = "hq/door-1";

fn door() -> DeviceId {
    DeviceId::new(DOOR)
}

struct Gateway {
    group: Arc<LocalGroup>,
    broker: Broker,
    telemetry: Arc<Telemetry>,
    tasks: tokio::task::JoinSet<()>,
}

async fn gateway() -> Gateway {
    let group = LocalGroup::new(1, &[DOOR]);
    group.change(|state| {
        let hash = argon2::Argon2::default().hash_password(b"sesame").unwrap().to_string();
        let door = state.devices.get_mut(&door()).unwrap();
        door.device.password_hash = Some(hash.into());
        door.attached = None;
    });
    let (acks, telemetry) = (Arc::new(Acks::default()), Arc::new(Telemetry::default()));
    let key = credential::signing_key(&"07".repeat(32)).unwrap();
    let options = IngressOptions {
        node: NODE,
        boot: 1,
        allow_anonymous: false,
        credential_key: key.verifying_key(),
        alone_after: Duration::from_secs(60),
    };
    let ingress = Ingress::new(options, vec![group.clone()], telemetry.clone(), acks.clone());
    let config = BrokerConfig { tcp: Some("127.0.0.1:0".parse().unwrap()), ..BrokerConfig::default() };
    let broker = Broker::start(config, ingress.clone()).await.unwrap();
    let options = ExecutorOptions {
        node: NODE,
        boot: 1,
        signing_key: key,
        issuer: "acme/three".into(),
        webhook: None,
        takeover_wait: ExecutorOptions::TAKEOVER_WAIT_DEFAULT,
    };
    let link = Arc::new(broker.clone());
    let (http, secrets) = (HttpClient::default(), SecretFolder::default());
    let executors = Executors::new(options, group.clone(), None, link, telemetry.clone(), acks, http, secrets, None);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Dispatcher::new(executors, Lanes::default()).run());
    tasks.spawn(ingress.keep_presence());
    Gateway { group, broker, telemetry, tasks }
}

fn connect(gateway: &Gateway, version: Version, password: &str) -> (Client, Events) {
    let port = gateway.broker.addresses().tcp.unwrap().port();
    let mut config = ClientConfig::new("127.0.0.1", port, "door");
    (config.username, config.password, config.version) = (Some(DOOR.into()), Some(password.into()), version);
    config.reconnect_max = Duration::from_millis(200);
    Client::connect(config).unwrap()
}

async fn next_message(events: &mut Events) -> Message {
    loop {
        if let ClientEvent::Message(message) = events.recv().await.expect("the client lives") {
            return message;
        }
    }
}

fn up(topic: DeviceTopic, payload: Vec<u8>) -> Message {
    Message { topic: topic.to_string(), payload: payload.into(), qos: Qos::AtLeastOnce, ..Message::default() }
}

/// Waits until the log says whether the door is connected.
async fn attached(group: &LocalGroup, wanted: bool) {
    let mut applied = group.applied();
    while group.state().read().devices[&door()].attached.is_some() != wanted {
        applied.changed().await.unwrap();
    }
}

async fn the_road(version: Version) {
    let mut gateway = gateway().await;
    let (stranger, mut turned_away) = connect(&gateway, version, "wrong");
    assert!(matches!(turned_away.recv().await, Some(ClientEvent::Disconnected { .. })));
    drop(stranger);
    let (client, mut events) = connect(&gateway, version, "sesame");
    client.subscribe(&DeviceTopic::Command(door()).to_string(), Qos::AtLeastOnce).await.unwrap();
    let other = DeviceTopic::Command(DeviceId::new("hq/door-2")).to_string();
    assert!(matches!(client.subscribe(&other, Qos::AtLeastOnce).await, Err(ClientError::Refused(_))));
    attached(&gateway.group, true).await;

    // An opening goes out once, and is done when the device says so.
    let request = Request::Device { device: door(), command: "unlock".into(), args: no_args(), until: DeviceStage::Done };
    let id = gateway.group.open(EffectClass::Opening, 5_000, request);
    let message = next_message(&mut events).await;
    let (_, command): (_, device::Command) = Format::read(&message.payload).unwrap();
    assert_eq!((command.name.as_str(), message.retain), ("unlock", false));
    let ack = Ack { id: command.id, status: AckStatus::Done, detail: Value::from("bolt is back") };
    client.publish(up(DeviceTopic::Ack(door()), Format::Cbor.write(&ack))).await.unwrap();
    let outcome = gateway
        .group
        .logged(|command| match command {
            Command::EffectDone { effect, outcome, .. } if *effect == id => Some(outcome.clone()),
            _ => None,
        })
        .await;
    let Outcome::Done { output } = outcome else { panic!("{outcome:?}") };
    assert_eq!(output.get("detail"), Some(&Value::from("bolt is back")));

    // Without a quorum an event is not acknowledged; the client sends it again until it is in the log.
    *gateway.group.failing.lock() = Some(ProposeError::NoQuorum("mesh".into()));
    let alarm = up(DeviceTopic::Event(door(), "forced".into()), br#"{"id":"f1"}"#.to_vec());
    let sent = tokio::spawn({
        let client = client.clone();
        async move { client.publish(alarm).await }
    });
    while !matches!(events.recv().await, Some(ClientEvent::Disconnected { .. }) | None) {}
    assert!(!sent.is_finished(), "no acknowledgement before the commit");
    *gateway.group.failing.lock() = None;
    sent.await.unwrap().unwrap();
    let forced = |command: &Command| matches!(command, Command::Event { event, .. } if &*event.id == "f1");
    assert!(gateway.group.count(forced) >= 1);

    // Readings are known while the device is there, and stale at once when it is gone.
    client.publish(up(DeviceTopic::State(door(), "lock".into()), b"\"locked\"".to_vec())).await.unwrap();
    let now = clock::wall_now();
    assert_eq!(gateway.telemetry.latest(&door(), "lock", now).quality, Quality::Live);
    attached(&gateway.group, true).await;
    drop((client, events));
    attached(&gateway.group, false).await;
    assert_eq!(gateway.telemetry.latest(&door(), "lock", now).quality, Quality::Stale);
    gateway.tasks.abort_all();
}

#[tokio::test]
async fn a_message_goes_the_whole_road_with_mqtt_5() {
    the_road(Version::V5).await;
}

#[tokio::test]
async fn a_message_goes_the_whole_road_with_mqtt_3() {
    the_road(Version::V4).await;
}
