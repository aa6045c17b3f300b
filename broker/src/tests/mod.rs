//! The broker over real sockets: rumqttc clients of both versions, and raw bytes where no honest client would send them.

mod abuse;
mod clients;
mod delivery;
mod house;
mod ledger;
mod sessions;
mod steady;
mod stored;
mod taking;
mod tls;
mod websocket;
