//! Finds the open effects of one group that this gateway must carry out, and sees each through. After an election or a
//! restart it finds them again in the state: nothing else remembers them. Never calls ingress.

use super::executors::Executors;
use super::report::report;
use spalla_shared::engine::effect::Place;
use spalla_shared::engine::{Effect, EffectClass, Request, State};
use spalla_shared::id::EffectId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

/// A look without being told to: a net below the notifications.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Before an effect is taken up again whose executor had nothing to say.
const REST: Duration = Duration::from_millis(500);

/// Effects of a kind carried out at a time. Kept apart, so that a hundred unreachable displays cannot hold up one door.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    pub opening_max: usize,
    pub device_max: usize,
    pub other_max: usize,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { opening_max: 256, device_max: 256, other_max: 64 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Opening,
    Device,
    Other,
}

impl Lane {
    fn of(effect: &Effect) -> Self {
        match (&effect.request, effect.class) {
            (Request::Device { .. }, EffectClass::Opening) => Self::Opening,
            (Request::Device { .. } | Request::ReadDevice { .. }, _) => Self::Device,
            _ => Self::Other,
        }
    }
}

/// With thousands of effects open, each applied entry must cost only what is new in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    New,
    All,
}

pub struct Dispatcher {
    executors: Arc<Executors>,
    lanes: Lanes,
    running: BTreeMap<EffectId, Running>,
    /// Answered, and not yet gone from the local state.
    answered: BTreeSet<EffectId>,
    /// Looked at again with every change: their device is away, their lane is full, or they rest.
    waiting: BTreeSet<EffectId>,
    /// The newest that was looked at. Those before it were seen to be another gateway's, until the next look at all.
    newest: Option<EffectId>,
    /// Left alone until then.
    resting: BTreeMap<EffectId, Instant>,
    tasks: JoinSet<bool>,
    by_task: BTreeMap<Id, EffectId>,
}

struct Running {
    lane: Lane,
    abort: AbortHandle,
    /// It has its answer, and only brings it to the log.
    answering: Arc<AtomicBool>,
}

impl Dispatcher {
    pub fn new(executors: Arc<Executors>, lanes: Lanes) -> Self {
        Self {
            executors,
            lanes,
            running: BTreeMap::new(),
            answered: BTreeSet::new(),
            waiting: BTreeSet::new(),
            newest: None,
            resting: BTreeMap::new(),
            tasks: JoinSet::new(),
            by_task: BTreeMap::new(),
        }
    }

    /// Runs until the group stops or it is dropped; dropping ends its executors. Spawn it once per group.
    pub async fn run(mut self) {
        let group = self.executors.group.clone();
        let mut applied = group.applied();
        let mut leadership = group.leadership();
        let mut tick = tokio::time::interval(LOOK_AGAIN);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look = Look::All;
        loop {
            applied.borrow_and_update();
            let leads = leadership.borrow_and_update().is_self;
            self.look(leads, look);
            look = tokio::select! {
                changed = applied.changed() => {
                    if changed.is_err() { return }
                    Look::New
                }
                changed = leadership.changed() => {
                    if changed.is_err() { return }
                    Look::All
                }
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.ended(ended);
                    // All that ended by now: one look is enough for them.
                    while let Some(ended) = self.tasks.try_join_next_with_id() {
                        self.ended(ended);
                    }
                    Look::New
                }
                _ = tick.tick() => Look::All,
            };
        }
    }

    fn look(&mut self, leads: bool, look: Look) {
        let now = Instant::now();
        self.resting.retain(|_, until| *until > now);
        let mut start = Vec::new();
        let group = self.executors.group.clone();
        {
            let state = group.state().read();
            let (node, boot) = (self.executors.options.node, self.executors.options.boot);
            // Until the log knows of this start, an attempt would be recorded under an earlier one.
            let known = state.nodes.get(&node).is_some_and(|known| known.boot == boot);
            if look == Look::All {
                self.let_go(&state, leads);
                self.waiting.clear();
                self.newest = None;
            }
            let waiting = std::mem::take(&mut self.waiting);
            let new = (self.newest.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            let mut free = self.free();
            for (id, effect) in waiting.iter().filter_map(|id| state.effects.get_key_value(id)).chain(state.effects.range(new)) {
                if self.running.contains_key(id) || self.answered.contains(id) {
                    continue;
                }
                let attempted_here = effect.attempt.as_ref().is_some_and(|attempt| attempt.node == node);
                let ours = match effect.place(&state) {
                    // Who made the one attempt goes on listening, wherever the device is.
                    _ if attempted_here => known,
                    Place::Leader => leads,
                    Place::Node(at) => at == node && known,
                    Place::Nowhere => {
                        self.waiting.insert(*id);
                        continue;
                    }
                };
                let places = free.entry(Lane::of(effect)).or_default();
                if ours && *places > 0 && !self.resting.contains_key(id) {
                    *places -= 1;
                    start.push(effect.clone());
                } else if ours {
                    self.waiting.insert(*id);
                }
            }
            self.newest = state.effects.last_key_value().map(|(id, _)| *id).max(self.newest);
        }
        for effect in start {
            self.start(effect);
        }
    }

    /// Ends what is no longer open or no longer ours, and forgets what left the state.
    fn let_go(&mut self, state: &State, leads: bool) {
        let node = self.executors.options.node;
        self.running.retain(|id, running| {
            let ours = state.effects.get(id).is_some_and(|effect| match effect.place(state) {
                _ if running.answering.load(Ordering::Relaxed) || effect.attempt.as_ref().is_some_and(|by| by.node == node) => true,
                Place::Leader => leads,
                Place::Node(at) => at == node,
                // A device that is away for a moment may still answer.
                Place::Nowhere => true,
            });
            if !ours {
                running.abort.abort();
            }
            ours
        });
        self.answered.retain(|id| state.effects.contains_key(id));
        self.executors.forget_published(|id| state.effects.contains_key(id));
    }

    fn free(&self) -> BTreeMap<Lane, usize> {
        let mut free = BTreeMap::from([
            (Lane::Opening, self.lanes.opening_max),
            (Lane::Device, self.lanes.device_max),
            (Lane::Other, self.lanes.other_max),
        ]);
        for running in self.running.values() {
            if let Some(places) = free.get_mut(&running.lane) {
                *places = places.saturating_sub(1);
            }
        }
        free
    }

    fn start(&mut self, effect: Effect) {
        let (id, lane) = (effect.id, Lane::of(&effect));
        let executors = self.executors.clone();
        let answering = Arc::new(AtomicBool::new(false));
        let told = answering.clone();
        let abort = self.tasks.spawn(async move {
            let outcome = executors.run(&effect).await;
            told.store(true, Ordering::Relaxed);
            match outcome {
                Some(outcome) => report(&executors.group, executors.options.node, &effect, outcome).await,
                None => false,
            }
        });
        self.by_task.insert(abort.id(), id);
        self.running.insert(id, Running { lane, abort, answering });
    }

    fn ended(&mut self, ended: Result<(Id, bool), JoinError>) {
        let (task, answered) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "an executor failed; its effect is taken up again");
                }
                (error.id(), false)
            }
        };
        let Some(id) = self.by_task.remove(&task) else { return };
        // Aborted ones have left `running` already, and another task may stand there by now.
        if self.running.get(&id).is_some_and(|running| running.abort.id() == task) {
            self.running.remove(&id);
            if answered {
                self.answered.insert(id);
            } else {
                self.resting.insert(id, Instant::now() + REST);
            }
        }
    }
}
