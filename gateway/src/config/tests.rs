use super::*;
use crate::cli::init::{BasePorts, InitOptions, SiteSpec, init};
use std::path::Path;

/// A good pair of sites as `init` writes them.
fn made(folder: &Path) -> Config {
    let site = |name: &str| SiteSpec { name: name.into(), host: "127.0.0.1".into() };
    let options = InitOptions {
        folder: folder.join("m"),
        sites: vec![site("hq"), site("plant")],
        organisation: "acme".into(),
        mesh: "campus".into(),
        ports: BasePorts::default(),
        cloud_url: None,
    };
    Config::load(&init(&options).expect("inits").sites[0].config).expect("loads")
}

fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("folder");
    let good = made(folder.path());
    type Change = fn(&mut Config);
    let wrong: Vec<(&str, Change)> = vec![
        ("organisation", |c| c.organisation = "a/b".into()),
        ("organisation", |c| c.organisation = "a b".into()),
        ("mesh", |c| c.mesh = "campus~hq".into()),
        ("site", |c| c.site = "x".into()),
        ("site", |c| (c.site, c.peers.gateways[0].site) = ("hq~1".into(), "hq~1".into())),
        ("peers.gateways[1].site", |c| c.peers.gateways[1].site = "zürich".into()),
        ("node", |c| c.node = NodeId(7)),
        ("peers.gateways[1].node", |c| c.peers.gateways[1].node = NodeId(1)),
        ("peers.gateways[1].address", |c| c.peers.gateways[1].address = "nowhere".into()),
        ("peers.gateways[1].address", |c| c.peers.gateways[1].address = c.peers.gateways[0].address.clone()),
        ("peers.gateways", |c| c.peers.gateways = vec![c.peers.gateways[0].clone(); GATEWAYS_MAX + 1]),
        ("peers.ca", |c| c.peers.ca = c.peers.key.clone()),
        ("peers.certificate", |c| c.peers.certificate = c.data.join("none")),
        // The other gateway's certificate does not belong to this key.
        ("peers.certificate", |c| c.peers.certificate = c.peers.certificate.join("../../../plant/tls/node.pem")),
        ("peers.listen", |c| c.peers.listen = c.devices.listen.expect("a listener")),
        ("devices", |c| c.devices.listen = None),
        ("devices.websocket", |c| c.devices.websocket = c.devices.listen),
        ("devices.tls", |c| c.devices.tls = Some(DevicesTls { listen: None, websocket: None, ..tls(c) })),
        ("devices.tls.listen", |c| c.devices.tls = Some(DevicesTls { listen: c.devices.listen, ..tls(c) })),
        ("peers.listen", |c| c.devices.tls = Some(DevicesTls { websocket: Some(c.peers.listen), ..tls(c) })),
        ("devices.tls", |c| c.devices.tls = Some(with_files(c, |files| files.key = "/nonexistent".into()))),
        ("devices.tls", |c| c.devices.tls = Some(with_files(c, |files| files.certificate = "/dev/null".into()))),
        ("devices.tls", |c| c.devices.tls = Some(with_files(c, |files| files.client_ca = Some("/dev/null".into())))),
        ("devices.tls", |c| c.devices.tls = Some(with_files(c, |files| files.client_required = true))),
        ("devices.tls", |c| {
            let authority = c.peers.ca.clone();
            // A certificate where a revocation list is wanted.
            c.devices.tls = Some(with_files(c, |files| (files.client_crl, files.client_ca) = (Some(authority.clone()), Some(authority))));
        }),
        ("devices.limits.connections", |c| c.devices.limits.connections = Some(0)),
        ("devices.limits.packet_size", |c| c.devices.limits.packet_size = Some(1 << 40)),
        ("devices.limits.connect_timeout_ms", |c| c.devices.limits.connect_timeout_ms = Some(5)),
        ("peers.snapshot_every", |c| c.peers.snapshot_every = Some(3)),
        ("peers.snapshot_keep", |c| c.peers.snapshot_keep = Some(2_000_000)),
        ("api.listen", |c| c.api.listen = "0.0.0.0:8080".parse().expect("address")),
        ("api.tls", |c| c.api.tls = Some(Tls { certificate: c.peers.ca.clone(), key: c.peers.key.clone() })),
        ("api.token_file", |c| c.api.token_file = "/dev/null".into()),
        ("credentials.key_file", |c| c.credentials.key_file = c.peers.ca.clone()),
        ("data", |c| c.data = c.peers.ca.clone()),
        ("secrets.folder", |c| c.secrets.folder = Some("/nonexistent".into())),
        ("workbooks", |c| c.workbooks = Some(c.peers.ca.clone())),
        ("notify.webhook", |c| c.notify.webhook = Some("ftp://x".into())),
        ("cloud.url", |c| c.cloud = Some(cloud("tcp://x"))),
        ("cloud.ca", |c| c.cloud = Some(cloud("mqtts://x"))),
    ];
    for (place, change) in wrong {
        let mut config = good.clone();
        change(&mut config);
        let problems = config.check().expect_err(place);
        assert!(problems.iter().any(|problem| problem.place == place), "{place}: {problems:?}");
        assert!(problems.iter().all(|problem| !problem.what.is_empty() && !problem.mend.is_empty()));
    }
    let mut two = good.clone();
    two.organisation = String::new();
    two.node = NodeId(0);
    assert!(two.check().expect_err("two and more").len() >= 2);
    good.check().expect("the unchanged one is good");
}

/// A TLS listener that is well, with the certificate of the mesh listener.
fn tls(config: &Config) -> DevicesTls {
    let files = TlsFiles {
        certificate: config.peers.certificate.clone(),
        key: config.peers.key.clone(),
        client_ca: None,
        client_required: false,
        client_crl: None,
    };
    DevicesTls { listen: Some(([127, 0, 0, 1], 0).into()), websocket: None, files }
}

