//! What begins a flow and what it meets on its way: from a scenario, else invented from what the flow says it takes.

use super::invent;
use crate::flow::plan::{FlowKey, Plan, Schedule};
use crate::rehearsal::World;
use crate::rehearsal::answer::Answers;
use crate::rehearsal::scenario::{Action, Scenario};
use crate::rehearsal::stub::EventTemplate;
use crate::value::Value;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Story {
    pub flow: FlowKey,
    /// Its input; `None`: an event starts it.
    pub start: Option<Value>,
    /// Events in order; each is sent when some task listens to its type (the first also when it starts the flow).
    pub events: Vec<EventTemplate>,
    /// Whether events may be invented where none of these is left.
    pub invents: bool,
    pub answers: Answers,
    /// A bug, put into the state behind each entry: torture must find it.
    #[cfg(test)]
    pub sabotage: Option<fn(&mut crate::engine::State, &crate::engine::Command)>,
}

impl Story {
    /// What the flow itself tells: its schema, its schedule, its filters.
    pub fn of_flow(plan: &Plan) -> Self {
        let events = match &plan.schedule {
            Some(Schedule::On(consume)) => invent::starters(consume, plan),
            _ => Vec::new(),
        };
        let start = events.is_empty().then(|| invent::input(plan.input.schema.as_deref()));
        Self {
            flow: plan.key.clone(),
            start,
            events,
            invents: true,
            answers: Answers::default(),
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// The first start and all events of a scenario, for the flow that it starts (or that its first event starts).
    pub fn of_scenario(scenario: &Scenario, world: &World) -> Option<Self> {
        let mut start: Option<(Arc<str>, Value)> = None;
        let mut events = Vec::new();
        for step in &scenario.steps {
            match &step.action {
                Action::Start { flow, input, refused: None, .. } if start.is_none() => start = Some((flow.clone(), input.clone())),
                Action::Event(event) => events.push(event.clone()),
                _ => {}
            }
        }
        let named = |name: &str| {
            let mut keys = world.state.plans.keys();
            keys.find(|key| *key.name == *name || format!("{}/{}", key.namespace, key.name) == name).cloned()
        };
        let flow = match &start {
            Some((name, _)) => named(name)?,
            None => {
                let kind = events.first()?.kind()?;
                let starts =
                    |plan: &&Arc<Plan>| matches!(&plan.schedule, Some(Schedule::On(consume)) if invent::names_type(consume, &kind));
                world.state.plans.values().find(starts)?.key.clone()
            }
        };
        Some(Self {
            flow,
            start: start.map(|(_, input)| input),
            events,
            invents: true,
            answers: scenario.given.answers.clone(),
            #[cfg(test)]
            sabotage: None,
        })
    }
}
