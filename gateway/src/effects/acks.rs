//! Answers of devices on their way to the executor that waits for them. An answer that nobody waits for stays here a little
//! while, as one may come in before the gateway that took a command over has looked at it; it never does anything by itself.

use parking_lot::Mutex;
use spalla_shared::device::Ack;
use spalla_shared::id::DeviceId;
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
    waiting: BTreeMap<Arc<str>, (DeviceId, mpsc::Sender<Ack>)>,
    early: VecDeque<(DeviceId, Ack)>,
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
        let mut inner = self.inner.lock();
        if let Some((expected, answers)) = inner.waiting.get(ack.id.as_str()) {
            // Nobody answers for another device.
            return expected == device && answers.try_send(ack).is_ok();
        }
        if ack.id.len() <= ID_LEN_MAX {
            if inner.early.len() >= EARLY_MAX {
                inner.early.pop_front();
            }
            inner.early.push_back((device.clone(), ack));
        }
        false
    }

    /// Waits for answers of `device` to the command `key`, those that came early included.
    pub fn wait(self: &Arc<Self>, device: &DeviceId, key: &Arc<str>) -> Waiter {
        let (sender, answers) = mpsc::channel(ANSWERS_MAX);
        let mut inner = self.inner.lock();
        inner.early.retain(|(from, ack)| {
            let ours = from == device && *ack.id == **key;
            if ours {
                let _ = sender.try_send(ack.clone());
            }
            !ours
        });
        inner.waiting.insert(key.clone(), (device.clone(), sender));
        Waiter { acks: self.clone(), key: key.clone(), answers }
    }
}

impl Waiter {
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
        if inner.waiting.get(&self.key).is_some_and(|(_, sender)| sender.is_closed()) {
            inner.waiting.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spalla_shared::device::AckStatus;
    use spalla_shared::value::Value;

    fn ack(id: &str) -> Ack {
        Ack { id: id.into(), status: AckStatus::Done, detail: Value::Null }
    }

    #[tokio::test]
    async fn an_answer_reaches_its_command_only_and_only_from_its_device() {
        let acks = Arc::new(Acks::default());
        let (door, other) = (DeviceId::new("hq/door"), DeviceId::new("hq/other"));
        assert!(!acks.take(&door, ack("k1")), "early");
        let mut waiter = acks.wait(&door, &"k1".into());
        assert_eq!(waiter.next().await, ack("k1"));
        assert!(!acks.take(&other, ack("k1")), "another device");
        assert!(acks.take(&door, ack("k1")));
        let second = acks.wait(&door, &"k1".into());
        drop(waiter);
        assert!(acks.take(&door, ack("k1")), "the later waiter stays");
        drop(second);
        assert!(!acks.take(&door, ack("k1")), "late");
    }
}
