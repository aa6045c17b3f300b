//! Bodies on the cloud's topics: CBOR or JSON, told by the content type; MQTT 3.1.1 has none, so the first byte tells.

use crate::config::Encoding;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use spalla_broker::message::{Message, Qos};
use spalla_shared::topic::CloudTopic;

pub const CBOR: &str = "application/cbor";
pub const JSON: &str = "application/json";

/// Largest body taken from the cloud's side.
pub const BODY_LEN_MAX: usize = 1024 * 1024;

/// The two levels above every topic of a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub organisation: String,
    pub mesh: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{0} bytes; at most {BODY_LEN_MAX}")]
    TooLong(usize),
    #[error("content type `{0}` is neither {CBOR} nor {JSON}")]
    ContentType(String),
    #[error("{0}")]
    Body(String),
}

impl Names {
    pub fn topic(&self, topic: &CloudTopic) -> String {
        topic.text(&self.organisation, &self.mesh)
    }

    pub fn parse(&self, topic: &str) -> Option<CloudTopic> {
        CloudTopic::parse(topic, &self.organisation, &self.mesh)
    }

    /// A QoS 1 message with `body`.
    pub fn message<T: Serialize>(&self, topic: &CloudTopic, body: &T, encoding: Encoding, retain: bool) -> Result<Message, WireError> {
        Ok(self.with_payload(topic, encode(body, encoding)?, encoding, retain))
    }

    /// A QoS 1 message with a body that is encoded already.
    pub fn with_payload(&self, topic: &CloudTopic, payload: Bytes, encoding: Encoding, retain: bool) -> Message {
        Message {
            topic: self.topic(topic),
            payload,
            qos: Qos::AtLeastOnce,
            retain,
            content_type: Some(content_type(encoding).into()),
            ..Message::default()
        }
    }
}

pub fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Cbor => CBOR,
        Encoding::Json => JSON,
    }
}

pub fn encode<T: Serialize>(body: &T, encoding: Encoding) -> Result<Bytes, WireError> {
    match encoding {
        Encoding::Cbor => {
            let mut out = Vec::new();
            ciborium::into_writer(body, &mut out).map_err(|error| WireError::Body(error.to_string()))?;
            Ok(out.into())
        }
        Encoding::Json => serde_json::to_vec(body).map(Bytes::from).map_err(|error| WireError::Body(error.to_string())),
    }
}

pub fn decode<T: DeserializeOwned>(message: &Message) -> Result<T, WireError> {
    let body = &message.payload;
    if body.len() > BODY_LEN_MAX {
        return Err(WireError::TooLong(body.len()));
    }
    let json = match message.content_type.as_deref() {
        Some(JSON) => true,
        Some(CBOR) => false,
        Some(other) => return Err(WireError::ContentType(other.into())),
        // `{` begins every JSON body of ours and no CBOR map.
        None => body.first() == Some(&b'{'),
    };
    if json {
        serde_json::from_slice(body).map_err(|error| WireError::Body(error.to_string()))
    } else {
        ciborium::from_reader(&body[..]).map_err(|error| WireError::Body(error.to_string()))
    }
}
