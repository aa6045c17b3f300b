//! One run of a flow under one trouble: everybody answers as soon as they can, but for what goes wrong.

use super::account;
use super::invent;
use super::story::Story;
use super::trouble::Trouble;
use crate::codec;
use crate::device::CommandClass;
use crate::engine::command::{Accepted, Command, FlowSelector, OperatorAction, Reply, WorkItemAction};
use crate::engine::effect::{Effect, Outcome, Request};
use crate::engine::instance::Wait;
use crate::engine::record::InstanceStatus;
use crate::engine::state::TimerWhat;
use crate::engine::work_item::{WorkItem, WorkItemKind};
use crate::engine::{Problem, State, apply};
use crate::event::Event;
use crate::id::{Actor, EffectId, InstanceId};
use crate::rehearsal::answer::{Answers, Verdict};
use crate::rehearsal::asked::Asked;
use crate::rehearsal::building::{executor, is_asked, leftovers};
use crate::rehearsal::outside::usual;
use crate::rehearsal::{World, template};
use crate::resource::{Person, Resource};
use crate::value::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Steps of one run: a flow that needs more under these conditions does not end.
pub const STEPS_MAX: usize = 2_000;
/// Events that are invented in one run: a flow that listens in a loop for ever is cancelled behind them.
const INVENTED_MAX: usize = 50;

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Run {
    pub world: World,
    /// Steps that it took.
    pub steps: usize,
    /// Effects that were answered, or were to be.
    pub effects: usize,
    /// What must never be, in words.
    pub broken: Vec<String>,
    /// Openings that were attempted, in order.
    pub opened: Vec<String>,
    /// Events of a listening task that nobody could invent: (flow, task).
    pub unheard: BTreeSet<String>,
    /// How many of the story's events were taken.
    pub sent: usize,
    /// How the story's instances ended, or where they stand.
    pub ends: Vec<String>,
    /// References of the story's tasks that began or were skipped.
    pub reached: BTreeSet<Arc<str>>,
}

pub struct Player<'a> {
    story: &'a Story,
    trouble: Trouble,
    answers: Answers,
    run: Run,
    ignored: BTreeSet<EffectId>,
    attempted: BTreeSet<EffectId>,
    acted: u64,
    invented: usize,
    suspended: Vec<InstanceId>,
}

impl<'a> Player<'a> {
    pub fn new(story: &'a Story, building: &World, trouble: Trouble) -> Self {
        let mut world = building.clone();
        (world.log, world.records) = (Vec::new(), Vec::new());
        let run = Run {
            world,
            steps: 0,
            effects: 0,
            broken: Vec::new(),
            opened: Vec::new(),
            unheard: BTreeSet::new(),
            sent: 0,
            ends: Vec::new(),
            reached: BTreeSet::new(),
        };
        Self {
            story,
            trouble,
            answers: story.answers.clone(),
            run,
            ignored: BTreeSet::new(),
            attempted: BTreeSet::new(),
            acted: 0,
            invented: 0,
            suspended: Vec::new(),
        }
    }

    pub fn play(mut self) -> Run {
        self.begin();
        let mut ended = false;
        for step in 1..=STEPS_MAX {
            if self.trouble == Trouble::CancelledAt(step) {
                self.cancel_all();
            }
            let over = self.state().instances.values().all(|instance| instance.incident.is_some());
            if over {
                ended = true;
                break;
            }
            self.run.steps = step;
            if self.trouble == Trouble::SuspendedAt(step) {
                self.suspend_all();
            }
            let moved = self.step();
            self.resume_all();
            if !moved {
                ended = true;
                break;
            }
        }
        if !ended {
            self.broken(format!("it does not end: {STEPS_MAX} steps"));
        }
        (self.run.ends, self.run.reached) = account::of(&self.run.world, &self.story.flow);
        self.cancel_all();
        self.look();
        self.run
    }

    fn state(&self) -> &State {
        &self.run.world.state
    }

    fn broken(&mut self, what: String) {
        if !self.run.broken.contains(&what) {
            self.run.broken.push(what);
        }
    }

