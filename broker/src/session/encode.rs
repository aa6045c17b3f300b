//! Packets to bytes, in the client's version. Lengths are bounded before they come here: a packet that does not fit is an
//! answer of `None`, never a truncated one.

use crate::message::{Message, Qos};
use crate::session::packet::{AckKind, Answer};
use crate::version::Version;
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, ContentType, CorrelationData, MaximumPacketSize, MessageExpiryInterval, PayloadFormat,
    PayloadFormatIndicator, Property, ReasonString, ReceiveMaximum, ResponseTopic, ServerKeepAlive, SessionExpiryInterval,
    SubscriptionIdentifier, TopicAlias, TopicAliasMaximum, UserProperty,
};

/// What a CONNACK says of a connection that was taken.
pub(crate) struct Welcome<'a> {
    pub session_present: bool,
    pub assigned_client_id: Option<&'a str>,
    /// Where it differs from what the client asked for.
    pub session_expiry_s: Option<u32>,
    pub receive_max: u16,
    pub packet_size_max: u32,
    /// Topic aliases that the client may send.
    pub alias_max: u16,
    /// Where it differs from what the client asked for.
    pub keep_alive_s: Option<u16>,
}

/// How one PUBLISH goes to one client.
#[derive(Clone, Copy)]
pub(crate) struct Envelope<'a> {
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    pub packet_id: Option<u16>,
    pub subscription_ids: &'a [u32],
    pub alias: Alias,
    /// Seconds the message still has, at least 1.
    pub expiry_s: Option<u32>,
}

/// How a topic is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alias {
    None,
    /// In full, with the alias that stands for it from now on.
    New(u16),
    /// By its alias alone.
    Known(u16),
}

pub(crate) fn welcome(version: Version, welcome: &Welcome<'_>) -> Vec<u8> {
    let flags = u8::from(welcome.session_present);
    if version == Version::V4 {
        return vec![0x20, 2, flags, 0];
    }
    let mut properties: Vec<Property> = Vec::new();
    keep(&mut properties, ReceiveMaximum::new(welcome.receive_max));
    keep(&mut properties, MaximumPacketSize::new(welcome.packet_size_max));
    if let Some(id) = welcome.assigned_client_id {
        keep(&mut properties, AssignedClientIdentifier::new(id));
    }
    if let Some(seconds) = welcome.session_expiry_s {
        keep(&mut properties, SessionExpiryInterval::new(seconds));
    }
    if welcome.alias_max > 0 {
        keep(&mut properties, TopicAliasMaximum::new(welcome.alias_max));
    }
    if let Some(seconds) = welcome.keep_alive_s {
        keep(&mut properties, ServerKeepAlive::new(seconds));
    }
    let mut body = vec![flags, 0];
    put_properties(&mut body, &properties);
    packet(0x20, &body)
}

/// A CONNACK that refuses. `code` is the v5 one; v3.1.1 gets its nearest return code.
pub(crate) fn refusal(version: Version, code: u8, reason: &str) -> Vec<u8> {
    if version == Version::V4 {
        let code = match code {
            0x84 => 1,
            0x85 => 2,
            0x86 => 4,
            0x87 | 0x8A | 0x90 => 5,
            _ => 3,
        };
        return vec![0x20, 2, 0, code];
    }
    let mut body = vec![0, code];
    put_properties(&mut body, &reason_property(reason));
    packet(0x20, &body)
}

/// `None` where the version has no such packet, or the client takes none as large. A text that makes a packet larger
/// than the client takes is left out.
pub(crate) fn answer(version: Version, wants_reasons: bool, size_max: u32, answer: &Answer) -> Option<Vec<u8>> {
    let fits = |bytes: &Vec<u8>| bytes.len() <= size_max as usize;
    answer_with(version, wants_reasons, answer).filter(fits).or_else(|| answer_with(version, false, answer).filter(fits))
}

fn answer_with(version: Version, wants_reasons: bool, answer: &Answer) -> Option<Vec<u8>> {
    Some(match (answer, version) {
        (Answer::Pong, _) => vec![0xD0, 0],
        (Answer::Ack { kind, packet_id, code, reason }, _) => {
            let head = match kind {
                AckKind::Taken => 0x40,
                AckKind::Received => 0x50,
                AckKind::Release => 0x62,
                AckKind::Complete => 0x70,
            };
            let mut body = packet_id.to_be_bytes().to_vec();
            if version == Version::V5 && *code != 0 {
                body.push(*code);
                if let Some(reason) = reason.filter(|_| wants_reasons) {
                    put_properties(&mut body, &reason_property(reason));
                }
            }
            packet(head, &body)
        }
        (Answer::SubAck { packet_id, codes }, Version::V4) => {
            let mut body = packet_id.to_be_bytes().to_vec();
            body.extend(codes.iter().map(|code| if *code > 2 { 0x80 } else { *code }));
            packet(0x90, &body)
        }
        (Answer::SubAck { packet_id, codes }, Version::V5) => {
            let mut body = packet_id.to_be_bytes().to_vec();
            body.push(0);
            body.extend_from_slice(codes);
            packet(0x90, &body)
        }
        (Answer::UnsubAck { packet_id, .. }, Version::V4) => packet(0xB0, &packet_id.to_be_bytes()),
        (Answer::UnsubAck { packet_id, codes }, Version::V5) => {
            let mut body = packet_id.to_be_bytes().to_vec();
            body.push(0);
            body.extend_from_slice(codes);
            packet(0xB0, &body)
        }
        (Answer::Disconnect { .. }, Version::V4) => return None,
        (Answer::Disconnect { code, reason }, Version::V5) => {
            let mut body = vec![*code];
            if wants_reasons {
                put_properties(&mut body, &reason_property(reason));
            }
            packet(0xE0, &body)
        }
    })
}

