//! The mesh's own certificate authority and the gateways' certificates.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use spalla_shared::id::NodeId;

/// Buildings outlive certificates that people forget; a gateway without a valid one leaves the mesh.
const AUTHORITY_YEARS: i32 = 30;
const NODE_YEARS: i32 = 10;

pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(mesh: &str) -> Result<Self, rcgen::Error> {
        let mut params = params(&format!("spalla mesh {mesh}"), AUTHORITY_YEARS, Vec::new())?;
        // It signs gateways only, no further authorities.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// From the files that [`Self::new`] made before, PEM.
    pub fn read(pem: &str, key_pem: &str) -> Result<Self, rcgen::Error> {
        Ok(Self { pem: pem.to_owned(), issuer: Issuer::from_ca_cert_pem(pem, KeyPair::from_pem(key_pem)?)? })
    }

    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Certificate and key (PEM) of a gateway: both a server and a client to its peers. Its common name is its identity.
    pub fn node(&self, node: NodeId, host: &str) -> Result<(String, String), rcgen::Error> {
        let name = format!("node-{node}");
        let mut names = vec![host.to_owned(), "localhost".into(), "127.0.0.1".into(), name.clone()];
        names.sort();
        names.dedup();
        let mut params = params(&name, NODE_YEARS, names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn params(common_name: &str, years: i32, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    // From the year's first day on: a gateway whose clock is some hours behind must still believe it. Day 28 exists in every month.
    let year = i32::from(today.year());
    let month = u8::try_from(today.month()).unwrap_or(1);
    params.not_before = date_time_ymd(year - 1, month, 1);
    params.not_after = date_time_ymd(year + years, month, 28);
    Ok(params)
}