    /// The next entry; with failovers, on a replica restored from a snapshot too: both must go the same way.
    fn apply(&mut self, command: Command) -> Reply {
        if self.trouble != Trouble::FailsOver {
            let reply = self.run.world.apply(command).reply;
            self.sabotage();
            return reply;
        }
        let snapshot = codec::encode(self.state());
        let applied = self.run.world.apply(command);
        self.sabotage();
        let Some(entry) = self.run.world.log.last() else { return applied.reply };
        let restored = codec::decode::<State>(&snapshot).map_err(|error| error.to_string()).and_then(|mut replica| {
            replica.rebuild_plans()?;
            let other = apply(&mut replica, entry);
            let same = applied.reply == other.reply && applied.effects == other.effects && applied.records == other.records;
            Ok((replica, same))
        });
        match restored {
            Err(why) => self.broken(format!("a snapshot cannot be restored: {why}")),
            Ok((replica, same)) => {
                if !same || codec::encode(&replica) != codec::encode(self.state()) {
                    let index = self.run.world.state.applied;
                    self.broken(format!("a restored replica went another way at entry {index}"));
                }
                self.run.world.state = replica;
            }
        }
        applied.reply
    }

    /// Puts a test's bug into the state.
    fn sabotage(&mut self) {
        #[cfg(test)]
        if let (Some(bug), Some(entry)) = (self.story.sabotage, self.run.world.log.last()) {
            bug(&mut self.run.world.state, &entry.command);
        }
    }

    fn begin(&mut self) {
        match &self.story.start {
            Some(input) => {
                let key = &self.story.flow;
                let flow = FlowSelector { namespace: key.namespace.clone(), name: key.name.clone(), version: None };
                let input = template::fill(input, &Value::Null).unwrap_or_else(|_| input.clone());
                let start = Command::Start { flow, input, key: "torture".into(), by: Actor::system() };
                let times = if self.trouble == Trouble::Twice { 2 } else { 1 };
                for _ in 0..times {
                    if let Err(refused) = self.apply(start.clone()) {
                        self.broken(format!("it cannot be started: {refused}; give its input in a scenario (`--scenario`)"));
                    }
                }
            }
            None => {
                while self.run.sent < self.story.events.len() && self.state().instances.is_empty() {
                    self.send_next();
                }
                if self.state().instances.is_empty() {
                    self.broken("no event starts it; give one in a scenario (`--scenario`)".into());
                }
            }
        }
    }

    /// One thing happens. False where nothing can any more.
    fn step(&mut self) -> bool {
        if !self.state().ready.is_empty() {
            let _ = self.apply(Command::Continue);
            return true;
        }
        let open = |effect: &&Effect| !self.ignored.contains(&effect.id) && executor(self.state(), effect).is_some();
        if let Some(effect) = self.state().effects.values().find(open).cloned() {
            self.answer(&effect);
            return true;
        }
        if let Some(item) = self.state().work_items.values().find(|item| self.whom(item) != Whom::AllDid).cloned() {
            self.act(&item);
            return true;
        }
        if self.events() {
            return true;
        }
        self.pass()
    }

    fn answer(&mut self, effect: &Effect) {
        self.run.effects += 1;
        let at = self.run.effects;
        let Some(node) = executor(self.state(), effect) else { return };
        let twice = self.trouble == Trouble::Twice || self.trouble == Trouble::FailsOver;
        if effect.class == CommandClass::Opening {
            for time in 0..if twice { 2 } else { 1 } {
                let reply = self.apply(Command::EffectAttempt { effect: effect.id, node });
                let granted = reply == Ok(Accepted::AttemptGranted);
                if granted && !self.attempted.insert(effect.id) {
                    self.broken(format!("opened twice: {}", effect.key));
                }
                if granted && time == 0 {
                    self.run.opened.push(opening(effect));
                }
            }
        }
        if self.trouble == Trouble::NeverAnswers(at) {
            self.ignored.insert(effect.id);
            return;
        }
        let asked = Asked::by(self.state(), effect);
        let outcome = match (self.trouble, self.answers.pick(&asked)) {
            (Trouble::Fails(which), _) if which == at => Outcome::Failed { problem: Problem::standard("communication", 503, "no route") },
            (Trouble::IsUnknown(which), _) if which == at => Outcome::Unknown { detail: "the power failed".into() },
            (_, Some(Verdict::Never)) => {
                self.ignored.insert(effect.id);
                return;
            }
            (_, Some(Verdict::After { outcome, .. })) => outcome,
            (_, None) => usual(&effect.request, self.run.world.at),
        };
        for _ in 0..if twice { 2 } else { 1 } {
            let _ = self.apply(Command::EffectDone { effect: effect.id, outcome: outcome.clone(), node });
        }
    }

