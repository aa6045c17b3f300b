//! One flow in real time: the world's clock is this machine's, HTTP calls go out, the domain's functions are answered by
//! stubs or by the person at the terminal.
//!
//! ```text
//! World -> effects -> stub | HTTP | prompt -> EffectDone -> World
//!       -> next due -> sleep              -> TimersDue  -> World
//! ```

use super::ask::{self, Said};
use crate::cli::failure::Failure;
use crate::effects::{HttpClient, SecretFolder};
use anyhow::{Result, bail};
use spalla_shared::engine::command::{Accepted, Command, FlowSelector, OperatorAction};
use spalla_shared::engine::{Effect, Outcome, Problem, Request};
use spalla_shared::event::Event;
use spalla_shared::flow::Checked;
use spalla_shared::id::{Actor, EffectId, InstanceId, NodeId};
use spalla_shared::rehearsal::answer::Verdict;
use spalla_shared::rehearsal::asked::Asked;
use spalla_shared::rehearsal::stub::{Stub, StubEvent};
use spalla_shared::rehearsal::{World, run as report};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// The engine ends an effect at its deadline; an HTTP call gives up by itself only behind it.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);
/// What waits longer than this is looked at again then: the runtime's timer takes no arbitrarily late instant.
const SLEEP_MAX: Duration = Duration::from_secs(86_400);
const NODE: NodeId = NodeId(1);

pub struct Options {
    /// The one to run first, then those that it may run.
    pub flows: Vec<Checked>,
    pub input: Value,
    pub stub: Stub,
    pub secrets: SecretFolder,
    /// Whether somebody is there to be asked.
    pub prompt: bool,
}

/// Runs the first flow to its end; gives its report.
pub async fn run(options: Options) -> Result<Value> {
    let Some(first) = options.flows.first().map(|flow| flow.plan.key.clone()) else { bail!("no flow to run") };
    let clock = Clock::start();
    let mut world = World::of_flows(clock.now(), &options.flows).map_err(|why| Failure::new("invalid", why))?;
    let flow = FlowSelector { namespace: first.namespace, name: first.name, version: Some(first.version) };
    let start = Command::Start { flow, input: options.input, key: "".into(), by: Actor::from("user:you") };
    let instance = match world.apply(start).reply {
        Ok(Accepted::Started { instance }) => instance,
        Ok(other) => bail!("the flow did not start: {other:?}"),
        // The specification: input that its schema refuses is an error of the flow.
        Err(refused) => {
            let mut problem = Problem::standard("validation", 400, &refused.message);
            problem.instance = Some("/input".into());
            return Ok(report::refused(&problem.to_value()));
        }
    };
    let mut events: Vec<StubEvent> = options.stub.events.clone();
    events.sort_by_key(|event| event.after_ms);
    let lines = options.prompt.then(ask::lines);
    let mut live = Live {
        world,
        instance,
        clock,
        stub: options.stub,
        events: events.into(),
        http: HttpClient::default(),
        secrets: options.secrets,
        lines,
        working: JoinSet::new(),
        asked: BTreeMap::new(),
        questions: Vec::new(),
        invited: false,
        sent: 0,
    };
    live.run().await
}

/// This machine's clock; it never goes back.
struct Clock {
    at: Timestamp,
    from: Instant,
}

