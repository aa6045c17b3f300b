//! Ways into the state that save a walk over all of it. Derived from it, never stored: `State::rebuild_plans` builds them again.

use super::effect::Owner;
use super::instance::Instance;
use super::state::State;
use super::waiting::Waiting;
use crate::flow::plan::FlowKey;
use crate::id::{CredentialId, DeviceId, EffectId, GrantId, InstanceId, WorkItemId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// (namespace, name): what a flow's versions share.
type Name = (Arc<str>, Arc<str>);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    owned: BTreeSet<(InstanceId, Owned)>,
    /// Grants by the credential that they are for.
    grants: BTreeSet<(CredentialId, GrantId)>,
    /// Equal commands just given that others wait for too: places in `Desk::recent`.
    followed: BTreeSet<(DeviceId, Arc<str>)>,
    /// Running instances of flows with a `spalla/singleton`.
    singletons: BTreeMap<Name, BTreeMap<Arc<str>, InstanceId>>,
    pub waiting: Waiting,
}

/// What an instance waits for or must give back when it ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owned {
    /// Open.
    Effect(EffectId),
    /// Open.
    WorkItem(WorkItemId),
    /// A place in a pool's queue.
    Place {
        pool: Arc<str>,
        owner: Owner,
    },
    Lease {
        pool: Arc<str>,
        unit: Arc<str>,
    },
    /// Not revoked.
    Credential(CredentialId),
    Grant(GrantId),
}

impl Index {
    pub fn of(state: &State) -> Self {
        let waiting = Waiting::of(state.instances.values(), &state.plans);
        let mut index = Self { waiting, ..Self::default() };
        state.instances.values().for_each(|instance| index.run(instance));
        state.effects.values().for_each(|effect| index.own(&effect.owner, Owned::Effect(effect.id)));
        state.work_items.values().for_each(|item| index.own(&item.owner, Owned::WorkItem(item.id.clone())));
        for (pool, known) in &state.pools {
            for (unit, lease) in &known.leases {
                index.own(&lease.owner, Owned::Lease { pool: pool.clone(), unit: unit.clone() });
            }
            for waiter in &known.queue {
                index.own(&waiter.owner, Owned::Place { pool: pool.clone(), owner: waiter.owner.clone() });
            }
        }
        for credential in state.credentials.values().filter(|credential| credential.revoked_at.is_none()) {
            index.own(&credential.owner, Owned::Credential(credential.id.clone()));
        }
        for grant in state.grants.values() {
            index.grant(&grant.owner, &grant.credential, &grant.id);
        }
        for (device, recent) in &state.desk.recent {
            for (key, _) in recent.iter().filter(|(_, recent)| !recent.followers.is_empty()) {
                index.follow(device, key);
            }
        }
        index
    }

    /// What nobody owns is given back by nobody: no index keeps it.
    pub fn own(&mut self, owner: &Owner, owned: Owned) {
        if let Some(instance) = owner.instance() {
            self.owned.insert((instance.clone(), owned));
        }
    }

    pub fn disown(&mut self, owner: &Owner, owned: Owned) {
        if let Some(instance) = owner.instance() {
            self.owned.remove(&(instance.clone(), owned));
        }
    }

    /// What `instance` waits for and owns, kind by kind, and each kind in the order in which the state has it.
    pub fn owned_by(&self, instance: &InstanceId) -> impl Iterator<Item = &Owned> {
        let first = (instance.clone(), Owned::Effect(EffectId { index: 0, ordinal: 0 }));
        self.owned.range(first..).take_while(move |(of, _)| of == instance).map(|(_, owned)| owned)
    }

    /// Effects that `instance` waits for, oldest first.
    pub fn effects_of(&self, instance: &InstanceId) -> Vec<EffectId> {
        let effect = |owned: &Owned| if let Owned::Effect(effect) = owned { Some(*effect) } else { None };
        self.owned_by(instance).map_while(effect).collect()
    }

    pub fn grant(&mut self, owner: &Owner, credential: &CredentialId, grant: &GrantId) {
        self.own(owner, Owned::Grant(grant.clone()));
        self.grants.insert((credential.clone(), grant.clone()));
    }

    pub fn end_grant(&mut self, owner: &Owner, credential: &CredentialId, grant: &GrantId) {
        self.disown(owner, Owned::Grant(grant.clone()));
        self.grants.remove(&(credential.clone(), grant.clone()));
    }

    /// Grants for `credential`, whoever gave them.
    pub fn grants_for(&self, credential: &CredentialId) -> impl Iterator<Item = &GrantId> {
        let first = (credential.clone(), GrantId::new(""));
        self.grants.range(first..).take_while(move |(of, _)| of == credential).map(|(_, grant)| grant)
    }

    pub fn follow(&mut self, device: &DeviceId, key: &Arc<str>) {
        self.followed.insert((device.clone(), key.clone()));
    }

    pub fn unfollow(&mut self, device: &DeviceId, key: &Arc<str>) {
        self.followed.remove(&(device.clone(), key.clone()));
    }

    pub fn followed(&self) -> Vec<(DeviceId, Arc<str>)> {
        self.followed.iter().cloned().collect()
    }

    pub fn run(&mut self, instance: &Instance) {
        if let Some(key) = &instance.singleton {
            self.singletons.entry(name(&instance.flow)).or_default().insert(key.clone(), instance.id.clone());
        }
    }

    pub fn end(&mut self, instance: &Instance) {
        let name = name(&instance.flow);
        if let Some(key) = &instance.singleton
            && let Some(keys) = self.singletons.get_mut(&name)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.singletons.remove(&name);
            }
        }
    }

    /// The running instance of that flow, whatever its version, with this key.
    pub fn singleton(&self, flow: &FlowKey, key: &Arc<str>) -> Option<&InstanceId> {
        self.singletons.get(&name(flow))?.get(key)
    }
}

fn name(flow: &FlowKey) -> Name {
    (flow.namespace.clone(), flow.name.clone())
}
