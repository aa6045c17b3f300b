//! The broker over real sockets: rumqttc clients of both versions, and raw bytes where no honest client would send them.

mod abuse;
mod clients;
mod delivery;
mod house;
mod sessions;
mod taking;
mod tls;
