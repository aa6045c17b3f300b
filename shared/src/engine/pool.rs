//! Exclusive things: parking spots, docks, rooms. One holder per unit, a FIFO queue of those who wait.

use super::effect::Owner;
use crate::resource::Pool;
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Waiters per pool.
pub const QUEUE_LEN_MAX: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolState {
    pub pool: Pool,
    /// By unit name.
    pub leases: BTreeMap<Arc<str>, Lease>,
    pub queue: VecDeque<Waiter>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    pub id: Arc<str>,
    /// What the flow named (a visit id); `releaseAll` takes it.
    pub holder: Arc<str>,
    pub owner: Owner,
    pub since: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiter {
    pub holder: Arc<str>,
    pub owner: Owner,
    pub prefer: Value,
    pub since: Timestamp,
}
