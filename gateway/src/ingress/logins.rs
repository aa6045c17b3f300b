//! Who may log in, by what; and the end of sessions whose password, certificate or rules were changed or taken back, wherever
//! in the mesh that was done: what the log says now is compared with what each session logged in by.

use super::Ingress;
use parking_lot::Mutex;
use spalla_broker::server::Broker;
use spalla_shared::engine::State;
use spalla_shared::id::{Actor, DeviceId};
use spalla_shared::resource::Client;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks: far below the second in which a revoked device must be gone.
const PACE: Duration = Duration::from_millis(100);
/// A look without being told to.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Logins between their check and their session. Of one beyond them the password of now is taken for the one that fitted.
const CHECKED_MAX: usize = 4_096;

/// A declared login: a device by its id, a service client as `client:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownLogin {
    /// `device:hq/reader-1`, `client:dashboard`.
    pub principal: Arc<str>,
    /// What the password is checked against.
    pub hash: Option<Arc<str>>,
    /// A client certificate with its name is as good: it has a login of its own, which was not revoked.
    pub by_certificate: bool,
    /// What else a session is bound to.
    rules: Arc<str>,
}

/// What a session logged in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// None: a certificate.
    hash: Option<Arc<str>>,
    rules: Arc<str>,
}

impl KnownLogin {
    /// By its user name.
    pub fn of(state: &State, username: &str) -> Option<Self> {
        if let Some(name) = username.strip_prefix(Client::PREFIX) {
            let client = state.clients.get(name)?;
            let rules = format!("{:?}", Client { password_hash: None, ..client.clone() });
            let (hash, by_certificate) = (client.password_hash.clone(), !client.is_revoked());
            return Some(Self { principal: username.into(), hash, by_certificate, rules: rules.into() });
        }
        let device = &state.devices.get(&DeviceId::new(username))?.device;
        let by_certificate = device.bridge.is_none() && !device.is_revoked();
        let hash = device.password_hash.clone();
        Some(Self { principal: Actor::device(&device.id).as_str().into(), hash, by_certificate, rules: "".into() })
    }

    pub fn token(&self, certificate: bool) -> Token {
        Token { hash: if certificate { None } else { self.hash.clone() }, rules: self.rules.clone() }
    }

    fn still_takes(&self, token: &Token) -> bool {
        let way = if token.hash.is_none() { self.by_certificate } else { token.hash == self.hash };
        way && token.rules == self.rules
    }
}

/// What a principal logs in by: `hq/reader-1` of `device:hq/reader-1`.
pub(super) fn login_name(principal: &str) -> &str {
    principal.strip_prefix(super::hooks::DEVICE_PREFIX).unwrap_or(principal)
}

#[derive(Default)]
pub(super) struct Logins {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By client id and principal.
    checked: BTreeMap<(String, Arc<str>), Token>,
    /// What live sessions of a principal logged in by; more than one mostly around a change.
    live: BTreeMap<Arc<str>, Vec<Token>>,
}

impl Logins {
    pub fn authenticated(&self, client_id: &str, principal: &Arc<str>, token: Token) {
        let mut inner = self.inner.lock();
        if inner.checked.len() >= CHECKED_MAX {
            inner.checked.pop_first();
        }
        inner.checked.insert((client_id.to_owned(), principal.clone()), token);
    }

    /// `current`: what the log has for the principal.
    pub fn connected(&self, client_id: &str, principal: &Arc<str>, current: Option<Token>) {
        let mut inner = self.inner.lock();
        let Some(token) = inner.checked.remove(&(client_id.to_owned(), principal.clone())).or(current) else { return };
        let live = inner.live.entry(principal.clone()).or_default();
        if !live.contains(&token) {
            live.push(token);
        }
    }

    pub fn gone(&self, principal: &str) {
        self.inner.lock().live.remove(principal);
    }

    /// Principals with a session that would not get in now as it did.
    fn outdated(&self, state: &State) -> Vec<Arc<str>> {
        let inner = self.inner.lock();
        let old = |principal: &str, live: &[Token]| {
            let known = KnownLogin::of(state, login_name(principal));
            !known.is_some_and(|known| live.iter().all(|token| known.still_takes(token)))
        };
        inner.live.iter().filter(|(principal, live)| old(principal, live)).map(|(principal, _)| principal.clone()).collect()
    }
}

impl Ingress {
    pub(super) fn known_login(&self, username: &str) -> Option<KnownLogin> {
        self.groups.iter().find_map(|group| KnownLogin::of(&group.state().read(), username))
    }

    /// Runs until it is dropped; spawn it once.
    pub async fn keep_logins(self: Arc<Self>, broker: Arc<Broker>) {
        let Some(group) = self.groups.first() else { return };
        let mut applied = group.applied();
        loop {
            let outdated = self.logins.outdated(&group.state().read());
            for principal in outdated {
                self.logins.gone(&principal);
                let cut = broker.disconnect(&principal, "the login was changed or revoked");
                self.counters.logins_cut.fetch_add(cut as u64, std::sync::atomic::Ordering::Relaxed);
                tracing::info!(%principal, sessions = cut, "sessions ended: the login was changed or revoked");
            }
            tokio::time::sleep(PACE).await;
            if let Ok(Err(_)) = tokio::time::timeout(LOOK_AGAIN, applied.changed()).await {
                return;
            }
        }
    }
}
