//! One application message, whatever MQTT version it came in or goes out by.

use bytes::Bytes;
use spalla_shared::time::Timestamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Qos {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    /// Absolute; nothing is delivered at or past it.
    pub expires_at: Option<Timestamp>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Bytes>,
    pub content_type: Option<String>,
    /// The publisher says that the payload is UTF-8 text (payload format indicator 1).
    pub is_text: bool,
    pub user_properties: Vec<(String, String)>,
}
