//! MQTT over WebSocket, plain and over TLS, by an independent WebSocket client that cuts packets where it likes.

use super::house::*;
use super::tls::Authority;
use crate::client::Version;
use crate::message::Qos;
use crate::server::{Broker, BrokerConfig, Limits, TlsListener};
use futures::{SinkExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

async fn web<S: AsyncRead + AsyncWrite + Unpin>(stream: S, subprotocol: Option<&'static str>) -> Result<WebSocketStream<S>, String> {
    let mut request = "ws://localhost/mqtt".into_client_request().expect("a request");
    if let Some(name) = subprotocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(name));
    }
    let (stream, response) = tokio_tungstenite::client_async(request, stream).await.map_err(|error| error.to_string())?;
    assert_eq!(response.headers().get("Sec-WebSocket-Protocol"), Some(&HeaderValue::from_static("mqtt")));
    Ok(stream)
}

/// The bytes of as many messages as it takes.
async fn bytes<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut WebSocketStream<S>, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        match within(stream.next()).await.expect("open").expect("sound") {
            Frame::Binary(bytes) => all.extend(bytes),
            other => panic!("not binary: {other:?}"),
        }
    }
    all
}

const CONNECT: &[u8] = b"\x10\x1a\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02ws\x00\x02ws\x00\x06secret";

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: WebSocketStream<S>) {
    // Byte by byte; then several packets and a half in one message, and the other half alone.
    for byte in CONNECT {
        stream.send(Frame::Binary(vec![*byte].into())).await.expect("sent");
    }
    assert_eq!(bytes(&mut stream, 4).await, b"\x20\x02\x00\x00");
    stream.send(Frame::Binary(b"\x82\x06\x00\x01\x00\x01t\x01\xc0\x00\x32\x06\x00\x01t".to_vec().into())).await.expect("sent");
    stream.send(Frame::Binary(b"\x00\x05x".to_vec().into())).await.expect("sent");
    let answers = bytes(&mut stream, 5 + 2 + 4 + 8).await;
    for part in [&b"\x90\x03\x00\x01\x01"[..], b"\xd0\x00", b"\x40\x02\x00\x05", b"\x32\x06\x00\x01t\x00\x01x"] {
        assert!(answers.windows(part.len()).any(|window| window == part), "{part:x?} in {answers:x?}");
    }
    stream.send(Frame::Binary(b"\xe0\x00".to_vec().into())).await.expect("sent");
    while let Some(Ok(frame)) = within(stream.next()).await {
        assert!(frame.is_close(), "{frame:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_travels_over_websocket_plain_and_over_tls() {
    let authority = Authority::new();
    let (certificates_pem, key_pem) = authority.issue("broker");
    let house = open().await;
    let wss = TlsListener {
        address: ([127, 0, 0, 1], 0).into(),
        certificates_pem,
        key_pem,
        client_ca_pem: None,
        client_required: false,
        crl_pem: None,
    };
    let config = BrokerConfig { ws: Some(([127, 0, 0, 1], 0).into()), wss: Some(wss), ..BrokerConfig::default() };
    let broker = Broker::start(config, house.house.clone()).await.expect("starts");
    let addresses = broker.addresses();

    let socket = TcpStream::connect(addresses.ws.expect("listens")).await.expect("connects");
    talk(web(socket, Some("mqtt")).await.expect("upgraded")).await;

    let mut roots = rustls::RootCertStore::empty();
    for certificate in crate::server::tls::certificates(&authority.pem()).expect("PEM") {
        roots.add(certificate).expect("a root");
    }
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(addresses.wss.expect("listens")).await.expect("connects");
    let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
    let socket = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, socket).await.expect("trusted");
    talk(web(socket, Some("mqtt, other")).await.expect("upgraded")).await;
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_mqtt_over_websocket_is_refused_and_holds_nobody_up() {
    let limits = Limits { connect_timeout: Duration::from_secs(2), packet_size: 2048, ..Limits::default() };
    let house = open().await;
    let config =
        BrokerConfig { ws: Some(([127, 0, 0, 1], 0).into()), tcp: Some(([127, 0, 0, 1], 0).into()), limits, ..BrokerConfig::default() };
    let broker = Broker::start(config, house.house.clone()).await.expect("starts");
    let address = broker.addresses().ws.expect("listens");
    // [MQTT-6.0.0-3]: without the subprotocol there is no upgrade.
    let refused = web(TcpStream::connect(address).await.expect("connects"), None).await.err();
    assert!(refused.as_ref().is_some_and(|text| text.contains("400")), "{refused:?}");
    // [MQTT-6.0.0-1]: a text message ends the connection.
    let mut texting = web(TcpStream::connect(address).await.expect("connects"), Some("mqtt")).await.expect("upgraded");
    texting.send(Frame::Text("hello".into())).await.expect("sent");
    while let Some(Ok(frame)) = within(texting.next()).await {
        assert!(frame.is_close(), "{frame:?}");
    }
    // A message far above the largest packet is not gathered.
    let mut large = web(TcpStream::connect(address).await.expect("connects"), Some("mqtt")).await.expect("upgraded");
    large.send(Frame::Binary(vec![0x10; 1024 * 1024].into())).await.ok();
    while let Some(Ok(frame)) = within(large.next()).await {
        assert!(frame.is_close(), "{frame:?}");
    }
    // A header that trickles in, one that never ends, and one that says nothing.
    let mut trickling = TcpStream::connect(address).await.expect("connects");
    trickling.write_all(b"GET / HTTP/1.1\r\n").await.expect("sent");
    let mut endless = TcpStream::connect(address).await.expect("connects");
    endless.write_all(&[b'a'; 64 * 1024]).await.ok();
    let mut silent = TcpStream::connect(address).await.expect("connects");
    let talking = web(TcpStream::connect(address).await.expect("connects"), Some("mqtt")).await.expect("upgraded");
    talk(talking).await;
    for socket in [&mut trickling, &mut endless, &mut silent] {
        within(socket.read_to_end(&mut Vec::new())).await.ok();
    }
    until(|| broker.stats().refused.get("websocket-timeout").is_some_and(|count| *count >= 2)).await;
    let (client, _events) = house.client("beside", Version::V5).await;
    client.subscribe("t", Qos::AtLeastOnce).await.expect("granted");
}
