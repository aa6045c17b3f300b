//! Work for the mesh while things go wrong: devices that tell events and wait for the acknowledgement, and holders who contend for few
//! units, each let in by a door and let out again.

use super::witness::{Told, Witness};
use crate::api::Api;
use crate::device::{Device, Login};
use serde_json::{Value, json};
use spalla_broker::client::{ClientEvent, Version};
use spalla_shared::device::{Ack, AckStatus, Command, Format};
use spalla_shared::topic::DeviceTopic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Units that all contend for.
pub const UNITS: usize = 2;
/// Holders at one time.
const HOLDERS: u64 = 6;
/// Between two events of a device, and between two tries of somebody who was not answered.
const PACE: Duration = Duration::from_millis(60);

/// The pool, and the flows: `heard` takes each event; `turn` takes a unit, is let in, and gives the unit back once its leave is certain.
pub const RESOURCES: &str = r#"
kind: pool
name: bays
units: [ { name: a }, { name: b } ]
---
document: { dsl: '1.0.3', namespace: chaos, name: heard, version: '1.0.0' }
schedule: { on: { one: { with: { type: spalla.device.passed } } } }
do:
  - keep: { set: { n: '${ .[0].data.n }' } }
---
document: { dsl: '1.0.3', namespace: chaos, name: turn, version: '1.0.0' }
do:
  - take:
      call: resource.allocate:1.0.0@default
      with: { pool: bays, holder: '${ $workflow.input.n | tostring }', queue: fifo }
      export: { as: '$context + { unit: .unit, lease: .lease }' }
  - letIn:
      try:
        - opens:
            call: device.command:1.0.0@default
            with: { target: '${ $workflow.input.door }', command: open, args: { unit: '${ $context.unit }', n: '${ $workflow.input.n }' } }
      catch: { as: problem, do: [ { unsure: { set: { unsure: true } } } ] }
  - stays: { wait: { milliseconds: 50 } }
  - letOut:
      try:
        - closes:
            call: device.command:1.0.0@default
            with: { target: '${ $workflow.input.door }', command: close, args: { unit: '${ $context.unit }', n: '${ $workflow.input.n }' }, expires: PT5S }
      catch:
        retry: { delay: { milliseconds: 200 }, backoff: { constant: {} }, limit: { attempt: { count: 100 } } }
  - gives:
      call: resource.release:1.0.0@default
      with: { pool: bays, lease: '${ $context.lease }' }
"#;

/// Goes on until it is told to stop, and stops between two events or turns: what was begun is seen through.
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    doors: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// `tellers` tell events, `doors` carry out; each pair belongs to one gateway of `apis`.
    pub fn start(apis: &[Api], tellers: &[Login], doors: &[Login], witness: &Arc<Witness>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let numbers = Arc::new(AtomicU64::new(1));
        let mut tasks: Vec<_> =
            tellers.iter().map(|login| tokio::spawn(tell(login.clone(), numbers.clone(), witness.clone(), stop.clone()))).collect();
        let turns = Arc::new(AtomicU64::new(1));
        for holder in 0..HOLDERS {
            let place = usize::try_from(holder).unwrap_or_default();
            let (api, door) = (apis[place % apis.len()].clone(), doors[place % doors.len()].id.clone());
            tasks.push(tokio::spawn(take_turns(api, door, turns.clone(), witness.clone(), stop.clone())));
        }
        let doors = doors.iter().map(|login| tokio::spawn(keep_door(login.clone(), witness.clone()))).collect();
        Self { stop, tasks, doors }
    }

    /// No more is begun; resolves when all that was begun has its answer.
    pub async fn finish(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.await.expect("the load goes on to its end");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tasks.iter().chain(&self.doors).for_each(tokio::task::JoinHandle::abort);
    }
}

/// Each event has a number, told until it is acknowledged.
async fn tell(login: Login, numbers: Arc<AtomicU64>, witness: Arc<Witness>, stop: Arc<AtomicBool>) {
    let device = Device::begin(&login, Version::V5);
    let mut events = device.events;
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let topic = login.event_topic("passed");
    while !stop.load(Ordering::Relaxed) {
        let n = numbers.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "id": format!("n{n}"), "data": { "n": n } }).to_string();
        loop {
            let message = spalla_broker::message::Message {
                topic: topic.as_str().into(),
                payload: body.clone().into_bytes().into(),
                qos: spalla_broker::message::Qos::AtLeastOnce,
                ..Default::default()
            };
            if device.client.publish(message).await.is_ok() {
                break;
            }
            tokio::time::sleep(PACE).await;
        }
        witness.acknowledged(n);
        tokio::time::sleep(PACE).await;
    }
}

/// One turn after the other, each begun under its own key, so that asking again begins no second one.
async fn take_turns(api: Api, door: String, turns: Arc<AtomicU64>, witness: Arc<Witness>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let n = turns.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "flow": "chaos/turn", "input": { "n": n, "door": door }, "key": format!("turn-{n}") });
        let id = loop {
            if let Some(answer) = api.try_post("/instances", &body).await
                && answer.status == 200
            {
                break answer.data()["instance"].as_str().unwrap_or_default().to_owned();
            }
            tokio::time::sleep(PACE).await;
        };
        witness.begun(n);
        // As fast as turns end, not as fast as they can be asked for.
        while !stop.load(Ordering::Relaxed) {
            let row = api.try_get(&format!("/instances/{id}")).await;
            if row.is_some_and(|row| matches!(row.data()["status"].as_str(), Some("completed" | "faulted" | "cancelled"))) {
                break;
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

/// Carries out what it is told and says so.
async fn keep_door(login: Login, witness: Arc<Witness>) {
    let mut device = Device::begin(&login, Version::V5);
    while let Some(event) = device.events.recv().await {
        match event {
            ClientEvent::Connected { .. } => {
                let (client, topic) = (device.client.clone(), login.command_topic());
                tokio::spawn(async move { client.subscribe(&topic, spalla_broker::message::Qos::AtLeastOnce).await });
            }
            ClientEvent::Message(message) => {
                let Ok((format, command)) = Format::read::<Command>(&message.payload) else { continue };
                let args: Value = serde_json::from_str(&command.args.to_json()).unwrap_or_default();
                witness.told(Told {
                    id: command.id.clone(),
                    command: command.name.clone(),
                    unit: args["unit"].as_str().unwrap_or_default().into(),
                    turn: args["n"].as_u64().unwrap_or_default(),
                });
                let ack = Ack { id: command.id, status: AckStatus::Done, detail: spalla_shared::value::Value::Null };
                let (client, topic) = (device.client.clone(), DeviceTopic::Ack(login.device()).to_string());
                let payload = format.write(&ack);
                let qos = spalla_broker::message::Qos::AtLeastOnce;
                tokio::spawn(async move {
                    client.publish(spalla_broker::message::Message { topic, payload: payload.into(), qos, ..Default::default() }).await
                });
            }
            ClientEvent::Disconnected { .. } => {}
        }
    }
}
