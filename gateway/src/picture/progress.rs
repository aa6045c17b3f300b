//! Where an instance is: what its trace and its positions say of each task.

use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Done,
    Skipped,
    Failed,
    /// It stands here now.
    Here,
    /// It stands here until an operator decides.
    Stuck,
}

impl Mark {
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Here => "here now",
            Self::Stuck => "stands still",
        }
    }
}

/// By the task's reference.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    marks: BTreeMap<String, Mark>,
    notes: BTreeMap<String, String>,
    /// A line for the head of the picture: which instance, how it is.
    pub headline: String,
}

impl Progress {
    /// From an instance as the API shows it, `{id, status, business_key, positions, incident, trace}`.
    pub fn of(instance: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut marks = BTreeMap::new();
        for line in instance["trace"].as_array().into_iter().flatten() {
            let mark = match line["what"].as_str().unwrap_or_default() {
                "completed" => Some(Mark::Done),
                "skipped" => Some(Mark::Skipped),
                "faulted" | "incident" | "cancelled" => Some(Mark::Failed),
                "started" => None,
                _ => continue,
            };
            match mark {
                Some(mark) => marks.insert(text(&line["reference"]), mark),
                // Once more round a loop, or tried again: what it was before is over.
                None => marks.remove(&text(&line["reference"])),
            };
        }
        let mut notes = BTreeMap::new();
        for position in instance["positions"].as_array().into_iter().flatten() {
            let (reference, waits_for) = (text(&position["reference"]), position["waits_for"].as_str().unwrap_or_default());
            if waits_for == "join" {
                continue;
            }
            let since = position["since"].as_i64().map(|at| spalla_shared::time::Timestamp(at).to_rfc3339());
            let since = since.as_deref().and_then(|at| at.get(11..16)).map(|at| format!(" since {at} UTC")).unwrap_or_default();
            let waits = match waits_for {
                "effect" => "waits for an answer",
                "timer" => "waits for its time",
                "event" => "waits for its event",
                "pool" => "waits for a free place",
                "work-item" => "waits for a person",
                "child" => "waits for another flow",
                "incident" => "stands still: an operator must decide",
                _ => "is about to go on",
            };
            marks.insert(reference.clone(), if waits_for == "incident" { Mark::Stuck } else { Mark::Here });
            notes.insert(reference, format!("{waits}{since}"));
        }
        let status = if instance["incident"].is_object() { "needs an operator".to_owned() } else { text(&instance["status"]) };
        let key = instance["business_key"].as_str().map(|key| format!(" ({key})")).unwrap_or_default();
        Self { marks, notes, headline: format!("instance {}{key}: {status}", text(&instance["id"])) }
    }

    pub fn mark(&self, reference: &str) -> Option<Mark> {
        self.marks.get(reference).copied()
    }
    /// What it waits for, where it stands.
    pub fn note(&self, reference: &str) -> Option<&str> {
        self.notes.get(reference).map(String::as_str)
    }
}
