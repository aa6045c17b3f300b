//! Credentials as signed CBOR Web Tokens (COSE_Sign1, Ed25519) in base45, the alphabet that QR codes hold best.
//! The same content and key always give the same token, so a repeated signing changes nothing.
//! Proves who issued it and for how long it was meant; whether it was revoked is for the engine to say.

use coset::cbor::value::Value as Cbor;
use coset::cwt::{ClaimName, ClaimsSet, ClaimsSetBuilder, Timestamp as Seconds};
use coset::{CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, iana};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use spalla_shared::id::CredentialId;
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;

/// What a QR code still holds with some error correction.
pub const TOKEN_LEN_MAX: usize = 2_048;
/// Claims of the flow's own, as JSON.
pub const CLAIMS_LEN_MAX: usize = 512;
/// Private claims, in CWT's range for private use.
const CLAIM_KIND: i64 = -70_001;
const CLAIM_OWN: i64 = -70_002;

/// What is signed.
pub struct Content<'a> {
    pub issuer: &'a str,
    pub credential: &'a CredentialId,
    pub holder: &'a str,
    pub kind: &'a str,
    pub valid_from: Timestamp,
    pub valid_until: Timestamp,
    pub claims: &'a Value,
}

/// What a token with a good signature says. Instants are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub credential: CredentialId,
    pub holder: String,
    pub kind: String,
    pub valid_from: Timestamp,
    pub valid_until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("not a token")]
    NotAToken,
    #[error("bad signature")]
    BadSignature,
    #[error("signed, but without the claims of a credential")]
    Claims,
    #[error("not valid yet")]
    NotYet,
    #[error("expired")]
    Expired,
    #[error("the claims are larger than {CLAIMS_LEN_MAX} bytes")]
    ClaimsTooLarge,
    #[error("the token would be longer than {TOKEN_LEN_MAX} characters")]
    TokenTooLong,
}

/// The key pair of the mesh from its 32-byte seed in hex.
pub fn signing_key(seed_hex: &str) -> Option<SigningKey> {
    let mut seed = [0; 32];
    hex::decode_to_slice(seed_hex.trim(), &mut seed).ok()?;
    Some(SigningKey::from_bytes(&seed))
}

pub fn sign(content: &Content, key: &SigningKey) -> Result<String, TokenError> {
    let mut claims = ClaimsSetBuilder::new()
        .issuer(content.issuer.to_owned())
        .subject(content.holder.to_owned())
        .not_before(Seconds::WholeSeconds(content.valid_from.millis().div_euclid(1_000)))
        .expiration_time(Seconds::WholeSeconds(content.valid_until.millis().div_euclid(1_000)))
        .cwt_id(content.credential.as_str().as_bytes().to_vec())
        .private_claim(CLAIM_KIND, Cbor::Text(content.kind.to_owned()));
    if !content.claims.is_null() {
        let own = content.claims.to_json();
        if own.len() > CLAIMS_LEN_MAX {
            return Err(TokenError::ClaimsTooLarge);
        }
        claims = claims.private_claim(CLAIM_OWN, Cbor::Text(own));
    }
    // Encoding to memory refuses nothing that was built above.
    let payload = claims.build().to_vec().map_err(|_| TokenError::Claims)?;
    let bytes = CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).build())
        .payload(payload)
        .create_signature(&[], |message| key.sign(message).to_bytes().to_vec())
        .build()
        .to_vec()
        .map_err(|_| TokenError::Claims)?;
    let token = base45::encode(bytes);
    if token.len() > TOKEN_LEN_MAX { Err(TokenError::TokenTooLong) } else { Ok(token) }
}

