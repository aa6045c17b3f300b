//! Exclusive things: parking spots, docks, rooms. One holder per unit, a FIFO queue of those who wait.
//!
//! The queue is strict: whoever wants two units at its head is not overtaken by one who wants one.

use super::context::Context;
use super::effect::Owner;
use super::index::Owned;
use super::problem::Problem;
use crate::id::{Actor, InstanceId};
use crate::resource::{Pool, Unit};
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
    /// Units wanted at once; at least 1.
    pub quantity: usize,
    pub since: Timestamp,
}

/// Which leases to give back.
pub enum Which<'a> {
    Holder { holder: &'a str, unit: Option<&'a str> },
    Lease(&'a str),
    Instance(&'a InstanceId),
    Owner(&'a Owner),
}

impl PoolState {
    pub fn new(pool: Pool) -> Self {
        Self { pool, leases: BTreeMap::new(), queue: VecDeque::new() }
    }

    /// Free units, those that fit `prefer` best first, else as declared.
    fn free(&self, prefer: &Value) -> Vec<Arc<str>> {
        let mut free: Vec<&Unit> = self.pool.units.iter().filter(|unit| !self.leases.contains_key(&unit.name)).collect();
        free.sort_by_key(|unit| std::cmp::Reverse(fit(unit, prefer)));
        free.into_iter().map(|unit| unit.name.clone()).collect()
    }
}

/// How many of the wanted attributes the unit has. An attribute that is absent counts as `false`.
fn fit(unit: &Unit, prefer: &Value) -> usize {
    let Some(wanted) = prefer.as_object() else { return 0 };
    wanted
        .iter()
        .filter(|(name, value)| match unit.attributes.get(*name) {
            Some(has) => has == *value,
            None => **value == Value::Bool(false),
        })
        .count()
}

/// Takes `waiter.quantity` units at once or, where `queued` is, waits in line. `None`: it waits.
pub fn allocate(context: &mut Context, pool: &str, waiter: Waiter, queued: bool) -> Option<Result<Value, Problem>> {
    let Some(state) = context.state.pools.get_mut(pool) else {
        return Some(Err(Problem::own("not-found", 404, format!("there is no pool `{pool}`"))));
    };
    let units = state.pool.units.len();
    if waiter.quantity > units {
        return Some(Err(Problem::standard(
            "validation",
            400,
            format!("pool `{pool}` has {units} units, {} are asked for", waiter.quantity),
        )));
    }
    if state.queue.is_empty() {
        let free = state.free(&waiter.prefer);
        if free.len() >= waiter.quantity {
            return Some(Ok(lease(context, pool, &waiter, &free)));
        }
    }
    let state = context.state.pools.get_mut(pool)?;
    if !queued {
        return Some(Err(Problem::own("unavailable", 409, format!("pool `{pool}` has no free unit"))));
    }
    if state.queue.len() >= QUEUE_LEN_MAX {
        return Some(Err(Problem::own("limit", 429, format!("{QUEUE_LEN_MAX} wait for pool `{pool}` already"))));
    }
    let owner = waiter.owner.clone();
    let place = Owned::Place { pool: state.pool.name.clone(), owner: owner.clone() };
    state.queue.push_back(waiter);
    context.state.index.own(&owner, place);
    None
}

/// Leases the first `waiter.quantity` of `free`. Gives `{pool, unit, lease}`; with several units also `units` and `leases`.
fn lease(context: &mut Context, pool: &str, waiter: &Waiter, free: &[Arc<str>]) -> Value {
    let units = &free[..waiter.quantity.min(free.len())];
    let mut ids = Vec::with_capacity(units.len());
    for unit in units {
        let id: Arc<str> = context.new_id("lease").into();
        ids.push(Value::String(id.clone()));
        let lease = Lease { id: id.clone(), holder: waiter.holder.clone(), owner: waiter.owner.clone(), since: context.now };
        if let Some(state) = context.state.pools.get_mut(pool) {
            state.leases.insert(unit.clone(), lease);
            let owned = Owned::Lease { pool: state.pool.name.clone(), unit: unit.clone() };
            context.state.index.own(&waiter.owner, owned);
        }
        let data = Value::object([("holder", Value::String(waiter.holder.clone())), ("lease", Value::String(id))]);
        context.audit(actor(&waiter.owner), "resource.allocated", format!("{pool}/{unit}"), data);
    }
    let mut output = vec![
        ("pool", Value::from(pool)),
        ("unit", units.first().cloned().map_or(Value::Null, Value::String)),
        ("lease", ids.first().cloned().unwrap_or_default()),
    ];
    if units.len() > 1 {
        output.push(("units", Value::array(units.iter().cloned().map(Value::String).collect())));
        output.push(("leases", Value::array(ids)));
    }
    Value::object(output)
}

/// Gives leases of one pool back and hands them on. Gives how many there were.
pub fn release(context: &mut Context, pool: &str, which: &Which) -> usize {
    let Some(state) = context.state.pools.get_mut(pool) else { return 0 };
    let mut released: Vec<(Arc<str>, Lease)> = Vec::new();
    state.leases.retain(|unit, lease| {
        let goes = match which {
            Which::Holder { holder, unit: wanted } => *lease.holder == **holder && wanted.is_none_or(|wanted| wanted == &**unit),
            Which::Lease(id) => *lease.id == **id,
            Which::Instance(instance) => lease.owner.instance() == Some(*instance),
            Which::Owner(owner) => lease.owner == **owner,
        };
        if goes {
            released.push((unit.clone(), lease.clone()));
        }
        !goes
    });
    let count = released.len();
    for (unit, lease) in released {
        context.state.index.disown(&lease.owner, Owned::Lease { pool: pool.into(), unit: unit.clone() });
        let data = Value::object([("holder", Value::String(lease.holder)), ("lease", Value::String(lease.id))]);
        context.audit(actor(&lease.owner), "resource.released", format!("{pool}/{unit}"), data);
    }
    if count > 0 {
        hand_on(context, pool);
    }
    count
}

/// [`release`] over all pools.
pub fn release_all(context: &mut Context, which: &Which) -> usize {
    let instance = match which {
        Which::Instance(instance) => Some(*instance),
        Which::Owner(owner) => owner.instance(),
        Which::Holder { .. } | Which::Lease(_) => None,
    };
    let leased = |owned: &Owned| if let Owned::Lease { pool, .. } = owned { Some(pool.clone()) } else { None };
    let mut pools: Vec<Arc<str>> = match instance {
        Some(instance) => context.state.index.owned_by(instance).filter_map(leased).collect(),
        None => context.state.pools.keys().cloned().collect(),
    };
    pools.dedup();
    pools.iter().map(|pool| release(context, pool, which)).sum()
}

/// Takes the waiters of `instance` that `of` names out of all queues. Whoever stands behind them may be served by that.
pub fn leave_queues(context: &mut Context, instance: &InstanceId, of: impl Fn(&Owner) -> bool) {
    let place = |owned: &Owned| match owned {
        Owned::Place { pool, owner } if of(owner) => Some((pool.clone(), owner.clone())),
        _ => None,
    };
    let left: Vec<(Arc<str>, Owner)> = context.state.index.owned_by(instance).filter_map(place).collect();
    for (pool, owner) in &left {
        if let Some(state) = context.state.pools.get_mut(pool) {
            state.queue.retain(|waiter| waiter.owner != *owner);
        }
        context.state.index.disown(owner, Owned::Place { pool: pool.clone(), owner: owner.clone() });
    }
    let mut shorter: Vec<Arc<str>> = left.into_iter().map(|(pool, _)| pool).collect();
    shorter.dedup();
    for pool in shorter {
        hand_on(context, &pool);
    }
}

/// Serves the queue from its head while units suffice. Bounded by the number of free units.
pub fn hand_on(context: &mut Context, pool: &str) {
    loop {
        let Some(state) = context.state.pools.get_mut(pool) else { return };
        let Some(head) = state.queue.front() else { return };
        let free = state.free(&head.prefer);
        if free.len() < head.quantity {
            return;
        }
        let Some(waiter) = state.queue.pop_front() else { return };
        let place = Owned::Place { pool: state.pool.name.clone(), owner: waiter.owner.clone() };
        context.state.index.disown(&waiter.owner, place);
        let output = lease(context, pool, &waiter, &free);
        context.wake(waiter.owner, Ok(output));
    }
}

fn actor(owner: &Owner) -> Actor {
    owner.instance().map_or_else(Actor::system, Actor::flow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::State;
    use crate::id::GroupId;

    fn owner(name: &str) -> Owner {
        Owner::Token { instance: name.into(), token: 0, generation: 1 }
    }
    fn waiter(name: &str) -> Waiter {
        Waiter { holder: name.into(), owner: owner(name), prefer: Value::Null, quantity: 1, since: Timestamp(0) }
    }
    fn state(units: &[(&str, bool)]) -> State {
        let mut state = State::new(GroupId::mesh());
        let units = units
            .iter()
            .map(|(name, ev)| Unit { name: (*name).into(), attributes: BTreeMap::from([("ev".into(), Value::Bool(*ev))]) })
            .collect();
        state.pools.insert("parking".into(), PoolState::new(Pool { name: "parking".into(), units }));
        state
    }
    fn unit(result: Option<Result<Value, Problem>>) -> Option<String> {
        result.map(|output| output.unwrap().get("unit").unwrap().as_str().unwrap().to_owned())
    }
    fn woken(context: &mut Context) -> Vec<(String, String)> {
        let wakes = std::mem::take(&mut context.wakes);
        wakes
            .into_iter()
            .map(|(owner, output)| {
                (owner.instance().unwrap().to_string(), output.unwrap().get("unit").unwrap().as_str().unwrap().to_owned())
            })
            .collect()
    }

    #[test]
    fn one_unit_goes_through_the_queue_in_order_of_asking() {
        let mut state = state(&[("p1", false)]);
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        assert_eq!(unit(allocate(&mut context, "parking", waiter("a"), true)), Some("p1".into()));
        assert_eq!(allocate(&mut context, "parking", waiter("b"), true), None);
        assert_eq!(allocate(&mut context, "parking", waiter("c"), true), None);
        assert_eq!(release(&mut context, "parking", &Which::Holder { holder: "a", unit: None }), 1);
        assert_eq!(woken(&mut context), [("b".into(), "p1".into())]);
        assert_eq!(release(&mut context, "parking", &Which::Holder { holder: "a", unit: None }), 0, "it is not a's any more");
        assert_eq!(release_all(&mut context, &Which::Instance(&"b".into())), 1, "the instance ended");
        assert_eq!(woken(&mut context), [("c".into(), "p1".into())]);
        assert_eq!(context.state.pools["parking"].leases["p1"].holder, "c".into());
    }

    #[test]
    fn preference_chooses_the_unit_and_leaves_it_to_those_who_need_it() {
        let mut state = state(&[("p1", true), ("p2", false), ("p3", true)]);
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let ev = |flag| Value::object([("ev", Value::Bool(flag))]);
        let mut ask = |name, prefer| unit(allocate(&mut context, "parking", Waiter { prefer, ..waiter(name) }, true));
        assert_eq!(ask("a", ev(false)), Some("p2".into()));
        assert_eq!(ask("b", ev(true)), Some("p1".into()));
        assert_eq!(ask("c", ev(false)), Some("p3".into()), "a preference is no condition");
    }

    #[test]
    fn nobody_overtakes_the_head_and_leaving_serves_those_behind() {
        let mut state = state(&[("p1", false), ("p2", false)]);
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        assert_eq!(unit(allocate(&mut context, "parking", waiter("a"), true)), Some("p1".into()));
        assert_eq!(allocate(&mut context, "parking", Waiter { quantity: 2, ..waiter("b") }, true), None);
        assert_eq!(allocate(&mut context, "parking", waiter("c"), true), None, "p2 is free, but b stands before");
        leave_queues(&mut context, &"b".into(), |_| true);
        assert_eq!(woken(&mut context), [("c".into(), "p2".into())]);
        let refused = |context: &mut Context, waiter, queued| allocate(context, "parking", waiter, queued).unwrap().unwrap_err().title;
        assert_eq!(refused(&mut context, waiter("d"), false), "unavailable".into());
        assert_eq!(refused(&mut context, Waiter { quantity: 3, ..waiter("d") }, true), "validation".into());
    }

    #[test]
    fn several_units_come_together() {
        let mut state = state(&[("p1", false), ("p2", false)]);
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let output = allocate(&mut context, "parking", Waiter { quantity: 2, ..waiter("a") }, true).unwrap().unwrap();
        assert_eq!(output.get("units"), Some(&Value::array(vec!["p1".into(), "p2".into()])));
        assert_eq!(context.state.audit.seq, 2);
    }

    /// Random asking, releasing and leaving: nobody shares a unit, nobody is forgotten, and no unit lies idle while the head could take it.
    #[test]
    fn whatever_happens_units_are_exclusive_and_the_queue_moves() {
        let chance = |step: u64, purpose: &str, below: u64| crate::id::derived_u64(&GroupId::mesh(), step, 0, purpose) % below;
        for seed in 0..50 {
            let mut state = state(&[("p1", false), ("p2", true), ("p3", false)]);
            let mut context = Context::new(&mut state, 1, Timestamp(0));
            let mut asked: Vec<String> = Vec::new();
            for step in seed * 1000..seed * 1000 + 60 {
                let one = |list: &[String]| list.get(chance(step, "who", list.len().max(1) as u64) as usize).cloned().unwrap_or_default();
                match chance(step, "what", 4) {
                    0 | 1 => {
                        let name = format!("i{step}");
                        let quantity = 1 + chance(step, "quantity", 2) as usize;
                        allocate(&mut context, "parking", Waiter { quantity, ..waiter(&name) }, true);
                        asked.push(name);
                    }
                    2 => _ = release_all(&mut context, &Which::Instance(&one(&asked).as_str().into())),
                    _ => leave_queues(&mut context, &one(&asked).as_str().into(), |_| true),
                }
                let pool = &context.state.pools["parking"];
                let ids: std::collections::BTreeSet<_> = pool.leases.values().map(|lease| &lease.id).collect();
                assert_eq!(ids.len(), pool.leases.len(), "seed {seed}, step {step}");
                assert!(pool.leases.keys().all(|unit| pool.pool.units.iter().any(|known| known.name == *unit)));
                let free = pool.pool.units.len() - pool.leases.len();
                assert!(pool.queue.front().is_none_or(|head| free < head.quantity), "seed {seed}, step {step}: the head could be served");
                let order: Vec<u64> = pool.queue.iter().map(|waiter| waiter.holder[1..].parse().unwrap()).collect();
                assert!(order.is_sorted(), "seed {seed}, step {step}: {order:?}");
            }
        }
    }
}
