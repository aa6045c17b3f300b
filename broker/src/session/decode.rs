//! Bytes from a client to packets. mqtt-protocol-core does the cutting and parsing; this file guards it: nothing a client
//! sends may panic through, and what the library lets pass although the specification does not is refused here.
//!
//! Never decides what a packet means: that is the connection's work.

use crate::clock;
use crate::message::{Message, Qos};
use crate::session::close::Close;
use crate::session::packet::{AckKind, Connect, Incoming, Replay, SubOptions, Will};
use crate::version::Version;
use bytes::Bytes;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData, RawPacket};
use mqtt_protocol_core::mqtt::packet::{self as core, Property, RetainHandling, SubEntry, SubOpts, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why no packet came out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    Close(Close),
    /// A CONNECT of a protocol level that is not spoken here.
    UnsupportedVersion,
}

/// Cuts one client's byte stream into packets. Speaks whatever version the CONNECT names.
pub(crate) struct Decoder {
    builder: PacketBuilder,
    version: Option<Version>,
    /// The version that a CONNECT named which could not be taken.
    offered: Option<Version>,
    /// A packet was begun and is not whole yet.
    partial: bool,
}

impl Decoder {
    pub fn new(packet_size_max: u32) -> Self {
        Self { builder: PacketBuilder::with_maximum_packet_size(packet_size_max), version: None, offered: None, partial: false }
    }

    /// A packet was begun and is not whole yet.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// The version that a refusal of a CONNECT is to be written in. v3.1.1 has no words for a malformed one.
    pub fn offered(&self) -> Option<Version> {
        self.offered
    }

    /// Takes bytes off the front of `data`. `None`: all taken, no packet complete yet.
    pub fn next(&mut self, data: &mut bytes::BytesMut) -> Result<Option<Incoming>, DecodeError> {
        while !data.is_empty() {
            let mut cursor = Cursor::new(&data[..]);
            let built = catch_unwind(AssertUnwindSafe(|| self.builder.feed(&mut cursor)));
            let taken = usize::try_from(cursor.position()).unwrap_or(data.len()).min(data.len());
            bytes::Buf::advance(data, taken);
            match built {
                Ok(PacketBuildResult::Complete(raw)) => {
                    self.partial = false;
                    return catch_unwind(AssertUnwindSafe(|| self.parse(&raw))).unwrap_or(Err(MALFORMED)).map(Some);
                }
                Ok(PacketBuildResult::Incomplete) if taken == 0 => return Ok(None),
                Ok(PacketBuildResult::Incomplete) => self.partial = true,
                Ok(PacketBuildResult::Error(MqttError::PacketTooLarge)) => return Err(DecodeError::Close(Close::TooLarge)),
                Ok(PacketBuildResult::Error(_)) | Err(_) => return Err(MALFORMED),
            }
        }
        Ok(None)
    }

