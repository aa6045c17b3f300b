//! The certificates of the mesh: both sides show one, both check the other's against the mesh CA.

use rustls::client::WebPkiServerVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use spalla_shared::id::NodeId;
use std::sync::Arc;

/// PEM texts. The certificate serves both roles: its common name is `node-<id>`, its alternative names are the host names
/// and addresses under which the others dial it.
#[derive(Clone)]
pub struct Tls {
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("mesh CA: {0}")]
    Ca(String),
    #[error("mesh certificate: {0}")]
    Certificate(String),
    #[error("mesh key: {0}")]
    Key(String),
    #[error("TLS settings: {0}")]
    Settings(String),
}

impl Tls {
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider.clone())
            .build()
            .map_err(|error| TlsError::Ca(error.to_string()))?;
        let (chain, key) = self.identity()?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Settings(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        Ok(Arc::new(config))
    }

    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider.clone())
            .build()
            .map_err(|error| TlsError::Ca(error.to_string()))?;
        let (chain, key) = self.identity()?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Settings(error.to_string()))?
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        Ok(Arc::new(config))
    }

    /// The node that this side's own certificate names.
    pub fn node(&self) -> Result<NodeId, TlsError> {
        let (chain, _) = self.identity()?;
        chain.first().and_then(node_of_certificate).ok_or_else(|| TlsError::Certificate("its common name is not `node-<id>`".into()))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.ca) {
            let certificate = certificate.map_err(|error| TlsError::Ca(error.to_string()))?;
            roots.add(certificate).map_err(|error| TlsError::Ca(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(TlsError::Ca("holds no certificate".into()));
        }
        Ok(roots)
    }

    fn identity(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(TlsError::Certificate("holds no certificate".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| TlsError::Key(error.to_string()))?;
        Ok((chain, key))
    }
}

/// The node in a verified certificate's common name.
pub(super) fn node_of_certificate(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate.as_ref()).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    node_of_name(name)
}

/// `node-7` is node 7.
pub fn node_of_name(name: &str) -> Option<NodeId> {
    name.strip_prefix("node-")?.parse().ok().map(NodeId)
}
