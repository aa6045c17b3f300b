//! A message inside the router: its sequence (8 bytes), a 4-byte header length, the header in CBOR, then correlation data and payload as they are.
//! Big payloads are so copied once and never walked.

use crate::message::{Message, Qos};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use spalla_shared::time::Timestamp;

/// What one envelope carries.
#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    Message {
        origin: u64,
        message: Message,
    },
    /// From the watchdog.
    Probe,
}

#[derive(Serialize, Deserialize)]
struct Header {
    origin: u64,
    probe: bool,
    topic: String,
    qos: Qos,
    retain: bool,
    expires_at: Option<Timestamp>,
    response_topic: Option<String>,
    correlation_len: Option<u32>,
    content_type: Option<String>,
    is_text: bool,
    user_properties: Vec<(String, String)>,
}

/// `None` where the message is too large for any header (4 GiB of correlation data).
pub(crate) fn seal(sequence: u64, content: &Content) -> Option<Bytes> {
    let empty = Message::default();
    let (origin, message, probe) = match content {
        Content::Message { origin, message } => (*origin, message, false),
        Content::Probe => (0, &empty, true),
    };
    seal_parts(sequence, origin, message, probe)
}

pub(crate) fn seal_message(sequence: u64, origin: u64, message: &Message) -> Option<Bytes> {
    seal_parts(sequence, origin, message, false)
}

fn seal_parts(sequence: u64, origin: u64, message: &Message, probe: bool) -> Option<Bytes> {
    let correlation = message.correlation_data.clone().unwrap_or_default();
    let correlation_len = u32::try_from(correlation.len()).ok()?;
    let header = Header {
        origin,
        probe,
        topic: message.topic.clone(),
        qos: message.qos,
        retain: message.retain,
        expires_at: message.expires_at,
        response_topic: message.response_topic.clone(),
        correlation_len: message.correlation_data.is_some().then_some(correlation_len),
        content_type: message.content_type.clone(),
        is_text: message.is_text,
        user_properties: message.user_properties.clone(),
    };
    let mut head = Vec::with_capacity(128);
    ciborium::into_writer(&header, &mut head).ok()?;
    let head_len = u32::try_from(head.len()).ok()?;
    let mut bytes = BytesMut::with_capacity(12 + head.len() + correlation.len() + message.payload.len());
    bytes.put_u64(sequence);
    bytes.put_u32(head_len);
    bytes.put_slice(&head);
    bytes.put_slice(&correlation);
    bytes.put_slice(&message.payload);
    Some(bytes.freeze())
}

/// The sequence alone.
pub(crate) fn sequence(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?))
}

/// The sequence and the content; `None` for bytes that no `seal` made.
pub(crate) fn open(bytes: &Bytes) -> Option<(u64, Content)> {
    let sequence = sequence(bytes)?;
    let head_len = u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?) as usize;
    let body = head_len.checked_add(12)?;
    let head = bytes.get(12..body)?;
    let header: Header = ciborium::from_reader(head).ok()?;
    if header.probe {
        return Some((sequence, Content::Probe));
    }
    let payload = body.checked_add(header.correlation_len.unwrap_or(0) as usize).filter(|at| *at <= bytes.len())?;
    let message = Message {
        topic: header.topic,
        payload: bytes.slice(payload..),
        qos: header.qos,
        retain: header.retain,
        expires_at: header.expires_at,
        response_topic: header.response_topic,
        correlation_data: header.correlation_len.map(|_| bytes.slice(body..payload)),
        content_type: header.content_type,
        is_text: header.is_text,
        user_properties: header.user_properties,
    };
    Some((sequence, Content::Message { origin: header.origin, message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_to_what_was_sealed_and_nonsense_does_not_open() {
        let message = Message {
            topic: "é/+ not a filter".into(),
            payload: Bytes::from_static(b"\x00payload"),
            qos: Qos::ExactlyOnce,
            retain: true,
            expires_at: Some(Timestamp(5)),
            response_topic: Some("r".into()),
            correlation_data: Some(Bytes::from_static(b"cd")),
            content_type: None,
            is_text: true,
            user_properties: vec![("k".into(), "v".into())],
        };
        let content = Content::Message { origin: 7, message };
        let sealed = seal(3, &content).expect("sealed");
        assert_eq!(open(&sealed), Some((3, content)));
        assert_eq!(open(&seal(4, &Content::Probe).expect("sealed")), Some((4, Content::Probe)));
        for end in 0..20 {
            assert_eq!(open(&sealed.slice(..end)), None);
        }
        assert_eq!(open(&Bytes::from_static(b"\xff\xff\xff\xff")), None);
    }
}
