//! What carries messages from publishers to the fan-out. A router keeps their order and loses none silently; who takes a
//! message is not its business: sessions, subscriptions and retained messages live elsewhere.

pub(crate) mod envelope;
pub(crate) mod rumqttd;

use crate::message::Message;

/// The router has stopped; what it held is lost, and nothing was acknowledged on its behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the router is gone")]
pub(crate) struct RouterGone;

/// How a router is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterHealth {
    Working,
    /// Alive, but a message has been in it for longer than the watchdog allows.
    Stalled,
    /// Its thread has ended.
    Gone,
}

#[async_trait::async_trait]
pub(crate) trait Router: Send + Sync + 'static {
    /// Hands a message over; waits while the router holds as much as it may. `origin` is the publishing session, 0 for the gateway.
    async fn publish(&self, origin: u64, message: &Message) -> Result<(), RouterGone>;
    fn health(&self) -> RouterHealth;
    /// Messages that went in and did not come out.
    fn lost(&self) -> u64;
    fn stop(&self);
}

/// Where a router delivers, in order, from one task. It may not block.
pub(crate) type Sink = Box<dyn Fn(u64, Message) + Send + Sync>;
