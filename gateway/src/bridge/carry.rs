//! One load from what a group owes another: into the other's log, and then off the first one's books. Where this ends half way,
//! the next load begins where the books say, and the other group knows what it has.

use crate::consensus::{GroupRef, ProposeError};
use spalla_shared::codec;
use spalla_shared::engine::crossing::{Crossed, CrossingItem, DELIVERY_LEN_MAX, concerns};
use spalla_shared::engine::{Command, CrossingCommand, State};

/// Of one load: well below what one command may hold. One item alone may be larger.
const LOAD_SIZE_MAX: usize = 256 * 1024;
/// Items looked through for one load: those that concern nobody cost no entry in the other's log.
const LOOK_LEN_MAX: usize = 512;

/// Carries load after load until nothing is left.
pub async fn carry(from: &GroupRef, to: &GroupRef) -> Result<(), ProposeError> {
    loop {
        let taken = to.state().read().crossings.taken.get(from.id()).copied().unwrap_or(0);
        let Some(looked) = look(&from.state().read(), to, taken) else { return Ok(()) };
        let load = looked.filtered(&to.state().read());
        if let Some((items, upto_seq)) = load {
            let command = CrossingCommand::Deliver { from: from.id().clone(), items, upto_seq };
            let receipt = to.propose(Command::Crossing(command)).await?;
            if let Err(rejection) = receipt.reply {
                tracing::warn!(from = %from.id(), to = %to.id(), code = %rejection.code, reason = %rejection.message, "a load was not taken");
                return Ok(());
            }
        }
        let command = CrossingCommand::Taken { by: to.id().clone(), upto_seq: looked.upto };
        from.propose(Command::Crossing(command)).await?;
    }
}

struct Looked {
    items: Vec<CrossingItem>,
    upto: u64,
}

/// The first items that the other group has not; none where the books are level.
fn look(from: &State, to: &GroupRef, taken: u64) -> Option<Looked> {
    let owed = from.crossings.owed.get(to.id())?;
    if owed.taken_seq >= owed.newest_seq {
        return None;
    }
    let settled = owed.taken_seq.max(taken.min(owed.newest_seq));
    let (mut items, mut size, mut upto) = (Vec::new(), 0, settled);
    for item in owed.items.iter().filter(|item| item.seq > settled).take(LOOK_LEN_MAX) {
        let len = codec::encode(item).len();
        let full = items.len() >= DELIVERY_LEN_MAX || !items.is_empty() && size + len > LOAD_SIZE_MAX;
        if full {
            return Some(Looked { items, upto });
        }
        size += len;
        upto = item.seq;
        items.push(item.clone());
    }
    // What lapsed behind the last item was owed and is not any more.
    let all = owed.items.back().is_none_or(|last| last.seq <= upto);
    Some(Looked { items, upto: if all { owed.newest_seq } else { upto } })
}

impl Looked {
    /// What concerns the other group of it; none where nothing does.
    fn filtered(&self, to: &State) -> Option<(Vec<CrossingItem>, u64)> {
        let wanted = |item: &&CrossingItem| match &item.what {
            Crossed::Emitted { event } => concerns(to, event),
            Crossed::Heard { .. } | Crossed::Start { .. } | Crossed::Answer { .. } => true,
        };
        let items: Vec<CrossingItem> = self.items.iter().filter(wanted).cloned().collect();
        (!items.is_empty()).then_some((items, self.upto))
    }
}
