use super::*;
use crate::config::{Config, pem};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn options(folder: &Path, sites: &[(&str, &str)]) -> InitOptions {
    InitOptions {
        folder: folder.join("mesh"),
        sites: sites.iter().map(|(name, host)| SiteSpec { name: (*name).into(), host: (*host).into() }).collect(),
        organisation: "acme_North-1".into(),
        mesh: "campus".into(),
        ports: BasePorts::default(),
        cloud_url: Some("mqtt://127.0.0.1:18830".into()),
    }
}

#[test]
fn what_init_writes_is_accepted_and_each_site_folder_stands_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let report = init(&options(folder.path(), &[("hq", "127.0.0.1"), ("plant", "127.0.0.1"), ("depot", "10.0.0.9")])).expect("inits");
    // Copied elsewhere, as to another machine; the original is gone.
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(folder.path().join("mesh"), &elsewhere).expect("moves");
    let configs: Vec<Config> =
        report.sites.iter().map(|site| Config::load(&elsewhere.join(site.site.as_str()).join("spalla.toml")).expect("loads")).collect();

    assert_eq!(configs[1].devices.listen.expect("a listener").to_string(), "127.0.0.1:1884");
    assert_eq!(configs[1].peers.listen.to_string(), "127.0.0.1:7884");
    assert_eq!(configs[1].api.listen.to_string(), "127.0.0.1:8081");
    // Another machine: its own ports from the base, open to others, but for the API.
    assert_eq!(configs[2].devices.listen.expect("a listener").to_string(), "0.0.0.0:1883");
    assert_eq!(configs[2].peers.gateways[2].address, "10.0.0.9:7883");
    assert!(configs[2].api.listen.ip().is_loopback());
    assert_eq!(configs[0].organisation, "acme_North-1");
    assert!(configs.iter().all(|config| config.data.starts_with(&elsewhere)));

    let text = |path: &Path| std::fs::read_to_string(path).expect("reads");
    assert_eq!(text(&configs[0].credentials.key_file), text(&configs[2].credentials.key_file));
    assert_eq!(text(&configs[0].api.token_file), text(&configs[2].api.token_file));
    assert_ne!(text(&configs[0].api.token_file), text(&configs[0].credentials.key_file));
    assert_ne!(text(&configs[0].peers.key), text(&configs[1].peers.key));
    #[cfg(unix)]
    for secret in [&configs[0].api.token_file, &configs[0].credentials.key_file, &configs[0].peers.key, &elsewhere.join("mesh-ca/ca.key")] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(secret).expect("is there").permissions().mode() & 0o777, 0o600, "{}", secret.display());
    }
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("folder");
    init(&options(folder.path(), &[("hq", "localhost")])).expect("inits");
    let token = folder.path().join("mesh/hq/api.token");
    let before = std::fs::read_to_string(&token).expect("reads");
    assert!(matches!(init(&options(folder.path(), &[("hq", "localhost")])), Err(InitError::Exists(_))));
    // A new site would come with a new authority: refused too, and not half written.
    assert!(matches!(init(&options(folder.path(), &[("plant", "localhost")])), Err(InitError::Exists(_))));
    assert!(!folder.path().join("mesh/plant").exists());
    assert_eq!(std::fs::read_to_string(&token).expect("reads"), before);
}

