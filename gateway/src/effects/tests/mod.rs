//! The dispatcher with its executors against a group in memory and a link that remembers.

use super::clock::wall_now;
use super::test_support::{FakeLink, LONG, LocalGroup, NODE, command_id, no_args};
use super::*;
use crate::consensus::{Group, ProposeError};
use crate::telemetry::Telemetry;
use spalla_broker::message::{Message, Qos};
use spalla_shared::device::{Ack, AckStatus, Format};
use spalla_shared::engine::effect::DeviceStage;
use spalla_shared::engine::state::{Timer, TimerWhat};
use spalla_shared::engine::{Command, EffectClass, Outcome, Request};
use spalla_shared::id::{DeviceId, EffectId, NodeId};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

mod outside;

const DOOR: &str = "hq/door-1";

/// One start of a gateway: its dispatcher ends when this is dropped.
struct Gateway {
    acks: Arc<Acks>,
    telemetry: Arc<Telemetry>,
    link: Arc<FakeLink>,
    delivered: mpsc::UnboundedReceiver<(DeviceId, Message)>,
    dispatcher: AbortHandle,
}

impl Gateway {
    fn start(group: &Arc<LocalGroup>, boot: u64) -> Self {
        Self::start_with(group, boot, SecretFolder::default(), None)
    }

    fn start_with(group: &Arc<LocalGroup>, boot: u64, secrets: SecretFolder, webhook: Option<String>) -> Self {
        let (link, delivered) = FakeLink::new();
        let (acks, telemetry) = (Arc::new(Acks::default()), Arc::new(Telemetry::default()));
        let options = ExecutorOptions {
            node: NODE,
            boot,
            signing_key: credential::signing_key(&"07".repeat(32)).unwrap(),
            issuer: "acme/three".into(),
            webhook,
            takeover_wait: Duration::from_millis(200),
        };
        let http = HttpClient::default();
        let executors = Executors::new(options, group.clone(), None, link.clone(), telemetry.clone(), acks.clone(), http, secrets, None);
        let dispatcher = tokio::spawn(Dispatcher::new(executors, Lanes::default()).run()).abort_handle();
        Self { acks, telemetry, link, delivered, dispatcher }
    }

    async fn next_delivery(&mut self) -> Message {
        tokio::time::timeout(LONG, self.delivered.recv()).await.expect("a delivery in time").expect("the link lives").1
    }

    fn answer(&self, id: &str, status: AckStatus) -> bool {
        self.acks.take(&DeviceId::new(DOOR), Ack { id: id.into(), status, detail: Value::Null })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.dispatcher.abort();
    }
}

fn ask(command: &str) -> Request {
    Request::Device { device: DeviceId::new(DOOR), command: command.into(), args: no_args(), until: DeviceStage::Done }
}

fn unlock() -> Request {
    ask("unlock")
}

/// The gateway starts again, as the log hears it.
async fn node_up(group: &LocalGroup, boot: u64) {
    group.propose(Command::NodeUp { node: NODE, site: "hq".into(), boot, version: "test".into(), api: None }).await.unwrap();
}

async fn attach(group: &LocalGroup, node: NodeId, session: u64) {
    group.propose(Command::Presence { device: DeviceId::new(DOOR), node, session, online: true }).await.unwrap();
}

async fn outcome_of(group: &LocalGroup, id: EffectId) -> Outcome {
    group
        .logged(|command| match command {
            Command::EffectDone { effect, outcome, .. } if *effect == id => Some(outcome.clone()),
            _ => None,
        })
        .await
}

fn status(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done { output } => output.get("status").and_then(Value::as_str).unwrap_or("done without status"),
        Outcome::Failed { problem } => &problem.title,
        Outcome::Unknown { .. } => "unknown",
    }
}