    fn parse(&mut self, raw: &RawPacket) -> Result<Incoming, DecodeError> {
        let Some(version) = self.version else {
            return self.parse_connect(raw);
        };
        let wanted_flags = match raw.packet_type() {
            3 => raw.flags(),
            6 | 8 | 10 => 2,
            _ => 0,
        };
        if raw.flags() != wanted_flags {
            return Err(MALFORMED);
        }
        let incoming = match (raw.packet_type(), version) {
            (1, _) => return Err(DecodeError::Close(Close::Protocol("a second CONNECT"))),
            (3, _) => publish(raw, version)?,
            (4, Version::V4) => ack(AckKind::Taken, whole(raw, v3_1_1::Puback::parse)?.packet_id(), false),
            (5, Version::V4) => ack(AckKind::Received, whole(raw, v3_1_1::Pubrec::parse)?.packet_id(), false),
            (6, Version::V4) => ack(AckKind::Release, whole(raw, v3_1_1::Pubrel::parse)?.packet_id(), false),
            (7, Version::V4) => ack(AckKind::Complete, whole(raw, v3_1_1::Pubcomp::parse)?.packet_id(), false),
            (4, Version::V5) => {
                let packet = whole(raw, v5_0::Puback::parse)?;
                ack(AckKind::Taken, packet.packet_id(), packet.reason_code().is_some_and(|code| code as u8 >= 0x80))
            }
            (5, Version::V5) => {
                let packet = whole(raw, v5_0::Pubrec::parse)?;
                ack(AckKind::Received, packet.packet_id(), packet.reason_code().is_some_and(|code| code as u8 >= 0x80))
            }
            (6, Version::V5) => ack(AckKind::Release, whole(raw, v5_0::Pubrel::parse)?.packet_id(), false),
            (7, Version::V5) => ack(AckKind::Complete, whole(raw, v5_0::Pubcomp::parse)?.packet_id(), false),
            (8, Version::V4) => {
                let packet = whole(raw, v3_1_1::Subscribe::parse)?;
                // The library reads v5's options into bits that v3.1.1 reserves.
                let reserved = |options: &SubOpts| options.nl() || options.rap() || options.rh() != RetainHandling::SendRetained;
                if packet.entries().iter().any(|entry| reserved(entry.sub_opts())) {
                    return Err(MALFORMED);
                }
                Incoming::Subscribe { packet_id: packet.packet_id(), filters: filters(packet.entries(), None) }
            }
            (8, Version::V5) => {
                let packet = whole(raw, v5_0::Subscribe::parse)?;
                let id = packet.props().iter().find_map(|property| match property {
                    Property::SubscriptionIdentifier(id) => Some(id.val()),
                    _ => None,
                });
                Incoming::Subscribe { packet_id: packet.packet_id(), filters: filters(packet.entries(), id) }
            }
            (10, Version::V4) => {
                let packet = whole(raw, v3_1_1::Unsubscribe::parse)?;
                let filters = packet.entries().iter().map(|filter| filter.as_str().to_owned()).collect();
                Incoming::Unsubscribe { packet_id: packet.packet_id(), filters }
            }
            (10, Version::V5) => {
                let packet = whole(raw, v5_0::Unsubscribe::parse)?;
                let filters = packet.entries().iter().map(|filter| filter.as_str().to_owned()).collect();
                Incoming::Unsubscribe { packet_id: packet.packet_id(), filters }
            }
            (12, _) if raw.remaining_length() == 0 => Incoming::Ping,
            (14, Version::V4) if raw.remaining_length() == 0 => Incoming::Disconnect { with_will: false, session_expiry_s: None },
            (14, Version::V5) => {
                let packet = whole(raw, v5_0::Disconnect::parse)?;
                let session_expiry_s = packet.props().iter().flatten().find_map(|property| match property {
                    Property::SessionExpiryInterval(seconds) => Some(seconds.val()),
                    _ => None,
                });
                let with_will = packet.reason_code().is_some_and(|code| code as u8 != 0);
                Incoming::Disconnect { with_will, session_expiry_s }
            }
            (15, Version::V5) => return Err(DecodeError::Close(Close::Protocol("AUTH was not agreed on"))),
            _ => return Err(MALFORMED),
        };
        match &incoming {
            Incoming::Publish { packet_id: Some(0), .. }
            | Incoming::Ack { packet_id: 0, .. }
            | Incoming::Subscribe { packet_id: 0, .. }
            | Incoming::Unsubscribe { packet_id: 0, .. } => Err(MALFORMED),
            Incoming::Subscribe { filters, .. } if filters.is_empty() => Err(MALFORMED),
            Incoming::Unsubscribe { filters, .. } if filters.is_empty() => Err(MALFORMED),
            _ => Ok(incoming),
        }
    }

