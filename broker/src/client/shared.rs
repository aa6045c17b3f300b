//! What the handles and the poll task of a client share: who waits for what.
//!
//! rumqttc takes requests in order and tells the packet id as each goes out; so the next id belongs to the message that
//! was handed over first. After a lost connection everything unacknowledged is handed over again, in order, unless its
//! caller has given it up.

use crate::client::driver::{Driver, Requests};
use crate::client::{ClientError, OUTSTANDING_MAX};
use crate::message::{Message, Qos};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use tokio::sync::{Notify, Semaphore, oneshot, watch};

type Done = oneshot::Sender<Result<(), ClientError>>;

pub(super) struct Shared {
    pub room: Semaphore,
    pub lost: AtomicU64,
    pub close: watch::Sender<bool>,
    pub ended: watch::Sender<bool>,
    pub cut: Notify,
    requests: Requests,
    state: Mutex<State>,
}

/// A message and who waits for its acknowledgement.
pub(super) struct Waiting {
    pub message: Message,
    pub done: Done,
}

#[derive(Default)]
struct State {
    connected: bool,
    over: bool,
    /// Not handed to rumqttc: there is no connection.
    waiting: VecDeque<Waiting>,
    /// Handed over, packet id not told yet.
    handed: VecDeque<Waiting>,
    /// By the order they went out in, because packet ids wrap.
    sent: BTreeMap<u64, Waiting>,
    order_of: HashMap<u16, u64>,
    next_order: u64,
    /// Subscriptions wanted, with those who wait for a first answer.
    filters: BTreeMap<String, Filter>,
    asked: VecDeque<String>,
    asked_as: HashMap<u16, String>,
}

struct Filter {
    qos: Qos,
    done: Option<Done>,
}

impl Shared {
    pub fn new(requests: Requests, close: watch::Sender<bool>) -> Self {
        Self {
            room: Semaphore::new(OUTSTANDING_MAX),
            lost: AtomicU64::new(0),
            close,
            ended: watch::Sender::new(false),
            cut: Notify::new(),
            requests,
            state: Mutex::default(),
        }
    }

    pub fn is_connected(&self) -> bool {
        self.state.lock().connected
    }

    pub fn publish(&self, waiting: Waiting) -> Result<(), ClientError> {
        let mut state = self.state.lock();
        if state.over {
            return Err(ClientError::Closed);
        }
        // The permit of a caller who gave up is free before his message is; what he left behind goes here.
        state.waiting.retain(|waiting| !waiting.done.is_closed());
        if state.connected && state.waiting.is_empty() {
            self.hand_over(&mut state, waiting);
        } else {
            state.waiting.push_back(waiting);
        }
        Ok(())
    }

    pub fn subscribe(&self, filter: &str, qos: Qos, done: Done) -> Result<(), ClientError> {
        let mut state = self.state.lock();
        if state.over {
            return Err(ClientError::Closed);
        }
        state.filters.insert(filter.to_owned(), Filter { qos, done: Some(done) });
        if state.connected && self.requests.subscribe(filter, qos).is_ok() {
            state.asked.push_back(filter.to_owned());
        }
        Ok(())
    }

    pub fn unsubscribe(&self, filter: &str) {
        let mut state = self.state.lock();
        if state.filters.remove(filter).is_some() && state.connected {
            self.requests.unsubscribe(filter).ok();
        }
    }

    pub fn say_goodbye(&self) {
        self.requests.disconnect().ok();
    }

    pub fn connected(&self, session_present: bool) {
        let mut state = self.state.lock();
        state.connected = true;
        let again: Vec<(String, Qos)> = state
            .filters
            .iter()
            .filter(|(_, wanted)| !session_present || wanted.done.is_some())
            .map(|(filter, wanted)| (filter.clone(), wanted.qos))
            .collect();
        for (filter, qos) in again {
            if self.requests.subscribe(&filter, qos).is_ok() {
                state.asked.push_back(filter);
            }
        }
        while let Some(waiting) = state.waiting.pop_front() {
            if !waiting.done.is_closed() && !self.hand_over(&mut state, waiting) {
                break;
            }
        }
    }

    /// Under the lock, so that nobody hands anything to a driver that is being emptied.
    pub fn disconnected(&self, driver: &mut Driver) {
        let mut state = self.state.lock();
        state.connected = false;
        driver.reset();
        let handed = std::mem::take(&mut state.handed);
        let sent = std::mem::take(&mut state.sent);
        let later = std::mem::take(&mut state.waiting);
        state.waiting = sent.into_values().chain(handed).chain(later).filter(|waiting| !waiting.done.is_closed()).collect();
        state.order_of.clear();
        state.asked.clear();
        state.asked_as.clear();
    }

    pub fn published(&self, packet_id: u16) {
        let mut state = self.state.lock();
        let Some(waiting) = state.handed.pop_front() else { return };
        if packet_id == 0 {
            waiting.done.send(Ok(())).ok();
            return;
        }
        state.next_order += 1;
        let order = state.next_order;
        state.sent.insert(order, waiting);
        state.order_of.insert(packet_id, order);
    }

    pub fn acknowledged(&self, packet_id: u16, refused: Option<String>) {
        let mut state = self.state.lock();
        let Some(waiting) = state.order_of.remove(&packet_id).and_then(|order| state.sent.remove(&order)) else { return };
        waiting.done.send(refused.map_or(Ok(()), |reason| Err(ClientError::Refused(reason)))).ok();
        while state.connected {
            let Some(next) = state.waiting.pop_front() else { break };
            if !next.done.is_closed() && !self.hand_over(&mut state, next) {
                break;
            }
        }
    }

    pub fn asked(&self, packet_id: u16) {
        let mut state = self.state.lock();
        if let Some(filter) = state.asked.pop_front() {
            state.asked_as.insert(packet_id, filter);
        }
    }

    pub fn suback(&self, packet_id: u16, refused: Option<String>) {
        let mut state = self.state.lock();
        let Some(filter) = state.asked_as.remove(&packet_id) else { return };
        let done = state.filters.get_mut(&filter).and_then(|wanted| wanted.done.take());
        if refused.is_some() {
            state.filters.remove(&filter);
        }
        if let Some(done) = done {
            done.send(refused.map_or(Ok(()), |reason| Err(ClientError::Refused(reason)))).ok();
        }
    }

    /// Everybody who waits hears that it is over.
    pub fn over(&self) {
        let mut state = self.state.lock();
        *state = State { over: true, ..State::default() };
        drop(state);
        self.room.close();
        self.ended.send_replace(true);
    }

    fn hand_over(&self, state: &mut State, waiting: Waiting) -> bool {
        let taken = self.requests.publish(&waiting.message).is_ok();
        if taken {
            state.handed.push_back(waiting);
        } else {
            // rumqttc's channel is full; the next acknowledgement brings the next try.
            state.waiting.push_front(waiting);
        }
        taken
    }
}
