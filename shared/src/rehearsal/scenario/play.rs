//! Plays a scenario in a building: step by step, what is expected beside what is found.

use super::document::{Action, Given, Person, Scenario, Step};
use super::{expect, view};
use crate::engine::command::{Accepted, Command, FlowSelector, Reply};
use crate::engine::record::RecordBody;
use crate::engine::work_item::WorkItem;
use crate::id::{Actor, InstanceId, WorkItemId};
use crate::rehearsal::World;
use crate::rehearsal::building::{self, is_asked};
use crate::rehearsal::outside::Outside;
use crate::rehearsal::template;
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An expectation that does not hold, or a step that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// Line of the expectation, from 1.
    pub line: u32,
    pub what: String,
    pub expected: String,
    pub found: String,
}

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct Played {
    /// Empty: all holds. All of the first step that does not; nothing is tried behind it.
    pub misses: Vec<Miss>,
    pub trace: Vec<String>,
    /// Log entries that it took.
    pub entries: usize,
}

/// Plays `scenario` in a building that was made for its clock from its resources.
pub fn play(scenario: &Scenario, building: World) -> Played {
    let mut stage = Stage { world: building, outside: Outside::default(), names: BTreeMap::new(), newest: None, count: 0 };
    let mut misses = Vec::new();
    if let Err(why) = stage.give(&scenario.given) {
        misses.push(Miss { line: scenario.line, what: "given".into(), expected: "a building".into(), found: why });
    } else {
        for step in &scenario.steps {
            misses = stage.step(step);
            // The trace ends where something went another way than expected.
            if !misses.is_empty() {
                break;
            }
        }
    }
    Played { misses, trace: view::trace(&stage.world.records), entries: stage.world.log.len() }
}

pub(super) struct Stage {
    pub world: World,
    pub outside: Outside,
    /// Instances by the name that the scenario gives them.
    pub names: BTreeMap<Arc<str>, InstanceId>,
    /// The one started last by a step.
    pub newest: Option<InstanceId>,
    count: u64,
}

