//! Plan -> model: lists with jumps become sequences and decisions with their ways side by side.
//!
//! Each task of a list is drawn once; a jump to one that is drawn already says so. The recursion is as deep as the document nests.

use super::describe::step;
use super::model::{Block, Kind, Model, Step};
use super::words;
use spalla_shared::flow::plan::{Case, Consume, DurationSpec, EventFilter, Plan, Schedule, Task, TaskId, TaskKind, Then, Try};
use spalla_shared::value::Value;
use std::collections::{BTreeMap, BTreeSet};

pub fn model(plan: &Plan) -> Model {
    let builder = Builder { plan };
    Model {
        title: plan.title.to_string(),
        flow: plan.key.to_string(),
        start: start(plan),
        body: builder.list(&plan.root, true),
        limit: plan.timeout.as_ref().map(|limit| format!("the whole takes at most {}", words::duration(limit))),
    }
}

fn start(plan: &Plan) -> String {
    match &plan.schedule {
        None => "Starts when somebody asks for it".into(),
        Some(Schedule::On(consume)) => format!("Starts when: {}", events(consume)),
        Some(Schedule::Cron(cron)) => format!("Starts by the clock: {cron} (UTC)"),
        Some(Schedule::Every { millis }) => format!("Starts every {}", words::millis_in_words(*millis)),
        Some(Schedule::After { millis }) => format!("Starts {} after the last one ended", words::millis_in_words(*millis)),
    }
}

/// The events that a filter takes, in words.
pub fn events(consume: &Consume) -> String {
    let named = |filters: &[EventFilter], glue: &str| {
        let names: Vec<String> = filters.iter().map(event).collect();
        if names.is_empty() { "any event".into() } else { names.join(glue) }
    };
    match consume {
        Consume::One(filter) => event(filter),
        Consume::All(filters) => named(filters, " and "),
        Consume::Any { filters, .. } => named(filters, " or "),
    }
}

fn event(filter: &EventFilter) -> String {
    use spalla_shared::flow::plan::AttributeMatch;
    let equal = |wanted: &str| {
        filter.with.iter().find_map(|(name, value)| match value {
            AttributeMatch::Equal(value) if &**name == wanted => value.as_str(),
            _ => None,
        })
    };
    let kind = equal("type").map_or("any event", |kind| kind.rsplit('.').next().unwrap_or(kind));
    let source = equal("source").and_then(|source| source.rsplit('/').next()).map(|at| format!(" at {}", words::lower_words(at)));
    format!("{}{}", words::lower_words(kind), source.unwrap_or_default())
}

struct Builder<'p> {
    plan: &'p Plan,
}

/// A list while it is walked.
struct Walk<'l> {
    list: &'l [TaskId],
    drawn: BTreeSet<usize>,
    /// Its end is the end of the flow.
    root: bool,
}

/// Where control goes, as a place in the list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    To(usize),
    Exit,
    End,
}

