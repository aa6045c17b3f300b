//! What came of one instance: how it ended, and its tasks in the order in which they started.

use super::world::World;
use crate::engine::Problem;
use crate::engine::record::{InstanceStatus, Record, RecordBody, TaskRecord};
use crate::id::InstanceId;
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One run of one task. A loop runs a task several times.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRun {
    pub reference: Arc<str>,
    pub name: Arc<str>,
    /// `completed`, `skipped`, `faulted`, `cancelled`.
    pub status: &'static str,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
}

/// `{status, output, error, tasks, events}` of an instance that ended; `None` while it runs.
pub fn report(world: &World, id: &InstanceId) -> Option<Value> {
    let ended = world.ended(id)?;
    let status = match ended.status {
        InstanceStatus::Completed => "completed",
        InstanceStatus::Cancelled => "cancelled",
        InstanceStatus::Faulted | InstanceStatus::Running | InstanceStatus::Suspended => "faulted",
    };
    let output = if ended.status == InstanceStatus::Completed { ended.output } else { Value::Null };
    let tasks = tasks(&world.records, id).iter().map(TaskRun::to_value).collect();
    let events = world.emitted.iter().map(crate::event::Event::to_value).collect();
    Some(report_of(status, output, ended.problem.as_ref(), tasks, events))
}

/// The same of a run that never began: its input was refused.
pub fn refused(problem: &Value) -> Value {
    report_of("faulted", Value::Null, Some(problem), Vec::new(), Vec::new())
}

/// The report of a run that was ended because nothing could move it: `problem` tells why.
pub fn given_up(cancelled: &Value, problem: &Problem) -> Value {
    let list = |key| cancelled.get(key).and_then(Value::as_array).unwrap_or_default().to_vec();
    let at = problem.instance.as_deref().unwrap_or_default();
    // The task that stood, and those around it, did not get cancelled by anybody.
    let mut tasks = list("tasks");
    for task in &mut tasks {
        let field = |name| task.get(name).and_then(Value::as_str).unwrap_or_default();
        if field("status") == "cancelled" && (field("reference") == at || is_below(field("reference"), at)) {
            let mut fields = task.as_object().cloned().unwrap_or_default();
            fields.insert("status".into(), Value::from("faulted"));
            *task = Value::Object(Arc::new(fields));
        }
    }
    report_of("faulted", Value::Null, Some(&problem.to_value()), tasks, list("events"))
}

fn report_of(status: &str, output: Value, problem: Option<&Value>, tasks: Vec<Value>, events: Vec<Value>) -> Value {
    let error = |problem: &Value| {
        let field = |name| (name, problem.get(name).cloned().unwrap_or_default());
        Value::object(["type", "status", "title", "detail", "instance"].map(field))
    };
    Value::object([
        ("status", Value::from(status)),
        ("output", output),
        ("error", problem.map(error).unwrap_or_default()),
        ("tasks", Value::array(tasks)),
        ("events", Value::array(events)),
    ])
}

/// The tasks of an instance in the order in which they started, one entry per run.
pub fn tasks(records: &[Record], id: &InstanceId) -> Vec<TaskRun> {
    let mut gathered = Gathered::default();
    for record in records {
        match &record.body {
            RecordBody::Task(task) if task.instance == *id => gathered.line(task, record.at),
            RecordBody::InstanceEnded { instance, status, problem, .. } if instance == id => {
                let at = problem.as_ref().and_then(|problem| problem.get("instance")).and_then(Value::as_str);
                gathered.end(*status, at, record.at);
            }
            _ => {}
        }
    }
    gathered.runs
}

impl TaskRun {
    fn to_value(&self) -> Value {
        Value::object([
            ("reference", Value::String(self.reference.clone())),
            ("name", Value::String(self.name.clone())),
            ("status", Value::from(self.status)),
            ("startedAt", Value::from(self.started_at.to_rfc3339())),
            ("endedAt", Value::from(self.ended_at.to_rfc3339())),
        ])
    }
}

/// The trace tells each task's own steps; what a passing error or an end takes with it follows from where tasks stand in the document.
#[derive(Default)]
struct Gathered {
    runs: Vec<TaskRun>,
    /// Runs that have not ended, by reference: a task stands at most once at a time.
    open: BTreeMap<Arc<str>, usize>,
    /// Where the newest error arose, and where a task ended last.
    faulted: Arc<str>,
    completed: Arc<str>,
}

impl Gathered {
    fn line(&mut self, task: &TaskRecord, at: Timestamp) {
        let reference = &task.reference;
        match &*task.what {
            "started" => {
                if let Some((trying, _)) = reference.rsplit_once("/catch/do/") {
                    self.leave(trying, at);
                }
                self.close(reference, "cancelled", at);
                self.open.insert(reference.clone(), self.runs.len());
                self.begin(task, "cancelled", at);
            }
            "skipped" => {
                let was_open = self.close(reference, "skipped", at);
                if !was_open {
                    self.begin(task, "skipped", at);
                }
            }
            "faulted" => {
                self.close_below(reference, at, |_| "cancelled");
                if !self.close(reference, "faulted", at) {
                    self.begin(task, "faulted", at);
                }
                self.faulted = reference.clone();
            }
            "completed" => {
                self.close_below(reference, at, |_| "cancelled");
                self.close(reference, "completed", at);
                self.completed = reference.clone();
            }
            "cancelled" => {
                self.close_below(reference, at, |_| "cancelled");
                self.close(reference, "cancelled", at);
            }
            "retrying" => self.leave(reference, at),
            _ => {}
        }
    }