#[tokio::test]
async fn an_opening_is_recorded_then_sent_once_and_done_when_the_device_says_so() {
    let group = LocalGroup::new(1, &[DOOR]);
    let mut gateway = Gateway::start(&group, 1);
    let id = group.open(EffectClass::Opening, 5_000, unlock());
    let message = gateway.next_delivery().await;
    assert_eq!(group.count(|command| matches!(command, Command::EffectAttempt { effect, .. } if *effect == id)), 1);
    let deadline = group.change(|state| state.effects.get(&id).map(|effect| effect.deadline)).unwrap();
    assert_eq!((message.retain, message.qos), (false, Qos::AtLeastOnce));
    assert!(message.expires_at.is_some_and(|at| at <= deadline));
    assert_eq!(message.topic, "spalla/v1/hq/door-1/command");
    assert!(gateway.answer(&command_id(&message), AckStatus::Accepted));
    assert!(gateway.answer(&command_id(&message), AckStatus::Done));
    assert_eq!(status(&outcome_of(&group, id).await), "done");
    assert!(gateway.delivered.try_recv().is_err(), "sent once");
    assert!(!gateway.answer(&command_id(&message), AckStatus::Done), "a late answer finds nobody");
    assert_eq!(group.count(|command| matches!(command, Command::EffectDone { .. })), 1);
}

/// The log's time was an hour ahead, and so was what the device read: one that was off its network for half a minute took what came
/// late for fresh.
#[tokio::test]
async fn a_device_is_told_by_the_clocks_until_when_an_opening_is_good() {
    let group = LocalGroup::new(1, &[DOOR]);
    group.change(|state| state.clock = wall_now().plus(3_600_000));
    let mut gateway = Gateway::start(&group, 1);
    group.open(EffectClass::Opening, 5_000, unlock());
    let message = gateway.next_delivery().await;
    let (_, told) = Format::read::<spalla_shared::device::Command>(&message.payload).expect("a command");
    assert!(told.expires_at <= wall_now().plus(5_000), "{told:?}");
}

#[tokio::test]
async fn an_opening_attempted_before_a_restart_is_unknown_and_never_sent_again() {
    let group = LocalGroup::new(1, &[DOOR]);
    let mut first = Gateway::start(&group, 1);
    let id = group.open(EffectClass::Opening, 5_000, unlock());
    first.next_delivery().await;
    drop(first);
    let mut second = Gateway::start(&group, 2);
    node_up(&group, 2).await;
    attach(&group, NODE, 2 << 32).await;
    assert_eq!(group.change(|state| (state.effects.contains_key(&id), state.counters.opening_unknown)), (false, 1));
    // What comes next is sent, the old one is not.
    let next = group.open(EffectClass::Opening, 5_000, unlock());
    assert_eq!(command_id(&second.next_delivery().await), format!("mesh.{next}"));
}

#[tokio::test]
async fn an_opening_of_a_device_that_moved_here_is_not_sent_again_and_its_answer_counts() {
    let group = LocalGroup::new(1, &[DOOR]);
    let up = Command::NodeUp { node: NodeId(2), site: "hq".into(), boot: 1, version: "test".into(), api: None };
    group.propose(up).await.unwrap();
    attach(&group, NodeId(2), 1).await;
    let answered = group.open(EffectClass::Opening, 5_000, unlock());
    let silent = group.open(EffectClass::Opening, 3_000, unlock());
    for effect in [answered, silent] {
        let receipt = group.propose(Command::EffectAttempt { effect, node: NodeId(2) }).await.unwrap();
        assert_eq!(receipt.reply, Ok(spalla_shared::engine::Accepted::AttemptGranted));
    }
    let mut gateway = Gateway::start(&group, 1);
    attach(&group, NODE, 2).await;
    // Whether before or after the dispatcher looked.
    gateway.answer(&format!("mesh.{answered}"), AckStatus::Done);
    assert_eq!(status(&outcome_of(&group, answered).await), "done");
    assert_eq!(status(&outcome_of(&group, silent).await), "unknown");
    assert!(gateway.delivered.try_recv().is_err());
}

