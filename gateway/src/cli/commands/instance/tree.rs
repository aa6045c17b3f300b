//! The lines of a trace -> a tree of what ran: every task with what it got and gave, whom it asked, who answered, how long it took.

use serde_json::Value;
use spalla_shared::time::Timestamp;
use std::collections::BTreeMap;

/// One run of a task; in a loop, or tried again, a task runs several times.
#[derive(Debug)]
pub struct Run {
    pub name: String,
    pub kind: String,
    /// `running`, `completed`, `skipped`, `faulted`, `cancelled`, `incident`.
    pub status: &'static str,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub input: Value,
    pub output: Value,
    /// What happened meanwhile, in words: asked, answered, tried again, operators.
    pub notes: Vec<String>,
    /// (flow, instance) of sub-flows that it started.
    pub children: Vec<(String, String)>,
    pub depth: usize,
    /// Place of the run around it.
    parent: Option<usize>,
}

impl Run {
    fn is_open(&self) -> bool {
        matches!(self.status, "running" | "incident")
    }
    pub fn took_ms(&self) -> Option<u64> {
        Some(self.ended_at?.since(self.started_at?))
    }
}

#[derive(Debug, Default)]
pub struct Tree {
    pub runs: Vec<Run>,
    /// What operators did to the instance as a whole.
    pub operators: Vec<(Option<Timestamp>, String)>,
    /// Reference -> place of its newest run: a loop's trace has tens of thousands of lines.
    newest: BTreeMap<String, usize>,
}

impl Tree {
    pub fn of(lines: &[Value]) -> Self {
        let mut tree = Self::default();
        lines.iter().for_each(|line| tree.take(line));
        tree
    }

    /// Runs in the order of a tree: each behind the one around it.
    pub fn in_order(&self) -> Vec<&Run> {
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); self.runs.len()];
        let mut open: Vec<usize> = Vec::new();
        for (at, run) in self.runs.iter().enumerate() {
            match run.parent.and_then(|parent| below.get_mut(parent)) {
                Some(list) => list.push(at),
                None => open.push(at),
            }
        }
        open.reverse();
        let mut ordered = Vec::new();
        while let Some(at) = open.pop() {
            ordered.extend(self.runs.get(at));
            open.extend(below.get(at).into_iter().flatten().rev());
        }
        ordered
    }

    pub fn take(&mut self, line: &Value) {
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        let (reference, data) = (text("reference"), &line["data"]);
        let at = Timestamp::parse_rfc3339(text("at"));
        match text("what") {
            "started" => self.begin(line, at, "running"),
            "skipped" => match self.open(reference) {
                // An operator left it behind.
                Some(run) => end(run, "skipped", at, data.clone()),
                None => {
                    self.begin(line, at, "skipped");
                    if let Some(run) = self.runs.last_mut() {
                        run.ended_at = at;
                    }
                }
            },
            what => {
                // A task whose input or condition fails has not begun: its fault is the first that is heard of it.
                if self.open(reference).is_none() {
                    if what == "operator" {
                        self.operators.extend(said(what, data).map(|said| (at, said)));
                        return;
                    }
                    self.begin(line, at, "running");
                }
                let Some(run) = self.open(reference) else { return };
                match what {
                    "completed" => end(run, "completed", at, data.clone()),
                    "faulted" => {
                        run.notes.push(format!("failed: {}", problem(data)));
                        end(run, "faulted", at, Value::Null);
                        // Where nobody catches it, the line that says so comes next, for the same run.
                    }
                    "cancelled" => end(run, "cancelled", at, Value::Null),
                    _ => run.notes.extend(said(what, data)),
                }
                if what == "called"
                    && let (Some(flow), Some(instance)) = (data["flow"].as_str(), data["instance"].as_str())
                {
                    run.children.push((flow.into(), instance.into()));
                }
            }
        }
    }

    /// The instance has ended: what was still open was cut short.
    pub fn ended(mut self) -> Self {
        self.runs.iter_mut().filter(|run| run.is_open()).for_each(|run| run.status = "cancelled");
        self
    }

    fn begin(&mut self, line: &Value, at: Option<Timestamp>, status: &'static str) {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let reference = text("reference");
        let around = reference.match_indices('/').map(|(end, _)| &reference[..end]);
        let open = |around: &str| self.newest.get(around).copied().filter(|at| self.runs.get(*at).is_some_and(Run::is_open));
        let parent = around.filter_map(open).next_back();
        // Where it runs again, what was open below it is over.
        let below = format!("{reference}/");
        for (_, at) in self.newest.range(below.clone()..).take_while(|(other, _)| other.starts_with(&below)) {
            if let Some(run) = self.runs.get_mut(*at).filter(|run| run.status == "running") {
                run.status = "cancelled";
            }
        }
        self.newest.insert(reference, self.runs.len());
        let depth = parent.and_then(|parent| self.runs.get(parent)).map_or(0, |parent| parent.depth + 1);
        self.runs.push(Run {
            name: text("name"),
            kind: line["data"]["kind"].as_str().unwrap_or_default().into(),
            status,
            started_at: at,
            ended_at: None,
            input: if status == "running" { line["data"]["input"].clone() } else { Value::Null },
            output: Value::Null,
            notes: Vec::new(),
            children: Vec::new(),
            depth,
            parent,
        });
    }

    /// The newest run of a task that has not ended; an incident stands at the run that has just failed.
    fn open(&mut self, reference: &str) -> Option<&mut Run> {
        let newest = self.runs.get_mut(*self.newest.get(reference)?)?;
        (newest.is_open() || newest.status == "faulted").then_some(newest)
    }

    /// What the input of a run is compared with: its parent's, which need not be said twice.
    pub fn parent_input(&self, run: &Run) -> Option<&Value> {
        self.runs.get(run.parent?).map(|parent| &parent.input)
    }
}

