//! MQTT for Spalla: the gateway's own listener and sessions, the router behind them, clients to peers and cloud,
//! and request/response between gateways. The only crate that names rumqttd and rumqttc.

pub mod client;
pub mod clock;
#[doc(hidden)]
pub mod fuzzing;
pub mod hooks;
pub mod message;
pub mod rpc;
pub mod server;
pub mod version;

mod router;
mod session;
mod store;
mod topics;

#[cfg(test)]
mod tests;
