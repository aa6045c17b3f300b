//! Credentials, grants, and the decision at a door.

use super::effect::Owner;
use crate::id::{CredentialId, DeviceId, GrantId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    pub id: CredentialId,
    pub owner: Owner,
    pub holder: Arc<str>,
    /// `qr`, `card`, `pin`.
    pub kind: Arc<str>,
    pub valid_from: Timestamp,
    pub valid_until: Timestamp,
    pub claims: Value,
    pub revoked_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    pub owner: Owner,
    pub credential: CredentialId,
    /// Area name, when it was given by area.
    pub area: Option<Arc<str>>,
    pub doors: Vec<DeviceId>,
    pub from: Timestamp,
    pub until: Timestamp,
}
