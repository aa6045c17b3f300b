//! The state of all groups of this gateway at one moment, for a backup: every group stands still between two entries while
//! the copies are taken, which share all that is large, and goes on before they are written anywhere.

use super::MemberError;
use super::machine::{Held, index_of};
use super::mesh::Mesh;
use super::types::SnapshotMeta;
use crate::storage::SnapshotImage;
use spalla_shared::codec;
use spalla_shared::engine::State;
use spalla_shared::id::GroupId;
use std::time::Duration;

/// For a group to come to the end of the entries that it is applying.
const HOLD_TIME_MAX: Duration = Duration::from_secs(5);
/// A state nests as deep as what flows remember.
const STACK_LEN: usize = 32 * 1024 * 1024;

/// One group as it stood.
pub struct GroupImage {
    pub group: GroupId,
    pub applied: u64,
    pub state: State,
    pub image: SnapshotImage,
}

impl Mesh {
    /// `cut` is called while everything stands still; it must not wait. Records of all entries in the images were handed to the
    /// sink before, none of later ones.
    pub async fn images<T>(&self, cut: impl FnOnce() -> T) -> Result<(Vec<GroupImage>, T), MemberError> {
        let groups: Vec<_> = self.host.registry.groups.read().values().cloned().collect();
        let mut held: Vec<(GroupId, Held)> = Vec::with_capacity(groups.len());
        for group in groups {
            let hold = tokio::time::timeout(HOLD_TIME_MAX, group.core.view.hold()).await;
            let hold = hold.map_err(|_| MemberError::Timeout)?.ok_or_else(|| MemberError::NoGroup(group.core.id.clone()))?;
            held.push((group.core.id.clone(), hold));
        }
        let cut = cut();
        let mut copies = Vec::with_capacity(held.len());
        for (group, held) in held {
            let copy = held.release().ok_or_else(|| MemberError::Failed("this gateway is too busy to stand still; try again".into()))?;
            copies.push((group, copy));
        }
        let image = |(group, (meta, state)): (GroupId, (SnapshotMeta, State))| {
            let image = SnapshotImage::new(&codec::encode(&meta), &codec::encode(&state));
            GroupImage { group, applied: index_of(&meta), state, image }
        };
        Ok((on_deep_stack(move || copies.into_iter().map(image).collect()).await?, cut))
    }
}

/// For what walks through whole states.
pub(super) async fn on_deep_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, MemberError> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("images".into()).stack_size(STACK_LEN);
    thread.spawn(move || drop(tell.send(work()))).map_err(|error| MemberError::Failed(error.to_string()))?;
    told.await.map_err(|_| MemberError::Failed("writing a state down panicked".into()))
}
