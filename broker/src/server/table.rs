//! Subscriptions and retained messages: who takes a message. One lock covers both, so that a newcomer never gets an old
//! retained message after the new one. Matching is synchronous and hands messages to sessions, which never block.

use crate::clock;
use crate::message::{Message, Qos};
use crate::server::retained::Retained;
use crate::server::shares::Shares;
use crate::session::packet::{Replay, SubOptions};
use crate::session::queue::Queued;
use crate::session::state::{FROM_DEVICE, Session};
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
    shares: Shares,
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

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    /// It was too late for everybody.
    pub expired: bool,
    /// It was to be retained and there is no room.
    pub not_retained: bool,
    /// Something of it went to the store.
    pub stored: bool,
}

/// FIELD S1: an opening command lives 10 s at most.
const COMMAND_LIFE_MS: u64 = 10_000;

impl Table {
    pub fn new(retained: Retained) -> Self {
        Self { root: Level::default(), subscriptions: 0, retained }
    }

    /// No level of any topic is held.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.root.below.is_empty()
    }

    pub fn subscriptions(&self) -> u64 {
        self.subscriptions
    }

    /// Adds or replaces a subscription and hands over the retained messages it asks for. A shared one asks for none.
    pub fn subscribe(&mut self, session: &Arc<Session>, filter: String, options: SubOptions) {
        let known = {
            let mut inner = session.inner.lock();
            let known = inner.subscriptions.insert(filter.clone(), options).is_some();
            session.save(&inner);
            known
        };
        self.enter(session, &filter, options);
        if topics::is_shared(&filter) {
            return self.relieve(&filter);
        }
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
        // What somebody said some time ago is nothing for a device to act on; what the gateway itself says is.
        let for_it = |message: &Message| !session.is_device() || self.retained.is_own(&message.topic);
        for message in self.retained.matching(&filter).filter(|message| !clock::is_past(message.expires_at, now) && for_it(message)) {
            session.offer(Queued {
                retain: true,
                subscription_ids: ids.clone(),
                replay: true,
                ..Queued::new(message.clone(), message.qos.min(options.qos))
            });
        }
    }

    /// The subscriptions of a session that came from the store.
    pub fn restore(&mut self, session: &Arc<Session>) {
        let subscriptions: Vec<_> = session.inner.lock().subscriptions.iter().map(|(filter, options)| (filter.clone(), *options)).collect();
        for (filter, options) in subscriptions {
            self.enter(session, &filter, options);
        }
    }

    fn enter(&mut self, session: &Arc<Session>, filter: &str, options: SubOptions) {
        let level = topics::bare(filter).split('/').fold(&mut self.root, |level, name| level.below.entry(name.into()).or_default());
        let new = if topics::is_shared(filter) {
            level.shares.join(filter, session, options)
        } else {
            match level.here.iter_mut().find(|subscription| subscription.session.id == session.id) {
                Some(subscription) => {
                    subscription.options = options;
                    false
                }
                None => {
                    level.here.push(Subscription { session: session.clone(), options });
                    true
                }
            }
        };
        self.subscriptions += u64::from(new);
    }

    /// False where there was no such subscription.
    pub fn unsubscribe(&mut self, session: &Session, filter: &str) -> bool {
        {
            let mut inner = session.inner.lock();
            inner.subscriptions.remove(filter);
            session.save(&inner);
        }
        let names: Vec<&str> = topics::bare(filter).split('/').collect();
        let share = topics::is_shared(filter).then_some(filter);
        let removed = self.root.remove(&names, session.id, share);
        self.subscriptions -= u64::from(removed);
        if let Some(share) = share.filter(|_| removed) {
            let orphans = session.take_shared(share);
            self.pass_on(share, orphans);
        }
        removed
    }

    /// Takes all subscriptions of a session away: it is over. What it had by a shared one goes to another member.
    pub fn forget(&mut self, session: &Session) {
        let filters: Vec<String> = session.inner.lock().subscriptions.keys().cloned().collect();
        for filter in filters {
            self.unsubscribe(session, &filter);
        }
    }

    /// A session came or went: shared messages go where somebody is.
    pub fn shift(&mut self, session: &Session) {
        let shares: Vec<String> = {
            let inner = session.inner.lock();
            inner.subscriptions.keys().filter(|filter| topics::is_shared(filter)).cloned().collect()
        };
        for share in shares {
            self.relieve(&share);
        }
    }

    fn relieve(&mut self, share: &str) {
        let Some(level) = self.level_of(share) else { return };
        let mut orphans = Vec::new();
        for away in level.shares.relieved(share) {
            orphans.extend(away.take_shared(share));
        }
        self.pass_on(share, orphans);
    }

    fn pass_on(&mut self, share: &str, orphans: Vec<Queued>) {
        if orphans.is_empty() {
            return;
        }
        let Some(level) = self.level_of(share) else { return };
        for queued in orphans {
            // The group may be empty now; then it is as if nobody had subscribed.
            let Some(member) = level.shares.turn(share) else { return };
            let subscription_ids = member.options.id.into_iter().collect();
            let qos = queued.message.qos.min(member.options.qos);
            member.session.offer(Queued { qos, subscription_ids, ..queued });
        }
    }

    fn level_of(&mut self, filter: &str) -> Option<&mut Level> {
        topics::bare(filter).split('/').try_fold(&mut self.root, |level, name| level.below.get_mut(name))
    }

    /// Hands a message to everybody who takes it, and keeps it where it is to be retained. `origin`: the publishing session. What a
    /// device says reaches no other device: only the gateway and those who may speak for devices tell devices anything.
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
        let mut result = Spread { expired: clock::is_past(message.expires_at, now), not_retained: false, stored: false };
        if result.expired {
            return result;
        }
        let message = Arc::new(message);
        if message.retain {
            result.not_retained = !self.retained.keep(&message);
            self.retained.own(&message.topic, origin == 0);
            result.stored = self.retained.is_durable();
        }
        let (origin, from_device) = (origin & !FROM_DEVICE, origin & FROM_DEVICE != 0);
        let mut found = Found { origin, from_device, message: &message, shares: BTreeMap::new(), turns: Vec::new() };
        let names: Vec<&str> = message.topic.split('/').collect();
        self.root.collect(&names, true, &mut found);
        let Found { shares, turns, .. } = found;
        let personal = shares.into_values().map(|share| {
            let queued = Queued { retain: share.retain, subscription_ids: share.ids.into(), ..Queued::new(message.clone(), share.qos) };
            (share.session, queued)
        });
        for (session, queued) in personal.chain(turns) {
            result.stored |= session.offer(Queued { command, ..queued });
        }
        result
    }

    pub fn sweep(&mut self, now: Timestamp) {
        self.retained.sweep(now);
    }
}

