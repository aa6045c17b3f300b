//! Which sessions there are, and which connection each has. One client id of one principal has one connection: a newcomer
//! takes over, after the old connection has ended with everything that belongs to its end (its will, its notice).
//!
//! Client ids of different principals do not meet: nobody takes over a session that is not his own.

use crate::clock;
use crate::hooks::Principal;
use crate::session::close::Close;
use crate::session::link::Link;
use crate::session::state::{Session, Setting};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

type Key = (Arc<str>, Arc<str>);

/// How long a newcomer waits for the old connection's end, will included, before it goes on without.
const TAKEOVER_WAIT: Duration = Duration::from_secs(5);

pub(crate) struct Registry {
    pub setting: Setting,
    next_id: AtomicU64,
    next_number: AtomicU64,
    entries: Mutex<Entries>,
}

/// By principal, then by client id: a device command finds its session without a walk over all of them.
#[derive(Default)]
struct Entries {
    by_name: HashMap<Arc<str>, HashMap<Arc<str>, Entry>>,
    len: usize,
}

impl Entries {
    fn get(&self, key: &Key) -> Option<&Entry> {
        self.by_name.get(&key.0)?.get(&key.1)
    }

    fn get_mut(&mut self, key: &Key) -> Option<&mut Entry> {
        self.by_name.get_mut(&key.0)?.get_mut(&key.1)
    }

    fn entry(&mut self, key: Key, make: impl FnOnce() -> Entry) -> &mut Entry {
        let len = &mut self.len;
        self.by_name.entry(key.0).or_default().entry(key.1).or_insert_with(|| {
            *len += 1;
            make()
        })
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let of_name = self.by_name.get_mut(&key.0)?;
        let entry = of_name.remove(&key.1)?;
        if of_name.is_empty() {
            self.by_name.remove(&key.0);
        }
        self.len -= 1;
        Some(entry)
    }

    /// Connections of one principal.
    fn connected(&self, name: &str) -> usize {
        self.by_name.get(name).map_or(0, |of_name| of_name.values().filter(|entry| entry.connection.is_some()).count())
    }

    fn iter(&self) -> impl Iterator<Item = (Key, &Entry)> {
        self.by_name.iter().flat_map(|(name, of_name)| of_name.iter().map(|(id, entry)| ((name.clone(), id.clone()), entry)))
    }

    fn values(&self) -> impl Iterator<Item = &Entry> {
        self.by_name.values().flat_map(HashMap::values)
    }
}

struct Entry {
    session: Arc<Session>,
    connection: Option<Connection>,
}

struct Connection {
    number: u64,
    link: Link,
    ended: watch::Receiver<bool>,
}

/// A connection's place in the registry.
pub(crate) struct Place {
    pub session: Arc<Session>,
    pub session_present: bool,
    /// A session that this connection ended (clean start): its subscriptions must go.
    pub replaced: Option<Arc<Session>>,
    pub link: Link,
    ended: watch::Sender<bool>,
    registry: Arc<Registry>,
}

impl Place {
    /// Nobody need wait for this connection any more: its notice was taken.
    pub fn has_ended(&self) {
        self.ended.send_replace(true);
    }
}

impl Drop for Place {
    /// Does nothing after `leave`. Where the connection's task panicked, its place is given up here, and the next sweep
    /// takes what is left of the session.
    fn drop(&mut self) {
        self.registry.give_up(self);
    }
}

/// There is no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// As many sessions as the limits allow.
    Sessions,
    /// As many connections of one principal as the limits allow.
    Principal,
}

impl Crowded {
    pub fn label(self) -> &'static str {
        match self {
            Self::Sessions => "sessions-full",
            Self::Principal => "principal-full",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Sessions => "too many sessions",
            Self::Principal => "too many connections under this name",
        }
    }
}

impl Registry {
    pub fn new(setting: Setting) -> Self {
        Self { setting, next_id: AtomicU64::new(1), next_number: AtomicU64::new(1), entries: Mutex::default() }
    }

    /// A session from the store; call before the first connection.
    pub fn restore(&self, session: Arc<Session>) {
        self.numbered_above(session.id);
        let key = (session.who.name.clone(), session.who.client_id.clone());
        self.entries.lock().entry(key, || Entry { session, connection: None });
    }

    /// New sessions get numbers above this one.
    pub fn numbered_above(&self, id: u64) {
        self.next_id.fetch_max(id + 1, Ordering::Relaxed);
    }

    pub fn is_live(&self, who: &Principal) -> bool {
        let key = (who.name.clone(), who.client_id.clone());
        self.entries.lock().get(&key).is_some_and(|entry| entry.connection.is_some())
    }

    pub fn has_session(&self, id: u64) -> bool {
        self.entries.lock().values().any(|entry| entry.session.id == id)
    }

    /// The links of all connected clients.
    pub fn links(&self) -> Vec<Link> {
        self.entries.lock().values().filter_map(|entry| Some(entry.connection.as_ref()?.link.clone())).collect()
    }