/// Reads a token whose signature is good, whatever its time.
pub fn read(token: &str, key: &VerifyingKey) -> Result<Verified, TokenError> {
    if token.len() > TOKEN_LEN_MAX {
        return Err(TokenError::NotAToken);
    }
    let bytes = base45::decode(token).map_err(|_| TokenError::NotAToken)?;
    let signed = CoseSign1::from_slice(&bytes).map_err(|_| TokenError::NotAToken)?;
    if signed.protected.header.alg != Some(coset::RegisteredLabelWithPrivate::Assigned(iana::Algorithm::EdDSA)) {
        return Err(TokenError::BadSignature);
    }
    signed
        .verify_signature(&[], |signature, message| {
            let signature = Signature::from_slice(signature).map_err(|_| ())?;
            key.verify_strict(message, &signature).map_err(|_| ())
        })
        .map_err(|()| TokenError::BadSignature)?;
    let claims = signed.payload.as_deref().and_then(|payload| ClaimsSet::from_slice(payload).ok()).ok_or(TokenError::Claims)?;
    claims_of(&claims).ok_or(TokenError::Claims)
}

/// Reads a token that is good at `now`.
pub fn verify(token: &str, key: &VerifyingKey, now: Timestamp) -> Result<Verified, TokenError> {
    let verified = read(token, key)?;
    verified.check_time(now)?;
    Ok(verified)
}

impl Verified {
    pub fn check_time(&self, now: Timestamp) -> Result<(), TokenError> {
        if now < self.valid_from {
            return Err(TokenError::NotYet);
        }
        if now >= self.valid_until { Err(TokenError::Expired) } else { Ok(()) }
    }
}

fn claims_of(claims: &ClaimsSet) -> Option<Verified> {
    let instant = |seconds: &Option<Seconds>| match seconds {
        Some(Seconds::WholeSeconds(seconds)) => seconds.checked_mul(1_000).map(Timestamp),
        _ => None,
    };
    let kind = claims.rest.iter().find_map(|(name, value)| match name {
        ClaimName::PrivateUse(CLAIM_KIND) => value.as_text(),
        _ => None,
    });
    Some(Verified {
        credential: CredentialId::new(std::str::from_utf8(claims.cwt_id.as_deref()?).ok()?),
        holder: claims.subject.clone()?,
        kind: kind?.to_owned(),
        valid_from: instant(&claims.not_before)?,
        valid_until: instant(&claims.expiration_time)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content<'a>(id: &'a CredentialId, claims: &'a Value) -> Content<'a> {
        Content {
            issuer: "acme/three",
            credential: id,
            holder: "Ada Lovelace",
            kind: "qr",
            valid_from: Timestamp(10_000),
            valid_until: Timestamp(20_000),
            claims,
        }
    }

    #[test]
    fn a_token_proves_its_content_and_its_time() {
        let key = signing_key(&"07".repeat(32)).unwrap();
        let id = CredentialId::new("00112233aabbccdd");
        let claims = Value::object([("floor", Value::Int(3))]);
        let token = sign(&content(&id, &claims), &key).unwrap();
        assert_eq!(token, sign(&content(&id, &claims), &key).unwrap(), "signing again changes nothing");
        let public = key.verifying_key();
        let verified = verify(&token, &public, Timestamp(10_000)).unwrap();
        assert_eq!((verified.credential, verified.holder.as_str(), verified.kind.as_str()), (id, "Ada Lovelace", "qr"));
        assert_eq!(verify(&token, &public, Timestamp(9_999)), Err(TokenError::NotYet));
        assert_eq!(verify(&token, &public, Timestamp(20_000)), Err(TokenError::Expired));
        let stranger = signing_key(&"08".repeat(32)).unwrap().verifying_key();
        assert_eq!(verify(&token, &stranger, Timestamp(10_000)), Err(TokenError::BadSignature));
    }

    #[test]
    fn a_changed_byte_anywhere_is_found() {
        let key = signing_key(&"07".repeat(32)).unwrap();
        let id = CredentialId::new("00112233aabbccdd");
        let token = sign(&content(&id, &Value::Null), &key).unwrap();
        let bytes = base45::decode(&token).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(verify(&base45::encode(&changed), &key.verifying_key(), Timestamp(15_000)).is_err(), "byte {place}");
        }
        for garbage in ["", "hello", "::::::", &"A".repeat(TOKEN_LEN_MAX + 1)] {
            assert_eq!(verify(garbage, &key.verifying_key(), Timestamp(15_000)), Err(TokenError::NotAToken));
        }
    }
}