impl Stage {
    fn give(&mut self, given: &Given) -> Result<(), String> {
        for device in &given.offline {
            building::connect(&mut self.world, device, false)?;
        }
        for device in &given.silent {
            if !self.world.state.devices.contains_key(device) {
                return Err(format!("there is no device `{device}`"));
            }
        }
        for (pool, units) in &given.taken {
            building::take(&mut self.world, pool, units.as_deref())?;
        }
        self.outside.answers = given.answers.clone();
        self.outside.silent = given.silent.iter().cloned().collect();
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Vec<Miss> {
        if let Action::Expect { instance, fields } = &step.action {
            return expect::check(self, instance.as_deref(), fields);
        }
        match self.act(&step.action).and_then(|()| self.outside.settle(&mut self.world).map_err(|endless| endless.to_string())) {
            Ok(()) => Vec::new(),
            Err(found) => vec![Miss { line: step.line, what: "step".into(), expected: "it can be done".into(), found }],
        }
    }

    fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Start { flow, input, name, refused } => self.start(flow, input, name, refused.as_deref()),
            Action::Event(event) => {
                let event = event.event(self.world.at, self.number(), &self.view())?;
                self.world.apply(Command::Event { event, historical: false }).reply.map_err(|refused| refused.to_string())?;
                Ok(())
            }
            Action::Person(person) => self.person(person),
            Action::Device { id, is } => match &**is {
                "online" => building::connect(&mut self.world, id, true),
                "offline" => building::connect(&mut self.world, id, false),
                "silent" => {
                    self.outside.silent.insert(id.clone());
                    Ok(())
                }
                _ => {
                    self.outside.silent.remove(id);
                    Ok(())
                }
            },
            Action::Operator { instance, action } => {
                let instance = self.instance(instance.as_deref()).ok_or("no instance has begun")?;
                let command = Command::Operator { instance, action: action.clone(), by: Actor::from("user:operator") };
                self.world.apply(command).reply.map_err(|refused| refused.to_string())?;
                Ok(())
            }
            Action::Wait(millis) => {
                let target = self.world.at.plus(*millis);
                self.outside.pass_to(&mut self.world, target).map_err(|endless| endless.to_string())
            }
            Action::Expect { .. } => Ok(()),
        }
    }

    fn start(&mut self, flow: &str, input: &Value, name: &Arc<str>, refused: Option<&str>) -> Result<(), String> {
        let key = self.world.state.flows.keys().find(|key| *key.name == *flow || format!("{}/{}", key.namespace, key.name) == flow);
        let key = key.cloned().ok_or_else(|| format!("the resources declare no flow `{flow}`"))?;
        let input = template::fill(input, &self.view())?;
        let flow = FlowSelector { namespace: key.namespace, name: key.name, version: None };
        let reply = self.world.apply(Command::Start { flow, input, key: "".into(), by: Actor::from("user:scenario") }).reply;
        if let Ok(Accepted::Started { instance }) = &reply {
            self.newest = Some(instance.clone());
            self.names.insert(name.clone(), instance.clone());
        }
        answered(reply, refused)
    }

    fn person(&mut self, person: &Person) -> Result<(), String> {
        let id = self.asked(person)?;
        let key = format!("scenario-{}", self.number()).into();
        let by = Actor::new(format!("user:{}", person.who));
        let reply = self.world.apply(Command::WorkItem { id, action: person.action.clone(), by, key }).reply;
        answered(reply, person.refused.as_deref())
    }

    /// The oldest work item for a person that they have not voted on.
    fn asked(&self, person: &Person) -> Result<WorkItemId, String> {
        let state = &self.world.state;
        let known = state.people.get(&person.who).ok_or_else(|| format!("the resources declare no person `{}`", person.who))?;
        let by = Actor::new(format!("user:{}", person.who));
        let named = |item: &&WorkItem| match &person.task {
            Some(task) => expect::task_of(state, &item.owner).is_some_and(|(name, reference)| name == *task || reference == *task),
            None => true,
        };
        // Who is refused need not be asked.
        let may = |item: &&WorkItem| person.refused.is_some() || is_asked(known, &item.to) && item.votes.iter().all(|vote| vote.by != by);
        let open = state.work_items.values().filter(may).filter(named).min_by_key(|item| (item.created_at, item.id.clone()));
        open.map(|item| item.id.clone()).ok_or_else(|| {
            let open: Vec<String> = state.work_items.values().map(expect::shown_item).collect();
            format!("nothing asks {} now; open work items: [{}]", person.who, open.join(", "))
        })
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn view(&self) -> Value {
        view::view(&self.world, &self.names)
    }

    /// A name of the scenario, else a flow's newest instance; without a name the one started last, else the oldest of all.
    pub fn instance(&self, name: Option<&str>) -> Option<InstanceId> {
        let mut begun = self.world.records.iter().filter_map(|record| match &record.body {
            RecordBody::InstanceStarted { instance, flow, .. } => Some((instance, flow)),
            _ => None,
        });
        match name {
            Some(name) => {
                let newest = || begun.rfind(|(_, flow)| *flow.name == *name).map(|(instance, _)| instance.clone());
                self.names.get(name).cloned().or_else(newest)
            }
            None => self.newest.clone().or_else(|| begun.map(|(instance, _)| instance.clone()).next()),
        }
    }
}

fn answered(reply: Reply, refused: Option<&str>) -> Result<(), String> {
    match (reply, refused) {
        (Ok(_), None) => Ok(()),
        (Err(rejection), Some(code)) if *rejection.code == *code => Ok(()),
        (Err(rejection), _) => Err(format!("refused ({}): {rejection}", rejection.code)),
        (Ok(_), Some(code)) => Err(format!("it was accepted; `{code}` was expected")),
    }
}