/// Appends a PUBLISH to `out`, or leaves it as it was and answers false where the packet is larger than `size_max`.
#[must_use]
pub(crate) fn publish(version: Version, message: &Message, envelope: Envelope<'_>, size_max: u32, out: &mut Vec<u8>) -> bool {
    let mut body = Vec::with_capacity(message.topic.len() + message.payload.len() + 64);
    let topic = if matches!(envelope.alias, Alias::Known(_)) { "" } else { message.topic.as_str() };
    let Ok(topic_len) = u16::try_from(topic.len()) else { return false };
    body.extend_from_slice(&topic_len.to_be_bytes());
    body.extend_from_slice(topic.as_bytes());
    if let Some(id) = envelope.packet_id {
        body.extend_from_slice(&id.to_be_bytes());
    }
    if version == Version::V5 {
        put_properties(&mut body, &publish_properties(message, envelope));
    }
    body.extend_from_slice(&message.payload);
    let whole_len = 1 + length_len(body.len()) + body.len();
    if whole_len > size_max as usize || body.len() > LENGTH_MAX {
        return false;
    }
    out.push(0x30 | u8::from(envelope.dup) << 3 | (envelope.qos as u8) << 1 | u8::from(envelope.retain));
    put_length(out, body.len());
    out.extend_from_slice(&body);
    true
}

/// The largest remaining length the protocol can write.
const LENGTH_MAX: usize = 268_435_455;

fn publish_properties(message: &Message, envelope: Envelope<'_>) -> Vec<Property> {
    let mut properties = Vec::new();
    if let Some(seconds) = envelope.expiry_s {
        keep(&mut properties, MessageExpiryInterval::new(seconds));
    }
    if let Alias::New(alias) | Alias::Known(alias) = envelope.alias {
        keep(&mut properties, TopicAlias::new(alias));
    }
    if message.is_text {
        keep(&mut properties, PayloadFormatIndicator::new(PayloadFormat::String));
    }
    if let Some(topic) = &message.response_topic {
        keep(&mut properties, ResponseTopic::new(topic.as_str()));
    }
    if let Some(data) = &message.correlation_data {
        keep(&mut properties, CorrelationData::new(data.to_vec()));
    }
    if let Some(text) = &message.content_type {
        keep(&mut properties, ContentType::new(text.as_str()));
    }
    for (key, value) in &message.user_properties {
        keep(&mut properties, UserProperty::new(key.as_str(), value.as_str()));
    }
    for id in envelope.subscription_ids {
        keep(&mut properties, SubscriptionIdentifier::new(*id));
    }
    properties
}

/// A property that cannot be written (a text over 64 KiB made inside this process) is left out.
fn keep<T: Into<Property>, E>(properties: &mut Vec<Property>, made: Result<T, E>) {
    properties.extend(made.ok().map(Into::into));
}

fn reason_property(reason: &str) -> Vec<Property> {
    let mut properties = Vec::new();
    if !reason.is_empty() {
        keep(&mut properties, ReasonString::new(reason));
    }
    properties
}

fn put_properties(out: &mut Vec<u8>, properties: &[Property]) {
    let bytes: Vec<u8> = properties.iter().flat_map(Property::to_continuous_buffer).collect();
    put_length(out, bytes.len());
    out.extend_from_slice(&bytes);
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length & 0x7F) as u8;
        length >>= 7;
        if length == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Bytes that a remaining length takes.
fn length_len(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 5);
    out.push(head);
    put_length(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::decode::Decoder;
    use crate::session::packet::Incoming;
    use bytes::{Bytes, BytesMut};

    #[test]
    fn a_publish_reads_back_as_written() {
        let message = Message {
            topic: "é/temp".into(),
            payload: Bytes::from(vec![7; 300]),
            qos: Qos::AtLeastOnce,
            retain: true,
            response_topic: Some("back".into()),
            correlation_data: Some(Bytes::from_static(b"\x00\x01")),
            content_type: Some("application/cbor".into()),
            is_text: true,
            user_properties: vec![("a".into(), "b".into())],
            ..Message::default()
        };
        let envelope = Envelope {
            qos: Qos::AtLeastOnce,
            retain: true,
            dup: false,
            packet_id: Some(9),
            subscription_ids: &[],
            alias: Alias::None,
            expiry_s: None,
        };
        let mut out = Vec::new();
        assert!(publish(Version::V5, &message, envelope, 1024, &mut out));
        let mut decoder = Decoder::new(2048);
        decoder.next(&mut BytesMut::from(&b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03cid"[..])).ok();
        let Ok(Some(Incoming::Publish { message: read, packet_id, .. })) = decoder.next(&mut BytesMut::from(&out[..])) else {
            panic!("not read back");
        };
        assert_eq!((read, packet_id), (message.clone(), Some(9)));
        out.clear();
        assert!(!publish(Version::V5, &message, envelope, 300, &mut out) && out.is_empty());
    }
}