impl<'p> Builder<'p> {
    fn task(&self, id: TaskId) -> Option<&'p Task> {
        self.plan.tasks.get(usize::try_from(id).ok()?)
    }

    fn list(&self, list: &[TaskId], root: bool) -> Block {
        let mut walk = Walk { list, drawn: BTreeSet::new(), root };
        self.chain(&mut walk, 0, None, true)
    }

    /// Tasks from `at` on, up to `stop`. `tail`: behind this chain the list ends, so leaving the list needs no sign.
    fn chain(&self, walk: &mut Walk, mut at: usize, stop: Option<usize>, tail: bool) -> Block {
        let mut blocks = Vec::new();
        while Some(at) != stop {
            let Some(task) = walk.list.get(at).and_then(|id| self.task(*id)) else { break };
            if !walk.drawn.insert(at) {
                blocks.push(Block::Jump(format!("back to “{}”", words::humanised(&task.name))));
                break;
            }
            if let TaskKind::Switch(cases) = &task.kind {
                let (decision, next) = self.switch(walk, at, task, cases, stop, tail);
                blocks.push(decision);
                match next {
                    Some(next) => at = next,
                    None => break,
                }
                continue;
            }
            let way = self.way(walk.list, at, &task.then);
            let leaves = matches!(task.kind, TaskKind::Raise(_)) || way != Way::To(at + 1);
            if let (Some(_), true) = (&task.condition, leaves) {
                // What a condition decides is more than a step: where control goes.
                let mut yes = vec![self.block(task, true)];
                if !matches!(task.kind, TaskKind::Raise(_)) {
                    yes.push(self.sign(walk, way));
                }
                let question = words::condition(&condition_text(task)).unwrap_or_else(|| words::humanised(&task.name));
                let question = format!("{question}?");
                let ways = vec![("yes".to_owned(), Block::Sequence(yes)), ("no".to_owned(), Block::empty())];
                blocks.push(Block::Decision { question, ways, reference: "".into() });
                at += 1;
                continue;
            }
            blocks.push(self.block(task, false));
            match way {
                _ if matches!(task.kind, TaskKind::Raise(_)) => break,
                Way::To(next) => at = next,
                // At the end of the list there is nothing else to come.
                Way::Exit if tail || at + 1 >= walk.list.len() => break,
                Way::End if walk.root && tail => break,
                way => {
                    blocks.push(self.sign(walk, way));
                    break;
                }
            }
        }
        if blocks.len() == 1 { blocks.remove(0) } else { Block::Sequence(blocks) }
    }

    fn way(&self, list: &[TaskId], at: usize, then: &Then) -> Way {
        match then {
            Then::Continue => Way::To(at + 1),
            Then::Exit => Way::Exit,
            Then::End => Way::End,
            Then::Task(id) => list.iter().position(|task| task == id).map_or(Way::Exit, Way::To),
        }
    }

    fn sign(&self, walk: &Walk, way: Way) -> Block {
        Block::Jump(match way {
            Way::End => "the flow ends here".into(),
            Way::Exit if walk.root => "the flow ends here".into(),
            Way::Exit => "leaves this part".into(),
            Way::To(at) => {
                let name = walk.list.get(at).and_then(|id| self.task(*id)).map(|task| words::humanised(&task.name));
                format!("goes on with “{}”", name.unwrap_or_default())
            }
        })
    }

    /// The decision, and where control goes on below it; none where its ways take all that is left with them.
    fn switch(&self, walk: &mut Walk, at: usize, task: &Task, cases: &[Case], stop: Option<usize>, tail: bool) -> (Block, Option<usize>) {
        let mut ways: Vec<(String, Way)> =
            cases.iter().map(|case| (words::lower_words(&case.name), self.way(walk.list, at, &case.then))).collect();
        if cases.iter().all(|case| case.when.is_some()) {
            ways.push(("otherwise".into(), self.way(walk.list, at, &task.then)));
        }
        let meeting = self.meeting(walk, &ways, stop, tail);
        let mut blocks = Vec::new();
        for (words, way) in ways {
            let block = match way {
                Way::To(to) if Some(to) == meeting => Block::empty(),
                Way::To(to) => self.chain(walk, to, meeting.or(stop), tail && meeting.is_none()),
                Way::Exit | Way::End if tail && meeting.is_none() && (way == Way::Exit || walk.root) => Block::empty(),
                way => self.sign(walk, way),
            };
            blocks.push((words, block));
        }
        let question = format!("{}?", words::humanised(&task.name));
        (Block::Decision { question, ways: blocks, reference: task.reference.clone() }, meeting.filter(|_| meeting != stop))
    }

    /// The first task that all ways come to which do not leave the list.
    fn meeting(&self, walk: &Walk, ways: &[(String, Way)], stop: Option<usize>, tail: bool) -> Option<usize> {
        let open: Vec<usize> = ways.iter().filter_map(|(_, way)| if let Way::To(to) = way { Some(*to) } else { None }).collect();
        if open.len() < ways.len() && open.len() < 2 && tail {
            return None;
        }
        let mut all = open.iter().map(|to| self.reached(walk.list, *to));
        let first = all.next()?;
        let common = all.fold(first, |common, reached| common.intersection(&reached).copied().collect());
        common.into_iter().find(|at| *at < walk.list.len() && !walk.drawn.contains(at)).or(stop)
    }

    fn reached(&self, list: &[TaskId], from: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            if at >= list.len() || !seen.insert(at) {
                continue;
            }
            let Some(task) = list.get(at).and_then(|id| self.task(*id)) else { continue };
            let mut thens: Vec<&Then> = vec![&task.then];
            if let TaskKind::Switch(cases) = &task.kind {
                thens.extend(cases.iter().map(|case| &case.then));
            }
            if task.condition.is_some() {
                open.push(at + 1);
            }
            if !matches!(task.kind, TaskKind::Raise(_)) {
                open.extend(thens.into_iter().filter_map(|then| if let Way::To(to) = self.way(list, at, then) { Some(to) } else { None }));
            }
        }
        seen
    }

    /// One task. `decided`: its condition stands in the decision before it.
    fn block(&self, task: &Task, decided: bool) -> Block {
        let only_if = task.condition.as_ref().filter(|_| !decided).map(|_| match words::condition(&condition_text(task)) {
            Some(condition) => format!("only if {condition}"),
            None => "only in some cases".into(),
        });
        let reference = task.reference.clone();
        let title = words::humanised(&task.name);
        let limited = |title: String| match &task.timeout {
            Some(limit) => format!("{title} – at most {}", words::duration(limit)),
            None => title,
        };
        match &task.kind {
            TaskKind::Do(body) => Block::Frame { title: limited(title), only_if, body: Box::new(self.list(body, false)), reference },
            TaskKind::For(each) => {
                let title = format!("{title}: for each {}, one by one", words::lower_words(&each.each));
                Block::Frame { title: limited(title), only_if, body: Box::new(self.list(&each.body, false)), reference }
            }
            TaskKind::Listen(listen) if listen.foreach.as_ref().is_some_and(|each| !each.body.is_empty()) => {
                let body = listen.foreach.as_ref().map(|each| self.list(&each.body, false)).unwrap_or_else(Block::empty);
                let title = format!("{title}: each time that “{}” happens", events(&listen.to));
                Block::Frame { title: limited(title), only_if, body: Box::new(body), reference }
            }
            TaskKind::Fork { branches, compete } => {
                let label = if *compete { "whichever is done first" } else { "at the same time" };
                let branches = branches.iter().filter_map(|id| self.task(*id)).map(|task| self.block(task, false)).collect();
                let parallel = Block::Parallel { label, branches };
                match only_if {
                    Some(_) => Block::Frame { title, only_if, body: Box::new(parallel), reference },
                    None => parallel,
                }
            }
            TaskKind::Try(trying) => {
                let guarded = self.guarded(task, trying);
                match only_if {
                    Some(_) => Block::Frame { title, only_if, body: Box::new(guarded), reference },
                    None => guarded,
                }
            }
            _ => Block::Step(Step { only_if, ..step(task) }),
        }
    }

    fn guarded(&self, task: &Task, trying: &Try) -> Block {
        let body = self.list(&trying.body, false);
        // One step needs no frame around it; several do, so that the side road is seen to leave all of them.
        let body = match body {
            Block::Step(step) => Block::Step(Step { title: both(&words::humanised(&task.name), &step.title), ..step }),
            body => {
                Block::Frame { title: words::humanised(&task.name), only_if: None, body: Box::new(body), reference: task.reference.clone() }
            }
        };
        let road = if trying.catch.body.is_empty() { Block::empty() } else { self.list(&trying.catch.body, false) };
        Block::Guarded { body: Box::new(body), label: self.failure(trying), road: Box::new(road) }
    }

    /// When the side road is taken, in words.
    fn failure(&self, trying: &Try) -> String {
        let catch = &trying.catch;
        let of_kind = catch.errors.iter().find(|(key, _)| &**key == "type").and_then(|(_, kind)| kind.as_str());
        let mut said = match of_kind.and_then(|kind| kind.rsplit('/').next()) {
            Some("timeout") => match self.limits(&trying.body).as_slice() {
                [limit] => format!("after {}", words::duration(limit)),
                _ => "if it takes too long".into(),
            },
            Some(kind) => format!("if it fails: {}", words::lower_words(kind)),
            None => "if it fails".into(),
        };
        if catch.when.is_some() || catch.except_when.is_some() {
            said += ", in some cases";
        }
        if let Some(retry) = &catch.retry {
            let times = retry
                .attempt_count_max
                .map_or("again".to_owned(), |count| if count == 1 { "once more".into() } else { format!("{count} more times") });
            said += &format!(": tries {times}");
            if !catch.body.is_empty() {
                said += ", then";
            }
        }
        said
    }

    /// Timeouts of the tasks of a list.
    fn limits(&self, list: &[TaskId]) -> Vec<&'p DurationSpec> {
        list.iter().filter_map(|id| self.task(*id)?.timeout.as_ref()).collect()
    }
}

