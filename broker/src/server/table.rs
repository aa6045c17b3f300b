//! Subscriptions and retained messages: who takes a message. One lock covers both, so that a newcomer never gets an old
//! retained message after the new one. Matching is synchronous and hands messages to sessions, which never block.

use crate::clock;
use crate::message::{Message, Qos};
use crate::server::retained::Retained;
use crate::session::packet::{Replay, SubOptions};
use crate::session::state::{Queued, Session};
use crate::topics;
use spalla_shared::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(crate) struct Table {
    root: Level,
    subscriptions: u64,
    pub retained: Retained,
}

#[derive(Default)]
struct Level {
    below: HashMap<Box<str>, Level>,
    here: Vec<Subscription>,
}

struct Subscription {
    session: Arc<Session>,
    options: SubOptions,
}

/// One session's share of a message: overlapping subscriptions bring it once, at the highest QoS.
struct Share {
    session: Arc<Session>,
    qos: Qos,
    retain: bool,
    ids: Vec<u32>,
}

impl Table {
    pub fn new(retained: Retained) -> Self {
        Self { root: Level::default(), subscriptions: 0, retained }
    }

    pub fn subscriptions(&self) -> u64 {
        self.subscriptions
    }

    /// Adds or replaces a subscription and hands over the retained messages it asks for.
    pub fn subscribe(&mut self, session: &Arc<Session>, filter: String, options: SubOptions) {
        let level = filter.split('/').fold(&mut self.root, |level, name| level.below.entry(name.into()).or_default());
        match level.here.iter_mut().find(|subscription| subscription.session.id == session.id) {
            Some(subscription) => subscription.options = options,
            None => {
                level.here.push(Subscription { session: session.clone(), options });
                self.subscriptions += 1;
            }
        }
        let known = session.inner.lock().subscriptions.insert(filter.clone(), options).is_some();
        let replay = match options.retained {
            Replay::Always => true,
            Replay::IfNew => !known,
            Replay::Never => false,
        };
        if !replay {
            return;
        }
        let now = clock::now();
        let ids: Arc<[u32]> = options.id.into_iter().collect();
        for message in self.retained.matching(&filter).filter(|message| !clock::is_past(message.expires_at, now)) {
            session.offer(Queued {
                qos: message.qos.min(options.qos),
                message: message.clone(),
                retain: true,
                subscription_ids: ids.clone(),
                command: false,
                replay: true,
            });
        }
    }

    /// False where there was no such subscription.
    pub fn unsubscribe(&mut self, session: &Session, filter: &str) -> bool {
        session.inner.lock().subscriptions.remove(filter);
        let names: Vec<&str> = filter.split('/').collect();
        let removed = self.root.remove(&names, session.id);
        self.subscriptions -= u64::from(removed);
        removed
    }

    /// Takes all subscriptions of a session away: it is over.
    pub fn forget(&mut self, session: &Session) {
        let filters: Vec<String> = session.inner.lock().subscriptions.keys().cloned().collect();
        for filter in filters {
            self.unsubscribe(session, &filter);
        }
    }

    /// Hands a message to everybody who takes it, and keeps it where it is to be retained. `origin`: the publishing session.
    pub fn spread(&mut self, origin: u64, message: Message) -> Spread {
        let now = clock::now();
        let mut message = message;
        let command = topics::is_command(&message.topic);
        if command {
            message.retain = false;
            // A command without a deadline still has an end: the longest an opening one may have.
            message.expires_at.get_or_insert(now.plus(COMMAND_LIFE_MS));
        } else if topics::is_event(&message.topic) {
            message.retain = false;
        }
        if clock::is_past(message.expires_at, now) {
            return Spread::Expired;
        }
        let message = Arc::new(message);
        let mut kept = true;
        if message.retain {
            kept = self.retained.keep(&message);
        }
        let mut shares = BTreeMap::new();
        let names: Vec<&str> = message.topic.split('/').collect();
        self.root.collect(&names, true, origin, &message, &mut shares);
        for share in shares.into_values() {
            share.session.offer(Queued {
                message: message.clone(),
                qos: share.qos,
                retain: share.retain,
                subscription_ids: share.ids.into(),
                command,
                replay: false,
            });
        }
        if kept { Spread::Done } else { Spread::NotRetained }
    }

