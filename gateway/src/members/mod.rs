//! Gateways that come and go. Decides who belongs and who votes, from the roster in the log, and lets agreement carry it out;
//! knows how each gateway is. Never touches the log but through a command.
//!
//! ```text
//! operator -> api -> invite | join | remove (commands) -> roster -> Keeper (on the leader) -> consensus: admit, set_voters, dismiss
//!                                                          |------> BuildingKeeper (on the leader of a building's group): the same
//!                                                          '------> Midwife: a building's group whose voters are gone begins again
//!                    transfer, status <-- calls --> the leader, and every gateway
//! ```

mod building;
mod hand_over;
mod join;
mod keeper;
mod lay_down;
mod life;
mod look;
mod lost;
mod patience;
mod policy;
mod reach;
mod remove;
mod service;
mod words;

pub use building::BuildingKeeper;
pub use hand_over::HandedOver;
pub use join::{Invited, JoinRequest, Joined};
pub use keeper::Keeper;
pub use life::Midwife;
pub use look::{MemberLook, MeshLook, Vitals};
pub use remove::{RemoveRequest, Removed};
pub use service::{Answer, PREFIX};
pub use words::{as_of, size};

use crate::config::Config;
use crate::consensus::{GroupRef, Leadership, MemberError, Mesh, ProposeError};
use crate::history::Reader;
use serde::{Deserialize, Serialize};
use spalla_shared::engine::Rejection;
use spalla_shared::id::NodeId;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A gateway that the leader has heard of since then is there.
const ALIVE_MS_MAX: u64 = 5_000;
/// So few entries behind, a gateway is level: under load the newest are always under way.
const LEVEL_LAG_MAX: u64 = 128;
/// For what an operator asked of the members to come about, over a change of leader too.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(15);
/// For a connection to the leader. One that is there is connected already, or answers at once.
const CONNECT_WAIT: Duration = Duration::from_millis(250);
/// Between two looks at whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A cheap handle.
#[derive(Clone)]
pub struct Members {
    pub config: Arc<Config>,
    /// The group whose log holds the roster.
    pub group: GroupRef,
    /// Weak: the mesh must be able to end while a request still holds this.
    pub mesh: Weak<Mesh>,
    pub history: Reader,
    pub started: Instant,
    /// Read while a removal is under way: who removes itself answers before it stops.
    pub removing: Arc<tokio::sync::RwLock<()>>,
    /// One removal at a time: the next one must see who is left.
    pub one_at_a_time: Arc<tokio::sync::Mutex<()>>,
    /// Since when this gateway is asked to give away what it decides alone, because it is about to be removed.
    pub leaving: Arc<watch::Sender<Option<tokio::time::Instant>>>,
}

/// Who leads, as far as this gateway can use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leads {
    Here,
    There(NodeId),
    Nobody,
}

/// Why an operator's wish was not carried out. `code` is the API's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: String,
    pub message: String,
}

impl Refusal {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// The gateway that was asked led a moment ago and does not any more: ask the next.
    fn not_leader() -> Self {
        Self::new("not-leader", "another gateway leads now")
    }

    fn is_not_leader(&self) -> bool {
        self.code == "not-leader"
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::new(&rejection.code, &*rejection.message)
    }
}

impl From<ProposeError> for Refusal {
    fn from(error: ProposeError) -> Self {
        let code = match &error {
            ProposeError::NoQuorum(_) => "no-quorum",
            ProposeError::Unknown => "unknown-outcome",
            ProposeError::Busy(_) => "busy",
            ProposeError::TooLarge { .. } => "too-large",
            ProposeError::Stopping => "stopping",
        };
        Self::new(code, error.to_string())
    }
}

impl From<MemberError> for Refusal {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::NotLeader => Self::not_leader(),
            MemberError::UnderWay => Self::new("busy", error.to_string()),
            MemberError::Timeout => Self::new("no-quorum", error.to_string()),
            MemberError::NoGroup(_) | MemberError::Failed(_) => Self::new("failed", error.to_string()),
        }
    }
}

impl Members {
    fn node(&self) -> NodeId {
        self.config.node
    }

    fn mesh(&self) -> Result<Arc<Mesh>, Refusal> {
        self.mesh.upgrade().ok_or_else(|| Refusal::new("stopping", "this gateway is stopping"))
    }

    fn leadership(&self) -> Leadership {
        self.group.leadership().borrow().clone()
    }

    /// Who can be told an operator's wish. A leader that is not heard of, or that cannot be reached, is none.
    async fn who_leads(&self) -> Leads {
        match self.leadership() {
            Leadership { is_self: true, .. } => Leads::Here,
            Leadership { leader: Some(leader), .. } if leader != self.node() && !self.group.freshness().stale => {
                let reached = match self.mesh.upgrade() {
                    Some(mesh) => mesh.reaches(leader, CONNECT_WAIT).await,
                    None => false,
                };
                if reached { Leads::There(leader) } else { Leads::Nobody }
            }
            _ => Leads::Nobody,
        }
    }

    /// The site's name, and the number where that does not tell it from another.
    fn name_of(&self, node: NodeId) -> String {
        let state = self.group.state().read();
        let members = &state.roster.members;
        let Some(member) = members.get(&node) else { return format!("gateway {node}") };
        let alone = members.values().filter(|other| other.site == member.site).count() == 1;
        if alone { member.site.to_string() } else { format!("{} ({node})", member.site) }
    }
}
