//! What the tests share: gateways as real processes on real ports, with their folders, their API, and devices that speak MQTT.
//!
//! Nothing here looks into a gateway: what a test knows, it knows by the API, by MQTT, by the log, by the exit code or by the files.

pub mod api;
pub mod chaos;
pub mod device;
pub mod distance;
pub mod gap;
pub mod idle;
pub mod mesh;
pub mod node;
pub mod numbers;
pub mod raw;
pub mod wait;

pub use api::{Answer, Api};
pub use device::{Device, Login};
pub use mesh::Mesh;
pub use node::Node;
pub use raw::Raw;
pub use wait::{LONG, until, until_within};
