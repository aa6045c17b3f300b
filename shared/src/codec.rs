//! The envelope of everything that is stored or crosses between gateways: one version byte, then CBOR.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of the envelope. A reader refuses what it does not know instead of guessing.
pub const VERSION: u8 = 1;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("empty envelope")]
    Empty,
    #[error("envelope version {0} is not known here (this build reads {VERSION})")]
    Version(u8),
    #[error("envelope body: {0}")]
    Body(String),
}

pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    let mut out = vec![VERSION];
    // Writing CBOR to memory fails only where a Serialize impl itself refuses; none of ours does.
    if let Err(error) = ciborium::into_writer(body, &mut out) {
        unreachable!("encoding to memory: {error}");
    }
    out
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (version, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *version != VERSION {
        return Err(DecodeError::Version(*version));
    }
    ciborium::from_reader(body).map_err(|error| DecodeError::Body(error.to_string()))
}
