//! What the others lack, given from the file that is here.

use super::{AUDIT, AskAudit, AskRows, PART};
use crate::history::{HistoryError, Reader};
use async_trait::async_trait;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use spalla_broker::rpc::{RpcError, Service};
use spalla_shared::codec;
use spalla_shared::id::NodeId;

/// Answers other gateways.
pub struct Answer(pub Reader);

#[async_trait]
impl Service for Answer {
    async fn call(&self, _peer: NodeId, method: &str, body: Bytes) -> Result<Bytes, RpcError> {
        let failed = |error: HistoryError| RpcError::Remote(error.to_string());
        match method {
            AUDIT => {
                let AskAudit { group, before_seq } = request(&body)?;
                let links = self.0.links_before(group, before_seq).await.map_err(failed)?;
                Ok(codec::encode(&links).into())
            }
            PART => {
                let AskRows { group, from, to, after } = request(&body)?;
                let page = self.0.gap_page(group, from, to, after).await.map_err(failed)?;
                let page = page.ok_or_else(|| RpcError::Refused("it has nothing of them either".into()))?;
                Ok(codec::encode(&page).into())
            }
            other => Err(RpcError::Refused(format!("no method `{other}`"))),
        }
    }
}

fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, RpcError> {
    codec::decode(body).map_err(|error| RpcError::Refused(format!("request cannot be read: {error}")))
}
