//! Retained messages: the last one of each topic, bounded in number and bytes. In memory, and in the store where there is one;
//! what the broker says of itself (`$SYS`) is never stored: after a restart it would be old.

use crate::clock;
use crate::message::Message;
use crate::store::{Change, Store};
use spalla_shared::time::Timestamp;
use spalla_shared::topic::filter_matches;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

pub(crate) struct Retained {
    messages: BTreeMap<String, Arc<Message>>,
    /// Topics whose message the gateway itself said, since its start.
    own: BTreeSet<String>,
    bytes: usize,
    len_max: usize,
    bytes_max: usize,
    store: Option<Arc<dyn Store>>,
}

impl Retained {
    pub fn new(len_max: usize, bytes_max: usize, store: Option<Arc<dyn Store>>) -> Self {
        Self { messages: BTreeMap::new(), own: BTreeSet::new(), bytes: 0, len_max, bytes_max, store }
    }

    pub fn is_durable(&self) -> bool {
        self.store.is_some()
    }

    /// What the store had; what is over or has no room any more leaves it.
    pub fn restore(&mut self, messages: Vec<Message>, now: Timestamp) {
        for message in messages {
            let room = self.messages.len() < self.len_max && self.bytes + size(&message) <= self.bytes_max;
            if clock::is_past(message.expires_at, now) || !room {
                self.put(Change::Unretain(message.topic));
            } else {
                self.bytes += size(&message);
                self.messages.insert(message.topic.clone(), Arc::new(message));
            }
        }
    }

    fn put(&self, change: Change) {
        let own = |topic: &str| topic.starts_with('$');
        let skip = match &change {
            Change::Retain(message) => own(&message.topic),
            Change::Unretain(topic) => own(topic),
            _ => false,
        };
        if let (Some(store), false) = (&self.store, skip) {
            store.put(change);
        }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Keeps a message in place of the last one of its topic; an empty payload only removes that. False where there is no
    /// room: the topic then has no retained message, because an outdated one would be a lie.
    pub fn keep(&mut self, message: &Arc<Message>) -> bool {
        let old = self.messages.remove(&message.topic);
        if let Some(old) = &old {
            self.bytes -= size(old);
        }
        let room = self.messages.len() < self.len_max && self.bytes + size(message) <= self.bytes_max;
        if message.payload.is_empty() || !room {
            if old.is_some() {
                self.put(Change::Unretain(message.topic.clone()));
            }
            return message.payload.is_empty();
        }
        self.put(Change::Retain(message.clone()));
        self.bytes += size(message);
        self.messages.insert(message.topic.clone(), message.clone());
        true
    }

    /// Whether the message of this topic is the gateway's own word.
    pub fn own(&mut self, topic: &str, own: bool) {
        if own && self.messages.contains_key(topic) {
            self.own.insert(topic.to_owned());
        } else {
            self.own.remove(topic);
        }
    }

    pub fn is_own(&self, topic: &str) -> bool {
        self.own.contains(topic)
    }

    /// What a filter takes, in topic order. Only topics that begin like the filter, up to its first wildcard, are looked at.
    pub fn matching<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = &'a Arc<Message>> + 'a {
        let literal = filter.split(['+', '#']).next().unwrap_or_default();
        // `a/#` takes `a` as well.
        let prefix = literal.strip_suffix('/').unwrap_or(literal);
        self.messages
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(topic, _)| topic.starts_with(prefix))
            .filter(move |(topic, _)| filter_matches(filter, topic))
            .map(|(_, message)| message)
    }

    pub fn sweep(&mut self, now: Timestamp) {
        let over = |message: &Message| clock::is_past(message.expires_at, now);
        let topics: Vec<String> = self.messages.values().filter(|message| over(message)).map(|message| message.topic.clone()).collect();
        for topic in topics {
            if let Some(old) = self.messages.remove(&topic) {
                self.bytes -= size(&old);
            }
            self.own.remove(&topic);
            self.put(Change::Unretain(topic));
        }
    }
}

fn size(message: &Message) -> usize {
    message.topic.len() + message.payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, payload: &'static [u8], expires_at: Option<i64>) -> Arc<Message> {
        let payload = bytes::Bytes::from_static(payload);
        Arc::new(Message { topic: topic.into(), payload, expires_at: expires_at.map(Timestamp), ..Message::default() })
    }

    #[test]
    fn the_store_is_bounded_replaces_and_forgets() {
        let mut store = Retained::new(3, 100, None);
        assert!(
            store.keep(&message("a", b"1", None)) && store.keep(&message("a/b", b"2", Some(50))) && store.keep(&message("ab", b"3", None))
        );
        assert!(!store.keep(&message("c", b"4", None)), "a fourth has no room");
        assert!(store.keep(&message("a", b"5", None)), "replacing has");
        let topics: Vec<&str> = store.matching("a/#").map(|message| message.topic.as_str()).collect();
        assert_eq!(topics, ["a", "a/b"]);
        store.sweep(Timestamp(50));
        assert!(store.keep(&message("a", b"", None)));
        assert_eq!((store.len(), store.bytes), (1, 3));
    }
}