fn end(run: &mut Run, status: &'static str, at: Option<Timestamp>, output: Value) {
    (run.status, run.ended_at, run.output) = (status, at, output);
}

/// A line of the trace in words, as far as it says more than that a task began or ended.
pub fn said(what: &str, data: &Value) -> Option<String> {
    let text = |key: &str| data[key].as_str();
    match what {
        "called" => Some(called(data)),
        "answered" => {
            let from = text("from").map(|from| format!(" ({from})")).unwrap_or_default();
            let failed = text("problem").map(|problem| format!(": {problem}")).unwrap_or_default();
            Some(format!("answered by {}{from}{failed}", text("by").unwrap_or("?")))
        }
        "retrying" => Some(format!("tries again after: {}", problem(data))),
        "incident" => Some(format!("stands still until an operator decides: {}", problem(data))),
        "operator" => Some(format!("operator {}: {}", text("by").unwrap_or("?"), text("action").unwrap_or("?"))),
        "faulted" => Some(format!("failed: {}", problem(data))),
        _ => None,
    }
}

fn called(data: &Value) -> String {
    let with = &data["with"];
    let text = |key: &str| with[key].as_str().map(str::to_owned);
    match data["function"].as_str() {
        Some("http") => {
            format!("{} {}", data["method"].as_str().unwrap_or_default().to_uppercase(), data["uri"].as_str().unwrap_or_default())
        }
        Some("device.command") => {
            format!("told {} to {}", text("target").unwrap_or_else(|| "a device".into()), text("command").unwrap_or_default())
        }
        Some(function @ ("human.approval" | "human.task")) => {
            let what = text(if function == "human.task" { "title" } else { "question" });
            let what = what.map(|what| format!(": {what}")).unwrap_or_default();
            format!("asked {}{what}", text("to").unwrap_or_else(|| "a person".into()))
        }
        Some(function) => format!("called {function} with {with}"),
        None => match (data["flow"].as_str(), data["instance"].as_str()) {
            (Some(flow), Some(instance)) => format!("runs {flow}: spalla instance show {instance}"),
            _ => "called".into(),
        },
    }
}

