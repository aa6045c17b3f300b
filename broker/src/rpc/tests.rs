//! Real sockets, real certificates.

use super::{BODY_LEN_MAX, Peer, RpcError, Server, Service, Tls};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use spalla_shared::id::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

const LONG: Duration = Duration::from_secs(20);

struct Authority {
    pem: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem().into_bytes(), issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> Tls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Tls { ca: self.pem.clone(), certificate: certificate.pem().into_bytes(), key: key.serialize_pem().into_bytes() }
    }
}

struct Echo {
    release: Notify,
    /// What was asked for by "note", in the order of the first steps.
    noted: Mutex<Vec<Bytes>>,
}

#[async_trait]
impl Service for Echo {
    async fn call(&self, peer: NodeId, method: &str, body: Bytes) -> Result<Bytes, RpcError> {
        match method {
            "echo" => Ok(body),
            "who" => Ok(Bytes::from(peer.to_string())),
            "wait" => {
                self.release.notified().await;
                Ok(Bytes::from_static(b"released"))
            }
            "note" => {
                self.noted.lock().push(body.clone());
                tokio::task::yield_now().await;
                Ok(body)
            }
            "panic" => panic!("on purpose"),
            "fail" => Err(RpcError::Remote("it broke".into())),
            other => Err(RpcError::Refused(format!("no method `{other}`"))),
        }
    }
}

async fn server(tls: &Tls) -> (Server, Arc<Echo>) {
    let echo = Arc::new(Echo { release: Notify::new(), noted: Mutex::default() });
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), tls, echo.clone()).await.unwrap();
    (server, echo)
}

#[tokio::test]
async fn answers_come_to_their_callers_in_any_order() {
    let mesh = Authority::new();
    let (server, echo) = server(&mesh.issue("node-1")).await;
    let peer = Arc::new(Peer::new(&server.address().to_string(), &mesh.issue("node-7"), "calls").unwrap());

    assert_eq!(peer.call("who", Bytes::new(), LONG).await, Ok(Bytes::from_static(b"7")));
    let waiting = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call("wait", Bytes::new(), LONG).await }
    });
    let large = Bytes::from(vec![7; BODY_LEN_MAX]);
    assert_eq!(peer.call("echo", large.clone(), LONG).await, Ok(large));
    let calls = (0..100_u32).map(|i| {
        let peer = peer.clone();
        tokio::spawn(async move { (i, peer.call("echo", Bytes::copy_from_slice(&i.to_be_bytes()), LONG).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (i, answer) = call.await.unwrap();
        assert_eq!(answer, Ok(Bytes::copy_from_slice(&i.to_be_bytes())));
    }
    echo.release.notify_one();
    assert_eq!(waiting.await.unwrap(), Ok(Bytes::from_static(b"released")));
}

/// Appends to a log that overtake each other are taken for a log with a hole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn first_steps_are_made_in_the_order_of_the_requests() {
    let mesh = Authority::new();
    let (server, echo) = server(&mesh.issue("node-1")).await;
    let peer = Peer::new(&server.address().to_string(), &mesh.issue("node-7"), "calls").unwrap();
    assert!(peer.ready(LONG).await);
    // So few that one step of this test sends them all: tokio lets a task do no more than 128 things at once.
    let bodies: Vec<Bytes> = (0..60_u32).map(|i| Bytes::copy_from_slice(&i.to_be_bytes())).collect();
    for round in 0..20 {
        let calls = bodies.iter().map(|body| peer.call("note", body.clone(), LONG));
        assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok));
        assert_eq!(std::mem::take(&mut *echo.noted.lock()), bodies, "in round {round}");
    }
}

/// Heartbeats are dropped by their caller before their own time is over; a dead connection has to show by them all the same.
#[tokio::test]
async fn a_connection_that_answers_nothing_is_dialled_anew_also_where_callers_give_up_early() {
    let mesh = Authority::new();
    let (server, _echo) = server(&mesh.issue("node-1")).await;
    let peer = Arc::new(Peer::new(&server.address().to_string(), &mesh.issue("node-2"), "calls").unwrap());
    let waiting = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call("wait", Bytes::new(), LONG * 10).await }
    });
    let given_up = tokio::time::timeout(Duration::from_millis(1_200), peer.call("wait", Bytes::new(), LONG * 10)).await;
    assert!(given_up.is_err());
    let waiting = tokio::time::timeout(LONG, waiting).await.expect("the connection was lost, and all who waited for it hear so");
    assert_eq!(waiting.unwrap(), Err(RpcError::Timeout));
}

