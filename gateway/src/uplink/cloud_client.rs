//! The link to a real MQTT broker.

use super::{CloudLink, LinkError, LinkEvent};
use async_trait::async_trait;
use spalla_broker::client::{Client, ClientConfig, ClientError, ClientEvent, ConfigError, Events};
use spalla_broker::message::{Message, Qos};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Events that the uplink has not fetched yet; then the client's own queue fills.
const EVENTS_LEN_MAX: usize = 1_024;

struct CloudClient {
    client: Client,
    up: watch::Receiver<bool>,
}

/// Connects, and connects again; subscribes to `filters` with QoS 1 each time.
pub fn connect(config: ClientConfig, filters: Vec<String>) -> Result<(Arc<dyn CloudLink>, mpsc::Receiver<LinkEvent>), ConfigError> {
    let (client, events) = Client::connect(config)?;
    let (give, take) = mpsc::channel(EVENTS_LEN_MAX);
    let (up_tx, up) = watch::channel(false);
    let link = Arc::new(CloudClient { client: client.clone(), up });
    tokio::spawn(forward(client, events, filters, up_tx, give));
    Ok((link, take))
}

/// Ends with the client, or when nobody listens any more.
async fn forward(client: Client, mut events: Events, filters: Vec<String>, up: watch::Sender<bool>, give: mpsc::Sender<LinkEvent>) {
    let mut subscribed = false;
    while let Some(event) = events.recv().await {
        let event = match event {
            ClientEvent::Connected { .. } => {
                if !subscribed {
                    // The client renews them by itself from then on; the first time it must be asked, beside this loop.
                    subscribed = true;
                    for filter in filters.clone() {
                        let client = client.clone();
                        tokio::spawn(async move {
                            if let Err(error) = client.subscribe(&filter, Qos::AtLeastOnce).await {
                                tracing::warn!(%filter, %error, "the cloud's broker refuses a subscription");
                            }
                        });
                    }
                }
                up.send_replace(true);
                LinkEvent::Up
            }
            ClientEvent::Disconnected { reason } => {
                up.send_replace(false);
                LinkEvent::Down(reason)
            }
            ClientEvent::Message(message) => LinkEvent::Message(message),
        };
        if give.send(event).await.is_err() {
            break;
        }
    }
    client.disconnect().await;
}

#[async_trait]
impl CloudLink for CloudClient {
    async fn publish(&self, message: Message) -> Result<(), LinkError> {
        let mut up = self.up.clone();
        if !*up.borrow_and_update() {
            return Err(LinkError::Down);
        }
        tokio::select! {
            outcome = self.client.publish(message) => outcome.map_err(|error| match error {
                ClientError::Closed => LinkError::Down,
                other => LinkError::Refused(other.to_string()),
            }),
            // Dropping the publish gives its message up: the courier sends it again on its own terms.
            _ = up.wait_for(|up| !up) => Err(LinkError::Down),
        }
    }
}
