//! Why a connection ends, and what the client is told.

/// `label` is what statistics and logs call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// DISCONNECT: the will is forgotten.
    Client,
    /// DISCONNECT 0x04: the client wants its will published.
    ClientWithWill,
    /// The socket ended or failed.
    Gone,
    KeepAlive,
    /// A packet was begun and not ended in time.
    Trickle,
    Malformed,
    Protocol(&'static str),
    TooLarge,
    TopicInvalid,
    AliasInvalid,
    AuthMethod,
    ReceiveMaximum,
    TakenOver,
    Slow,
    NotNow(&'static str),
    Administrative(String),
    Shutdown,
    Internal,
}

impl Close {
    pub fn label(&self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::ClientWithWill => "client-with-will",
            Self::Gone => "gone",
            Self::KeepAlive => "keep-alive",
            Self::Trickle => "packet-timeout",
            Self::Malformed => "malformed",
            Self::Protocol(_) => "protocol",
            Self::TooLarge => "too-large",
            Self::TopicInvalid => "topic-invalid",
            Self::AliasInvalid => "alias-invalid",
            Self::AuthMethod => "auth-method",
            Self::ReceiveMaximum => "receive-maximum",
            Self::TakenOver => "taken-over",
            Self::Slow => "slow",
            Self::NotNow(_) => "not-now",
            Self::Administrative(_) => "administrative",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal",
        }
    }

    /// Reason code and text of the v5 DISCONNECT; none where the client has gone first.
    pub fn notice(&self) -> Option<(u8, &str)> {
        Some(match self {
            Self::Client | Self::ClientWithWill | Self::Gone => return None,
            Self::KeepAlive => (0x8D, "nothing was heard for one and a half keep-alive times"),
            Self::Trickle => (0x83, "a packet was begun and not ended in time"),
            Self::Malformed => (0x81, "malformed packet"),
            Self::Protocol(reason) => (0x82, reason),
            Self::TooLarge => (0x95, "packet too large"),
            Self::TopicInvalid => (0x90, "topic name not allowed"),
            Self::AliasInvalid => (0x94, "topic alias not allowed"),
            Self::AuthMethod => (0x8C, "no authentication method is spoken here"),
            Self::ReceiveMaximum => (0x93, "more unacknowledged messages than agreed"),
            Self::TakenOver => (0x8E, "the same client connected again"),
            Self::Slow => (0x97, "the outgoing queue is full: too slow"),
            Self::NotNow(reason) => (0x89, reason),
            Self::Administrative(reason) => (0x98, reason),
            Self::Shutdown => (0x8B, "shutting down"),
            Self::Internal => (0x80, "internal error"),
        })
    }

    /// A shutdown publishes no wills: the gateway that would judge them is going down as well.
    pub fn publishes_will(&self) -> bool {
        !matches!(self, Self::Client | Self::Shutdown)
    }
}
