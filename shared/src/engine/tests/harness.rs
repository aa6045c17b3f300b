use crate::codec;
use crate::engine::command::{Accepted, Command, Entry, FlowSelector, OperatorAction};
use crate::engine::effect::Outcome;
use crate::engine::index::Index;
use crate::engine::instance::Instance;
use crate::engine::record::{InstanceStatus, RecordBody};
use crate::engine::state::{Flow, SEMANTICS_VERSION};
use crate::engine::{Applied, Problem, State, apply};
use crate::event::Event;
use crate::id::{Actor, EffectId, GroupId, InstanceId, NodeId};
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::BTreeMap;

pub const START: i64 = 1_795_424_400_000;

/// A group of its own with flows deployed, and a log that goes on by one with each call.
pub struct Bench {
    pub state: State,
    pub at: Timestamp,
    pub records: Vec<RecordBody>,
    /// Everything applied so far.
    pub log: Vec<Entry>,
    /// Whether each entry is applied on a restored replica as well.
    pub mirrored: bool,
}

pub fn json(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

impl Bench {
    /// Flows as YAML, without their `document` where only tasks matter.
    pub fn new(flows: &[&str]) -> Self {
        Self::of(State::new(GroupId::mesh()), flows)
    }

    pub fn of(mut state: State, flows: &[&str]) -> Self {
        for text in flows {
            let checked = crate::flow::check(text).unwrap_or_else(|found| panic!("{found:#?}\n{text}"));
            let plan = &checked.plan;
            let flow = Flow { document: checked.document.clone(), hash: plan.hash.clone(), deployed_at: Timestamp(START), enabled: true };
            state.flows.insert(plan.key.clone(), flow);
        }
        state.rebuild_plans().unwrap();
        state.semantics = SEMANTICS_VERSION;
        let mut bench = Self { state, at: Timestamp(START), records: Vec::new(), log: Vec::new(), mirrored: true };
        bench.apply(Command::Deploy { resources: Vec::new(), by: Actor::system() });
        bench
    }

    /// One flow named `flow` with these root fields.
    pub fn flow(fields: &str) -> Self {
        Self::new(&[&named("flow", fields)])
    }

    pub fn apply(&mut self, command: Command) -> Applied {
        let entry = Entry { index: self.state.applied + 1, at: self.at, command };
        self.log.push(entry.clone());
        let replica = self.mirrored.then(|| codec::encode(&self.state));
        let applied = apply(&mut self.state, &entry);
        if let Some(replica) = replica {
            let mut replica: State = codec::decode(&replica).unwrap();
            replica.rebuild_plans().unwrap();
            let other = apply(&mut replica, &entry);
            assert_eq!(applied.reply, other.reply);
            assert_eq!(applied.effects, other.effects);
            assert_eq!(applied.records, other.records);
            assert_eq!(codec::encode(&self.state), codec::encode(&replica), "a restored replica went another way");
            assert_eq!(self.state.index, Index::of(&self.state), "the index went astray");
        }
        self.records.extend(applied.records.iter().map(|record| record.body.clone()));
        applied
    }

    pub fn start(&mut self, input: &str) -> InstanceId {
        self.start_named("flow", input)
    }

    pub fn start_named(&mut self, name: &str, input: &str) -> InstanceId {
        match self.try_start(name, input).reply {
            Ok(Accepted::Started { instance }) => instance,
            other => panic!("{other:?}"),
        }
    }

    pub fn try_start(&mut self, name: &str, input: &str) -> Applied {
        let flow = FlowSelector { namespace: "test".into(), name: name.into(), version: None };
        self.apply(Command::Start { flow, input: json(input), key: "".into(), by: Actor::from("user:test") })
    }

    /// Lets time pass, then fires what is due.
    pub fn pass(&mut self, millis: u64) -> Applied {
        self.at = self.at.plus(millis);
        self.apply(Command::TimersDue)
    }

    /// Runs what yielded until nothing is left; gives the number of entries it took.
    pub fn settle(&mut self) -> usize {
        let mut entries = 0;
        while !self.state.ready.is_empty() {
            self.apply(Command::Continue);
            entries += 1;
            assert!(entries < 10_000, "it never ends");
        }
        entries
    }

    pub fn event(&mut self, id: &str, kind: &str, data: &str) -> Applied {
        let event = Event {
            id: id.into(),
            source: "/test".into(),
            kind: kind.into(),
            subject: None,
            time: self.at,
            data: json(data),
            extensions: BTreeMap::new(),
        };
        self.apply(Command::Event { event, historical: false })
    }

    pub fn operate(&mut self, instance: &InstanceId, action: OperatorAction) -> Applied {
        self.apply(Command::Operator { instance: instance.clone(), action, by: Actor::from("user:operator") })
    }

    /// The one open effect.
    pub fn effect(&self) -> EffectId {
        let open: Vec<_> = self.state.effects.keys().copied().collect();
        assert_eq!(open.len(), 1, "{:?}", self.state.effects);
        open[0]
    }

    pub fn answer(&mut self, effect: EffectId, outcome: Outcome) -> Applied {
        self.apply(Command::EffectDone { effect, outcome, node: NodeId(1) })
    }

    pub fn answer_ok(&mut self, effect: EffectId, output: &str) -> Applied {
        self.answer(effect, Outcome::Done { output: json(output) })
    }

    pub fn answer_failed(&mut self, effect: EffectId) -> Applied {
        self.answer(effect, Outcome::Failed { problem: Problem::standard("communication", 503, "no route") })
    }

    pub fn instance(&self, id: &InstanceId) -> &Instance {
        self.state.instances.get(id).unwrap_or_else(|| panic!("{id} is gone: {:?}", self.ended(id)))
    }

    /// Terminal status and output (or the problem's type).
    pub fn ended(&self, id: &InstanceId) -> Option<(InstanceStatus, String)> {
        self.records.iter().find_map(|record| match record {
            RecordBody::InstanceEnded { instance, status, output, problem } if instance == id => {
                let shown = match problem {
                    Some(problem) => problem.get("type").and_then(Value::as_str).unwrap_or_default().to_owned(),
                    None => output.to_json(),
                };
                Some((*status, shown))
            }
            _ => None,
        })
    }

    /// All ends, for messages.
    pub fn ends(&self) -> Vec<&RecordBody> {
        self.records.iter().filter(|record| matches!(record, RecordBody::InstanceEnded { .. })).collect()
    }

    pub fn completed(&self, id: &InstanceId) -> String {
        match self.ended(id) {
            Some((InstanceStatus::Completed, output)) => output,
            Some(other) => panic!("{other:?}"),
            None => panic!("still at {:?}, {:?}", self.instance(id).positions(), self.instance(id).incident),
        }
    }

    /// What the instance's tasks did: `name what`, in order.
    pub fn trace(&self, id: &InstanceId) -> Vec<String> {
        self.records
            .iter()
            .filter_map(|record| match record {
                RecordBody::Task(task) if task.instance == *id => Some(format!("{} {}", task.name, task.what)),
                _ => None,
            })
            .collect()
    }

    /// Nothing is left of any instance.
    pub fn assert_empty(&self) {
        assert!(self.state.instances.is_empty(), "{:?}", self.state.instances);
        assert!(self.state.effects.is_empty(), "{:?}", self.state.effects);
        assert!(self.state.timers.is_empty(), "{:?}", self.state.timers);
        assert!(self.state.listeners.is_empty(), "{:?}", self.state.listeners);
        assert!(self.state.work_items.is_empty(), "{:?}", self.state.work_items);
        assert!(self.state.pools.values().all(|pool| pool.leases.is_empty() && pool.queue.is_empty()));
    }
}

pub fn named(name: &str, fields: &str) -> String {
    format!("document: {{ dsl: '1.0.3', namespace: test, name: {name}, version: '1.0.0' }}\n{fields}")
}
