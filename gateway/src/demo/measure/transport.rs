//! One RPC of the mesh (MQTT 5 request/response, mutual TLS) beside the same over length-delimited TCP with the same TLS,
//! each with a small body, in turns within one run; then both with an fdatasync at the far side, as a commit has.

use super::{Row, millis};
use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use spalla_broker::rpc::{Peer, RpcError, Server, Service, Tls};
use spalla_shared::id::NodeId;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

const BODY_LEN: usize = 200;
const ROUNDS: usize = 1_000;
const TIME_MAX: Duration = Duration::from_secs(5);

/// Answers with the body, after writing it to disk where it is asked to.
#[derive(Clone)]
struct Far(Arc<Mutex<File>>);

impl Far {
    async fn answer(&self, sync: bool, body: &[u8]) -> std::io::Result<()> {
        if sync {
            let mut file = self.0.lock().await;
            file.write_all(body)?;
            file.sync_data()?;
        }
        Ok(())
    }
}

#[async_trait]
impl Service for Far {
    async fn call(&self, _peer: NodeId, method: &str, body: Bytes) -> Result<Bytes, RpcError> {
        self.answer(method == "sync", &body).await.map_err(|error| RpcError::Remote(error.to_string()))?;
        Ok(body)
    }
}

pub async fn measure(folder: &Path) -> Result<Vec<Row>> {
    let site = folder.join("mesh/hq/tls");
    let read = |name: &str| std::fs::read(site.join(name)).with_context(|| name.to_owned());
    let tls = Tls { ca: read("ca.pem")?, certificate: read("node.pem")?, key: read("node.key")? };
    let far = Far(Arc::new(Mutex::new(File::create(folder.join("transport"))?)));
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &tls, Arc::new(far.clone())).await?;
    let peer = Peer::new(&server.address().to_string(), &tls, "measure")?;
    peer.ready(TIME_MAX).await;
    let mut framed = Framed::connect(&tls, far).await?;
    let body = Bytes::from(vec![7u8; BODY_LEN]);
    let mut rows = Vec::new();
    for (method, what) in [("echo", "RPC of 200 B"), ("sync", "RPC of 200 B with fdatasync")] {
        let (mut mqtt, mut tcp) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let began = Instant::now();
            peer.call(method, body.clone(), TIME_MAX).await?;
            mqtt.push(began.elapsed());
            let began = Instant::now();
            framed.call(method == "sync", &body).await?;
            tcp.push(began.elapsed());
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        let (mqtt, tcp) = (median(&mut mqtt), median(&mut tcp));
        rows.push(Row::new(
            what,
            format!(
                "MQTT 5 {:.3} ms, framed TCP {:.3} ms (medians of {ROUNDS}): {:.2}x",
                millis(mqtt),
                millis(tcp),
                mqtt.as_secs_f64() / tcp.as_secs_f64()
            ),
        ));
    }
    Ok(rows)
}

/// Length-delimited frames over TLS: a flag byte (sync or not), then the body.
struct Framed(tokio_rustls::client::TlsStream<TcpStream>);

impl Framed {
    async fn connect(tls: &Tls, far: Far) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, key) = (pem_certificates(&tls.certificate)?, pem_key(&tls.key)?);
        let mut roots = rustls::RootCertStore::empty();
        for certificate in pem_certificates(&tls.ca)? {
            roots.add(certificate)?;
        }
        let roots = Arc::new(roots);
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let mut stream = acceptor.accept(stream).await?;
            let mut body = Vec::new();
            loop {
                let len = stream.read_u32().await? as usize;
                body.resize(len.min(64 * 1024), 0);
                stream.read_exact(&mut body).await?;
                far.answer(body.first() == Some(&1), &body).await?;
                let mut answer = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
                answer.extend_from_slice(&body);
                stream.write_all(&answer).await?;
                stream.flush().await?;
            }
            #[allow(unreachable_code)] // It names the error type of the loop above.
            Ok::<(), std::io::Error>(())
        });
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = rustls_pki_types::ServerName::try_from("127.0.0.1")?.to_owned();
        Ok(Self(tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await?))
    }

    async fn call(&mut self, sync: bool, body: &[u8]) -> Result<()> {
        let len = u32::try_from(body.len() + 1)?;
        let mut frame = len.to_be_bytes().to_vec();
        frame.push(u8::from(sync));
        frame.extend_from_slice(body);
        self.0.write_all(&frame).await?;
        self.0.flush().await?;
        let len = self.0.read_u32().await? as usize;
        let mut answer = vec![0; len.min(64 * 1024)];
        self.0.read_exact(&mut answer).await?;
        Ok(())
    }
}

fn pem_certificates(pem: &[u8]) -> Result<Vec<rustls_pki_types::CertificateDer<'static>>> {
    use rustls_pki_types::pem::PemObject;
    Ok(rustls_pki_types::CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?)
}

fn pem_key(pem: &[u8]) -> Result<rustls_pki_types::PrivateKeyDer<'static>> {
    use rustls_pki_types::pem::PemObject;
    Ok(rustls_pki_types::PrivateKeyDer::from_pem_slice(pem)?)
}