/// The name of a `try` and of the one step in it: "Doors: release", but not "Ask host: ask".
fn both(outer: &str, inner: &str) -> String {
    let (low_outer, low_inner) = (outer.to_lowercase(), inner.to_lowercase());
    if low_outer.contains(&low_inner) {
        outer.to_owned()
    } else if low_inner.contains(&low_outer) {
        inner.to_owned()
    } else {
        format!("{outer}: {low_inner}")
    }
}

fn condition_text(task: &Task) -> String {
    task.definition.get("if").map(|text| text.as_str().map_or_else(|| text.to_json(), str::to_owned)).unwrap_or_default()
}

/// The text of a field of the task's `with`, in words.
pub fn argument(task: &Task, name: &str) -> Option<String> {
    words::phrase(with(task)?.get(name)?)
}

pub fn with(task: &Task) -> Option<&Value> {
    task.function.as_ref().map_or(&task.definition, |function| &function.definition).get("with")
}

/// Steps by their reference, for a legend of what a picture holds.
pub fn kinds(block: &Block) -> BTreeMap<&'static str, Kind> {
    let mut found = BTreeMap::new();
    let mut open = vec![block];
    while let Some(block) = open.pop() {
        match block {
            Block::Step(step) => drop(found.insert(super::describe::kind_word(step.kind), step.kind)),
            Block::Sequence(blocks) | Block::Parallel { branches: blocks, .. } => open.extend(blocks),
            Block::Decision { ways, .. } => open.extend(ways.iter().map(|(_, way)| way)),
            Block::Guarded { body, road, .. } => open.extend([&**body, &**road]),
            Block::Frame { body, .. } => open.push(body),
            Block::Jump(_) => {}
        }
    }
    found
}
