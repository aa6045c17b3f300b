//! Request and response between gateways: MQTT 5 over mutual TLS, on a listener of its own.
//!
//! A request is a QoS 0 PUBLISH to `spalla/rpc/<method>` with a response topic and correlation data; the listener answers
//! it itself, without any router. Nothing is kept or sent again here: whoever calls decides what a lost answer means.
//!
//! ```text
//! Peer::call -- PUBLISH spalla/rpc/<method> --> Server -- Service::call --> the room that answers
//!      ^------- PUBLISH <response topic> ---------'
//! ```

mod connection;
mod peer;
mod server;
#[cfg(test)]
mod tests;
mod tls;

pub use peer::Peer;
pub use server::{BindError, Server};
pub use tls::{Tls, TlsError, node_of_name};

use async_trait::async_trait;
use bytes::Bytes;
use spalla_shared::id::NodeId;

/// Largest body of a request or an answer. Callers cut what is larger (appends by entries, snapshots in chunks).
pub const BODY_LEN_MAX: usize = 1024 * 1024;
/// Room for topic, correlation data and properties beside the body.
const PACKET_LEN_MAX: u32 = BODY_LEN_MAX as u32 + 8 * 1024;
/// Requests that one connection may have in work at the server; more are refused, not queued.
const IN_WORK_MAX: usize = 256;
/// Requests that one peer may have in flight at the client.
const IN_FLIGHT_MAX: usize = 256;
const TOPIC_PREFIX: &str = "spalla/rpc/";
const ANSWER_TOPIC: &str = "spalla/rpc-answer";
/// User property that marks an answer as a failure: `refused` or `remote`; the body is the text.
const FAILURE: &str = "failure";

/// Answers requests. Called concurrently; but what a call does before it first has to wait, it does in the order in which the requests of
/// one connection came, and the ones behind it wait for that.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// `peer` is the node that the client's certificate names (`CN=node-<id>`).
    async fn call(&self, peer: NodeId, method: &str, body: Bytes) -> Result<Bytes, RpcError>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// Nothing was sent: certainly not carried out.
    #[error("the gateway cannot be reached")]
    Unreachable,
    /// No answer came in time, or the connection broke meanwhile: it may have been carried out.
    #[error("no answer from the gateway")]
    Timeout,
    /// Not carried out: unknown method, too large, too many at once, not allowed.
    #[error("refused: {0}")]
    Refused(String),
    /// The other side tried and failed.
    #[error("failed there: {0}")]
    Remote(String),
}
