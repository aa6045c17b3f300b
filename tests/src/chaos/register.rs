//! Values that clients write and read at all gateways at once, and whether what they saw can have happened in one order: each value as
//! the `$context` of an instance that waits, written by `set-context`. Decided by stateright's checker of linearizability, not by an own.
//!
//! What is promised: a write that was answered is in the log before the answer, and what a gateway has written it reads. So a read is
//! a write that changes nothing, and then a look at the state of the same gateway. A write that was refused for want of a quorum has not
//! happened; one whose answer was lost may have happened at any later time, or never.

use crate::api::Api;
use serde_json::{Value, json};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// At one time.
const CLIENTS: u64 = 4;
/// Of one register. The checker tries orders: what it takes grows steeply with both.
const OPERATIONS_MAX: u64 = 24;
const OPEN_MAX: u64 = 2;
/// Far above what a history of that size takes (some milliseconds), also where no order is right.
const CHECK_MAX: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_millis(10);
/// Looks of one read, at a gateway that has not applied what it is to show.
const LOOKS_MAX: usize = 50;

/// Waits for what nobody sends, so that its `$context` stays what was written.
pub const FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: chaos, name: register, version: '1.0.0' }
do:
  - waits: { listen: { to: { one: { with: { type: spalla.chaos.never } } } } }
"#;

/// One value, as it should behave. It begins as 0.
#[derive(Clone, Debug, Default)]
struct Register(u64);

#[derive(Clone, Debug)]
enum Operation {
    Write(u64),
    Read,
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Written,
    Shown(u64),
    /// It has not happened.
    Refused,
}

impl SequentialSpec for Register {
    type Op = Operation;
    type Ret = Answer;

    fn invoke(&mut self, operation: &Operation) -> Answer {
        match operation {
            Operation::Write(value) => {
                self.0 = *value;
                Answer::Written
            }
            Operation::Read => Answer::Shown(self.0),
        }
    }

    fn is_valid_step(&mut self, operation: &Operation, answer: &Answer) -> bool {
        *answer == Answer::Refused || self.invoke(operation) == *answer
    }
}

/// What was asked of one register, and what came back, in the order in which it was seen.
#[derive(Default)]
struct History {
    tester: LinearizabilityTester<u64, Register>,
    begun: u64,
    open: u64,
    /// For whoever has to understand a history that is not right.
    lines: Vec<String>,
}

impl History {
    fn begin(&mut self, client: u64, operation: Operation) {
        self.begun += 1;
        self.lines.push(format!("{client} {operation:?}"));
        self.tester.on_invoke(client, operation).expect("a client asks one thing at a time");
    }

    /// Nothing where the answer was lost: that client asks no more.
    fn end(&mut self, client: u64, answer: Option<Answer>) {
        self.lines.push(format!("{client} -> {answer:?}"));
        match answer {
            Some(answer) => drop(self.tester.on_return(client, answer).expect("it was asked")),
            None => self.open += 1,
        }
    }

    fn is_full(&self) -> bool {
        self.begun >= OPERATIONS_MAX || self.open >= OPEN_MAX
    }
}

/// Begins registers one after the other, until it is told to stop.
pub struct Registers {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Found>,
}

/// What all registers together came to.
#[derive(Debug, Default, serde::Serialize)]
pub struct Found {
    pub registers: usize,
    pub operations: u64,
    pub open: u64,
    pub broken: Vec<String>,
}

impl Registers {
    pub fn start(apis: &[Api]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (apis, stopped): (Arc<[Api]>, _) = (apis.into(), stop.clone());
        let task = tokio::spawn(async move {
            let mut found = Found::default();
            while !stopped.load(Ordering::Relaxed) {
                found.registers += 1;
                let history = one(&apis, found.registers, &stopped).await;
                found.operations += history.begun;
                found.open += history.open;
                found.broken.extend(check(history).await.map(|why| format!("register {}: {why}", found.registers)));
            }
            found
        });
        Self { stop, task }
    }