    /// Who acts on a work item.
    fn whom(&self, item: &WorkItem) -> Whom {
        let people = self.state().people.values();
        let mut asked =
            people.filter(|person| is_asked(person, &item.to)).map(|person| Actor::new(format!("user:{}", person.id))).peekable();
        if asked.peek().is_none() {
            return Whom::Nobody;
        }
        asked.find(|actor| item.votes.iter().all(|vote| vote.by != *actor)).map_or(Whom::AllDid, Whom::Is)
    }

    fn act(&mut self, item: &WorkItem) {
        let by = match self.whom(item) {
            Whom::Is(by) => by,
            Whom::AllDid => return,
            Whom::Nobody => return self.declare(item),
        };
        let action = match &item.kind {
            WorkItemKind::Approval { choices, .. } => {
                WorkItemAction::Choose { choice: choices.first().cloned().unwrap_or_default(), comment: None }
            }
            WorkItemKind::Task { form, .. } => WorkItemAction::Complete { answers: invent::input(Some(form)), comment: None },
        };
        self.acted += 1;
        let key: Arc<str> = format!("torture-{}", self.acted).into();
        let times = if self.trouble == Trouble::Twice { 2 } else { 1 };
        for _ in 0..times {
            let act = Command::WorkItem { id: item.id.clone(), action: action.clone(), by: by.clone(), key: key.clone() };
            if let Err(refused) = self.apply(act) {
                // A form that cannot be filled: the person is silent.
                self.broken(format!("{by} cannot do `{}`: {refused}", item.id));
                let skip = self.state().work_items.get(&item.id).and_then(|item| item.owner.instance().cloned());
                if let Some(instance) = skip {
                    self.cancel(&instance);
                }
            }
        }
    }

    /// Somebody who can be asked: the files declare nobody.
    fn declare(&mut self, item: &WorkItem) {
        let (kind, name) = item.to.split_once(':').unwrap_or(("user", &item.to));
        let (id, roles) = if kind == "role" { (format!("{name}@torture"), vec![name.into()]) } else { (name.to_owned(), Vec::new()) };
        let person = Person { id: id.as_str().into(), name: "".into(), roles, contact: Default::default() };
        if let Err(refused) = self.apply(Command::Deploy { resources: vec![Resource::Person(person)], by: Actor::system() }) {
            self.broken(format!("nobody can be asked as {}: {refused}", item.to));
        }
    }

    /// Sends an event that some task listens to: the story's next, else one that is invented.
    fn events(&mut self) -> bool {
        if self.state().listeners.is_empty() {
            return false;
        }
        let next = self.story.events.get(self.run.sent).and_then(|event| event.kind());
        if next.is_some_and(|kind| self.state().listeners.contains_key(&kind)) && self.send_next() {
            return true;
        }
        if !self.story.invents || self.run.sent < self.story.events.len() || self.invented >= INVENTED_MAX {
            return false;
        }
        let number = 1_000_000 + self.run.world.state.applied;
        for event in invent::for_listeners(self.state(), self.run.world.at, number) {
            self.invented += 1;
            if self.send(event) {
                return true;
            }
        }
        false
    }

    fn send_next(&mut self) -> bool {
        let Some(template) = self.story.events.get(self.run.sent) else { return false };
        let view = self.view();
        let Ok(event) = template.event(self.run.world.at, self.run.world.state.applied, &view) else {
            self.run.sent += 1;
            return false;
        };
        let taken = self.send(event);
        // One that is not wanted now is not kept for ever: the story goes on.
        self.run.sent += 1;
        taken
    }

