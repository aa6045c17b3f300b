//! What carries messages from publishers to the fan-out. A router keeps their order and loses none: what it holds when it
//! breaks comes out of the next one. Who takes a message is not its business: sessions, subscriptions and retained messages
//! live elsewhere.

pub(crate) mod envelope;
pub(crate) mod rumqttd;

use crate::message::Message;
use crate::store::Ticket;
use tokio::sync::oneshot;

/// The router was stopped; nothing more goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the router is gone")]
pub(crate) struct RouterGone;

/// How a router is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterHealth {
    Working,
    /// Alive, but a message has been in it for longer than the watchdog allows. It is being replaced.
    Stalled,
    /// Its thread has ended and another is being started, or it was stopped.
    Gone,
}

/// Comes true when the message has reached everybody's queue. The ticket is the store's, where the store has it.
pub(crate) type Receipt = oneshot::Receiver<Option<Ticket>>;

#[async_trait::async_trait]
pub(crate) trait Router: Send + Sync + 'static {
    /// Hands a message over; waits while the router holds as much as it may. `origin` is the publishing session, 0 for the gateway.
    async fn publish(&self, origin: u64, message: &Message) -> Result<Receipt, RouterGone>;
    fn health(&self) -> RouterHealth;
    /// Messages that did not come out by themselves and were delivered from the copy kept outside.
    fn rescued(&self) -> u64;
    /// Times the router was replaced.
    fn restarts(&self) -> u64;
    fn stop(&self);
    /// Ends the router's thread the way a bug in it would.
    #[cfg(test)]
    fn kill(&self);
}

/// Where a router delivers, in order, from one task. It may not block. The ticket is for the receipt.
pub(crate) type Sink = Box<dyn Fn(u64, Message) -> Option<Ticket> + Send + Sync>;