    /// An error left everything below the `try` at `trying`.
    fn leave(&mut self, trying: &str, at: Timestamp) {
        let faulted = self.faulted.clone();
        self.close_below(trying, at, |reference| if is_below(reference, &faulted) { "faulted" } else { "cancelled" });
    }

    fn end(&mut self, status: InstanceStatus, fault_at: Option<&str>, at: Timestamp) {
        let (word, innermost) = match status {
            InstanceStatus::Completed => ("completed", self.completed.clone()),
            InstanceStatus::Faulted => ("faulted", fault_at.map(|_| self.faulted.clone()).unwrap_or_default()),
            InstanceStatus::Cancelled | InstanceStatus::Running | InstanceStatus::Suspended => ("cancelled", "".into()),
        };
        self.close_below("", at, |reference| if is_below(reference, &innermost) { word } else { "cancelled" });
    }

    fn begin(&mut self, task: &TaskRecord, status: &'static str, at: Timestamp) {
        let (reference, name) = (task.reference.clone(), task.name.clone());
        self.runs.push(TaskRun { reference, name, status, started_at: at, ended_at: at });
    }

    fn close(&mut self, reference: &str, status: &'static str, at: Timestamp) -> bool {
        let Some(run) = self.open.remove(reference).and_then(|index| self.runs.get_mut(index)) else { return false };
        run.status = status;
        run.ended_at = at;
        true
    }

    fn close_below(&mut self, reference: &str, at: Timestamp, status: impl Fn(&str) -> &'static str) {
        let below: Vec<Arc<str>> = self.open.keys().filter(|known| is_below(reference, known)).cloned().collect();
        for known in below {
            self.close(&known, status(&known), at);
        }
    }
}

fn is_below(reference: &str, inner: &str) -> bool {
    inner.strip_prefix(reference).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::command::{Accepted, Command, FlowSelector};
    use crate::id::Actor;

    /// `name status` of each run, and how the flow ended, after an hour.
    fn ran(tasks: &str) -> (Vec<String>, Value) {
        let text = format!("document: {{ dsl: '1.0.3', namespace: test, name: flow, version: '1.0.0' }}\n{tasks}");
        let checked = crate::flow::check(&text).unwrap_or_else(|found| panic!("{found:#?}"));
        let mut world = World::of_flows(Timestamp(0), &[checked]).unwrap();
        let flow = FlowSelector { namespace: "test".into(), name: "flow".into(), version: None };
        let start = Command::Start { flow, input: Value::empty_object(), key: "".into(), by: Actor::system() };
        let Ok(Accepted::Started { instance }) = world.apply(start).reply else { panic!() };
        for _ in 0..20 {
            world.settle().unwrap();
            match world.state.next_due() {
                Some(due) => world.pass_to(due),
                None => break,
            }
        }
        let shown = super::tasks(&world.records, &instance).iter().map(|run| format!("{} {}", run.name, run.status)).collect();
        (shown, report(&world, &instance).unwrap())
    }

    #[test]
    fn an_error_takes_along_what_is_around_it_up_to_its_try() {
        let (tasks, report) = ran("
do:
  - outer:
      try:
        - middle:
            do:
              - bad: { raise: { error: { type: x:y, status: 400 } } }
      catch:
        do:
          - mend: { set: { a: 1 } }
  - last: { if: 'false', set: { a: 1 } }
");
        assert_eq!(tasks, ["outer completed", "middle faulted", "bad faulted", "mend completed", "last skipped"]);
        assert_eq!(report.get("status"), Some(&Value::from("completed")));
    }

    #[test]
    fn losers_of_a_fork_and_what_a_timeout_ends_are_cancelled() {
        let (tasks, _) = ran("
do:
  - race:
      fork:
        compete: true
        branches:
          - slow: { do: [ { sleep: { wait: PT1H } } ] }
          - fast: { set: { won: true } }
  - late:
      do: [ { sleep: { wait: PT1H } } ]
      timeout: { after: PT1S }
");
        let expected = ["race completed", "slow cancelled", "sleep cancelled", "fast completed", "late faulted", "sleep cancelled"];
        assert_eq!(tasks, expected);
    }

    #[test]
    fn each_run_of_a_loop_and_each_retry_is_told() {
        let (tasks, report) = ran("
do:
  - each: { for: { in: '[1, 2]' }, do: [ { it: { set: { a: 1 } } } ] }
  - again:
      try: [ { bad: { raise: { error: { type: x:y, status: 400 } } } } ]
      catch: { retry: { delay: PT1S, limit: { attempt: { count: 1 } } } }
");
        let expected = ["each completed", "it completed", "it completed", "again faulted", "bad faulted", "bad faulted"];
        assert_eq!(tasks, expected);
        let at = report.get("error").and_then(|error| error.get("instance"));
        assert_eq!(at, Some(&Value::from("/do/1/again/try/0/bad")));
    }

    #[test]
    fn an_error_that_the_mesh_would_keep_as_an_incident_ends_the_run() {
        let (tasks, report) = ran("do: [ { bad: { set: '${ error(\"no\") }' } } ]");
        assert_eq!(tasks, ["bad faulted"]);
        assert_eq!(report.get("status"), Some(&Value::from("faulted")));
    }

    #[test]
    fn an_end_deep_inside_completes_what_is_around_it() {
        let (tasks, _) =
            ran("do: [ { a: { do: [ { b: { set: { a: 1 }, then: end } }, { c: { set: { a: 1 } } } ] } }, { d: { set: { a: 1 } } } ]");
        assert_eq!(tasks, ["a completed", "b completed"]);
    }
}