    pub async fn finish(&mut self) -> Found {
        self.stop.store(true, Ordering::Relaxed);
        (&mut self.task).await.expect("the registers go on to their end")
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Nothing where some order explains it.
async fn check(history: History) -> Option<String> {
    let History { tester, lines, .. } = history;
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own: one that finds no end must not keep the runtime from its.
    std::thread::spawn(move || tell.send(tester.is_consistent()));
    match tokio::time::timeout(CHECK_MAX, told).await {
        Ok(Ok(true)) => None,
        Ok(_) => Some(format!("no order explains what was seen:\n{}", lines.join("\n"))),
        Err(_) => Some(format!("no order was found within {CHECK_MAX:?}:\n{}", lines.join("\n"))),
    }
}

/// The life of one register, by all clients.
async fn one(apis: &Arc<[Api]>, number: usize, stop: &Arc<AtomicBool>) -> History {
    let place = number % apis.len();
    let start = Arc::new(json!({ "flow": "chaos/register", "key": format!("register-{number}") }));
    let id = loop {
        if let Some(answer) = apis[place].try_post("/instances", &start).await
            && answer.status == 200
        {
            break answer.data()["instance"].as_str().expect("an instance, also where it was begun before").to_owned();
        }
        if stop.load(Ordering::Relaxed) {
            return History::default();
        }
        tokio::time::sleep(PACE).await;
    };
    let history = Arc::new(Mutex::new(History::default()));
    let names = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(client(apis.clone(), id.clone(), start.clone(), history.clone(), names.clone(), stop.clone())))
        .collect();
    for client in clients {
        client.await.expect("a client goes on to its end");
    }
    let cancel = json!({ "reason": "it was looked at long enough" });
    while !apis[place].try_post(&format!("/instances/{id}/cancel"), &cancel).await.is_some_and(|answer| matches!(answer.status, 200 | 404))
    {
        tokio::time::sleep(PACE).await;
    }
    std::mem::take(&mut *lock(&history))
}

async fn client(
    apis: Arc<[Api]>,
    id: String,
    start: Arc<Value>,
    history: Arc<Mutex<History>>,
    names: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) {
    let new_name = || names.fetch_add(1, Ordering::Relaxed);
    let mut name = new_name();
    while !stop.load(Ordering::Relaxed) {
        let api = &apis[fastrand::usize(..apis.len())];
        let operation = {
            let mut history = lock(&history);
            if history.is_full() {
                return;
            }
            // No two writes are alike.
            let operation = if fastrand::bool() { Operation::Write(history.begun + 1) } else { Operation::Read };
            history.begin(name, operation.clone());
            operation
        };
        let answer = match operation {
            Operation::Write(value) => put(api, &id, value).await,
            Operation::Read => look(api, &id, &start).await,
        };
        let lost = answer.is_none();
        lock(&history).end(name, answer);
        if lost {
            name = new_name();
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn put(api: &Api, id: &str, value: u64) -> Option<Answer> {
    let answer = api.try_post(&format!("/instances/{id}/set-context"), &json!({ "context": { "v": value } })).await?;
    match answer.status {
        200 => Some(Answer::Written),
        503 if answer.code() == "no-quorum" => Some(Answer::Refused),
        _ => None,
    }
}

async fn look(api: &Api, id: &str, start: &Value) -> Option<Answer> {
    let mark = api.try_post("/instances", start).await.filter(|answer| answer.status == 200);
    // Whatever becomes of a read, nothing has changed.
    let Some(mark) = mark else { return Some(Answer::Refused) };
    let index = mark.data()["index"].as_u64().unwrap_or(u64::MAX);
    let mut reached = false;
    for _ in 0..LOOKS_MAX {
        let Some(row) = api.try_get(&format!("/instances/{id}")).await.filter(|answer| answer.status == 200) else { break };
        if reached {
            return Some(Answer::Shown(row.data()["context"]["v"].as_u64().unwrap_or(0)));
        }
        // The look after the one that says so is behind the mark for certain.
        reached = row.body["freshness"]["applied"].as_u64().is_some_and(|applied| applied >= index);
        if !reached {
            tokio::time::sleep(PACE).await;
        }
    }
    Some(Answer::Refused)
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(seen: impl FnOnce(&mut History)) -> History {
        let mut history = History::default();
        seen(&mut history);
        history
    }

    #[tokio::test]
    async fn a_stale_read_and_a_refused_write_that_happened_are_seen() {
        let stale = history(|it| {
            it.begin(0, Operation::Write(1));
            it.end(0, Some(Answer::Written));
            it.begin(1, Operation::Read);
            it.end(1, Some(Answer::Shown(0)));
        });
        assert!(check(stale).await.is_some());
        let refused = history(|it| {
            it.begin(0, Operation::Write(1));
            it.end(0, Some(Answer::Refused));
            it.begin(1, Operation::Read);
            it.end(1, Some(Answer::Shown(1)));
        });
        assert!(check(refused).await.is_some());
        // Once it was seen, a write whose answer was lost cannot be undone.
        let lost = |then: u64| {
            history(|it| {
                it.begin(0, Operation::Write(1));
                it.end(0, None);
                for value in [0, 1, then] {
                    it.begin(1, Operation::Read);
                    it.end(1, Some(Answer::Shown(value)));
                }
            })
        };
        assert_eq!(check(lost(1)).await, None);
        assert!(check(lost(0)).await.is_some());
    }

    /// All clients at once, all the time, as many lost answers as there may be, and the very last read is wrong.
    #[tokio::test]
    async fn the_longest_history_is_decided_in_time() {
        for wrong in [false, true] {
            let longest = history(|it| {
                for round in 0..OPERATIONS_MAX / CLIENTS {
                    let written: Vec<u64> = (0..CLIENTS).map(|client| round * CLIENTS + client + 1).collect();
                    for (client, value) in (0..).zip(&written) {
                        let name = if round > 0 && client < OPEN_MAX { client + 10 } else { client };
                        it.begin(name, if client % 2 == 0 { Operation::Write(*value) } else { Operation::Read });
                    }
                    for (client, value) in (0..).zip(&written) {
                        let name = if round > 0 && client < OPEN_MAX { client + 10 } else { client };
                        let answer = match client % 2 {
                            0 => Answer::Written,
                            _ if wrong && value + 2 > OPERATIONS_MAX => Answer::Shown(1_000),
                            _ => Answer::Shown(written[0]),
                        };
                        it.end(name, (round > 0 || client >= OPEN_MAX).then_some(answer));
                    }
                }
            });
            assert_eq!(longest.begun, OPERATIONS_MAX);
            assert_eq!(check(longest).await.is_some(), wrong);
        }
    }
}