    fn send(&mut self, event: Event) -> bool {
        let reply = self.apply(Command::Event { event: event.clone(), historical: false });
        if self.trouble == Trouble::Twice {
            let again = self.apply(Command::Event { event, historical: false });
            if reply.is_ok() && again != Ok(Accepted::Duplicate) {
                self.broken(format!("an event that came twice was taken twice: {again:?}"));
            }
        }
        matches!(reply, Ok(Accepted::Event { taken_by }) if taken_by > 0)
    }

    fn view(&self) -> Value {
        crate::rehearsal::scenario::view(&self.run.world, &Default::default())
    }

    /// Time passes to what is due next. False where nothing but a flow's own schedule is.
    fn pass(&mut self) -> bool {
        let state = self.state();
        let at = self.run.world.at;
        let due = state.timers.iter().find(|timer| !matches!(timer.what, TimerWhat::Schedule { .. })).map(|timer| timer.due);
        let Some(due) = due else {
            self.stuck();
            return false;
        };
        self.run.world.at = due.max(at);
        let _ = self.apply(Command::TimersDue);
        true
    }

    /// Nothing moves. Who listens or asks somebody may wait for ever; anything else is stuck.
    fn stuck(&mut self) {
        let mut stuck = Vec::new();
        for instance in self.state().instances.values().filter(|instance| instance.status == InstanceStatus::Running) {
            for token in instance.tokens.values() {
                let place = token.top_task().map(|frame| format!("{} {}", instance.flow.name, frame.reference)).unwrap_or_default();
                match &token.wait {
                    Wait::Events => stuck.push((place, true)),
                    Wait::Incident { .. } | Wait::Join | Wait::Child(_) => {}
                    Wait::External(what) if **what == *"work-item" => stuck.push((place, true)),
                    // Of a device that is nowhere, until its deadline; a pool that nobody frees.
                    Wait::External(what) if **what == *"pool" => stuck.push((place, true)),
                    Wait::External(_) | Wait::Ready(_) | Wait::Timer { .. } => stuck.push((place, false)),
                }
            }
        }
        for (place, waits) in stuck {
            if waits {
                self.run.unheard.insert(place);
            } else {
                self.broken(format!("stuck without an incident at {place}"));
            }
        }
    }

    fn cancel(&mut self, id: &InstanceId) {
        let cancel =
            Command::Operator { instance: id.clone(), action: OperatorAction::Cancel { reason: "torture".into() }, by: Actor::system() };
        let _ = self.apply(cancel);
    }

    /// Whoever started others meanwhile is gone too in the end: each is cancelled once.
    fn cancel_all(&mut self) {
        for _ in 0..STEPS_MAX {
            let Some(id) = self.state().instances.keys().next().cloned() else { return };
            self.cancel(&id);
            if self.state().instances.contains_key(&id) {
                return self.broken(format!("{id} cannot be cancelled"));
            }
        }
    }

    fn suspend_all(&mut self) {
        let ids: Vec<InstanceId> = self.state().instances.keys().cloned().collect();
        for instance in ids {
            let suspend = Command::Operator { instance: instance.clone(), action: OperatorAction::Suspend, by: Actor::system() };
            if self.apply(suspend).is_ok() {
                self.suspended.push(instance);
            }
        }
    }

    fn resume_all(&mut self) {
        for instance in std::mem::take(&mut self.suspended) {
            let resume = Command::Operator { instance, action: OperatorAction::Resume, by: Actor::system() };
            let _ = self.apply(resume);
        }
    }

    /// What must hold when no instance is left.
    fn look(&mut self) {
        let left = leftovers(self.state());
        if !left.is_empty() {
            self.broken(format!("stays owned: {}", left.join(", ")));
        }
        let counters = &self.state().counters;
        if counters.started != counters.completed + counters.faulted + counters.cancelled {
            let told = format!("{} instances began, but {counters:?}", counters.started);
            self.broken(told);
        }
    }
}

#[derive(PartialEq)]
enum Whom {
    Is(Actor),
    AllDid,
    /// No person is declared who could be asked.
    Nobody,
}

fn opening(effect: &Effect) -> String {
    match &effect.request {
        Request::Device { device, command, .. } => format!("{device} {command}"),
        _ => effect.key.to_string(),
    }
}