#[test]
fn names_that_cannot_be_used_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("folder");
    let good = options(folder.path(), &[("hq", "localhost")]);
    let bad = |change: fn(&mut InitOptions)| {
        let mut options = good.clone();
        change(&mut options);
        options
    };
    for options in [
        bad(|o| o.sites[0].name = "h/q".into()),
        bad(|o| o.sites[0].name = "..".into()),
        bad(|o| o.sites[0].name = "hq~1".into()),
        bad(|o| o.sites[0].name = "h q".into()),
        bad(|o| o.sites[0].name = "zürich".into()),
        bad(|o| o.sites[0].name = "mesh-ca".into()),
        bad(|o| o.sites.clear()),
        bad(|o| o.sites.push(o.sites[0].clone())),
        bad(|o| o.sites[0].host = "a b".into()),
        bad(|o| o.sites[0].host = "host:1".into()),
        bad(|o| o.organisation = "a+b".into()),
        bad(|o| o.organisation = "acme \"north\"".into()),
        bad(|o| o.mesh = String::new()),
        // To the cloud that is the group of the building `hq`.
        bad(|o| o.mesh = "campus~hq".into()),
        bad(|o| o.cloud_url = Some("http://x".into())),
        bad(|o| o.ports.api = o.ports.mesh),
        bad(|o| {
            o.ports.api = o.ports.devices + 1;
            o.sites.push(SiteSpec { name: "b".into(), host: "localhost".into() });
        }),
        bad(|o| {
            o.ports.api = 65535;
            o.sites.push(SiteSpec { name: "b".into(), host: "localhost".into() });
        }),
    ] {
        assert!(matches!(init(&options), Err(InitError::Option { .. })), "{options:?}");
    }
    let told = init(&bad(|o| o.sites[0].name = "hq~1".into())).expect_err("a mark of the gateway's own").to_string();
    assert!(told.contains("`hq~1`") && told.contains("letters"), "{told}");
    assert!(!folder.path().join("mesh").exists());
}

/// The peers' side of a handshake from what the configuration names.
async fn handshake(server: &Config, client: &Config, name: &str) -> Result<String, std::io::Error> {
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(pem::roots(&server.peers.ca).expect("roots")),
        pem::provider(),
    )
    .build()
    .expect("verifier");
    let accept = rustls::ServerConfig::builder_with_provider(pem::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(pem::certificates(&server.peers.certificate).expect("chain"), pem::private_key(&server.peers.key).expect("key"))
        .expect("server");
    let connect = rustls::ClientConfig::builder_with_provider(pem::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(pem::roots(&client.peers.ca).expect("roots"))
        .with_client_auth_cert(
            pem::certificates(&client.peers.certificate).expect("chain"),
            pem::private_key(&client.peers.key).expect("key"),
        )
        .expect("client");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serve = async {
        let (stream, _) = listener.accept().await?;
        let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(accept)).accept(stream).await?;
        let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|first| first.to_vec()).unwrap_or_default();
        stream.write_all(b"!").await?;
        stream.shutdown().await?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&peer).expect("parses");
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
        Ok::<_, std::io::Error>(name)
    };
    let dial = async {
        let stream = tokio::net::TcpStream::connect(address).await?;
        let name = ServerName::try_from(name.to_owned()).expect("name");
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(connect)).connect(name, stream).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        Ok::<_, std::io::Error>(())
    };
    let (peer, dialled) = tokio::join!(serve, dial);
    dialled?;
    peer
}

#[tokio::test]
async fn the_certificates_make_a_mutual_handshake_and_strangers_get_none() {
    let folder = tempfile::tempdir().expect("folder");
    let load = |sub: &str| {
        let report = init(&options(&folder.path().join(sub), &[("hq", "127.0.0.1"), ("plant", "localhost")])).expect("inits");
        report.sites.iter().map(|site| Config::load(&site.config).expect("loads")).collect::<Vec<_>>()
    };
    let (mesh, strangers) = (load("a"), load("b"));
    for name in ["127.0.0.1", "localhost", "node-1"] {
        assert_eq!(handshake(&mesh[0], &mesh[1], name).await.expect("shakes hands"), "node-2");
    }
    assert!(handshake(&mesh[0], &mesh[1], "node-2").await.is_err(), "the server is node 1");
    assert!(handshake(&mesh[0], &strangers[1], "localhost").await.is_err());
    assert!(handshake(&strangers[0], &mesh[1], "localhost").await.is_err());
}
