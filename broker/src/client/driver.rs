//! rumqttc's two clients, v4 and v5, behind one shape.

use crate::client::{ClientConfig, ClientTls, ConfigError, OUTSTANDING_MAX, PACKET_SIZE_MAX};
use crate::clock;
use crate::message::{Message, Qos};
use crate::server::tls::certificates;
use crate::version::Version;
use rumqttc::v5::mqttbytes::v5 as packets5;
use rumqttc::{TlsConfiguration, Transport, v5};
use rustls::{ClientConfig as TlsConfig, RootCertStore};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use std::sync::Arc;
use std::time::Duration;

/// Room in rumqttc's request channel: everything outstanding, and subscriptions beside it.
const REQUESTS_MAX: usize = OUTSTANDING_MAX * 4;
/// rumqttc numbers packets up to this and stumbles over an id still in use; far above what is ever outstanding.
const PACKET_IDS: u16 = 1000;
const CONNECT_TIMEOUT_S: u64 = 5;
const SESSION_EXPIRY_S: u32 = 24 * 3600;

/// The polled half.
pub(super) enum Driver {
    V4(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// The half that hands requests in; never blocks.
pub(super) enum Requests {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// What the poll loop needs to know of rumqttc's events.
pub(super) enum Notice {
    Connected {
        session_present: bool,
    },
    /// A PUBLISH went out under this packet id; 0 at QoS 0. In the order of the requests.
    Published(u16),
    Subscribed(u16),
    Acknowledged {
        packet_id: u16,
        refused: Option<String>,
    },
    SubAck {
        packet_id: u16,
        refused: Option<String>,
    },
    Message(Message),
    /// The server says why it ends the connection.
    Farewell(String),
    Other,
}

/// The request channel is full or closed.
pub(super) struct NotTaken;

pub(super) fn build(config: &ClientConfig) -> Result<(Driver, Requests), ConfigError> {
    let transport = match &config.tls {
        Some(tls) => Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls_config(tls).map_err(ConfigError::Tls)?))),
        None => Transport::tcp(),
    };
    let keep_alive = config.keep_alive.max(Duration::from_secs(5));
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    match config.version {
        Version::V4 => {
            let mut options = rumqttc::MqttOptions::new(&config.client_id, &config.host, config.port);
            options.set_transport(transport).set_keep_alive(keep_alive).set_clean_session(config.clean);
            options.set_max_packet_size(PACKET_SIZE_MAX as usize, PACKET_SIZE_MAX as usize).set_inflight(PACKET_IDS);
            if let Some(username) = &config.username {
                options.set_credentials(username, config.password.clone().unwrap_or_default());
            }
            if let Some(will) = &config.will {
                options.set_last_will(rumqttc::LastWill::new(&will.topic, will.payload.to_vec(), qos4(will.qos), will.retain));
            }
            let (client, mut events) = rumqttc::AsyncClient::new(options, REQUESTS_MAX);
            events.set_network_options(network);
            Ok((Driver::V4(Box::new(events)), Requests::V4(client)))
        }
        Version::V5 => {
            let mut options = v5::MqttOptions::new(&config.client_id, &config.host, config.port);
            options.set_transport(transport).set_keep_alive(keep_alive).set_clean_start(config.clean);
            options.set_max_packet_size(Some(PACKET_SIZE_MAX)).set_connection_timeout(CONNECT_TIMEOUT_S);
            options.set_outgoing_inflight_upper_limit(PACKET_IDS).set_network_options(network);
            options.set_session_expiry_interval(Some(if config.clean { 0 } else { SESSION_EXPIRY_S }));
            if let Some(username) = &config.username {
                options.set_credentials(username, config.password.clone().unwrap_or_default());
            }
            if let Some(will) = &config.will {
                options.set_last_will(packets5::LastWill::new(&will.topic, will.payload.to_vec(), qos5(will.qos), will.retain, None));
            }
            let (client, events) = v5::AsyncClient::new(options, REQUESTS_MAX);
            Ok((Driver::V5(Box::new(events)), Requests::V5(client)))
        }
    }
}

impl Driver {
    pub async fn poll(&mut self) -> Result<Notice, String> {
        match self {
            Self::V4(events) => events.poll().await.map(notice4).map_err(|error| error.to_string()),
            Self::V5(events) => events.poll().await.map(notice5).map_err(|error| error.to_string()),
        }
    }

    /// Drops the connection and every request in hand; the shared half knows what must be sent again.
    pub fn reset(&mut self) {
        match self {
            Self::V4(events) => {
                events.clean();
                events.pending.clear();
                events.state.events.clear();
            }
            Self::V5(events) => {
                events.clean();
                events.pending.clear();
                events.state.events.clear();
            }
        }
    }
}

impl Requests {
    pub fn publish(&self, message: &Message) -> Result<(), NotTaken> {
        match self {
            Self::V4(client) => {
                client.try_publish(&message.topic, qos4(message.qos), message.retain, message.payload.to_vec()).map_err(|_| NotTaken)
            }
            Self::V5(client) => {
                let properties = packets5::PublishProperties {
                    message_expiry_interval: message
                        .expires_at
                        .map(|at| u32::try_from(at.since(clock::now()).div_ceil(1000)).unwrap_or(u32::MAX).max(1)),
                    response_topic: message.response_topic.clone(),
                    correlation_data: message.correlation_data.clone(),
                    user_properties: message.user_properties.clone(),
                    content_type: message.content_type.clone(),
                    payload_format_indicator: message.is_text.then_some(1),
                    ..packets5::PublishProperties::default()
                };
                client
                    .try_publish_with_properties(&message.topic, qos5(message.qos), message.retain, message.payload.clone(), properties)
                    .map_err(|_| NotTaken)
            }
        }
    }

