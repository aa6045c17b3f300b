//! Payloads of the native device contract: `command` down, `ack` up. JSON or CBOR; the device chooses by what it sends.

use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Json,
    Cbor,
}

/// Down. A device ignores an `id` that it has done and a command past `expires_at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub args: Value,
    /// Unix milliseconds.
    pub issued_at: Timestamp,
    /// Unix milliseconds.
    pub expires_at: Timestamp,
}

/// Up. `accepted`: taken on. `done`: physically completed. `failed`: will not happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    pub id: String,
    pub status: AckStatus,
    #[serde(default)]
    pub detail: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckStatus {
    Accepted,
    Done,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("payload is neither JSON nor CBOR: {0}")]
pub struct NativeError(pub String);

impl Format {
    /// Reads a payload: JSON where it starts like JSON, else CBOR.
    pub fn read<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<(Self, T), NativeError> {
        let json = serde_json::from_slice(payload);
        match json {
            Ok(body) => Ok((Self::Json, body)),
            Err(json_error) => match ciborium::from_reader(payload) {
                Ok(body) => Ok((Self::Cbor, body)),
                Err(_) => Err(NativeError(json_error.to_string())),
            },
        }
    }
    pub fn write<T: Serialize>(self, body: &T) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(body).unwrap_or_default(),
            Self::Cbor => {
                let mut out = Vec::new();
                // Memory cannot refuse.
                let _ = ciborium::into_writer(body, &mut out);
                out
            }
        }
    }
}