#[tokio::test]
async fn an_opening_whose_grant_was_lost_on_the_way_back_is_still_sent_once() {
    let group = LocalGroup::new(1, &[DOOR]);
    *group.lose_answer.lock() = true;
    let mut gateway = Gateway::start(&group, 1);
    let id = group.open(EffectClass::Opening, 5_000, unlock());
    let message = gateway.next_delivery().await;
    gateway.answer(&command_id(&message), AckStatus::Done);
    assert_eq!(status(&outcome_of(&group, id).await), "done");
    assert!(gateway.delivered.try_recv().is_err());
}

#[tokio::test]
async fn nothing_is_sent_without_the_log_nor_under_an_earlier_start() {
    let group = LocalGroup::new(1, &[DOOR]);
    *group.failing.lock() = Some(ProposeError::NoQuorum("mesh".into()));
    let mut cut_off = Gateway::start(&group, 1);
    group.open(EffectClass::Opening, 600, unlock());
    assert!(tokio::time::timeout(Duration::from_millis(900), cut_off.next_delivery()).await.is_err(), "no quorum, no opening");
    drop(cut_off);
    *group.failing.lock() = None;
    // Start 2 runs, and the log only knows of start 1.
    let mut early = Gateway::start(&group, 2);
    group.open(EffectClass::Securing, 600, ask("lock"));
    assert!(tokio::time::timeout(Duration::from_millis(300), early.next_delivery()).await.is_err());
}

/// Random restarts, lost answers and lost quorums: whatever happens in between, the door is asked at most once.
#[tokio::test]
async fn a_storm_of_restarts_never_sends_an_opening_twice() {
    use rand::{RngExt, SeedableRng};
    let mut sent_once = 0;
    for seed in 0..30 {
        let mut dice = rand::rngs::StdRng::seed_from_u64(seed);
        let group = LocalGroup::new(1, &[DOOR]);
        let mut boot = 1;
        let mut gateway = Gateway::start(&group, boot);
        let mut sent = BTreeMap::<String, u32>::new();
        for _ in 0..3 {
            group.open(EffectClass::Opening, 5_000, unlock());
        }
        for _ in 0..6 {
            match dice.random_range(0..4) {
                0 => *group.lose_answer.lock() = true,
                1 => *group.failing.lock() = Some(ProposeError::Unknown),
                2 => *group.failing.lock() = None,
                _ => {
                    while let Ok((_, message)) = gateway.delivered.try_recv() {
                        *sent.entry(command_id(&message)).or_default() += 1;
                    }
                    gateway.dispatcher.abort();
                    boot += 1;
                    let mut old = std::mem::replace(&mut gateway, Gateway::start(&group, boot));
                    let failing = group.failing.lock().take();
                    *group.lose_answer.lock() = false;
                    node_up(&group, boot).await;
                    attach(&group, NODE, boot << 32).await;
                    *group.failing.lock() = failing;
                    group.open(EffectClass::Opening, 5_000, unlock());
                    tokio::task::yield_now().await;
                    while let Ok((_, message)) = old.delivered.try_recv() {
                        *sent.entry(command_id(&message)).or_default() += 1;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..8))).await;
        }
        *group.failing.lock() = None;
        tokio::time::sleep(Duration::from_millis(60)).await;
        while let Ok((_, message)) = gateway.delivered.try_recv() {
            *sent.entry(command_id(&message)).or_default() += 1;
        }
        assert!(sent.values().all(|times| *times == 1), "seed {seed}: {sent:?}");
        sent_once += sent.len();
    }
    assert!(sent_once > 30, "and most of them were sent: {sent_once}");
}

