//! What ends this gateway: a log or disk that cannot be trusted any more, an engine that broke. The first reason is kept.

use std::sync::Arc;
use tokio::sync::watch;

#[derive(Clone)]
pub struct Failure(Arc<watch::Sender<Option<String>>>);

impl Failure {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    pub(super) fn set(&self, reason: String) {
        let first = self.0.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                *failure = Some(reason.clone());
            }
            first
        });
        if first {
            tracing::error!(reason, "this gateway must stop");
        }
    }

    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }
}
