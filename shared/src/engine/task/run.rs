//! `run.workflow`: another flow, awaited or not. Where it lives in another group, that group is asked to run it.

use crate::engine::command::{FlowSelector, Rejection};
use crate::engine::crossing::{self, Crossed};
use crate::engine::instance::{Next, Wait};
use crate::engine::interpreter::{Begin, CHILD_DEPTH_MAX, Cursor, Interpreter, Step};
use crate::engine::problem::Problem;
use crate::engine::rollout;
use crate::flow::plan::RunWorkflow;
use crate::id::{Actor, GroupId, InstanceId};
use crate::value::Value;

/// A flow that runs itself over and over fills the mesh up to here, not to the last place: a visitor still gets in.
const CHILDREN_UP_TO: usize = 25_000;

impl Interpreter<'_, '_> {
    pub(in crate::engine) fn run_workflow(&mut self, mut cursor: Cursor, run: &RunWorkflow, input: Value) -> Step {
        let Some(instance) = self.instance(&cursor.id) else { return Step::Parked };
        let (depth, events_from, late) = (instance.depth.saturating_add(1), instance.events_from, instance.late);
        if depth > CHILD_DEPTH_MAX {
            return cursor.fail(Problem::standard("runtime", 500, format!("flows run flows {CHILD_DEPTH_MAX} deep already")));
        }
        if self.context.state.instances.len() >= CHILDREN_UP_TO {
            let detail = format!("{CHILDREN_UP_TO} instances run; only people, devices and clocks start more");
            return cursor.fail(Problem::own("limit", 429, detail));
        }
        let with = match &run.input {
            Some(template) => match self.fill(&cursor, template, &input, &[]) {
                Ok(value) => value,
                Err(problem) => return cursor.fail(problem),
            },
            None => input.clone(),
        };
        let version = (&*run.version != "latest").then_some(&*run.version);
        match crossing::home_of(self.context.state, &run.namespace, &run.name, version, &with) {
            Ok(None) => {}
            Ok(Some(group)) => return self.run_elsewhere(cursor, run, group, with, depth, input),
            Err(problem) => return cursor.fail(problem),
        }
        let flow = match rollout::find(self.context.state, &run.namespace, &run.name, version) {
            Ok(flow) => flow,
            Err(rejection) => return cursor.fail(Problem::standard("configuration", 404, &*rejection.message)),
        };
        let parent = run.await_.then(|| self.owner(&mut cursor));
        let by = Actor::flow(&cursor.id);
        let title = flow.to_string();
        match self.begin(Begin { flow, input: with, by, parent, depth, events_from: Some(events_from), late }) {
            Ok(child) if run.await_ => {
                self.trace_child(&cursor, title, &child);
                self.park(cursor, Wait::Child(child));
                Step::Parked
            }
            Ok(child) => {
                self.trace_child(&cursor, title, &child);
                Step::Go(cursor, Next::Done { value: input })
            }
            Err(rejection) => cursor.fail(refused(&run.name, &rejection)),
        }
    }

    /// The other group takes it once it can be told; an awaited one answers the same way.
    fn run_elsewhere(&mut self, mut cursor: Cursor, run: &RunWorkflow, group: GroupId, with: Value, depth: u32, input: Value) -> Step {
        let flow = FlowSelector {
            namespace: run.namespace.clone(),
            name: run.name.clone(),
            version: (&*run.version != "latest").then(|| run.version.clone()),
        };
        let parent = run.await_.then(|| self.owner(&mut cursor));
        let line =
            Value::object([("flow", Value::from(format!("{}/{}", run.namespace, run.name))), ("group", Value::from(group.as_str()))]);
        self.trace(&cursor, "called", line);
        let what = Crossed::Start { flow, input: with, by: Actor::flow(&cursor.id), parent: parent.clone(), depth };
        if !crossing::owe(self.context, &group, what) {
            return cursor.fail(Problem::own("limit", 429, format!("group `{group}` is owed too much already")));
        }
        if parent.is_some() {
            self.park(cursor, Wait::External("group".into()));
            return Step::Parked;
        }
        Step::Go(cursor, Next::Done { value: input })
    }

    fn trace_child(&mut self, cursor: &Cursor, flow: String, child: &InstanceId) {
        let line = Value::object([("flow", Value::from(flow)), ("instance", Value::from(child.as_str()))]);
        self.trace(cursor, "called", line);
    }
}

/// Why another flow did not start, as an error of the task that wanted it: a bad input is the specification's `validation`.
pub(in crate::engine) fn refused(name: &str, rejection: &Rejection) -> Problem {
    let detail = format!("`{name}` did not start: {}", rejection.message);
    match &*rejection.code {
        "invalid" => Problem::standard("validation", 400, detail),
        "not-found" => Problem::standard("configuration", 404, detail),
        code => Problem::own(code, if code == "limit" { 429 } else { 409 }, detail),
    }
}