    /// Takes the place of `who`; `link` is built from the connection's number.
    pub async fn take(self: &Arc<Self>, who: &Principal, clean: bool, expiry_s: u32, link: impl Fn(u64) -> Link) -> Result<Place, Crowded> {
        let key = (who.name.clone(), who.client_id.clone());
        let mut patience = true;
        loop {
            let mut old_ended = {
                let mut entries = self.entries.lock();
                let busy = entries.get(&key).and_then(|entry| entry.connection.as_ref());
                match busy {
                    Some(old) if patience => {
                        old.link.close(Close::TakenOver);
                        old.ended.clone()
                    }
                    _ => {
                        if entries.connected(&key.0) >= self.setting.limits.connections_per_principal {
                            return Err(Crowded::Principal);
                        }
                        let over = entries.get(&key).is_some_and(|entry| entry.connection.is_none() && entry.session.is_over(clock::now()));
                        let replaced = if clean || over { entries.remove(&key).map(|entry| entry.session) } else { None };
                        if entries.get(&key).is_none() && entries.len >= self.setting.limits.sessions {
                            return Err(Crowded::Sessions);
                        }
                        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
                        let link = link(number);
                        let session_present = entries.get(&key).is_some();
                        let entry = entries.entry(key, || {
                            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                            let session = Session::new(id, who.clone(), &self.setting);
                            Entry { session: Arc::new(session), connection: None }
                        });
                        let (ended, ended_rx) = watch::channel(false);
                        entry.connection = Some(Connection { number, link: link.clone(), ended: ended_rx });
                        let session = entry.session.clone();
                        session.attach(link.clone(), expiry_s);
                        return Ok(Place { session, session_present, replaced, link, ended, registry: self.clone() });
                    }
                }
            };
            let waited = tokio::time::timeout(TAKEOVER_WAIT, old_ended.wait_for(|ended| *ended)).await;
            // A connection that panicked has dropped its end without a word.
            patience = matches!(waited, Ok(Ok(_)));
        }
    }

    /// Ends a connection's place. The answer is a session that is over with it: its subscriptions must go.
    pub fn leave(&self, place: &Place, expiry_s: Option<u32>) -> Option<Arc<Session>> {
        let session = &place.session;
        session.detach(place.link.number, expiry_s);
        let key = (session.who.name.clone(), session.who.client_id.clone());
        let mut entries = self.entries.lock();
        let mut gone = None;
        if let Some(entry) = entries.get_mut(&key)
            && entry.connection.as_ref().is_some_and(|connection| connection.number == place.link.number)
        {
            entry.connection = None;
            if session.is_over(clock::now()) {
                gone = entries.remove(&key).map(|entry| entry.session);
            }
        }
        drop(entries);
        gone
    }

    fn give_up(&self, place: &Place) {
        place.session.detach(place.link.number, None);
        let key = (place.session.who.name.clone(), place.session.who.client_id.clone());
        if let Some(entry) = self.entries.lock().get_mut(&key)
            && entry.connection.as_ref().is_some_and(|connection| connection.number == place.link.number)
        {
            entry.connection = None;
        }
    }

    /// Sessions whose time is over, taken out.
    pub fn sweep(&self) -> Vec<Arc<Session>> {
        let now = clock::now();
        let mut entries = self.entries.lock();
        let is_over = |entry: &Entry| entry.connection.is_none() && entry.session.is_over(now);
        let over: Vec<Key> = entries.iter().filter(|(_, entry)| is_over(entry)).map(|(key, _)| key).collect();
        over.iter().filter_map(|key| entries.remove(key)).map(|entry| entry.session).collect()
    }

    /// The connected sessions of a principal, newest connection first.
    pub fn live(&self, name: &str) -> Vec<Arc<Session>> {
        let entries = self.entries.lock();
        let of_name = entries.by_name.get(name).into_iter().flat_map(HashMap::values);
        let mut found: Vec<(u64, Arc<Session>)> =
            of_name.filter_map(|entry| entry.connection.as_ref().map(|connection| (connection.number, entry.session.clone()))).collect();
        found.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        found.into_iter().map(|(_, session)| session).collect()
    }

    /// Closes every connection; the answers resolve as they end.
    pub fn close_all(&self, reason: &Close) -> Vec<watch::Receiver<bool>> {
        let entries = self.entries.lock();
        let connections = entries.values().filter_map(|entry| entry.connection.as_ref());
        connections
            .map(|connection| {
                connection.link.close(reason.clone());
                connection.ended.clone()
            })
            .collect()
    }

    /// (sessions, connected sessions)
    pub fn counts(&self) -> (u64, u64) {
        let entries = self.entries.lock();
        let connected = entries.values().filter(|entry| entry.connection.is_some()).count();
        (entries.len as u64, connected as u64)
    }
}
