//! The TLS side of a listener: rustls with ring, TLS 1.2 and 1.3, optional client certificates.

use crate::server::config::TlsListener;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

/// What a TLS listener shows and asks for; replaced as a whole.
#[derive(Clone)]
pub(crate) struct Identity {
    pub acceptor: TlsAcceptor,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Identity {
    /// Whether a client that is connected would still get in with what it showed.
    pub fn still_trusts(&self, certificates: &[CertificateDer<'static>]) -> bool {
        match (&self.verifier, certificates.split_first()) {
            (Some(verifier), Some((own, chain))) => verifier.verify_client_cert(own, chain, UnixTime::now()).is_ok(),
            _ => true,
        }
    }
}

/// The text says which part of the identity cannot be used, and why.
pub(crate) fn identity(listener: &TlsListener) -> Result<Identity, String> {
    let certificates = certificates(&listener.certificates_pem).map_err(|error| format!("server certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&listener.key_pem).map_err(|error| format!("server key: {error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("protocol versions: {error}"))?;
    let (builder, verifier) = match &listener.client_ca_pem {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            let authorities = self::certificates(pem).map_err(|error| format!("client CA: {error}"))?;
            if let Some(lists) = &listener.crl_pem {
                of_these_authorities(&revocations(lists)?, &authorities)?;
            }
            for certificate in authorities {
                roots.add(certificate).map_err(|error| format!("client CA: {error}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match &listener.crl_pem {
                // A list past its next update is taken as it is: refusing everybody would lock the building. Whom no list speaks of
                // (another authority of the same file) is let in, since each list is of one of the authorities.
                Some(pem) => verifier.with_crls(revocations(pem)?).allow_unknown_revocation_status(),
                None => verifier,
            };
            let verifier = if listener.client_required { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|error| format!("client CA and revocation lists: {error}"))?;
            (builder.with_client_cert_verifier(verifier.clone()), Some(verifier))
        }
        None if listener.client_required => return Err("client certificates are required but no client CA is given".into()),
        None if listener.crl_pem.is_some() => return Err("a revocation list is given but no client CA".into()),
        None => (builder.with_no_client_auth(), None),
    };
    let config = builder.with_single_cert(certificates, key).map_err(|error| format!("server certificate and key: {error}"))?;
    Ok(Identity { acceptor: TlsAcceptor::from(Arc::new(config)), verifier })
}

/// Common name of the client's verified certificate.
pub(crate) fn client_name(connection: &ServerConnection) -> Option<String> {
    let certificate = connection.peer_certificates()?.first()?;
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    parsed.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
}

/// A list of somebody else says nothing of these authorities' certificates: with it alone everybody revoked would be let in again.
fn of_these_authorities(lists: &[CertificateRevocationListDer<'_>], authorities: &[CertificateDer<'_>]) -> Result<(), String> {
    let names: Vec<Vec<u8>> = authorities
        .iter()
        .filter_map(|authority| X509Certificate::from_der(authority).ok().map(|(_, read)| read.subject().as_raw().to_vec()))
        .collect();
    for list in lists {
        let (_, read) = CertificateRevocationList::from_der(list).map_err(|error| format!("revocation list: {error}"))?;
        if !names.iter().any(|name| name == read.issuer().as_raw()) {
            return Err(format!("revocation list of `{}`: it is of none of the client CA's authorities", read.issuer()));
        }
    }
    Ok(())
}

fn revocations(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let lists: Vec<_> =
        CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| format!("revocation list: {error}"))?;
    if lists.is_empty() { Err("revocation list: none in the PEM text".into()) } else { Ok(lists) }
}

pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if certificates.is_empty() { Err("no certificate in the PEM text".into()) } else { Ok(certificates) }
}