    fn parse_connect(&mut self, raw: &RawPacket) -> Result<Incoming, DecodeError> {
        if raw.packet_type() != 1 {
            return Err(DecodeError::Close(Close::Protocol("the first packet must be CONNECT")));
        }
        if raw.flags() != 0 {
            return Err(MALFORMED);
        }
        let data = raw.data_as_slice();
        self.offered = matches!(data, [0, 4, b'M', b'Q', b'T', b'T', 5, ..]).then_some(Version::V5);
        let connect = match data {
            [0, 4, b'M', b'Q', b'T', b'T', 4, flags, ..] if are_sound(*flags, Version::V4) => connect_v4(raw)?,
            [0, 4, b'M', b'Q', b'T', b'T', 5, flags, ..] if are_sound(*flags, Version::V5) => connect_v5(raw)?,
            [0, 4, b'M', b'Q', b'T', b'T', 4 | 5, ..] => return Err(MALFORMED),
            [0, 4, b'M', b'Q', b'T', b'T', ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => {
                return Err(DecodeError::UnsupportedVersion);
            }
            _ => return Err(MALFORMED),
        };
        self.version = Some(connect.version);
        Ok(Incoming::Connect(Box::new(connect)))
    }
}

const MALFORMED: DecodeError = DecodeError::Close(Close::Malformed);

/// The flags of a CONNECT, as far as they depend on each other: the reserved bit is 0, nothing is said of a will that is
/// not there, no QoS 3, and in v3.1.1 no password without a user name.
fn are_sound(flags: u8, version: Version) -> bool {
    let will = flags & 0x04 != 0;
    let will_qos = flags >> 3 & 3;
    let will_sound = if will { will_qos < 3 } else { flags & 0x38 == 0 };
    flags & 1 == 0 && will_sound && (version == Version::V5 || flags & 0xC0 != 0x40)
}

fn whole<T>(raw: &RawPacket, parse: impl FnOnce(&[u8]) -> Result<(T, usize), MqttError>) -> Result<T, DecodeError> {
    raw.parse_exact(parse).map_err(|error| wrong(&error))
}

fn wrong(error: &MqttError) -> DecodeError {
    match error {
        MqttError::ProtocolError => DecodeError::Close(Close::Protocol("a packet says what it may not say, or says it twice")),
        _ => MALFORMED,
    }
}

fn ack(kind: AckKind, packet_id: u16, failed: bool) -> Incoming {
    Incoming::Ack { kind, packet_id, failed }
}

fn qos(qos: core::Qos) -> Qos {
    match qos {
        core::Qos::AtMostOnce => Qos::AtMostOnce,
        core::Qos::AtLeastOnce => Qos::AtLeastOnce,
        core::Qos::ExactlyOnce => Qos::ExactlyOnce,
    }
}

fn filters(entries: &[SubEntry], id: Option<u32>) -> Vec<(String, SubOptions)> {
    entries
        .iter()
        .map(|entry| {
            let options = entry.sub_opts();
            let retained = match options.rh() {
                RetainHandling::SendRetained => Replay::Always,
                RetainHandling::SendRetainedIfNotExists => Replay::IfNew,
                RetainHandling::DoNotSendRetained => Replay::Never,
            };
            let options = SubOptions { qos: qos(options.qos()), no_local: options.nl(), retain_as_published: options.rap(), retained, id };
            (entry.topic_filter().to_owned(), options)
        })
        .collect()
}

fn publish(raw: &RawPacket, version: Version) -> Result<Incoming, DecodeError> {
    let PacketData::Publish(data) = &raw.data else {
        return Err(MALFORMED);
    };
    match version {
        Version::V4 => {
            let (packet, _) = v3_1_1::Publish::parse(raw.flags(), data.clone()).map_err(|error| wrong(&error))?;
            let message = Message {
                topic: packet.topic_name().to_owned(),
                payload: Bytes::copy_from_slice(packet.payload().as_slice()),
                qos: qos(packet.qos()),
                retain: packet.retain(),
                ..Message::default()
            };
            Ok(Incoming::Publish { message, packet_id: packet.packet_id(), alias: None })
        }
        Version::V5 => {
            let (packet, _) = v5_0::Publish::parse(raw.flags(), data.clone()).map_err(|error| wrong(&error))?;
            let mut message = Message {
                topic: packet.topic_name().to_owned(),
                payload: Bytes::copy_from_slice(packet.payload().as_slice()),
                qos: qos(packet.qos()),
                retain: packet.retain(),
                ..Message::default()
            };
            let expiry = take_properties(packet.props(), &mut message)?;
            message.expires_at = expiry.map(|seconds| clock::now().plus(u64::from(seconds) * 1000));
            let alias = packet.props().iter().find_map(|property| match property {
                Property::TopicAlias(alias) => Some(alias.val()),
                _ => None,
            });
            Ok(Incoming::Publish { message, packet_id: packet.packet_id(), alias })
        }
    }
}

/// Moves PUBLISH or will properties into `message`; the answer is the expiry interval in seconds.
fn take_properties(properties: &[Property], message: &mut Message) -> Result<Option<u32>, DecodeError> {
    let mut expiry = None;
    for property in properties {
        match property {
            Property::MessageExpiryInterval(seconds) => expiry = Some(seconds.val()),
            Property::ResponseTopic(topic) => message.response_topic = Some(topic.val().to_owned()),
            Property::CorrelationData(data) => message.correlation_data = Some(Bytes::copy_from_slice(data.val())),
            Property::ContentType(text) => message.content_type = Some(text.val().to_owned()),
            Property::UserProperty(pair) => message.user_properties.push((pair.key().to_owned(), pair.val().to_owned())),
            Property::PayloadFormatIndicator(format) => message.is_text = format.val() == 1,
            Property::SubscriptionIdentifier(_) => {
                return Err(DecodeError::Close(Close::Protocol("a client may not send a subscription identifier")));
            }
            _ => {}
        }
    }
    Ok(expiry)
}

fn connect_v4(raw: &RawPacket) -> Result<Connect, DecodeError> {
    let packet = whole(raw, v3_1_1::Connect::parse)?;
    let will = packet.will_topic().map(|topic| Will {
        message: Message {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(packet.will_payload().unwrap_or_default()),
            qos: qos(packet.will_qos()),
            retain: packet.will_retain(),
            ..Message::default()
        },
        expiry_s: None,
        delay_s: 0,
    });
    Ok(Connect {
        version: Version::V4,
        client_id: packet.client_id().to_owned(),
        clean_start: packet.clean_session(),
        keep_alive_s: packet.keep_alive(),
        username: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        will,
        session_expiry_s: if packet.clean_session() { 0 } else { u32::MAX },
        receive_max: u16::MAX,
        packet_size_max: u32::MAX,
        alias_max: 0,
        wants_reasons: false,
    })
}

fn connect_v5(raw: &RawPacket) -> Result<Connect, DecodeError> {
    let packet = whole(raw, v5_0::Connect::parse)?;
    let will = match packet.will_topic() {
        Some(topic) => {
            let mut message = Message {
                topic: topic.to_owned(),
                payload: Bytes::copy_from_slice(packet.will_payload().unwrap_or_default()),
                qos: qos(packet.will_qos()),
                retain: packet.will_retain(),
                ..Message::default()
            };
            let expiry_s = take_properties(packet.will_props(), &mut message)?;
            let delay_s = packet.will_props().iter().find_map(|property| match property {
                Property::WillDelayInterval(seconds) => Some(seconds.val()),
                _ => None,
            });
            Some(Will { message, expiry_s, delay_s: delay_s.unwrap_or(0) })
        }
        None => None,
    };
    let mut connect = Connect {
        version: Version::V5,
        client_id: packet.client_id().to_owned(),
        clean_start: packet.clean_start(),
        keep_alive_s: packet.keep_alive(),
        username: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        will,
        session_expiry_s: 0,
        receive_max: u16::MAX,
        packet_size_max: u32::MAX,
        alias_max: 0,
        wants_reasons: true,
    };
    for property in packet.props() {
        match property {
            Property::SessionExpiryInterval(seconds) => connect.session_expiry_s = seconds.val(),
            Property::ReceiveMaximum(max) => connect.receive_max = max.val(),
            Property::MaximumPacketSize(max) => connect.packet_size_max = max.val(),
            Property::RequestProblemInformation(wanted) => connect.wants_reasons = wanted.val() != 0,
            Property::TopicAliasMaximum(max) => connect.alias_max = max.val(),
            Property::AuthenticationMethod(_) => return Err(DecodeError::Close(Close::AuthMethod)),
            Property::AuthenticationData(_) => {
                return Err(DecodeError::Close(Close::Protocol("authentication data without a method")));
            }
            _ => {}
        }
    }
    if connect.receive_max == 0 || connect.packet_size_max == 0 {
        return Err(MALFORMED);
    }
    Ok(connect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    fn connected() -> Decoder {
        Decoder { builder: PacketBuilder::with_maximum_packet_size(1024), version: Some(Version::V5), offered: None, partial: false }
    }

    #[test]
    fn a_connect_with_topic_alias_maximum_zero_is_taken() {
        let bytes = b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x03\x22\x00\x00\x00\x03cid";
        let mut decoder = Decoder::new(1024);
        let Ok(Some(Incoming::Connect(connect))) = decoder.next(&mut BytesMut::from(&bytes[..])) else {
            panic!("not taken");
        };
        assert_eq!((connect.client_id.as_str(), connect.keep_alive_s, connect.clean_start), ("cid", 60, true));
    }

    #[test]
    fn packet_id_zero_is_refused_in_every_packet_that_has_one() {
        for bytes in [
            &b"\x32\x06\x00\x01t\x00\x00\x00"[..],
            b"\x34\x06\x00\x01t\x00\x00\x00",
            b"\x40\x02\x00\x00",
            b"\x62\x02\x00\x00",
            b"\x82\x07\x00\x00\x00\x00\x01t\x00",
            b"\xa2\x06\x00\x00\x00\x00\x01t",
        ] {
            assert_eq!(connected().next(&mut BytesMut::from(bytes)).err(), Some(MALFORMED), "{bytes:x?}");
        }
    }

    #[test]
    fn two_packets_in_one_read_come_out_one_by_one_and_a_split_one_waits() {
        let mut decoder = connected();
        let mut data = BytesMut::from(&b"\xc0\x00\x32\x07\x00\x01t\x00\x07\x00"[..]);
        assert!(matches!(decoder.next(&mut data), Ok(Some(Incoming::Ping))));
        assert!(matches!(decoder.next(&mut data), Ok(None)));
        data.extend_from_slice(b"!\xc0\x00");
        let Ok(Some(Incoming::Publish { message, packet_id, .. })) = decoder.next(&mut data) else { panic!("not taken") };
        assert_eq!((message.topic.as_str(), &message.payload[..], packet_id), ("t", &b"!"[..], Some(7)));
        assert!(matches!(decoder.next(&mut data), Ok(Some(Incoming::Ping))));
    }

    #[test]
    fn no_bytes_panic() {
        let seeds: [&[u8]; 3] = [
            b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x03\x22\x00\x00\x00\x03cid",
            b"\x82\x0d\x00\x01\x02\x0b\x07\x00\x05a/+/c\x01",
            b"\x32\x10\x00\x01t\x00\x01\x08\x02\x00\x00\x00\x05\x01\x00\x23hello",
        ];
        let mut dice = 0x9E37_79B9_7F4A_7C15_u64;
        for round in 0..30_000 {
            let mut bytes = BytesMut::from(seeds[round % 3]);
            for _ in 0..3 {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                let at = (dice >> 8) as usize % bytes.len();
                bytes[at] = dice as u8;
            }
            let mut decoder = if round % 3 == 0 { Decoder::new(1024) } else { connected() };
            while let Ok(Some(_)) = decoder.next(&mut bytes) {}
        }
    }
}