impl Clock {
    fn start() -> Self {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { at: Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)), from: Instant::now() }
    }
    fn now(&self) -> Timestamp {
        self.at.plus(u64::try_from(self.from.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
    fn instant(&self, at: Timestamp) -> Instant {
        let ahead = Duration::from_millis(at.since(self.now())).min(SLEEP_MAX);
        // One more: this clock counts whole milliseconds, rounded down.
        Instant::now() + ahead + Duration::from_millis(u64::from(!ahead.is_zero()))
    }
}

struct Live {
    world: World,
    instance: InstanceId,
    clock: Clock,
    stub: Stub,
    /// Still to come, the next first.
    events: VecDeque<StubEvent>,
    http: HttpClient,
    secrets: SecretFolder,
    lines: Option<mpsc::Receiver<String>>,
    working: JoinSet<(EffectId, Outcome)>,
    /// Effects that somebody sees to, with who can be stopped.
    asked: BTreeMap<EffectId, Option<AbortHandle>>,
    /// For the person at the terminal, in order.
    questions: Vec<(EffectId, Asked)>,
    invited: bool,
    sent: u64,
}

impl Live {
    async fn run(&mut self) -> Result<Value> {
        loop {
            self.world.at = self.clock.now().max(self.world.at);
            if let Err(endless) = self.world.settle() {
                return self.give_up(Problem::standard("runtime", 500, endless.to_string()));
            }
            if let Some(report) = report::report(&self.world, &self.instance) {
                return Ok(report);
            }
            self.look_after_effects();
            if self.invite() == Hope::None {
                let detail = self.why_nothing_moves();
                return self.give_up(Problem::standard("runtime", 500, detail));
            }
            self.wait().await;
        }
    }

    /// The next thing that happens.
    async fn wait(&mut self) {
        let start = self.clock.at;
        let due = [self.world.state.next_due(), self.events.front().map(|event| start.plus(event.after_ms))].into_iter().flatten().min();
        let until = self.clock.instant(due.unwrap_or(Timestamp::MAX));
        let line = async {
            match &mut self.lines {
                Some(lines) => lines.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(done) = self.working.join_next() => {
                if let Ok((effect, outcome)) = done {
                    self.answer(effect, outcome);
                }
            }
            () = sleep_until(until) => self.on_time(),
            line = line => match line {
                Some(line) => self.typed(&line),
                None => self.terminal_closed(),
            },
            _ = tokio::signal::ctrl_c() => {
                let action = OperatorAction::Cancel { reason: "interrupted".into() };
                let _ = self.apply(Command::Operator { instance: self.instance.clone(), action, by: Actor::from("user:you") });
            }
        }
    }

    fn on_time(&mut self) {
        let now = self.clock.now();
        let start = self.clock.at;
        while let Some(event) = self.events.pop_front_if(|event| start.plus(event.after_ms) <= now) {
            self.sent += 1;
            match event.template.event(now, self.sent, &Value::Null) {
                Ok(event) => self.event(event),
                Err(why) => eprintln!("an event of the stub cannot be sent: {why}"),
            }
        }
        if self.world.state.next_due().is_some_and(|due| due <= now) {
            self.world.pass_to(now);
        }
    }

    fn event(&mut self, event: Event) {
        self.invited = false;
        if let Err(refused) = self.apply(Command::Event { event, historical: false }) {
            eprintln!("the event was refused: {refused}");
        }
    }

    fn apply(&mut self, command: Command) -> spalla_shared::engine::Reply {
        self.world.at = self.clock.now().max(self.world.at);
        self.world.apply(command).reply
    }

    fn answer(&mut self, effect: EffectId, outcome: Outcome) {
        self.questions.retain(|(known, _)| *known != effect);
        let _ = self.apply(Command::EffectDone { effect, outcome, node: NODE });
    }

    /// Somebody sees to each open effect; nobody to one that has ended.
    fn look_after_effects(&mut self) {
        let effects = &self.world.state.effects;
        self.asked.retain(|effect, handle| {
            let open = effects.contains_key(effect);
            if let (false, Some(handle)) = (open, handle) {
                handle.abort();
            }
            open
        });
        self.questions.retain(|(effect, _)| effects.contains_key(effect));
        let new: Vec<Effect> = effects.values().filter(|effect| !self.asked.contains_key(&effect.id)).cloned().collect();
        for effect in new {
            let handle = self.begin(&effect);
            self.asked.insert(effect.id, handle);
        }
    }

    fn begin(&mut self, effect: &Effect) -> Option<AbortHandle> {
        let asked = Asked::by(&self.world.state, effect);
        let id = effect.id;
        match (self.stub.answers.pick(&asked), &effect.request) {
            (Some(Verdict::Never), _) => None,
            (Some(Verdict::After { millis, outcome }), _) => {
                let until = Instant::now() + Duration::from_millis(millis).min(SLEEP_MAX);
                Some(self.working.spawn(async move {
                    if millis > 0 {
                        sleep_until(until).await;
                    }
                    (id, outcome)
                }))
            }
            (None, Request::Http(request)) => {
                let (http, secrets, request, key) = (self.http.clone(), self.secrets.clone(), request.clone(), effect.key.clone());
                let until = self.clock.instant(effect.deadline) + DEADLINE_GRACE;
                Some(self.working.spawn(async move { (id, http.run(&request, &key, &secrets, until).await) }))
            }
            // A note that nobody keeps.
            (None, Request::Function { function, .. }) if **function == *"audit.note" => {
                let outcome = Outcome::Done { output: Value::empty_object() };
                Some(self.working.spawn(std::future::ready((id, outcome))))
            }
            (None, _) if self.lines.is_some() => {
                ask::ask(&asked);
                self.questions.push((id, asked));
                None
            }
            (None, _) => {
                let problem = unanswered(&asked);
                eprintln!("{}", problem.detail.as_deref().unwrap_or_default());
                Some(self.working.spawn(std::future::ready((id, Outcome::Failed { problem }))))
            }
        }
    }

    /// What may still move the flow; asks for an event where only one would.
    fn invite(&mut self) -> Hope {
        let state = &self.world.state;
        // An effect that may wait for ever has no timer of its own worth the name.
        let timer = state.next_due().is_some_and(|due| due < Timestamp::MAX);
        if !self.working.is_empty() || timer || !self.events.is_empty() || !self.questions.is_empty() {
            return Hope::Some;
        }
        if self.lines.is_none() {
            return Hope::None;
        }
        if !self.invited {
            self.invited = true;
            ask::invite_event(&state.listeners.keys().filter(|kind| !kind.is_empty()).map(ToString::to_string).collect::<Vec<_>>());
        }
        Hope::Some
    }

    /// Nobody answers any more: what is asked now fails as it would without a terminal.
    fn terminal_closed(&mut self) {
        self.lines = None;
        for (effect, asked) in std::mem::take(&mut self.questions) {
            self.answer(effect, Outcome::Failed { problem: unanswered(&asked) });
        }
    }

    fn why_nothing_moves(&self) -> String {
        let positions = self.world.instance(&self.instance).map(|instance| instance.positions()).unwrap_or_default();
        let at = positions.first().map(|position| format!(" at {}", position.reference)).unwrap_or_default();
        let kinds: Vec<&str> = self.world.state.listeners.keys().map(|kind| if kind.is_empty() { "any type" } else { kind }).collect();
        if kinds.is_empty() {
            return format!(
                "nothing can move the flow any more{at}: the stub says that what it waits for never comes, and it has no timeout"
            );
        }
        format!(
            "nothing can move the flow any more{at}: it waits for an event ({}), and no stub sends one. Write it under `events:` in a --stub file",
            kinds.join(", ")
        )
    }

    fn typed(&mut self, line: &str) {
        let question = self.questions.first().cloned();
        match (ask::read(line, question.as_ref().map(|(_, asked)| asked)), question) {
            (Ok(Said::Answer(outcome)), Some((effect, _))) => self.answer(effect, outcome),
            (Ok(Said::Event(fields)), _) => {
                self.sent += 1;
                match typed_event(&fields, self.clock.now(), self.sent) {
                    Ok(event) => self.event(event),
                    Err(why) => eprintln!("{why}"),
                }
            }
            (Ok(Said::Answer(_)), None) => {}
            (Err(why), _) => eprintln!("{why}"),
        }
    }

    /// Ends the run with an error that no task has.
    fn give_up(&mut self, mut problem: Problem) -> Result<Value> {
        problem.instance = self.world.instance(&self.instance).and_then(|instance| Some(instance.positions().first()?.reference.clone()));
        let action = OperatorAction::Cancel { reason: "nothing moves".into() };
        let _ = self.apply(Command::Operator { instance: self.instance.clone(), action, by: Actor::system() });
        match report::report(&self.world, &self.instance) {
            Some(cancelled) => Ok(report::given_up(&cancelled, &problem)),
            None => bail!("the flow could not be ended"),
        }
    }
}

#[derive(PartialEq)]
enum Hope {
    Some,
    None,
}

fn typed_event(fields: &Value, now: Timestamp, number: u64) -> Result<Event, String> {
    spalla_shared::rehearsal::stub::EventTemplate::of(fields).event(now, number, &Value::Null)
}

fn unanswered(asked: &Asked) -> Problem {
    let detail = format!(
        "nobody answers `{}` of task `{}` ({}). Write into a --stub file, under `answers:`, `- {{ function: {}, task: {}, answer: … }}`, or \
         run it at a terminal",
        asked.function, asked.task, asked.reference, asked.function, asked.task
    );
    Problem::standard("configuration", 400, detail)
}
