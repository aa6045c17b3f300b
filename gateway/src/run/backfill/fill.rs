//! Fills the gaps of one group's history from whoever has what is missing.

use super::{AUDIT, AskAudit, AskRows, PART};
use crate::consensus::Mesh;
use crate::history::{AuditRow, GapPage, History, HistoryError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use spalla_broker::rpc::RpcError;
use spalla_shared::codec;
use spalla_shared::id::{GroupId, NodeId};
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Before all other gateways are asked again, when none of them could help.
const AGAIN: Duration = Duration::from_secs(10);

/// What is asked of one gateway after the other.
#[derive(Clone, Copy)]
enum Wanted {
    /// Audit links up to this one.
    Links(u64),
    /// Instances and traces of a part of these entries.
    Entries(u64, u64),
}

/// Why a page was not taken.
enum Trouble {
    /// That gateway cannot help; another may.
    Peer(String),
    /// History can no longer be written or read here.
    Here(HistoryError),
}

impl Trouble {
    /// What could not be had.
    fn of(self, what: String) -> Self {
        match self {
            Self::Peer(why) => Self::Peer(format!("{what}: {why}")),
            here => here,
        }
    }
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
    group: GroupId,
    history: History,
    /// Weak: the mesh must be able to end while this waits.
    mesh: Weak<Mesh>,
    /// The gateway that could help last is asked first: one that is cut off costs a wait each time.
    helped: AtomicU64,
}

impl Backfill {
    pub fn new(group: GroupId, history: History, mesh: Weak<Mesh>) -> Self {
        Self { group, history, mesh, helped: AtomicU64::new(0) }
    }

    /// Looks at the start and after each snapshot that carried this gateway over entries; while a gap is open, every few seconds.
    /// Runs until it is dropped, or history has ended.
    pub async fn run(self) {
        let mut carried = self.history.carried_over();
        let mut said = String::new();
        loop {
            carried.borrow_and_update();
            let open = match self.fill_all().await {
                Ok(()) => None,
                Err(Trouble::Peer(why)) => {
                    Some(format!("part of the history is missing here, and no other gateway has given it yet: {why}"))
                }
                Err(Trouble::Here(error)) => Some(format!("history cannot be filled: {error}")),
            };
            // What cannot be filled may stay so for good.
            let why = open.unwrap_or_default();
            if !why.is_empty() && why != said {
                tracing::warn!(group = %self.group, why);
            }
            said = why;
            let changed = if said.is_empty() { Ok(carried.changed().await) } else { tokio::time::timeout(AGAIN, carried.changed()).await };
            if matches!(changed, Ok(Err(_))) {
                return;
            }
        }
    }

    /// Tries all gaps, oldest first: one that nobody can fill holds no other one up. Where one stays open, the last reason is given.
    async fn fill_all(&self) -> Result<(), Trouble> {
        let mut open = None;
        for gap in self.history.reader().gaps(self.group.clone()).await? {
            let links = self.fill_links(gap.to_index).await;
            let entries = if gap.rows_done { Ok(()) } else { self.fill_entries(gap.from_index, gap.to_index).await };
            for filled in [links, entries] {
                match filled {
                    Err(trouble @ Trouble::Peer(_)) => open = Some(trouble),
                    filled => filled?,
                }
            }
        }
        open.map_or(Ok(()), Err)
    }

    /// Those of the gap that ends with entry `to_index`, from the newest down; each page makes it smaller.
    async fn fill_links(&self, to_index: u64) -> Result<(), Trouble> {
        let mut below = u64::MAX;
        loop {
            let gaps = self.history.reader().gaps(self.group.clone()).await?;
            let Some((_, to)) = gaps.iter().find(|gap| gap.to_index == to_index).and_then(|gap| gap.audit) else { return Ok(()) };
            if to >= below {
                return Err(Trouble::Peer(format!("audit links up to {to} make no progress")));
            }
            below = to;
            self.of_any_peer(Wanted::Links(to)).await.map_err(|trouble| trouble.of(format!("audit links up to {to}")))?;
        }
    }

    /// Part after part, as the others have them. What is filled is noted part by part, and not asked for again after a restart.
    async fn fill_entries(&self, from: u64, to: u64) -> Result<(), Trouble> {
        let mut missing = vec![(from, to)];
        let mut open = None;
        while let Some((from, to)) = missing.pop() {
            match self.of_any_peer(Wanted::Entries(from, to)).await {
                Ok((first, last)) => {
                    // Each is smaller than what was asked for.
                    let left = [(last.saturating_add(1), to), (from, first.saturating_sub(1))];
                    missing.extend(left.into_iter().filter(|(from, to)| from <= to));
                }
                Err(trouble @ Trouble::Peer(_)) => open = Some(trouble.of(format!("entries {from} to {to}"))),
                Err(here) => return Err(here),
            }
        }
        open.map_or(Ok(()), Err)
    }

    /// From the first one that has it. Gives from where to where it was taken.
    async fn of_any_peer(&self, wanted: Wanted) -> Result<(u64, u64), Trouble> {
        let mut last = "there is no other gateway".to_owned();
        let peers = self.mesh.upgrade().map(|mesh| mesh.peers()).unwrap_or_default();
        let mut peers: Vec<NodeId> = peers.iter().map(|gateway| gateway.node).collect();
        let helped = NodeId(self.helped.load(Ordering::Relaxed));
        peers.sort_by_key(|peer| *peer != helped);
        for peer in peers {
            let taken = match wanted {
                Wanted::Links(to) => self.links(peer, to).await,
                Wanted::Entries(from, to) => self.entries(peer, from, to).await,
            };
            match taken {
                Err(Trouble::Peer(why)) => last = format!("gateway {peer}: {why}"),
                taken => {
                    self.helped.store(peer.0, Ordering::Relaxed);
                    return taken;
                }
            }
        }
        Err(Trouble::Peer(last))
    }

    async fn links(&self, peer: NodeId, to: u64) -> Result<(u64, u64), Trouble> {
        let links: Vec<AuditRow> = self.ask(peer, AUDIT, &AskAudit { group: self.group.clone(), before_seq: to.saturating_add(1) }).await?;
        let Some(first) = links.first().map(|link| link.seq) else {
            return Err(Trouble::Peer("it does not have them either".into()));
        };
        let taken = self.put_in(move |history, group| history.backfill(group, links)).await?;
        tracing::info!(group = %self.group, from = %peer, to, links = taken, "audit links fetched");
        Ok((first, to))
    }

    /// A part of entries `from..=to`, page by page. Gives which.
    async fn entries(&self, peer: NodeId, from: u64, to: u64) -> Result<(u64, u64), Trouble> {
        let mut part = (from, to);
        let mut after = (0, 0);
        loop {
            let ask = AskRows { group: self.group.clone(), from: part.0, to: part.1, after };
            let page: GapPage = self.ask(peer, PART, &ask).await?;
            let (given, next) = ((page.from, page.to), page.next);
            let within = part.0 <= given.0 && given.0 <= given.1 && given.1 <= part.1;
            // A line of a later entry would be in the way of this gateway's own.
            let own = page.rows.iter().all(|row| given.0 <= row.line.index && row.line.index <= given.1);
            // The first page says which part it is of. Pages go forward, or a peer could keep this going for ever.
            let goes_on = next.is_none_or(|next| after < next && next.0 <= given.1.saturating_add(1));
            if !within || !own || !goes_on || (after != (0, 0) && given != part) {
                return Err(Trouble::Peer("its pages are not what was asked for".into()));
            }
            self.put_in(move |history, group| history.backfill_rows(group, page)).await?;
            part = given;
            match next {
                Some(next) => after = next,
                None => return Ok(part),
            }
        }
    }

    /// History writes on its own thread, and is waited for off those of everybody else.
    async fn put_in(&self, put: impl FnOnce(&History, &GroupId) -> Result<usize, HistoryError> + Send + 'static) -> Result<usize, Trouble> {
        let (history, group) = (self.history.clone(), self.group.clone());
        let taken = tokio::task::spawn_blocking(move || put(&history, &group)).await;
        Ok(taken.map_err(|error| HistoryError::Stopped(error.to_string()))??)
    }

    async fn ask<T: DeserializeOwned>(&self, peer: NodeId, method: &str, question: &impl Serialize) -> Result<T, Trouble> {
        let mesh = self.mesh.upgrade().ok_or_else(|| Trouble::Peer("this gateway is stopping".into()))?;
        let answer = mesh.call(peer, method, codec::encode(question).into(), ANSWER_TIME_MAX).await?;
        codec::decode(&answer).map_err(|error| Trouble::Peer(format!("answer cannot be read: {error}")))
    }
}
