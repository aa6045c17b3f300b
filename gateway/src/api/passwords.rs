//! Passwords of devices and of service clients: made here, shown once, known by their hash from then on.

use super::ApiError;
use rand::RngExt;
use spalla_shared::resource::Device;
use std::sync::Arc;

/// 144 random bits as text.
pub(super) fn made() -> String {
    let mut bytes = [0u8; 18];
    rand::rng().fill(&mut bytes);
    hex::encode(bytes)
}

pub(super) async fn hashed(password: &str) -> Result<String, ApiError> {
    let plain = password.to_owned();
    tokio::task::spawn_blocking(move || crate::ingress::passwords::hash(&plain))
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?
        .map_err(ApiError::internal)
}

/// What `rotate` or `revoke` makes of a login: the new password, where there is one, and what is kept of it.
pub(super) async fn changed(action: &str, whose: &str) -> Result<(Option<String>, Arc<str>), ApiError> {
    match action {
        "rotate" => {
            let password = made();
            let hash = hashed(&password).await?;
            Ok((Some(password), hash.into()))
        }
        "revoke" => Ok((None, Device::REVOKED.into())),
        _ => Err(ApiError::not_found(format!("{whose} is not told to `{action}`; there are rotate and revoke"))),
    }
}