fn with_files(config: &Config, change: impl FnOnce(&mut TlsFiles)) -> DevicesTls {
    let mut tls = tls(config);
    change(&mut tls.files);
    tls
}

#[test]
fn all_listeners_at_once_are_read_and_written_back_and_their_paths_count_from_the_file() {
    let folder = tempfile::tempdir().expect("folder");
    let good = made(folder.path());
    let file = folder.path().join("m/hq/spalla.toml");
    let text = std::fs::read_to_string(&file).expect("a file").replace(
        "\n[api]",
        "\nwebsocket = \"127.0.0.1:0\"\n[devices.tls]\nlisten = \"127.0.0.1:0\"\nwebsocket = \"127.0.0.1:0\"\n\
         certificate = \"tls/node.pem\"\nkey = \"tls/node.key\"\nclient_ca = \"tls/ca.pem\"\nclient_required = true\n\
         [devices.limits]\nconnections = 50\nsession_expiry_s = 60\n[api]",
    );
    std::fs::write(&file, text).expect("writes");
    let config = Config::load(&file).expect("loads");
    let tls = config.devices.tls.as_ref().expect("a TLS listener");
    assert_eq!((config.devices.addresses().len(), &tls.files.key), (4, &good.peers.key));
    assert_eq!(config.devices.limits.limits().connections, 50);
    let again: Config = toml::from_str(&toml::to_string(&config).expect("is written")).expect("is read");
    assert_eq!(again.devices.addresses(), config.devices.addresses());
    // One word wrong is no silent default.
    let text = std::fs::read_to_string(&file).expect("a file").replace("client_required", "client_require");
    std::fs::write(&file, text).expect("writes");
    let refused = Config::load(&file).expect_err("an unknown setting").to_string();
    assert!(refused.contains("client_require"), "{refused}");
}

fn cloud(url: &str) -> Cloud {
    Cloud { url: url.into(), username: None, password_file: None, ca: None, mqtt: MqttVersion::V5, encoding: Encoding::Cbor }
}

#[test]
fn a_certificate_of_another_authority_or_gateway_is_refused() {
    let (one, other) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
    let (mut config, stranger) = (made(one.path()), made(other.path()));
    config.peers.certificate = stranger.peers.certificate;
    config.peers.key = stranger.peers.key;
    let problems = config.check().expect_err("a stranger's certificate");
    assert!(problems.iter().any(|problem| problem.what.contains("refuse")), "{problems:?}");

    let own = tempfile::tempdir().expect("folder");
    let mut config = made(own.path());
    config.node = NodeId(2);
    config.site = "plant".into();
    let problems = config.check().expect_err("gateway 2 with the certificate of gateway 1");
    assert_eq!(problems.iter().map(|problem| &*problem.place).collect::<Vec<_>>(), ["peers.certificate"], "{problems:?}");
}

#[test]
fn the_environment_overrides_the_file_and_its_mistakes_name_the_variable() {
    let folder = tempfile::tempdir().expect("folder");
    made(folder.path());
    let file = folder.path().join("m/hq/spalla.toml");
    let config = Config::read(
        &file,
        variables(&[
            ("SPALLA_API__LISTEN", "127.0.0.1:9000"),
            ("SPALLA_NODE", "2"),
            ("SPALLA_DATA", "elsewhere"),
            ("SPALLA_CLOUD__URL", "mqtt://c"),
            ("SPALLA_CLOUD__ENCODING", "json"),
            ("SPALLA_TOKEN", "belongs to the command line"),
            ("PATH", "/bin"),
        ]),
    )
    .expect("reads");
    assert_eq!((config.api.listen.port(), config.node), (9000, NodeId(2)));
    assert_eq!(config.data, folder.path().join("m/hq/elsewhere"));
    assert_eq!(config.cloud.map(|cloud| cloud.encoding), Some(Encoding::Json));

    let error = |list| Config::read(&file, variables(list)).expect_err("is refused").to_string();
    let wrong = error(&[("SPALLA_API__LISTEN", "somewhere")]);
    assert!(wrong.contains("api.listen") && wrong.contains("SPALLA_API__LISTEN"), "{wrong}");
    assert!(error(&[("SPALLA_MESHH", "x")]).contains("meshh"));
}

#[test]
fn a_bad_file_is_told_with_line_or_key() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("spalla.toml");
    let read = |text: &str| {
        std::fs::write(&path, text).expect("writes");
        Config::read(&path, []).expect_err("is refused").to_string()
    };
    assert!(read("node = [").contains("line 1"));
    assert!(read("nodee = 1").contains("nodee"));
    assert!(Config::read(&folder.path().join("none.toml"), []).expect_err("is not there").to_string().contains("spalla init"));
}

#[test]
fn broker_addresses_are_taken_apart() {
    let address = |host: &str, port, tls| Ok(BrokerAddress { host: host.into(), port, tls });
    assert_eq!(BrokerAddress::parse("mqtt://cloud"), address("cloud", 1883, false));
    assert_eq!(BrokerAddress::parse("mqtts://cloud:99/"), address("cloud", 99, true));
    assert_eq!(BrokerAddress::parse("mqtts://[::1]"), address("::1", 8883, true));
    assert_eq!(BrokerAddress::parse("mqtt://[::1]:7"), address("::1", 7, false));
    for bad in ["cloud", "http://x", "mqtt://", "mqtt://:1", "mqtt://a:b", "mqtt://a:0", "mqtt://u:p@h", "mqtt://h/x"] {
        assert!(BrokerAddress::parse(bad).is_err(), "{bad}");
    }
}
