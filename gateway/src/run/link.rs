//! The device executor's way out, through the broker's live sessions.

use crate::effects::{DeliverFailure, DeviceLink};
use async_trait::async_trait;
use spalla_broker::message::Message;
use spalla_broker::server::{Broker, DeliverError};
use spalla_shared::id::{Actor, DeviceId};
use std::sync::Arc;

pub struct BrokerLink(pub Arc<Broker>);

#[async_trait]
impl DeviceLink for BrokerLink {
    async fn deliver(&self, device: &DeviceId, message: Message) -> Result<(), DeliverFailure> {
        self.0.deliver(Actor::device(device).as_str(), message).await.map_err(|error| match error {
            DeliverError::NotConnected => DeliverFailure::NotConnected,
            DeliverError::NotSubscribed => DeliverFailure::NotSubscribed,
            DeliverError::Expired => DeliverFailure::Expired,
            DeliverError::Full => DeliverFailure::Full,
            DeliverError::Refused => DeliverFailure::Refused,
            DeliverError::Closed | DeliverError::Unacknowledged => DeliverFailure::Uncertain,
        })
    }
}
