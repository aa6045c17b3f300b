//! What `apply` asked for, carried out: each open effect by exactly one gateway, its answer a new command.
//!
//! An executor never calls ingress or another executor, and never changes state but by proposing.
//!
//! ```text
//! state.effects -> dispatcher -> executor (device | http | notify | credential | sheet | read)
//!                                    |-> EffectAttempt (opening commands only, before anything is published)
//!                                    \-> EffectDone
//! state.timers, state.ready -> clock (leader only) -> TimersDue, Continue
//! ```

mod acks;
mod announce;
pub mod clock;
pub mod credential;
mod device;
mod dispatcher;
mod executors;
mod http;
mod link;
mod notify;
mod read;
mod report;
mod secret;
mod sheet;
#[cfg(test)]
pub(crate) mod test_support;

pub use acks::{Acks, Waiter};
pub use announce::{announce, known_semantics};
pub use dispatcher::{Dispatcher, Lanes};
pub use executors::{ExecutorOptions, Executors};
pub use http::HttpClient;
pub use link::{DeliverFailure, DeviceLink};
pub use secret::SecretFolder;
pub use sheet::Workbooks;

#[cfg(test)]
mod broker_tests;
#[cfg(test)]
mod tests;