/// What a walk through the levels gathers.
struct Found<'a> {
    origin: u64,
    from_device: bool,
    message: &'a Arc<Message>,
    shares: BTreeMap<u64, Share>,
    turns: Vec<(Arc<Session>, Queued)>,
}

impl Level {
    fn collect(&mut self, names: &[&str], first: bool, found: &mut Found<'_>) {
        // Wildcards in the first level do not take the server's own topics.
        let wild = !(first && found.message.topic.starts_with('$'));
        if wild && let Some(all) = self.below.get_mut("#") {
            all.add_to(found);
        }
        let Some((name, rest)) = names.split_first() else {
            return self.add_to(found);
        };
        if let Some(level) = self.below.get_mut(*name).filter(|_| *name != "#" && *name != "+") {
            level.collect(rest, false, found);
        }
        if wild && let Some(level) = self.below.get_mut("+") {
            level.collect(rest, false, found);
        }
    }

    fn add_to(&mut self, found: &mut Found<'_>) {
        for Subscription { session, options } in &self.here {
            if options.no_local && session.id == found.origin || found.from_device && session.is_device() {
                continue;
            }
            let share = found.shares.entry(session.id).or_insert_with(|| Share {
                session: session.clone(),
                qos: Qos::AtMostOnce,
                retain: false,
                ids: Vec::new(),
            });
            share.qos = share.qos.max(options.qos.min(found.message.qos));
            share.retain |= options.retain_as_published && found.message.retain;
            share.ids.extend(options.id);
        }
        for (share, member) in self.shares.turns() {
            if found.from_device && member.session.is_device() {
                continue;
            }
            let queued = Queued {
                retain: member.options.retain_as_published && found.message.retain,
                subscription_ids: member.options.id.into_iter().collect(),
                share: Some(share),
                ..Queued::new(found.message.clone(), member.options.qos.min(found.message.qos))
            };
            found.turns.push((member.session, queued));
        }
    }

