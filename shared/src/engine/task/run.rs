//! `run.workflow`: another flow of the same group, awaited or not.

use crate::engine::command::Rejection;
use crate::engine::instance::{Next, Wait};
use crate::engine::interpreter::{Begin, CHILD_DEPTH_MAX, Cursor, Interpreter, Step};
use crate::engine::problem::Problem;
use crate::engine::rollout;
use crate::flow::plan::RunWorkflow;
use crate::id::{Actor, InstanceId};
use crate::value::Value;

/// A flow that runs itself over and over fills the mesh up to here, not to the last place: a visitor still gets in.
const CHILDREN_UP_TO: usize = 25_000;

impl Interpreter<'_, '_> {
    pub(in crate::engine) fn run_workflow(&mut self, mut cursor: Cursor, run: &RunWorkflow, input: Value) -> Step {
        let Some(instance) = self.instance(&cursor.id) else { return Step::Parked };
        let (depth, events_from) = (instance.depth.saturating_add(1), instance.events_from);
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
        let flow = match rollout::find(self.context.state, &run.namespace, &run.name, version) {
            Ok(flow) => flow,
            Err(rejection) => return cursor.fail(Problem::standard("configuration", 404, &*rejection.message)),
        };
        let parent = run.await_.then(|| self.owner(&mut cursor));
        let by = Actor::flow(&cursor.id);
        let title = flow.to_string();
        match self.begin(Begin { flow, input: with, by, parent, depth, events_from: Some(events_from) }) {
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
    fn trace_child(&mut self, cursor: &Cursor, flow: String, child: &InstanceId) {
        let line = Value::object([("flow", Value::from(flow)), ("instance", Value::from(child.as_str()))]);
        self.trace(cursor, "called", line);
    }
}

/// Why another flow did not start, as an error of the task that wanted it: a bad input is the specification's `validation`.
fn refused(name: &str, rejection: &Rejection) -> Problem {
    let detail = format!("`{name}` did not start: {}", rejection.message);
    match &*rejection.code {
        "invalid" => Problem::standard("validation", 400, detail),
        "not-found" => Problem::standard("configuration", 404, detail),
        code => Problem::own(code, if code == "limit" { 429 } else { 409 }, detail),
    }
}
