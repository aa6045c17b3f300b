//! A backup of the whole mesh, from what this gateway holds.

use super::{ApiError, App};
use crate::backup::{self, BackupError};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncReadExt;

const CHUNK_LEN: usize = 64 * 1024;

/// A consistent image of all groups of this gateway with their history, in one file. Holds nothing up while it is read.
#[utoipa::path(get, path = "/api/v1/backup", responses((status = 200, description = "The file", content_type = "application/octet-stream"),
    (status = 429, description = "Another backup is being made"), (status = 507, description = "Too little disk is free to make it")))]
pub async fn take(State(app): State<App>) -> Result<Response, ApiError> {
    // Each takes as much disk as the data itself.
    let Ok(place) = app.backups.clone().try_acquire_owned() else {
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", "another backup is being made here; try again when it is done"));
    };
    let mesh =
        app.members.mesh.upgrade().ok_or_else(|| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "this gateway is stopping"))?;
    let made = backup::make(&app.config, &mesh, &app.history_file).await;
    let (folder, path) = made.map_err(|error| match error {
        BackupError::NoSpace { .. } => ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "no-space", error.to_string()),
        other => ApiError::internal(other.to_string()),
    })?;
    drop(mesh);
    let failed = |error: std::io::Error| ApiError::internal(error.to_string());
    let file = tokio::fs::File::open(&path).await.map_err(failed)?;
    let len = file.metadata().await.map_err(failed)?.len();
    // The folder goes when the file is read, or the reader gone.
    let chunks = futures::stream::try_unfold((file, folder, place), |(mut file, folder, place)| async move {
        let mut chunk = vec![0; CHUNK_LEN];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then(|| (Bytes::from(chunk), (file, folder, place))))
    });
    let headers = [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_LENGTH, len.to_string())];
    Ok((headers, Body::from_stream(chunks)).into_response())
}
