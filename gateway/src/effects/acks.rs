//! Answers of devices on their way to the executor that waits for them. An answer that nobody waits for stays here a little
//! while, as one may come in before the gateway that took a command over has looked at it; it never does anything by itself.

use parking_lot::Mutex;
use spalla_shared::device::{Ack, AckStatus};
use spalla_shared::id::DeviceId;
use spalla_shared::value::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Answers kept that nobody waits for yet; the oldest leaves first.
const EARLY_MAX: usize = 1_024;
/// Answers to one command that may wait to be read. A device needs two; more are dropped.
const ANSWERS_MAX: usize = 8;
/// Longest id of an answer that is kept.
const ID_LEN_MAX: usize = 256;

#[derive(Default)]
pub struct Acks {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: BTreeMap<Arc<str>, Waiting>,
    early: VecDeque<Early>,
    /// Counts what was sent.
    sent: u64,
}

struct Waiting {
    device: DeviceId,
    command: Arc<str>,
    /// Its place among all that were sent; nothing where it was not.
    sent: Option<u64>,
    answers: mpsc::Sender<Ack>,
}

struct Early {
    device: DeviceId,
    /// Where the convention says which command it answers.
    command: Option<Arc<str>>,
    ack: Ack,
}

/// Receives the answers to one command until it is dropped.
pub struct Waiter {
    acks: Arc<Acks>,
    key: Arc<str>,
    answers: mpsc::Receiver<Ack>,
}

impl Acks {
    /// Hands an answer on; `false` where nobody waits for it.
    pub fn take(&self, device: &DeviceId, ack: Ack) -> bool {
        self.take_any(device, None, ack)
    }

    /// The same for an answer that belongs to one command only.
    pub fn take_of(&self, device: &DeviceId, command: &Arc<str>, ack: Ack) -> bool {
        self.take_any(device, Some(command), ack)
    }

    /// An answer without an id: for the command of this name that was sent last. What was not sent yet is not answered by it.
    pub fn take_last(&self, device: &DeviceId, command: &str, status: AckStatus, detail: Value) -> bool {
        let inner = self.inner.lock();
        let of_it = inner.waiting.iter().filter(|(_, waiting)| waiting.device == *device && *waiting.command == *command);
        let Some((key, waiting)) = of_it.filter(|(_, waiting)| waiting.sent.is_some()).max_by_key(|(_, waiting)| waiting.sent) else {
            return false;
        };
        waiting.answers.try_send(Ack { id: key.to_string(), status, detail }).is_ok()
    }

    fn take_any(&self, device: &DeviceId, command: Option<&Arc<str>>, ack: Ack) -> bool {
        let mut inner = self.inner.lock();
        if let Some(waiting) = inner.waiting.get(ack.id.as_str()) {
            // Nobody answers for another device.
            let meant = waiting.device == *device && command.is_none_or(|command| *command == waiting.command);
            return meant && waiting.answers.try_send(ack).is_ok();
        }
        if ack.id.len() <= ID_LEN_MAX {
            if inner.early.len() >= EARLY_MAX {
                inner.early.pop_front();
            }
            inner.early.push_back(Early { device: device.clone(), command: command.cloned(), ack });
        }
        false
    }

    /// Waits for answers of `device` to the command `key`, those that came early included.
    pub fn wait(self: &Arc<Self>, device: &DeviceId, command: &str, key: &Arc<str>) -> Waiter {
        let (sender, answers) = mpsc::channel(ANSWERS_MAX);
        let mut inner = self.inner.lock();
        inner.early.retain(|early| {
            let ours = early.device == *device && *early.ack.id == **key;
            if ours && early.command.as_deref().is_none_or(|answered| answered == command) {
                let _ = sender.try_send(early.ack.clone());
            }
            !ours
        });
        let waiting = Waiting { device: device.clone(), command: command.into(), sent: None, answers: sender };
        inner.waiting.insert(key.clone(), waiting);
        Waiter { acks: self.clone(), key: key.clone(), answers }
    }
}

impl Waiter {
    /// It goes out now: answers without an id may be its.
    pub fn sent(&self) {
        let mut inner = self.acks.inner.lock();
        inner.sent += 1;
        let place = inner.sent;
        if let Some(waiting) = inner.waiting.get_mut(&self.key) {
            waiting.sent = Some(place);
        }
    }

    /// The next answer; does not end while the waiter lives.
    pub async fn next(&mut self) -> Ack {
        match self.answers.recv().await {
            Some(ack) => ack,
            // Its sender was replaced by another waiter for the same key: this one hears nothing any more.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut inner = self.acks.inner.lock();
        // Close first: what tells our own sender from one of a later waiter for the same key.
        self.answers.close();
        if inner.waiting.get(&self.key).is_some_and(|waiting| waiting.answers.is_closed()) {
            inner.waiting.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(id: &str) -> Ack {
        Ack { id: id.into(), status: AckStatus::Done, detail: Value::Null }
    }

    #[tokio::test]
    async fn an_answer_reaches_its_command_only_and_only_from_its_device() {
        let acks = Arc::new(Acks::default());
        let (door, other) = (DeviceId::new("hq/door"), DeviceId::new("hq/other"));
        assert!(!acks.take(&door, ack("k1")), "early");
        let mut waiter = acks.wait(&door, "open", &"k1".into());
        assert_eq!(waiter.next().await, ack("k1"));
        assert!(!acks.take(&other, ack("k1")), "another device");
        assert!(acks.take(&door, ack("k1")));
        let second = acks.wait(&door, "open", &"k1".into());
        drop(waiter);
        assert!(acks.take(&door, ack("k1")), "the later waiter stays");
        drop(second);
        assert!(!acks.take(&door, ack("k1")), "late");
    }

    #[tokio::test]
    async fn an_answer_without_an_id_is_for_what_was_sent_last_and_one_for_another_command_is_for_nobody() {
        let acks = Arc::new(Acks::default());
        let door = DeviceId::new("hq/door");
        let [mut first, mut second, unlock] =
            [("lock", "k1"), ("lock", "k2"), ("unlock", "k3")].map(|(command, key)| acks.wait(&door, command, &key.into()));
        assert!(!acks.take_last(&door, "lock", AckStatus::Done, Value::Null), "nothing was sent");
        [&first, &second, &unlock].into_iter().for_each(Waiter::sent);
        assert!(acks.take_last(&door, "lock", AckStatus::Done, Value::Null));
        assert_eq!(second.next().await, ack("k2"));
        assert!(!acks.take_last(&DeviceId::new("hq/other"), "lock", AckStatus::Done, Value::Null));
        assert!(!acks.take_of(&door, &"unlock".into(), ack("k1")), "the id is of a `lock`");
        assert!(acks.take_of(&door, &"lock".into(), ack("k1")));
        assert_eq!(first.next().await, ack("k1"));
        // Early, and for another command than the one that waits for the id then.
        acks.take_of(&door, &"lock".into(), ack("k4"));
        acks.take_of(&door, &"unlock".into(), ack("k5"));
        let (mut wrong, mut right) = (acks.wait(&door, "unlock", &"k4".into()), acks.wait(&door, "unlock", &"k5".into()));
        assert_eq!(right.next().await, ack("k5"));
        assert!(wrong.answers.try_recv().is_err());
    }
}
