//! History that a snapshot carried this gateway over, fetched from the others. Each gateway answers from its own file;
//! nothing here reaches into the log or the state.

use crate::consensus::Mesh;
use crate::history::{AuditRow, Gap, GapPage, History, HistoryError, Reader};
use async_trait::async_trait;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spalla_broker::rpc::{RpcError, Service};
use spalla_shared::codec;
use spalla_shared::id::{GroupId, NodeId};
use std::sync::Weak;
use std::time::Duration;

pub const PREFIX: &str = "history.";
const AUDIT: &str = "history.audit";
const ROWS: &str = "history.rows";
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Before all other gateways are asked again, when none of them could help.
const AGAIN: Duration = Duration::from_secs(10);

/// Audit links before this one.
#[derive(Serialize, Deserialize)]
struct AskAudit {
    group: GroupId,
    before_seq: u64,
}

/// Traces and instances of entries `from..=to`, behind `after`.
#[derive(Serialize, Deserialize)]
struct AskRows {
    group: GroupId,
    from: u64,
    to: u64,
    after: (u64, u32),
}

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
            ROWS => {
                let AskRows { group, from, to, after } = request(&body)?;
                let page = self.0.gap_page(group, from, to, after).await.map_err(failed)?;
                let page = page.ok_or_else(|| RpcError::Refused("history is not whole there either".into()))?;
                Ok(codec::encode(&page).into())
            }
            other => Err(RpcError::Refused(format!("no method `{other}`"))),
        }
    }
}

fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, RpcError> {
    codec::decode(body).map_err(|error| RpcError::Refused(format!("request cannot be read: {error}")))
}

/// Why a page was not taken.
enum Trouble {
    /// That gateway cannot help; another may.
    Peer(String),
    /// History can no longer be written or read here.
    Here(HistoryError),
}

impl From<RpcError> for Trouble {
    fn from(error: RpcError) -> Self {
        Self::Peer(error.to_string())
    }
}

impl From<HistoryError> for Trouble {
    fn from(error: HistoryError) -> Self {
        match error {
            // The giver's fault: its links do not join up.
            HistoryError::Content(why) => Self::Peer(why),
            error => Self::Here(error),
        }
    }
}

/// Fills the gaps of one group's history.
pub struct Backfill {
    pub group: GroupId,
    pub history: History,
    /// Weak: the mesh must be able to end while this waits.
    pub mesh: Weak<Mesh>,
}

impl Backfill {
    /// Looks at the start and after each snapshot that carried this gateway over entries; while a gap is open, every few seconds.
    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut carried = self.history.carried_over();
        loop {
            carried.borrow_and_update();
            let open = match self.fill_all().await {
                Ok(open) => open,
                Err(Trouble::Peer(why)) => {
                    tracing::warn!(group = %self.group, why, "part of the history is missing here, and no other gateway has given it yet");
                    true
                }
                Err(Trouble::Here(error)) => {
                    tracing::warn!(group = %self.group, %error, "history cannot be filled");
                    true
                }
            };
            let changed = carried.changed();
            if open {
                let _ = tokio::time::timeout(AGAIN, changed).await;
            } else if changed.await.is_err() {
                return;
            }
        }
    }

    /// All gateways of the mesh but this one.
    fn peers(&self) -> Vec<NodeId> {
        self.mesh.upgrade().map(|mesh| mesh.peers()).unwrap_or_default().iter().map(|gateway| gateway.node).collect()
    }

    /// Fills gap after gap, oldest first; each page makes one smaller. Gives whether one is still open.
    async fn fill_all(&self) -> Result<bool, Trouble> {
        let mut after = (0, 0);
        while let Some(gap) = self.history.reader().gap(self.group.clone()).await? {
            if self.peers().is_empty() {
                return Ok(true);
            }
            let before = (gap.to_index, gap.audit);
            let next = self.next_page(&gap, after).await?;
            let Some(now) = self.history.reader().gap(self.group.clone()).await? else { break };
            let same = (now.to_index, now.audit) == before && now.rows_done == gap.rows_done;
            if same && next <= after {
                return Err(Trouble::Peer(format!("entries {} to {} make no progress", gap.from_index, gap.to_index)));
            }
            after = if now.to_index == gap.to_index { next } else { (0, 0) };
        }
        tracing::debug!(group = %self.group, "history has no gap");
        Ok(false)
    }

    /// One page from the first gateway that has it. Gives where the trace lines go on.
    async fn next_page(&self, gap: &Gap, after: (u64, u32)) -> Result<(u64, u32), Trouble> {
        let mut last = "there is no other gateway".to_owned();
        for peer in self.peers() {
            let taken = match gap.audit {
                Some((_, to)) => self.links(peer, to).await.map(|()| after),
                None => self.rows(peer, gap, after).await,
            };
            match taken {
                Ok(after) => return Ok(after),
                Err(Trouble::Peer(why)) => last = format!("gateway {peer}: {why}"),
                Err(here) => return Err(here),
            }
        }
        Err(Trouble::Peer(last))
    }

    async fn links(&self, peer: NodeId, to: u64) -> Result<(), Trouble> {
        let links: Vec<AuditRow> = self.ask(peer, AUDIT, &AskAudit { group: self.group.clone(), before_seq: to.saturating_add(1) }).await?;
        if links.is_empty() {
            return Err(Trouble::Peer("it has none of the links either".into()));
        }
        let (history, group) = (self.history.clone(), self.group.clone());
        let taken = tokio::task::spawn_blocking(move || history.backfill(&group, links)).await;
        let taken = taken.map_err(|error| HistoryError::Stopped(error.to_string()))??;
        tracing::info!(group = %self.group, from = %peer, to, links = taken, "audit links fetched");
        Ok(())
    }

    async fn rows(&self, peer: NodeId, gap: &Gap, after: (u64, u32)) -> Result<(u64, u32), Trouble> {
        let ask = AskRows { group: self.group.clone(), from: gap.from_index, to: gap.to_index, after };
        let page: GapPage = self.ask(peer, ROWS, &ask).await?;
        let next = page.next;
        // Pages go forward, or a peer could keep this going for ever.
        if next.is_some_and(|next| next <= after) {
            return Err(Trouble::Peer("its pages do not go on".into()));
        }
        let (history, group, to) = (self.history.clone(), self.group.clone(), gap.to_index);
        let taken = tokio::task::spawn_blocking(move || history.backfill_rows(&group, to, page)).await;
        taken.map_err(|error| HistoryError::Stopped(error.to_string()))??;
        Ok(next.unwrap_or(after))
    }

    async fn ask<T: DeserializeOwned>(&self, peer: NodeId, method: &str, question: &impl Serialize) -> Result<T, Trouble> {
        let mesh = self.mesh.upgrade().ok_or_else(|| Trouble::Peer("this gateway is stopping".into()))?;
        let answer = mesh.call(peer, method, codec::encode(question).into(), ANSWER_TIME_MAX).await?;
        codec::decode(&answer).map_err(|error| Trouble::Peer(format!("answer cannot be read: {error}")))
    }
}