/// A problem in a line.
pub fn problem(data: &Value) -> String {
    let title = data["title"].as_str().unwrap_or("an error");
    data["detail"].as_str().map_or_else(|| title.to_owned(), |detail| format!("{title}: {detail}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(second: u32, reference: &str, what: &str, data: Value) -> Value {
        let name = reference.rsplit('/').next();
        json!({ "at": format!("2026-11-23T09:00:{second:02}.000Z"), "reference": reference, "name": name, "what": what, "data": data })
    }
    fn shown(tree: &Tree) -> Vec<String> {
        tree.in_order().iter().map(|run| format!("{}{} {}", ". ".repeat(run.depth), run.name, run.status)).collect()
    }

    #[test]
    fn branches_that_ran_at_once_stand_one_behind_the_other() {
        let tree = Tree::of(&[
            line(0, "/do/0/all", "started", json!({ "kind": "fork", "input": 1 })),
            line(0, "/do/0/all/fork/branches/0/a", "started", json!({ "kind": "do", "input": 1 })),
            line(0, "/do/0/all/fork/branches/0/a/do/0/x", "started", json!({ "kind": "wait", "input": 1 })),
            line(0, "/do/0/all/fork/branches/1/b", "started", json!({ "kind": "wait", "input": 1 })),
            line(2, "/do/0/all/fork/branches/0/a/do/0/x", "completed", json!(7)),
            line(3, "/do/0/all/fork/branches/1/b", "cancelled", Value::Null),
        ]);
        assert_eq!(shown(&tree), ["all running", ". a running", ". . x completed", ". b cancelled"]);
        let x = tree.in_order()[2];
        assert_eq!((x.took_ms(), &x.output), (Some(2_000), &json!(7)));
        assert_eq!(tree.parent_input(x), Some(&json!(1)));
    }

    #[test]
    fn what_is_tried_again_is_shown_each_time() {
        let error = json!({ "title": "timeout", "detail": "too slow" });
        let tree = Tree::of(&[
            line(0, "/do/0/t", "started", json!({ "kind": "try" })),
            line(0, "/do/0/t/try/0/a", "started", json!({ "kind": "call" })),
            line(
                0,
                "/do/0/t/try/0/a",
                "called",
                json!({ "function": "device.command", "with": { "target": "hq/gate", "command": "open" } }),
            ),
            line(5, "/do/0/t/try/0/a", "faulted", error.clone()),
            line(5, "/do/0/t", "retrying", error.clone()),
            line(6, "/do/0/t/try/0/a", "started", json!({ "kind": "call" })),
            line(7, "/do/0/t/try/0/a", "answered", json!({ "by": "node:1", "from": "hq/gate" })),
            line(7, "/do/0/t/try/0/a", "completed", Value::Null),
        ]);
        assert_eq!(shown(&tree), ["t running", ". a faulted", ". a completed"]);
        let runs = tree.in_order();
        assert_eq!(runs[0].notes, ["tries again after: timeout: too slow"]);
        assert_eq!(runs[1].notes, ["told hq/gate to open", "failed: timeout: too slow"]);
        assert_eq!(runs[2].notes, ["answered by node:1 (hq/gate)"]);
    }

    #[test]
    fn an_incident_and_what_the_operator_did_stand_at_their_task() {
        let error = json!({ "title": "communication" });
        let tree = Tree::of(&[
            line(0, "/do/0/a", "started", json!({ "kind": "call" })),
            line(1, "/do/0/a", "faulted", error.clone()),
            line(1, "/do/0/a", "incident", error),
            line(2, "/do/0/a", "operator", json!({ "by": "user:op", "action": "skip" })),
            line(2, "/do/0/a", "skipped", json!(1)),
            line(3, "/do/1/b", "skipped", Value::Null),
            line(3, "/do", "operator", json!({ "by": "user:op", "action": "suspend" })),
        ]);
        assert_eq!(shown(&tree), ["a skipped", "b skipped"]);
        assert_eq!(tree.runs[0].notes.len(), 3);
        assert!(tree.runs[0].notes[2].contains("user:op: skip"));
        assert_eq!(tree.operators.len(), 1);
    }

    #[test]
    fn what_was_open_at_the_end_was_cut_short() {
        let tree = Tree::of(&[line(0, "/do/0/t", "started", json!({ "kind": "wait" }))]).ended();
        assert_eq!(shown(&tree), ["t cancelled"]);
    }
}
