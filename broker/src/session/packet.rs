//! Packets as the session sees them: one shape for both MQTT versions.

use crate::message::{Message, Qos};
use crate::version::Version;

#[derive(Debug)]
pub(crate) enum Incoming {
    Connect(Box<Connect>),
    /// The topic is empty where a topic alias stands for it.
    Publish {
        message: Message,
        packet_id: Option<u16>,
        alias: Option<u16>,
    },
    Ack {
        kind: AckKind,
        packet_id: u16,
        failed: bool,
    },
    Subscribe {
        packet_id: u16,
        filters: Vec<(String, SubOptions)>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect {
        with_will: bool,
        session_expiry_s: Option<u32>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub version: Version,
    pub client_id: String,
    pub clean_start: bool,
    pub keep_alive_s: u16,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    pub will: Option<Will>,
    /// v3.1.1 clients without clean session ask for the longest there is.
    pub session_expiry_s: u32,
    pub receive_max: u16,
    pub packet_size_max: u32,
    /// Topic aliases that may be sent to the client.
    pub alias_max: u16,
    /// Reason texts may be sent.
    pub wants_reasons: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Will {
    /// `expires_at` is set when it is published, from `expiry_s`.
    pub message: Message,
    pub expiry_s: Option<u32>,
    pub delay_s: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckKind {
    /// PUBACK.
    Taken,
    /// PUBREC.
    Received,
    /// PUBREL.
    Release,
    /// PUBCOMP.
    Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SubOptions {
    pub qos: Qos,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retained: Replay,
    /// v5 subscription identifier.
    pub id: Option<u32>,
}

/// When a subscription brings retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Replay {
    Always,
    IfNew,
    Never,
}

/// Short answers; PUBLISH is written by `encode::publish`.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Ack { kind: AckKind, packet_id: u16, code: u8, reason: Option<&'static str> },
    SubAck { packet_id: u16, codes: Vec<u8> },
    UnsubAck { packet_id: u16, codes: Vec<u8> },
    Pong,
    Disconnect { code: u8, reason: String },
}
