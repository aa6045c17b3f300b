//! The TLS listener: client certificates, and the client's side of it.

use super::house::*;
use crate::client::{Client, ClientConfig, ClientEvent, ClientTls, Version};
use crate::message::Qos;
use crate::server::{Addresses, Broker, BrokerConfig, ReloadError, StartError, TlsListener};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// Authorities have names of their own.
static NUMBER: AtomicU64 = AtomicU64::new(1);

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("signed"))
    }

    pub fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// A revocation list with these serial numbers.
    fn revoke(&self, serials: &[u64]) -> Vec<u8> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2025, 1, 1),
            next_update: rcgen::date_time_ymd(2035, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).expect("signed").pem().expect("PEM").into_bytes()
    }

    /// Certificate and key in PEM.
    pub fn issue(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        self.issue_numbered(name, 7)
    }

    fn issue_numbered(&self, name: &str, serial: u64) -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("params");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_names_its_bearer_and_strangers_stay_out() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (certificates_pem, key_pem) = ours.issue("broker");
    let ca_pem = ours.0.pem().into_bytes();
    let house = open().await;
    let listener = TlsListener {
        address: ([127, 0, 0, 1], 0).into(),
        certificates_pem,
        key_pem,
        client_ca_pem: Some(ca_pem.clone()),
        client_required: true,
        crl_pem: None,
    };
    let broken = TlsListener { key_pem: b"no key".to_vec(), ..listener.clone() };
    let refused = Broker::start(BrokerConfig { tls: Some(broken), ..BrokerConfig::default() }, house.house.clone()).await;
    assert!(matches!(refused.err(), Some(StartError::Tls { reason, .. }) if reason.contains("key")));

    let broker = Broker::start(BrokerConfig { tls: Some(listener), ..BrokerConfig::default() }, house.house.clone()).await.expect("starts");
    let port = broker.addresses().tls.expect("listens").port();
    // One silent socket: the TLS handshake of others goes on.
    let _idle = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let config = |identity| ClientConfig {
        tls: Some(ClientTls { ca_pem: ca_pem.clone(), identity_pem: identity }),
        ..ClientConfig::new("localhost", port, "c")
    };
    for version in BOTH {
        let (client, mut events) = Client::connect(ClientConfig { version, ..config(Some(ours.issue("device:hq/lock"))) }).expect("usable");
        assert!(matches!(within(events.recv()).await, Some(ClientEvent::Connected { .. })));
        client.subscribe("t", Qos::AtLeastOnce).await.expect("granted");
        within(broker.deliver("device:hq/lock", text("t", "x", Qos::AtLeastOnce))).await.expect("transported");
        assert_eq!(payloads_to(&mut events, "x").await, ["x"]);
        client.disconnect().await;
    }
    for identity in [None, Some(theirs.issue("device:hq/lock"))] {
        let (_stranger, mut events) = Client::connect(ClientConfig { version: Version::V5, ..config(identity) }).expect("usable");
        disconnected(&mut events).await;
    }
    until(|| broker.stats().refused.get("tls").is_some_and(|count| *count >= 2)).await;
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_listener_takes_a_new_identity_and_cuts_whom_the_revocation_list_names() {
    let (ours, next) = (Authority::new(), Authority::new());
    let house = open().await;
    let (certificates_pem, key_pem) = ours.issue("broker");
    let listener = TlsListener {
        address: ([127, 0, 0, 1], 0).into(),
        certificates_pem,
        key_pem,
        client_ca_pem: Some(ours.pem()),
        client_required: true,
        crl_pem: Some(ours.revoke(&[99])),
    };
    let broker =
        Broker::start(BrokerConfig { tls: Some(listener.clone()), ..BrokerConfig::default() }, house.house.clone()).await.expect("starts");
    let address = broker.addresses().tls.expect("listens");
    let listener = TlsListener { address, ..listener };
    let join = |serial: u64, name: &str| {
        let config = ClientConfig {
            tls: Some(ClientTls { ca_pem: [ours.pem(), next.pem()].concat(), identity_pem: Some(ours.issue_numbered(name, serial)) }),
            version: Version::V5,
            ..ClientConfig::new("localhost", address.port(), name)
        };
        Client::connect(config).expect("usable")
    };
    let (good, mut good_events) = join(1, "good");
    let (_bad, mut bad_events) = join(2, "bad");
    for events in [&mut good_events, &mut bad_events] {
        assert!(matches!(within(events.recv()).await, Some(ClientEvent::Connected { .. })));
    }
    let (_revoked, mut revoked_events) = join(99, "revoked");
    disconnected(&mut revoked_events).await;

    // What cannot be used changes nothing.
    for (broken, word) in [
        (TlsListener { key_pem: b"no key".to_vec(), ..listener.clone() }, "key"),
        (TlsListener { key_pem: next.issue("broker").1, ..listener.clone() }, "certificate and key"),
        (TlsListener { crl_pem: Some(b"no list".to_vec()), ..listener.clone() }, "revocation list"),
        // Whoever was revoked would be let in again.
        (TlsListener { crl_pem: Some(next.revoke(&[99])), ..listener.clone() }, "none of the client CA's authorities"),
        (TlsListener { client_ca_pem: None, client_required: false, ..listener.clone() }, "no client CA"),
    ] {
        let refused = broker.reload_tls(&broken).expect_err("unusable").to_string();
        assert!(refused.contains(word) && refused.contains("nothing was changed"), "{refused}");
    }
    let elsewhere = ([127, 0, 0, 1], 1).into();
    assert_eq!(broker.reload_tls(&TlsListener { address: elsewhere, ..listener.clone() }), Err(ReloadError::NoListener(elsewhere)));

    let (certificates_pem, key_pem) = next.issue("broker");
    let renewed = TlsListener { certificates_pem, key_pem, crl_pem: Some(ours.revoke(&[2, 99])), ..listener };
    assert_eq!(broker.reload_tls(&renewed), Ok(1));
    let reason = disconnected(&mut bad_events).await;
    assert!(reason.contains("no longer accepted"), "{reason}");
    disconnected(&mut bad_events).await;
    // The other session goes on, on its old connection; newcomers see the new certificate.
    good.subscribe("t", Qos::AtLeastOnce).await.expect("granted");
    let (new, mut new_events) = join(3, "new");
    assert!(matches!(within(new_events.recv()).await, Some(ClientEvent::Connected { .. })));
    within(new.publish(text("t", "x", Qos::AtLeastOnce))).await.expect("acknowledged");
    assert_eq!(payloads_to(&mut good_events, "x").await, ["x"]);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_says_nothing_holds_no_tls_or_websocket_listener_up() {
    let ours = Authority::new();
    let house = open().await;
    let (certificates_pem, key_pem) = ours.issue("broker");
    let address = ([127, 0, 0, 1], 0).into();
    let listener = TlsListener { address, certificates_pem, key_pem, client_ca_pem: None, client_required: false, crl_pem: None };
    let config = BrokerConfig { tls: Some(listener.clone()), wss: Some(listener), ws: Some(address), ..BrokerConfig::default() };
    let broker = Broker::start(config, house.house.clone()).await.expect("starts");
    let Addresses { tls, ws, wss, .. } = broker.addresses();
    let (tls, ws, wss) = (tls.expect("listens"), ws.expect("listens"), wss.expect("listens"));
    let mut silent = Vec::new();
    for _ in 0..20 {
        for address in [tls, ws, wss] {
            silent.push(tokio::net::TcpStream::connect(address).await.expect("connects"));
        }
    }
    let config = ClientConfig {
        tls: Some(ClientTls { ca_pem: ours.pem(), identity_pem: None }),
        username: Some("beside".into()),
        password: Some("secret".into()),
        ..ClientConfig::new("localhost", tls.port(), "beside")
    };
    let (_client, mut events) = Client::connect(config).expect("usable");
    assert!(matches!(within(events.recv()).await, Some(ClientEvent::Connected { .. })));
    // Behind them all, those of the WebSocket listeners are accepted too.
    until(|| broker.core.sockets.load(std::sync::atomic::Ordering::Relaxed) == 61).await;
    drop(silent);
    broker.shutdown().await;
}
