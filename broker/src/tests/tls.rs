//! The TLS listener: client certificates, and the client's side of it.

use super::house::*;
use crate::client::{Client, ClientConfig, ClientEvent, ClientTls, Version};
use crate::message::Qos;
use crate::server::{Broker, BrokerConfig, StartError, TlsListener};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("signed"))
    }

    /// Certificate and key in PEM.
    fn issue(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("params");
        params.distinguished_name.push(DnType::CommonName, name);
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
