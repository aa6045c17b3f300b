//! Ways into the state that save a walk over all of it. Derived from it, never stored: `State::rebuild_plans` builds them again.

use super::effect::Owner;
use super::instance::Instance;
use super::state::State;
use super::waiting::Waiting;
use crate::flow::plan::FlowKey;
use crate::id::{EffectId, InstanceId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// (namespace, name, key): a flow's versions share it.
type Singleton = (Arc<str>, Arc<str>, Arc<str>);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    /// Open effects by the instance that waits for them.
    owned: BTreeSet<(InstanceId, EffectId)>,
    /// Running instances of flows with a `spalla/singleton`.
    singletons: BTreeMap<Singleton, InstanceId>,
    pub waiting: Waiting,
}

impl Index {
    pub fn of(state: &State) -> Self {
        let waiting = Waiting::of(state.instances.values(), &state.plans);
        let mut index = Self { waiting, ..Self::default() };
        state.effects.values().for_each(|effect| index.own(effect.id, &effect.owner));
        state.instances.values().for_each(|instance| index.run(instance));
        index
    }

    pub fn own(&mut self, effect: EffectId, owner: &Owner) {
        if let Some(instance) = owner.instance() {
            self.owned.insert((instance.clone(), effect));
        }
    }

    pub fn disown(&mut self, effect: EffectId, owner: &Owner) {
        if let Some(instance) = owner.instance() {
            self.owned.remove(&(instance.clone(), effect));
        }
    }

    /// Effects that `instance` waits for, oldest first.
    pub fn owned_by(&self, instance: &InstanceId) -> Vec<EffectId> {
        let first = (instance.clone(), EffectId { index: 0, ordinal: 0 });
        self.owned.range(first..).take_while(|(of, _)| of == instance).map(|(_, effect)| *effect).collect()
    }

    pub fn run(&mut self, instance: &Instance) {
        if let Some(key) = &instance.singleton {
            self.singletons.insert(name(&instance.flow, key), instance.id.clone());
        }
    }

    pub fn end(&mut self, instance: &Instance) {
        if let Some(key) = &instance.singleton {
            self.singletons.remove(&name(&instance.flow, key));
        }
    }

    /// The running instance of that flow, whatever its version, with this key.
    pub fn singleton(&self, flow: &FlowKey, key: &Arc<str>) -> Option<&InstanceId> {
        self.singletons.get(&name(flow, key))
    }
}

fn name(flow: &FlowKey, key: &Arc<str>) -> Singleton {
    (flow.namespace.clone(), flow.name.clone(), key.clone())
}