    /// Levels that end up empty go, so that the tree is no larger than what is subscribed.
    fn remove(&mut self, names: &[&str], session: u64, share: Option<&str>) -> bool {
        let Some((name, rest)) = names.split_first() else {
            if let Some(share) = share {
                return self.shares.leave(share, session);
            }
            let before = self.here.len();
            self.here.retain(|subscription| subscription.session.id != session);
            return self.here.len() < before;
        };
        let Some(level) = self.below.get_mut(*name) else { return false };
        let removed = level.remove(rest, session, share);
        if level.here.is_empty() && level.shares.is_empty() && level.below.is_empty() {
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
    use crate::session::state::Setting;

    fn session(id: u64) -> Arc<Session> {
        session_of(id, "anonymous")
    }

    fn session_of(id: u64, name: &str) -> Arc<Session> {
        let who = Principal { client_id: format!("c{id}").into(), name: name.into() };
        let setting = Setting { limits: Arc::new(Limits::default()), counters: Arc::new(Counters::default()), store: None };
        let session = Session::new(id, who, &setting);
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
        let mut table = Table::new(Retained::new(10, 1000, None));
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
    fn what_a_device_says_reaches_no_other_device_now_or_later() {
        let mut table = Table::new(Retained::new(10, 1000, None));
        let (lock, board, camera) = (session_of(1, "device:hq/lock"), session_of(2, "client:board"), session_of(3, "device:hq/camera"));
        for filter in ["relay/1/set", "$share/all/relay/1/set"] {
            table.subscribe(&lock, filter.into(), options(Qos::AtLeastOnce));
        }
        table.subscribe(&board, "#".into(), options(Qos::AtLeastOnce));
        let on = || message("relay/1/set", Qos::AtLeastOnce, true);
        table.spread(camera.origin(), on());
        assert_eq!((waiting(&lock).len(), waiting(&board).len()), (0, 1));
        table.spread(0, on());
        assert_eq!(waiting(&lock).len(), 2, "the gateway reaches it");
        // It is retained, for others.
        let (late, new) = (session_of(4, "device:hq/late"), session_of(5, "client:new"));
        table.subscribe(&late, "relay/1/set".into(), options(Qos::AtLeastOnce));
        table.subscribe(&new, "relay/1/set".into(), options(Qos::AtLeastOnce));
        // The word of the gateway itself is for all; the next one's who says it is not.
        assert_eq!((waiting(&late).len(), waiting(&new).len()), (1, 1));
        table.spread(camera.origin(), on());
        let (later, newer) = (session_of(6, "device:hq/later"), session_of(7, "client:newer"));
        table.subscribe(&later, "relay/1/set".into(), options(Qos::AtLeastOnce));
        table.subscribe(&newer, "relay/1/set".into(), options(Qos::AtLeastOnce));
        assert_eq!((waiting(&later).len(), waiting(&newer).len()), (0, 1));
    }

    #[test]
    fn a_command_is_neither_retained_nor_kept_for_one_who_is_away() {
        let mut table = Table::new(Retained::new(10, 1000, None));
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
