//! The way to a device that is connected to this gateway, as the device executor sees it.

use async_trait::async_trait;
use spalla_broker::message::Message;
use spalla_broker::server::{Broker, DeliverError};
use spalla_shared::id::{Actor, DeviceId};

/// Why a message is not known to be with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverFailure {
    #[error("the device is not connected")]
    NotConnected,
    #[error("the device has not subscribed to its command topic")]
    NotSubscribed,
    #[error("the command expired before it could be sent")]
    Expired,
    #[error("the device takes no more messages now")]
    Full,
    #[error("the device's client refused the message")]
    Refused,
    /// The only one that leaves it open whether the device has it.
    #[error("the connection ended before the device acknowledged the message")]
    Uncertain,
}

#[async_trait]
pub trait DeviceLink: Send + Sync + 'static {
    /// Hands `message` to the session of `device`, connected now: `Ok` once the device's client acknowledged it. Nothing is
    /// queued for later, nothing is sent at or past `message.expires_at`. Dropping the future takes back what has not left.
    async fn deliver(&self, device: &DeviceId, message: Message) -> Result<(), DeliverFailure>;
}

#[async_trait]
impl DeviceLink for Broker {
    async fn deliver(&self, device: &DeviceId, message: Message) -> Result<(), DeliverFailure> {
        let delivered = Broker::deliver(self, Actor::device(device).as_str(), message).await;
        delivered.map_err(|error| match error {
            DeliverError::NotConnected => DeliverFailure::NotConnected,
            DeliverError::NotSubscribed => DeliverFailure::NotSubscribed,
            DeliverError::Expired => DeliverFailure::Expired,
            DeliverError::Full => DeliverFailure::Full,
            DeliverError::Refused => DeliverFailure::Refused,
            DeliverError::Closed | DeliverError::Unacknowledged => DeliverFailure::Uncertain,
        })
    }
}
