//! Sessions: one client's side of the conversation, whatever MQTT version it speaks.
//!
//! socket -> decode -> connection (reader) -> inbound (hooks, in order) -> router
//! router -> fan-out -> Session queues -> writer -> encode -> socket
//!
//! mqtt-protocol-core cuts and parses packets; the state (who owes which acknowledgement) is kept here, because a PUBACK
//! may leave only when the hooks have taken the message. A session never talks to another session.

pub(crate) mod alias;
pub(crate) mod close;
pub(crate) mod connection;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod handshake;
pub(crate) mod inbound;
pub(crate) mod link;
pub(crate) mod outbound;
pub(crate) mod packet;
pub(crate) mod queue;
pub(crate) mod reader;
pub(crate) mod registry;
pub(crate) mod state;
pub(crate) mod wills;
pub(crate) mod writer;
