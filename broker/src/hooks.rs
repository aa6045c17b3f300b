//! What the broker asks its owner: who may come in, what they may do, and when a message counts as taken.

use crate::message::Message;
use async_trait::async_trait;
use std::net::SocketAddr;
use std::sync::Arc;

/// What a client showed of itself.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    /// Common name of a verified client certificate.
    pub certificate_name: Option<String>,
    pub address: SocketAddr,
}

/// An authenticated client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub client_id: Arc<str>,
    /// `device:hq/reader-1`, `service:dashboard`, `anonymous`.
    pub name: Arc<str>,
}

/// Why a client may not come in. Each maps to the CONNACK code of its MQTT version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("bad user name or password")]
    BadCredentials,
    #[error("not authorised")]
    NotAuthorised,
    #[error("server unavailable")]
    Unavailable,
}

/// What becomes of a PUBLISH. The acknowledgement of a QoS 1 or 2 message waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Acknowledge; route to subscribers when `route`.
    Accept { route: bool },
    /// Refuse with a reason (v5: reason code 0x83/0x87/0x99 and the text; v3.1.1: acknowledged and dropped, counted).
    Refuse(&'static str),
    /// It could not be made safe now (no quorum): no acknowledgement; the client is disconnected so that it sends again.
    NotNow(&'static str),
}

/// Something that a client was not let do. Told as it happens; whoever keeps it must bound it.
#[derive(Clone, Copy, Debug)]
pub enum Denied<'a> {
    /// `reason` is the word of the statistics, e.g. `bad-credentials`, `login-rate`, `tls`.
    Login {
        username: Option<&'a str>,
        address: SocketAddr,
        reason: &'static str,
    },
    Publish {
        who: &'a Principal,
        topic: &'a str,
    },
    Subscribe {
        who: &'a Principal,
        filter: &'a str,
    },
}

#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, Refusal>;
    fn may_publish(&self, who: &Principal, topic: &str) -> bool;
    fn may_subscribe(&self, who: &Principal, filter: &str) -> bool;
    /// Takes a message that `may_publish` let through.
    async fn publish(&self, who: &Principal, message: &Message) -> Verdict;
    /// `session` grows with every connection to this broker.
    async fn connected(&self, who: &Principal, session: u64);
    async fn disconnected(&self, who: &Principal, session: u64);
    /// For the records only. Must not wait.
    fn denied(&self, _denied: Denied<'_>) {}
}

/// Lets everybody in, lets everybody do everything, takes and routes every message. For benches, for tests, and for the
/// stand-in of a cloud broker in a demonstration; never for a building. A client's principal is its user name, else
/// `anonymous`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

#[async_trait]
impl Hooks for AllowAll {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, Refusal> {
        let name = credentials.username.as_deref().unwrap_or("anonymous");
        Ok(Principal { client_id: credentials.client_id.as_str().into(), name: name.into() })
    }
    fn may_publish(&self, _who: &Principal, _topic: &str) -> bool {
        true
    }
    fn may_subscribe(&self, _who: &Principal, _filter: &str) -> bool {
        true
    }
    async fn publish(&self, _who: &Principal, _message: &Message) -> Verdict {
        Verdict::Accept { route: true }
    }
    async fn connected(&self, _who: &Principal, _session: u64) {}
    async fn disconnected(&self, _who: &Principal, _session: u64) {}
}
