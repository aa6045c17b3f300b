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
    /// What each live session of a principal logged in by.
    live: BTreeMap<Arc<str>, BTreeMap<u64, Token>>,
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
    pub fn connected(&self, client_id: &str, principal: &Arc<str>, session: u64, current: Option<Token>) {
        let mut inner = self.inner.lock();
        let Some(token) = inner.checked.remove(&(client_id.to_owned(), principal.clone())).or(current) else { return };
        inner.live.entry(principal.clone()).or_default().insert(session, token);
    }

    pub fn gone(&self, principal: &str, session: u64) {
        let mut inner = self.inner.lock();
        let Some(live) = inner.live.get_mut(principal) else { return };
        live.remove(&session);
        if live.is_empty() {
            inner.live.remove(principal);
        }
    }

    /// Principals with a session that would not get in now as it did; they are told once.
    fn outdated(&self, state: &State) -> Vec<Arc<str>> {
        let mut inner = self.inner.lock();
        let old = |principal: &str, live: &BTreeMap<u64, Token>| {
            let known = KnownLogin::of(state, login_name(principal));
            !known.is_some_and(|known| live.values().all(|token| known.still_takes(token)))
        };
        let outdated: Vec<Arc<str>> =
            inner.live.iter().filter(|(principal, live)| old(principal, live)).map(|(principal, _)| principal.clone()).collect();
        for principal in &outdated {
            inner.live.remove(principal);
        }
        outdated
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The word that an old session ended may come after the new one began: the new one was forgotten then, and a revocation did not end it.
    #[test]
    fn a_late_word_about_an_old_session_does_not_save_the_new_one_from_a_revocation() {
        let logins = Logins::default();
        let who: Arc<str> = "client:board".into();
        let mut state = State::new(spalla_shared::id::GroupId::mesh());
        let board = Client { name: "board".into(), password_hash: Some("hash".into()), ..Client::default() };
        state.clients.insert("board".into(), board.clone());
        let token = KnownLogin::of(&state, &who).expect("known").token(false);
        for session in [1, 2] {
            logins.authenticated("c", &who, token.clone());
            logins.connected("c", &who, session, None);
        }
        logins.gone(&who, 1);
        assert!(logins.outdated(&state).is_empty());
        state.clients.insert("board".into(), Client { password_hash: Some("another".into()), ..board });
        assert_eq!(logins.outdated(&state), [who]);
        assert!(logins.outdated(&state).is_empty());
    }
}