#[tokio::test]
async fn a_request_that_panics_costs_nobody_else_the_connection() {
    let mesh = Authority::new();
    let (server, echo) = server(&mesh.issue("node-1")).await;
    let peer = Arc::new(Peer::new(&server.address().to_string(), &mesh.issue("node-2"), "calls").unwrap());
    let waiting = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call("wait", Bytes::new(), LONG).await }
    });
    assert_eq!(peer.call("panic", Bytes::new(), Duration::from_millis(50)).await, Err(RpcError::Timeout));
    assert!(peer.call("who", Bytes::new(), LONG).await.is_ok());
    echo.release.notify_one();
    assert_eq!(waiting.await.unwrap(), Ok(Bytes::from_static(b"released")));
}

#[tokio::test]
async fn failures_are_told_apart() {
    let mesh = Authority::new();
    let (server, _echo) = server(&mesh.issue("node-1")).await;
    let peer = Peer::new(&server.address().to_string(), &mesh.issue("node-2"), "calls").unwrap();
    assert_eq!(peer.call("nonsense", Bytes::new(), LONG).await, Err(RpcError::Refused("no method `nonsense`".into())));
    assert_eq!(peer.call("fail", Bytes::new(), LONG).await, Err(RpcError::Remote("it broke".into())));
    let too_large = Bytes::from(vec![0; BODY_LEN_MAX + 1]);
    assert!(matches!(peer.call("echo", too_large, LONG).await, Err(RpcError::Refused(_))));
    assert_eq!(peer.call("wait", Bytes::new(), Duration::from_millis(50)).await, Err(RpcError::Timeout));
    let nobody = Peer::new("127.0.0.1:1", &mesh.issue("node-2"), "calls").unwrap();
    assert_eq!(nobody.call("echo", Bytes::new(), Duration::from_millis(50)).await, Err(RpcError::Unreachable));
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let mesh = Authority::new();
    let tls = mesh.issue("node-1");
    let (first, _echo) = server(&tls).await;
    let address = first.address();
    let peer = Arc::new(Peer::new(&address.to_string(), &mesh.issue("node-2"), "calls").unwrap());
    assert!(peer.call("who", Bytes::new(), LONG).await.is_ok());
    let cut = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call("wait", Bytes::new(), LONG).await }
    });
    // Behind this answer the request before it has reached the server.
    assert!(peer.call("who", Bytes::new(), LONG).await.is_ok());
    drop(first);
    // Lost on the way: it may have been carried out, and the caller hears so long before its own timeout.
    assert_eq!(cut.await.unwrap(), Err(RpcError::Timeout));

    let echo = Arc::new(Echo { release: Notify::new(), noted: Mutex::default() });
    let _second = Server::bind(address, &tls, echo).await.unwrap();
    assert_eq!(peer.call("who", Bytes::new(), LONG).await, Ok(Bytes::from_static(b"2")));
}

#[tokio::test]
async fn strangers_get_no_answer() {
    let mesh = Authority::new();
    let (server, _echo) = server(&mesh.issue("node-1")).await;
    let address = server.address().to_string();

    // A certificate of another mesh, and one of this mesh that names no node.
    let mut other = Authority::new().issue("node-2");
    other.ca = mesh.pem.clone();
    let stranger = Peer::new(&address, &other, "calls").unwrap();
    assert_eq!(stranger.call("who", Bytes::new(), Duration::from_millis(500)).await, Err(RpcError::Unreachable));
    assert!(Peer::new(&address, &mesh.issue("reader-1"), "calls").is_err());
    // A server whose certificate is not of this mesh is not spoken to.
    let mut trusting = mesh.issue("node-2");
    trusting.ca = Authority::new().pem;
    let misled = Peer::new(&address, &trusting, "calls").unwrap();
    assert_eq!(misled.call("who", Bytes::new(), Duration::from_millis(500)).await, Err(RpcError::Unreachable));

    // Plain MQTT on the TLS port: closed without an MQTT answer.
    let mut plain = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    plain.write_all(b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03cid").await.unwrap();
    let mut got = Vec::new();
    tokio::time::timeout(LONG, plain.read_to_end(&mut got)).await.expect("the listener closes").ok();
    assert_ne!(got.first(), Some(&0x20), "a CONNACK went out in plain text");
    // And the listener still serves.
    let peer = Peer::new(&address, &mesh.issue("node-2"), "calls").unwrap();
    assert_eq!(peer.call("who", Bytes::new(), LONG).await, Ok(Bytes::from_static(b"2")));
}
