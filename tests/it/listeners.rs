//! The listeners of a real gateway: every door, client certificates, and identities renewed while sessions go on.

use crate::PROGRAM;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use serde_json::json;
use spalla::demo::ports;
use spalla_broker::client::{ClientConfig, ClientError, ClientEvent, ClientTls, Version};
use spalla_tests::{Device, Login, Mesh, Node, mesh::config_folder, until};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed"))
    }

    fn issue(&self, name: &str, serial: u64) -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("params");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    }

    fn revoked(&self, serials: &[u64]) -> String {
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
        params.signed_by(&self.0).expect("signed").pem().expect("PEM")
    }
}

/// Certificate and key of the listener, where the settings name them.
fn show(folder: &Path, identity: &(Vec<u8>, Vec<u8>)) {
    std::fs::write(folder.join("tls/devices.pem"), &identity.0).expect("written");
    std::fs::write(folder.join("tls/devices.key"), &identity.1).expect("written");
    restrict(&folder.join("tls/devices.key"));
}

fn restrict(key: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
}

fn with_settings(node: &Node, ports: u16) {
    let text = std::fs::read_to_string(&node.config).expect("settings");
    let listeners = format!(
        "\nwebsocket = \"127.0.0.1:{ports}\"\n[devices.tls]\nlisten = \"127.0.0.1:{}\"\nwebsocket = \"127.0.0.1:{}\"\n\
         certificate = \"tls/devices.pem\"\nkey = \"tls/devices.key\"\nclient_ca = \"tls/devices-ca.pem\"\n\
         client_crl = \"tls/devices-crl.pem\"\n[devices.limits]\nsubscriptions = 3\n\n[api]\n",
        ports + 1,
        ports + 2
    );
    std::fs::write(&node.config, text.replacen("\n[api]\n", &listeners, 1)).expect("written");
}

fn by_certificate(name: &str, port: u16, trusts: &Authority, identity: Option<(Vec<u8>, Vec<u8>)>) -> ClientConfig {
    let tls = ClientTls { ca_pem: trusts.0.pem().into_bytes(), identity_pem: identity };
    ClientConfig { tls: Some(tls), version: Version::V5, ..ClientConfig::new("localhost", port, name.replace('/', "-")) }
}

async fn come_in(login: &Login, config: ClientConfig) -> Device {
    let mut device = Device::begin_with(login, config);
    device.connected().await;
    device
}

