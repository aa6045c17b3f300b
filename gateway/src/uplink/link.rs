//! The connection to the cloud's broker, as the uplink sees it. It reconnects and subscribes again by itself.

use async_trait::async_trait;
use spalla_broker::message::Message;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("the cloud's broker is not connected")]
    Down,
    #[error("the cloud's broker refused it: {0}")]
    Refused(String),
}

#[derive(Clone, Debug)]
pub enum LinkEvent {
    /// Connected, and subscribed to everything asked for.
    Up,
    Down(String),
    Message(Message),
}

#[async_trait]
pub trait CloudLink: Send + Sync + 'static {
    /// Resolves when the broker has acknowledged it (QoS 1), or is known not to have.
    async fn publish(&self, message: Message) -> Result<(), LinkError>;
}