    pub fn subscribe(&self, filter: &str, qos: Qos) -> Result<(), NotTaken> {
        match self {
            Self::V4(client) => client.try_subscribe(filter, qos4(qos)).map_err(|_| NotTaken),
            Self::V5(client) => client.try_subscribe(filter, qos5(qos)).map_err(|_| NotTaken),
        }
    }

    pub fn unsubscribe(&self, filter: &str) -> Result<(), NotTaken> {
        match self {
            Self::V4(client) => client.try_unsubscribe(filter).map_err(|_| NotTaken),
            Self::V5(client) => client.try_unsubscribe(filter).map_err(|_| NotTaken),
        }
    }

    pub fn disconnect(&self) -> Result<(), NotTaken> {
        match self {
            Self::V4(client) => client.try_disconnect().map_err(|_| NotTaken),
            Self::V5(client) => client.try_disconnect().map_err(|_| NotTaken),
        }
    }
}

fn outgoing(outgoing: &rumqttc::Outgoing) -> Notice {
    match outgoing {
        rumqttc::Outgoing::Publish(packet_id) => Notice::Published(*packet_id),
        rumqttc::Outgoing::Subscribe(packet_id) => Notice::Subscribed(*packet_id),
        _ => Notice::Other,
    }
}

fn notice4(event: rumqttc::Event) -> Notice {
    use rumqttc::{Packet, SubscribeReasonCode};
    match event {
        rumqttc::Event::Outgoing(sent) => outgoing(&sent),
        rumqttc::Event::Incoming(packet) => match packet {
            Packet::ConnAck(packet) => Notice::Connected { session_present: packet.session_present },
            Packet::PubAck(packet) => Notice::Acknowledged { packet_id: packet.pkid, refused: None },
            Packet::PubComp(packet) => Notice::Acknowledged { packet_id: packet.pkid, refused: None },
            Packet::SubAck(packet) => {
                let refused = packet.return_codes.contains(&SubscribeReasonCode::Failure);
                Notice::SubAck { packet_id: packet.pkid, refused: refused.then(|| "Failure".to_owned()) }
            }
            Packet::Publish(packet) => Notice::Message(Message {
                topic: packet.topic,
                payload: packet.payload,
                qos: qos_of(packet.qos as u8),
                retain: packet.retain,
                ..Message::default()
            }),
            _ => Notice::Other,
        },
    }
}

fn notice5(event: v5::Event) -> Notice {
    use packets5::{Packet, PubAckReason, PubRecReason, SubscribeReasonCode};
    match event {
        v5::Event::Outgoing(sent) => outgoing(&sent),
        v5::Event::Incoming(packet) => match packet {
            Packet::ConnAck(packet) => Notice::Connected { session_present: packet.session_present },
            Packet::PubAck(packet) => {
                let good = matches!(packet.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
                Notice::Acknowledged { packet_id: packet.pkid, refused: (!good).then(|| format!("{:?}", packet.reason)) }
            }
            Packet::PubRec(packet) => {
                if matches!(packet.reason, PubRecReason::Success | PubRecReason::NoMatchingSubscribers) {
                    Notice::Other
                } else {
                    Notice::Acknowledged { packet_id: packet.pkid, refused: Some(format!("{:?}", packet.reason)) }
                }
            }
            Packet::PubComp(packet) => Notice::Acknowledged { packet_id: packet.pkid, refused: None },
            Packet::SubAck(packet) => {
                let refused = packet.return_codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
                Notice::SubAck { packet_id: packet.pkid, refused: refused.map(|code| format!("{code:?}")) }
            }
            Packet::Publish(packet) => Notice::Message(message5(packet)),
            Packet::Disconnect(packet) => {
                let text = packet.properties.and_then(|properties| properties.reason_string).unwrap_or_default();
                Notice::Farewell(format!("{:?} {text}", packet.reason_code).trim_end().to_owned())
            }
            _ => Notice::Other,
        },
    }
}

fn message5(packet: packets5::Publish) -> Message {
    let properties = packet.properties.unwrap_or_default();
    Message {
        topic: String::from_utf8_lossy(&packet.topic).into_owned(),
        payload: packet.payload,
        qos: qos_of(packet.qos as u8),
        retain: packet.retain,
        expires_at: properties.message_expiry_interval.map(|seconds| clock::now().plus(u64::from(seconds) * 1000)),
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data,
        content_type: properties.content_type,
        is_text: properties.payload_format_indicator == Some(1),
        user_properties: properties.user_properties,
    }
}

fn qos4(qos: Qos) -> rumqttc::QoS {
    match qos {
        Qos::AtMostOnce => rumqttc::QoS::AtMostOnce,
        Qos::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        Qos::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}

fn qos5(qos: Qos) -> v5::mqttbytes::QoS {
    match qos {
        Qos::AtMostOnce => v5::mqttbytes::QoS::AtMostOnce,
        Qos::AtLeastOnce => v5::mqttbytes::QoS::AtLeastOnce,
        Qos::ExactlyOnce => v5::mqttbytes::QoS::ExactlyOnce,
    }
}

fn qos_of(number: u8) -> Qos {
    match number {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

fn tls_config(tls: &ClientTls) -> Result<TlsConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca_pem).map_err(|error| format!("CA: {error}"))? {
        roots.add(certificate).map_err(|error| format!("CA: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = TlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("protocol versions: {error}"))?
        .with_root_certificates(roots);
    match &tls.identity_pem {
        Some((chain, key)) => {
            let chain = certificates(chain).map_err(|error| format!("certificate: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("key: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("certificate and key: {error}"))
        }
        None => Ok(builder.with_no_client_auth()),
    }
}
