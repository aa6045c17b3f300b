//! Who listens, by the value that an event must carry for them: a thousand visitors wait for one type of event, and each for her own
//! credential. Derived from the instances, never stored; part of `index`.

use super::correlation::until_filters;
use super::instance::{Frame, Instance, Listening, Work};
use super::interest::{filters_of, type_of};
use super::interpreter::task_of;
use crate::expression::Expression;
use crate::flow::plan::{FlowKey, Listen, Plan, TaskKind};
use crate::id::InstanceId;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// (instance, token, subscription).
pub type Listener = (InstanceId, u32, u32);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waiting {
    /// By type (`""`: any): those that have to be asked about every such event.
    open: BTreeMap<Arc<str>, BTreeSet<Listener>>,
    /// By type, and by the expression that says what of an event must be equal.
    keyed: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Keyed>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Keyed {
    from: Expression,
    /// That value as canonical JSON, and who waits for it.
    by_value: BTreeSet<(Box<str>, Listener)>,
}

/// What an event must give for a listener: an expression and its value; none where it has to be asked.
type Key = Option<(Expression, Box<str>)>;

impl Waiting {
    pub fn of<'a>(instances: impl Iterator<Item = &'a Arc<Instance>>, plans: &BTreeMap<FlowKey, Arc<Plan>>) -> Self {
        let mut waiting = Self::default();
        for instance in instances {
            let Some(plan) = plans.get(&instance.flow) else { continue };
            for (number, token) in instance.tokens.iter() {
                for frame in token.frames.iter().filter_map(Frame::task) {
                    if let Work::Listen(listening) = &frame.work
                        && let Some(TaskKind::Listen(listen)) = task_of(plan, frame.task).map(|task| &task.kind)
                    {
                        waiting.begin(&(instance.id.clone(), *number, listening.subscription), listen, listening);
                    }
                }
            }
        }
        waiting
    }

    pub fn begin(&mut self, listener: &Listener, listen: &Listen, listening: &Listening) {
        for (kind, key) in keys(listen, listening) {
            match key {
                None => _ = self.open.entry(kind).or_default().insert(listener.clone()),
                Some((from, value)) => {
                    let of_kind = self.keyed.entry(kind).or_default();
                    let keyed = of_kind.entry(from.source().into()).or_insert_with(|| Keyed { from, by_value: BTreeSet::new() });
                    keyed.by_value.insert((value, listener.clone()));
                }
            }
        }
    }

    pub fn end(&mut self, listener: &Listener, listen: &Listen, listening: &Listening) {
        for (kind, key) in keys(listen, listening) {
            match key {
                None => {
                    let Some(listeners) = self.open.get_mut(&kind) else { continue };
                    listeners.remove(listener);
                    if listeners.is_empty() {
                        self.open.remove(&kind);
                    }
                }
                Some((from, value)) => {
                    let Some(of_kind) = self.keyed.get_mut(&kind) else { continue };
                    let Some(keyed) = of_kind.get_mut(from.source()) else { continue };
                    keyed.by_value.remove(&(value, listener.clone()));
                    if keyed.by_value.is_empty() {
                        of_kind.remove(from.source());
                    }
                    if of_kind.is_empty() {
                        self.keyed.remove(&kind);
                    }
                }
            }
        }
    }

    /// Those that have to be asked about an event of this type.
    pub fn open(&self, kind: &str) -> impl Iterator<Item = &Listener> {
        self.open.get(kind).into_iter().flatten()
    }

    /// What of an event of this type decides who may take it.
    pub fn deciding(&self, kind: &str) -> Vec<Expression> {
        self.keyed.get(kind).into_iter().flat_map(BTreeMap::values).map(|keyed| keyed.from.clone()).collect()
    }

    /// Those for whom `from` has to give `value`.
    pub fn keyed(&self, kind: &str, from: &Expression, value: &Value) -> impl Iterator<Item = &Listener> {
        let keyed = self.keyed.get(kind).and_then(|of_kind| of_kind.get(from.source()));
        let value: Box<str> = value.to_json().into();
        let first = (value.clone(), (InstanceId::from(""), 0, 0));
        let all = keyed.into_iter().flat_map(move |keyed| keyed.by_value.range(first.clone()..));
        all.take_while(move |(of, _)| *of == value).map(|(_, listener)| listener)
    }
}

/// Per type that it listens to: what an event must give. Only values that stood when the listening began (`expect`) count, so that it
/// is the same whenever it is asked.
fn keys(listen: &Listen, listening: &Listening) -> Vec<(Arc<str>, Key)> {
    let mut all = Vec::new();
    for kind in &listening.types {
        let filters = filters_of(&listen.to).iter().chain(until_filters(&listen.to));
        let of_kind = filters.filter(|filter| type_of(filter).as_deref() == Some(&**kind));
        let keys: Vec<Key> = of_kind
            .map(|filter| {
                let fixed = filter.correlate.iter().find(|one| one.expect.is_some() && one.from.variables().is_empty())?;
                Some((fixed.from.clone(), listening.keys.get(&fixed.key)?.to_json().into()))
            })
            .collect();
        if keys.is_empty() || keys.iter().any(Option::is_none) {
            all.push((kind.clone(), None));
        } else {
            all.extend(keys.into_iter().map(|key| (kind.clone(), key)));
        }
    }
    all
}