    pub fn sweep(&mut self, now: Timestamp) {
        self.retained.sweep(now);
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    Done,
    Expired,
    /// Delivered, but the retained store is full.
    NotRetained,
}

/// FIELD S1: an opening command lives 10 s at most.
const COMMAND_LIFE_MS: u64 = 10_000;

impl Level {
    fn collect(&self, names: &[&str], first: bool, origin: u64, message: &Message, shares: &mut BTreeMap<u64, Share>) {
        // Wildcards in the first level do not take the server's own topics.
        let wild = !(first && message.topic.starts_with('$'));
        if wild && let Some(all) = self.below.get("#") {
            all.add_to(origin, message, shares);
        }
        let Some((name, rest)) = names.split_first() else {
            return self.add_to(origin, message, shares);
        };
        if let Some(level) = self.below.get(*name).filter(|_| *name != "#" && *name != "+") {
            level.collect(rest, false, origin, message, shares);
        }
        if wild && let Some(level) = self.below.get("+") {
            level.collect(rest, false, origin, message, shares);
        }
    }

    fn add_to(&self, origin: u64, message: &Message, shares: &mut BTreeMap<u64, Share>) {
        for Subscription { session, options } in &self.here {
            if options.no_local && session.id == origin {
                continue;
            }
            let share = shares.entry(session.id).or_insert_with(|| Share {
                session: session.clone(),
                qos: Qos::AtMostOnce,
                retain: false,
                ids: Vec::new(),
            });
            share.qos = share.qos.max(options.qos.min(message.qos));
            share.retain |= options.retain_as_published && message.retain;
            share.ids.extend(options.id);
        }
    }

    /// Levels that end up empty go, so that the tree is no larger than what is subscribed.
    fn remove(&mut self, names: &[&str], session: u64) -> bool {
        let Some((name, rest)) = names.split_first() else {
            let before = self.here.len();
            self.here.retain(|subscription| subscription.session.id != session);
            return self.here.len() < before;
        };
        let Some(level) = self.below.get_mut(*name) else { return false };
        let removed = level.remove(rest, session);
        if level.here.is_empty() && level.below.is_empty() {
            self.below.remove(*name);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::Principal;
    use crate::server::config::Limits;
    use crate::server::stats::Counters;

    fn session(id: u64) -> Arc<Session> {
        let who = Principal { client_id: format!("c{id}").into(), name: "anonymous".into() };
        let session = Session::new(id, who, Arc::new(Limits::default()), Arc::new(Counters::default()));
        session.inner.lock().expiry_s = 60;
        Arc::new(session)
    }

    fn options(qos: Qos) -> SubOptions {
        SubOptions { qos, no_local: false, retain_as_published: false, retained: Replay::Always, id: None }
    }

    fn message(topic: &str, qos: Qos, retain: bool) -> Message {
        Message { topic: topic.into(), payload: bytes::Bytes::from_static(b"x"), qos, retain, ..Message::default() }
    }

    fn waiting(session: &Session) -> Vec<(String, Qos, bool)> {
        let mut inner = session.inner.lock();
        std::iter::from_fn(|| inner.pop_pending()).map(|queued| (queued.message.topic.clone(), queued.qos, queued.retain)).collect()
    }

    #[test]
    fn overlapping_subscriptions_bring_a_message_once_at_the_highest_qos() {
        let mut table = Table::new(Retained::new(10, 1000));
        let one = session(1);
        for (filter, qos) in [("a/#", Qos::AtLeastOnce), ("a/+", Qos::ExactlyOnce), ("#", Qos::AtMostOnce), ("a/b", Qos::AtLeastOnce)] {
            table.subscribe(&one, filter.into(), options(qos));
        }
        table.spread(0, message("a/b", Qos::ExactlyOnce, false));
        table.spread(0, message("a", Qos::AtLeastOnce, false));
        table.spread(0, message("$SYS/a", Qos::AtLeastOnce, false));
        assert_eq!(waiting(&one), [("a/b".into(), Qos::ExactlyOnce, false), ("a".into(), Qos::AtLeastOnce, false)]);
        table.forget(&one);
        assert_eq!((table.subscriptions(), table.root.below.len()), (0, 0));
    }

    #[test]
    fn a_command_is_neither_retained_nor_kept_for_one_who_is_away() {
        let mut table = Table::new(Retained::new(10, 1000));
        let away = session(1);
        table.subscribe(&away, "#".into(), options(Qos::AtLeastOnce));
        table.spread(0, message("spalla/v1/hq/door/command", Qos::AtLeastOnce, true));
        table.spread(0, message("spalla/v1/hq/door/event/opened", Qos::AtLeastOnce, true));
        table.spread(0, message("spalla/v1/hq/door/state/lock", Qos::AtLeastOnce, true));
        assert_eq!(
            waiting(&away).into_iter().map(|(topic, ..)| topic).collect::<Vec<_>>(),
            ["spalla/v1/hq/door/event/opened", "spalla/v1/hq/door/state/lock"]
        );
        let late = session(2);
        table.subscribe(&late, "#".into(), options(Qos::AtLeastOnce));
        assert_eq!(waiting(&late), [("spalla/v1/hq/door/state/lock".into(), Qos::AtLeastOnce, true)]);
    }
}