#[tokio::test]
async fn a_device_that_does_not_answer_an_opening_leaves_it_unknown() {
    let group = LocalGroup::new(1, &[DOOR]);
    let mut gateway = Gateway::start(&group, 1);
    let id = group.open(EffectClass::Opening, 3_000, unlock());
    gateway.next_delivery().await;
    assert_eq!(status(&outcome_of(&group, id).await), "unknown");
    assert!(gateway.delivered.try_recv().is_err());
    let offline = group.open(EffectClass::Opening, 2_000, unlock());
    drop(gateway);
    let gateway = Gateway::start(&group, 1);
    *gateway.link.failing.lock() = Some(DeliverFailure::NotConnected);
    assert_eq!(status(&outcome_of(&group, offline).await), "device-offline", "it certainly did not leave");
    *gateway.link.failing.lock() = Some(DeliverFailure::Uncertain);
    let cut = group.open(EffectClass::Opening, 3_000, unlock());
    assert_eq!(status(&outcome_of(&group, cut).await), "unknown", "it may have left");
}

#[tokio::test]
async fn a_securing_command_is_repeated_with_the_same_id_until_answered() {
    let group = LocalGroup::new(1, &[DOOR]);
    let mut gateway = Gateway::start(&group, 1);
    let id = group.open(EffectClass::Securing, 20_000, ask("lock"));
    let first = command_id(&gateway.next_delivery().await);
    let second = command_id(&gateway.next_delivery().await);
    assert_eq!(first, second);
    gateway.answer(&first, AckStatus::Failed);
    assert_eq!(status(&outcome_of(&group, id).await), "refused");
    assert_eq!(group.count(|command| matches!(command, Command::EffectAttempt { .. })), 0);
}

#[tokio::test]
async fn done_says_whether_the_sensor_saw_it() {
    let group = LocalGroup::new(1, &[DOOR]);
    let mut gateway = Gateway::start(&group, 1);
    let unseen = group.open(EffectClass::Securing, 5_000, ask("lock"));
    let key = command_id(&gateway.next_delivery().await);
    gateway.answer(&key, AckStatus::Done);
    let Outcome::Done { output } = outcome_of(&group, unseen).await else { panic!() };
    assert_eq!(output.get("confirmed"), Some(&Value::Bool(false)));
    let seen = group.open(EffectClass::Securing, 5_000, ask("lock"));
    let key = command_id(&gateway.next_delivery().await);
    let now = clock::wall_now();
    gateway.telemetry.record(&DeviceId::new(DOOR), "lock", Value::from("locked"), now, now, 10_000).unwrap();
    gateway.answer(&key, AckStatus::Done);
    let Outcome::Done { output } = outcome_of(&group, seen).await else { panic!() };
    assert_eq!(output.get("confirmed"), Some(&Value::Bool(true)));
}

/// What a device says is dated by the clock here. While the log's time was ahead of it no opening was ever confirmed and each value
/// too old; and where it was behind, what a contact had said before the command confirmed it.
#[tokio::test]
async fn readings_count_by_the_clock_that_dates_them_and_not_by_the_logs() {
    let device = DeviceId::new(DOOR);
    for ahead_ms in [0, 3_600_000] {
        let group = LocalGroup::new(1, &[DOOR]);
        let mut gateway = Gateway::start(&group, 1);
        group.change(|state| state.clock = wall_now().plus(ahead_ms));
        for (before, confirmed) in [(true, false), (false, true)] {
            let record = |gateway: &Gateway| {
                let now = wall_now();
                gateway.telemetry.record(&device, "open", Value::Bool(true), now, now, 60_000).expect("there is room");
            };
            if before {
                record(&gateway);
                // The clock that dates it counts milliseconds.
                while gateway.telemetry.latest(&device, "open", wall_now()).received_at == wall_now() {}
            }
            let id = group.open(EffectClass::Opening, 5_000, ask("raise"));
            let key = command_id(&gateway.next_delivery().await);
            if !before {
                record(&gateway);
            }
            gateway.answer(&key, AckStatus::Done);
            let Outcome::Done { output } = outcome_of(&group, id).await else { panic!() };
            assert_eq!(output.get("confirmed"), Some(&Value::Bool(confirmed)), "ahead {ahead_ms}, said before {before}");
        }
        let read = group.open(
            EffectClass::Neutral,
            2_000,
            Request::ReadDevice { device: device.clone(), property: "open".into(), max_age_ms: 60_000 },
        );
        let Outcome::Done { output } = outcome_of(&group, read).await else { panic!("ahead {ahead_ms}") };
        assert_eq!(output.get("value"), Some(&Value::Bool(true)));
    }
}