#[tokio::test]
async fn devices_come_in_by_certificate_and_identities_change_under_their_sessions() {
    let mut mesh = Mesh::init(PROGRAM, &["hq"]);
    let (devices, first, second) = (Authority::new(), Authority::new(), Authority::new());
    let folder = mesh.nodes[0].config.parent().expect("a folder").to_owned();
    let port = ports::free_block(3).expect("free ports");
    with_settings(&mesh.nodes[0], port);
    show(&folder, &first.issue("listener", 1));
    std::fs::write(folder.join("tls/devices-ca.pem"), devices.0.pem()).expect("written");
    std::fs::write(folder.join("tls/devices-crl.pem"), devices.revoked(&[])).expect("written");
    mesh.start_all();
    mesh.ready().await;
    let node = &mesh.nodes[0];
    let profile = std::fs::read_to_string(config_folder().join("profiles/qr-reader.yaml")).expect("a profile");
    assert_eq!(node.api.apply(&profile).await.status, 200);
    let stays = mesh.add_device(0, "stays", "qr-reader").await;
    let goes = mesh.add_device(0, "goes", "qr-reader").await;

    // The certificate's name is the device; nobody behind it is nobody.
    let (own, other) = (devices.issue(&stays.id, 7), devices.issue(&goes.id, 8));
    let stays_config = || by_certificate(&stays.id, port + 1, &first, Some(own.clone()));
    let mut staying = come_in(&stays, stays_config()).await;
    let mut going = come_in(&goes, by_certificate(&goes.id, port + 1, &first, Some(other.clone()))).await;
    staying.say("seen", &json!({ "id": "one" })).await.expect("acknowledged");
    let foreign = staying.publish(&goes.event_topic("seen"), b"{}", false).await;
    assert!(matches!(foreign, Err(ClientError::Refused(_))), "{foreign:?}");
    let strangers = [
        by_certificate("hq/nobody", port + 1, &first, Some(devices.issue("hq/nobody", 9))),
        // A good password beside another device's certificate.
        ClientConfig { username: Some(goes.id.clone()), password: Some(goes.password.clone()), ..stays_config() },
        by_certificate("none", port + 1, &first, None),
    ];
    for config in strangers {
        let reason = Device::begin_with(&stays, config).refused().await;
        assert!(reason.contains("NotAuthorized"), "{reason}");
    }
    for door in [port, node.devices_port, port + 2] {
        TcpStream::connect(("127.0.0.1", door)).await.expect("every door is open");
    }
    upgraded(port).await;

    // A revoked certificate loses its session, and nobody else does.
    std::fs::write(folder.join("tls/devices-crl.pem"), devices.revoked(&[8])).expect("written");
    let done = node.api.post("/listeners/reload", &json!({})).await;
    assert_eq!((done.status, &done.data()["disconnected"]), (200, &json!(1)), "{}", done.text);
    assert!(going.refused().await.contains("certificate"), "it is told why");
    staying.say("seen", &json!({ "id": "two" })).await.expect("acknowledged");

    // A new certificate of the listener, by signal: newcomers see it, the session goes on.
    show(&folder, &second.issue("listener", 2));
    node.signal(nix::sys::signal::Signal::SIGHUP);
    until("the new certificate is shown", async || node.log().contains("read again").then_some(())).await;
    drop(
        come_in(
            &goes,
            ClientConfig {
                username: Some(goes.id.clone()),
                password: Some(goes.password.clone()),
                ..by_certificate("by-password", port + 1, &second, None)
            },
        )
        .await,
    );
    staying.say("seen", &json!({ "id": "three" })).await.expect("acknowledged");

    // What cannot be used changes nothing, and says which file it is.
    std::fs::write(folder.join("tls/devices.key"), "no key").expect("written");
    let refused = node.api.post("/listeners/reload", &json!({})).await;
    assert_eq!((refused.status, refused.code()), (409, "unusable"), "{}", refused.text);
    assert!(refused.message().contains("devices.key"), "{}", refused.text);
    staying.say("seen", &json!({ "id": "four" })).await.expect("acknowledged");
    while let Ok(event) = staying.events.try_recv() {
        assert!(!matches!(event, ClientEvent::Disconnected { .. }), "{event:?}");
    }

    // A certificate does not outlive its device's login.
    assert_eq!(node.api.post_surely(&format!("/devices/{}/revoke", stays.id), &json!({})).await.status, 200);
    assert!(staying.refused().await.contains("revoked"), "cut");

    // A limit of the settings holds.
    let limited = come_in(&goes, goes.config(Version::V5)).await;
    assert!(limited.listen().await.is_ok());
}

/// The WebSocket listener speaks `mqtt` and says so.
async fn upgraded(port: u16) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let request = "GET /mqtt HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.expect("an answer"));
    }
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("sec-websocket-protocol: mqtt"), "{answer}");
}

#[tokio::test]
async fn listeners_that_cannot_be_opened_stop_the_start_with_one_clear_line() {
    let mut mesh = Mesh::init(PROGRAM, &["hq"]);
    let node = &mut mesh.nodes[0];
    let good = std::fs::read_to_string(&node.config).expect("settings");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let cases = [
        ("[devices.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"none.pem\"\nkey = \"none.key\"\n".to_owned(), "devices.tls: "),
        ("[devices.limits]\nconnections = 0\n".into(), "devices.limits.connections: 0; give 1 to "),
        (format!("websocket = \"127.0.0.1:{port}\"\n"), &*format!("cannot listen on 127.0.0.1:{port}")),
    ]
    .map(|(settings, line)| (settings, line.to_owned()));
    for (settings, line) in cases {
        std::fs::write(&node.config, good.replacen("\n[api]\n", &format!("\n{settings}\n[api]\n"), 1)).expect("written");
        let before = node.log().len();
        node.start();
        assert!(!node.ended().await.success(), "{settings}");
        let log = node.log();
        assert_eq!(log[before..].lines().filter(|told| told.contains(&line)).count(), 1, "wanted `{line}` in\n{}", &log[before..]);
    }
}
