//! The TLS side of a listener: rustls with ring, TLS 1.2 and 1.3, optional client certificates.

use crate::server::config::TlsListener;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The text says which part of the identity cannot be used, and why.
pub(crate) fn acceptor(listener: &TlsListener) -> Result<TlsAcceptor, String> {
    let certificates = certificates(&listener.certificates_pem).map_err(|error| format!("server certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&listener.key_pem).map_err(|error| format!("server key: {error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("protocol versions: {error}"))?;
    let builder = match &listener.client_ca_pem {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(pem).map_err(|error| format!("client CA: {error}"))? {
                roots.add(certificate).map_err(|error| format!("client CA: {error}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if listener.client_required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| format!("client CA: {error}"))?)
        }
        None if listener.client_required => return Err("client certificates are required but no client CA is given".into()),
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(certificates, key).map_err(|error| format!("server certificate and key: {error}"))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Common name of the client's verified certificate.
pub(crate) fn client_name(connection: &ServerConnection) -> Option<String> {
    let certificate = connection.peer_certificates()?.first()?;
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    parsed.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
}

pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if certificates.is_empty() { Err("no certificate in the PEM text".into()) } else { Ok(certificates) }
}
