//! Certificates and keys from PEM files, with errors that name the file.

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// The provider that all TLS of the gateway uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// All certificates of a file; at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let found = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{}: no PEM certificate: {error}", path.display()))?;
    if found.is_empty() {
        return Err(format!("{}: holds no `BEGIN CERTIFICATE`", path.display()));
    }
    Ok(found)
}

/// The first private key of a file (PKCS#8, PKCS#1 or SEC1).
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| format!("{}: no PEM private key: {error}", path.display()))
}

/// A chain and its key, which must belong together.
pub fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, String> {
    CertifiedKey::from_der(certificates(certificate)?, private_key(key)?, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("{} is not the key of {}", key.display(), certificate.display())
        }
        other => format!("{} with {}: {other}", certificate.display(), key.display()),
    })
}

/// The authorities of a file.
pub fn roots(path: &Path) -> Result<rustls::RootCertStore, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

/// The common name that a certificate file's first certificate carries.
pub fn common_name(path: &Path) -> Result<String, String> {
    let chain = certificates(path)?;
    let first = chain.first().ok_or_else(|| format!("{}: empty", path.display()))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(first).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    name.map(str::to_owned).ok_or_else(|| format!("{}: has no common name", path.display()))
}