#[tokio::test]
async fn a_follower_leaves_what_is_the_leaders_and_takes_it_up_when_it_leads() {
    let group = LocalGroup::new(1, &[DOOR]);
    group.lead(false);
    let _gateway = Gateway::start(&group, 1);
    let id = group.open(EffectClass::Neutral, 10_000, Request::Notify { to: "a".into(), template: "t".into(), data: Value::Null });
    let other = group.open(EffectClass::Neutral, 10_000, ask("blink"));
    group.change(|state| {
        state.devices.get_mut(&DeviceId::new(DOOR)).unwrap().attached.as_mut().unwrap().node = NodeId(2);
    });
    assert!(tokio::time::timeout(Duration::from_millis(200), outcome_of(&group, id)).await.is_err());
    group.lead(true);
    assert_eq!(status(&outcome_of(&group, id).await), "done without status");
    assert_eq!(group.count(|command| matches!(command, Command::EffectDone { effect, .. } if *effect == other)), 0);
}

#[tokio::test]
async fn a_device_is_read_only_while_its_value_is_young() {
    let group = LocalGroup::new(1, &[DOOR]);
    let gateway = Gateway::start(&group, 1);
    let read = |max_age_ms| Request::ReadDevice { device: DeviceId::new(DOOR), property: "lock".into(), max_age_ms };
    let unknown = group.open(EffectClass::Neutral, 2_000, read(60_000));
    assert_eq!(status(&outcome_of(&group, unknown).await), "stale");
    let at = Timestamp(clock::wall_now().millis() - 5_000);
    gateway.telemetry.record(&DeviceId::new(DOOR), "lock", Value::from("locked"), at, at, 60_000).unwrap();
    let old = group.open(EffectClass::Neutral, 2_000, read(1_000));
    assert_eq!(status(&outcome_of(&group, old).await), "stale");
    let young = group.open(EffectClass::Neutral, 2_000, read(60_000));
    let Outcome::Done { output } = outcome_of(&group, young).await else { panic!() };
    assert_eq!((output.get("value"), output.get("quality")), (Some(&Value::from("locked")), Some(&Value::from("live"))));
}

#[tokio::test]
async fn a_device_that_speaks_cbor_is_commanded_in_cbor() {
    let group = LocalGroup::new(1, &[DOOR]);
    let mut gateway = Gateway::start(&group, 1);
    gateway.telemetry.set_format(&DeviceId::new(DOOR), Format::Cbor);
    group.open(EffectClass::Neutral, 2_000, ask("blink"));
    let message = gateway.next_delivery().await;
    assert_eq!(message.content_type.as_deref(), Some("application/cbor"));
    let (format, _): (_, spalla_shared::device::Command) = Format::read(&message.payload).unwrap();
    assert_eq!(format, Format::Cbor);
}

#[tokio::test]
async fn the_clock_fires_due_timers_only_while_it_leads() {
    let group = LocalGroup::new(1, &[]);
    group.lead(false);
    let time = tokio::spawn(clock::keep_time(group.clone()));
    let timer =
        |ms| Timer { due: clock::wall_now().plus(ms), what: TimerWhat::EffectDeadline { effect: EffectId { index: 1, ordinal: 1 } } };
    group.change(|state| state.timers.insert(timer(50)));
    let due = |command: &Command| matches!(command, Command::TimersDue).then_some(());
    assert!(tokio::time::timeout(Duration::from_millis(200), group.logged(due)).await.is_err());
    group.lead(true);
    group.logged(due).await;
    assert_eq!(group.change(|state| state.timers.len()), 0);
    group.change(|state| state.ready.push(("aa".into(), 0)));
    group.logged(|command| matches!(command, Command::Continue).then_some(())).await;
    assert_eq!(group.count(|command| matches!(command, Command::TimersDue)), 1, "one timer, one command");
    time.abort();
}
