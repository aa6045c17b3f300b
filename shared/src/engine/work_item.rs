//! What a person must do: an approval or a checklist. How it is claimed, voted on and completed.

use super::command::{Accepted, Rejection, Reply, WorkItemAction};
use super::context::Context;
use super::dedupe;
use super::effect::Owner;
use super::index::Owned;
use super::state::State;
use super::trace;
use crate::event::DATA_SIZE_MAX;
use crate::id::{Actor, InstanceId, WorkItemId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Open work items of a group.
pub const WORK_ITEMS_MAX: usize = 10_000;
const COMMENT_LEN_MAX: usize = 4096;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkItem {
    pub id: WorkItemId,
    pub owner: Owner,
    /// `user:…` or `role:…`.
    pub to: Arc<str>,
    pub kind: WorkItemKind,
    pub data: Value,
    pub created_at: Timestamp,
    pub claimed_by: Option<Actor>,
    /// Approvals so far (one per actor).
    pub votes: Vec<Vote>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkItemKind {
    Approval { question: Arc<str>, choices: Vec<Arc<str>>, quorum: u32 },
    Task { title: Arc<str>, checklist: Vec<Arc<str>>, form: Value },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    pub by: Actor,
    pub choice: Arc<str>,
    pub comment: Option<Arc<str>>,
    pub at: Timestamp,
}

/// Acts on an open work item. An equal `key` changes nothing. Refused: `not-found`, `forbidden`, `invalid`, `conflict`.
pub fn act(context: &mut Context, id: &WorkItemId, action: &WorkItemAction, by: &Actor, key: &Arc<str>) -> Reply {
    let key = dedupe::work_key(key);
    if dedupe::seen(context, &key).is_some() {
        return Ok(Accepted::Duplicate);
    }
    let Some(item) = context.state.work_items.get(id) else {
        return Err(Rejection::new("not-found", format!("there is no open work item {id}: it is done, withdrawn or never was")));
    };
    if !may_act(context.state, item, by) {
        return Err(Rejection::new("forbidden", format!("{by} may not act for {}", item.to)));
    }
    let accepted = match (action, &item.kind) {
        (WorkItemAction::Claim, _) => claim(context, id, by),
        (WorkItemAction::Choose { choice, comment }, WorkItemKind::Approval { choices, quorum, .. }) => {
            check_comment(comment.as_ref())?;
            if !choices.contains(choice) {
                return Err(Rejection::new("invalid", format!("`{choice}` is no choice of this approval: {}", choices.join(", "))));
            }
            let quorum = *quorum as usize;
            choose(context, id, Vote { by: by.clone(), choice: choice.clone(), comment: comment.clone(), at: context.now }, quorum)
        }
        (WorkItemAction::Complete { answers, comment }, WorkItemKind::Task { form, .. }) => {
            check_comment(comment.as_ref())?;
            if item.claimed_by.as_ref().is_some_and(|claimed| claimed != by) {
                return Err(Rejection::new("conflict", "someone else has claimed this task"));
            }
            if answers.size() > DATA_SIZE_MAX {
                return Err(Rejection::new("invalid", format!("the answers are larger than {DATA_SIZE_MAX} bytes")));
            }
            check_form(form, answers).map_err(|why| Rejection::new("invalid", why))?;
            complete(context, id, by, answers.clone(), comment.as_ref())
        }
        (WorkItemAction::Choose { .. }, WorkItemKind::Task { .. }) => Err(Rejection::new("invalid", "this is a task: complete it")),
        (WorkItemAction::Complete { .. }, WorkItemKind::Approval { .. }) => {
            Err(Rejection::new("invalid", "this is an approval: choose one of its choices"))
        }
    }?;
    dedupe::remember(context, key, None);
    Ok(accepted)
}

/// Takes the open work items of `instance` away that `of` names; nobody is woken.
pub fn withdraw(context: &mut Context, instance: &InstanceId, of: impl Fn(&Owner) -> bool) {
    let item = |owned: &Owned| if let Owned::WorkItem(id) = owned { Some(id.clone()) } else { None };
    let mut gone: Vec<WorkItemId> = context.state.index.owned_by(instance).filter_map(item).collect();
    gone.retain(|id| context.state.work_items.get(id).is_some_and(|item| of(&item.owner)));
    for id in gone {
        close(context, &id);
        context.audit(Actor::flow(instance), "work-item.withdrawn", id.as_str(), Value::empty_object());
    }
}

pub fn open(context: &mut Context, item: WorkItem) {
    context.state.index.own(&item.owner, Owned::WorkItem(item.id.clone()));
    context.state.work_items.insert(item.id.clone(), item);
}

fn close(context: &mut Context, id: &WorkItemId) -> Option<WorkItem> {
    let item = context.state.work_items.remove(id)?;
    context.state.index.disown(&item.owner, Owned::WorkItem(item.id.clone()));
    Some(item)
}

/// People act only for themselves and their roles; what is no person (the system, an operator's token) was checked by the API.
fn may_act(state: &State, item: &WorkItem, by: &Actor) -> bool {
    let Some(person) = by.as_str().strip_prefix("user:") else { return true };
    match item.to.strip_prefix("role:") {
        Some(role) => state.people.get(person).is_some_and(|person| person.roles.iter().any(|has| **has == *role)),
        None => *item.to == *by.as_str(),
    }
}

fn claim(context: &mut Context, id: &WorkItemId, by: &Actor) -> Reply {
    let Some(item) = context.state.work_items.get_mut(id) else { return Ok(Accepted::Nothing) };
    match &item.claimed_by {
        Some(claimed) if claimed == by => return Ok(Accepted::Duplicate),
        Some(claimed) => return Err(Rejection::new("conflict", format!("{claimed} has claimed it"))),
        None => item.claimed_by = Some(by.clone()),
    }
    context.audit(by.clone(), "work-item.claimed", id.as_str(), Value::empty_object());
    Ok(Accepted::Nothing)
}

/// One vote per actor; the first choice with `quorum` votes decides.
fn choose(context: &mut Context, id: &WorkItemId, vote: Vote, quorum: usize) -> Reply {
    let Some(item) = context.state.work_items.get_mut(id) else { return Ok(Accepted::Nothing) };
    if let Some(before) = item.votes.iter().find(|before| before.by == vote.by) {
        return match before.choice == vote.choice {
            true => Ok(Accepted::Duplicate),
            false => Err(Rejection::new("conflict", format!("{} voted `{}` already", vote.by, before.choice))),
        };
    }
    item.votes.push(vote.clone());
    let decided = item.votes.iter().filter(|before| before.choice == vote.choice).count() >= quorum;
    let votes: Vec<Value> = item.votes.iter().map(Vote::to_value).collect();
    let owner = item.owner.clone();
    context.audit(vote.by.clone(), "work-item.voted", id.as_str(), vote.to_value());
    trace::answered(context, &owner, &vote.by, &vote.choice, None);
    if !decided {
        return Ok(Accepted::Nothing);
    }
    close(context, id);
    context.audit(vote.by.clone(), "work-item.completed", id.as_str(), Value::object([("choice", Value::String(vote.choice.clone()))]));
    let mut output = vote.to_value();
    if quorum > 1
        && let Value::Object(fields) = &mut output
    {
        Arc::make_mut(fields).insert("votes".into(), Value::array(votes));
    }
    context.wake(owner, Ok(output));
    Ok(Accepted::Nothing)
}

fn complete(context: &mut Context, id: &WorkItemId, by: &Actor, answers: Value, comment: Option<&Arc<str>>) -> Reply {
    let Some(item) = close(context, id) else { return Ok(Accepted::Nothing) };
    let comment = comment.cloned().map_or(Value::Null, Value::String);
    let output = Value::object([
        ("done", Value::Bool(true)),
        ("answers", answers.clone()),
        ("by", Value::from(by.as_str())),
        ("at", Value::from(context.now.to_rfc3339())),
        ("comment", comment.clone()),
    ]);
    context.audit(by.clone(), "work-item.completed", id.as_str(), Value::object([("answers", answers), ("comment", comment)]));
    trace::answered(context, &item.owner, by, "done", None);
    context.wake(item.owner, Ok(output));
    Ok(Accepted::Nothing)
}

impl Vote {
    fn to_value(&self) -> Value {
        Value::object([
            ("choice", Value::String(self.choice.clone())),
            ("by", Value::from(self.by.as_str())),
            ("at", Value::from(self.at.to_rfc3339())),
            ("comment", self.comment.clone().map_or(Value::Null, Value::String)),
        ])
    }
}

fn check_comment(comment: Option<&Arc<str>>) -> Result<(), Rejection> {
    match comment {
        Some(comment) if comment.len() > COMMENT_LEN_MAX => {
            Err(Rejection::new("invalid", format!("the comment is longer than {COMMENT_LEN_MAX} bytes")))
        }
        _ => Ok(()),
    }
}

/// A form is a JSON Schema, or short for one: field names with their types, `{verified: boolean}`, all of them wanted.
fn check_form(form: &Value, answers: &Value) -> Result<(), String> {
    let Some(fields) = form.as_object() else { return Ok(()) };
    let short = fields.values().all(|kind| matches!(kind.as_str(), Some("boolean" | "string" | "number" | "integer" | "object" | "array")));
    // `{type: object}` alone is a schema, not a field named `type`.
    if !short || form.get("type").and_then(Value::as_str) == Some("object") && fields.len() == 1 {
        return crate::schema::validate(form, answers)
            .map_err(|violations| violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    }
    for (name, kind) in fields {
        let kind = kind.as_str().unwrap_or_default();
        match answers.get(name) {
            None => return Err(format!("the answer `{name}` ({kind}) is missing")),
            Some(Value::Int(_)) if kind == "integer" => {}
            Some(answer) if answer.type_name() == kind => {}
            Some(answer) => return Err(format!("the answer `{name}` must be {kind}, not {}", answer.type_name())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::{building, call, done, json, woken};
    use crate::engine::function::release_instance;

    const APPROVAL: &str = r#"{"to":"role:guard","question":"Clear?","choices":["yes","no"],"quorum":2}"#;
    const TASK: &str = r#"{"to":"user:anna","title":"Check","form":{"verified":"boolean","last4":"string"}}"#;

    fn ask(context: &mut Context, function: &str, with: &str) -> WorkItemId {
        assert_eq!(done(call(context, "i", function, with)), "waits for work-item");
        context.state.work_items.keys().next_back().unwrap().clone()
    }
    fn choose(context: &mut Context, id: &WorkItemId, by: &str, choice: &str, key: &str) -> Result<Accepted, String> {
        let action = WorkItemAction::Choose { choice: choice.into(), comment: None };
        act(context, id, &action, &by.into(), &key.into()).map_err(|error| error.code.to_string())
    }
    fn complete(context: &mut Context, id: &WorkItemId, by: &str, answers: &str) -> Result<Accepted, String> {
        let action = WorkItemAction::Complete { answers: json(answers), comment: None };
        act(context, id, &action, &by.into(), &format!("{by}{answers}").into()).map_err(|error| error.code.to_string())
    }

    #[test]
    fn two_of_a_role_decide_and_repeats_are_quiet() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let id = ask(&mut context, "human.approval", APPROVAL);
        assert_eq!(choose(&mut context, &id, "user:cem", "yes", "k0"), Err("forbidden".into()));
        assert_eq!(choose(&mut context, &id, "user:nobody", "yes", "k0"), Err("forbidden".into()));
        assert_eq!(choose(&mut context, &id, "user:anna", "maybe", "k0"), Err("invalid".into()));
        assert_eq!(choose(&mut context, &id, "user:anna", "yes", "k1"), Ok(Accepted::Nothing));
        assert_eq!(choose(&mut context, &id, "user:anna", "yes", "k1"), Ok(Accepted::Duplicate), "the same call again");
        assert_eq!(choose(&mut context, &id, "user:anna", "yes", "k2"), Ok(Accepted::Duplicate), "one vote per person");
        assert_eq!(choose(&mut context, &id, "user:anna", "no", "k3"), Err("conflict".into()));
        assert!(context.wakes.is_empty());
        context.now = Timestamp(1000);
        assert_eq!(choose(&mut context, &id, "user:ben", "yes", "k4"), Ok(Accepted::Nothing));
        let vote = |by: &str, at: &str| format!(r#""at":"1970-01-01T00:00:0{at}.000Z","by":"user:{by}","choice":"yes","comment":null"#);
        let output = format!(r#"{{{},"votes":[{{{}}},{{{}}}]}}"#, vote("ben", "1"), vote("anna", "0"), vote("ben", "1"));
        assert_eq!(woken(&mut context), [("i".to_owned(), output)]);
        assert_eq!(choose(&mut context, &id, "user:ben", "yes", "k4"), Ok(Accepted::Duplicate), "also when it is gone");
        assert_eq!(choose(&mut context, &id, "user:ben", "yes", "k5"), Err("not-found".into()));
    }

    #[test]
    fn a_task_wants_its_form_filled_by_whom_it_is_for() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let id = ask(&mut context, "human.task", TASK);
        assert_eq!(complete(&mut context, &id, "user:ben", "{}"), Err("forbidden".into()));
        assert_eq!(complete(&mut context, &id, "user:anna", r#"{"verified":true}"#), Err("invalid".into()));
        assert_eq!(complete(&mut context, &id, "user:anna", r#"{"verified":"yes","last4":"1234"}"#), Err("invalid".into()));
        assert_eq!(choose(&mut context, &id, "user:anna", "yes", "k"), Err("invalid".into()), "a task is not voted on");
        let answers = r#"{"last4":"1234","verified":true}"#;
        assert_eq!(complete(&mut context, &id, "user:anna", answers), Ok(Accepted::Nothing));
        let output = format!(r#"{{"answers":{answers},"at":"1970-01-01T00:00:00.000Z","by":"user:anna","comment":null,"done":true}}"#);
        assert_eq!(woken(&mut context), [("i".to_owned(), output)]);
    }

    #[test]
    fn a_claimed_task_is_the_claimers() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let id = ask(&mut context, "human.task", r#"{"to":"role:guard","title":"Look"}"#);
        let claim = |context: &mut Context, by: &str| {
            act(context, &id, &WorkItemAction::Claim, &by.into(), &format!("claim-{by}").into()).map_err(|error| error.code.to_string())
        };
        assert_eq!(claim(&mut context, "user:anna"), Ok(Accepted::Nothing));
        assert_eq!(claim(&mut context, "user:ben"), Err("conflict".into()));
        assert_eq!(complete(&mut context, &id, "user:ben", "null"), Err("conflict".into()));
        assert_eq!(complete(&mut context, &id, "user:anna", "null"), Ok(Accepted::Nothing));
    }

    #[test]
    fn the_work_item_goes_with_its_instance() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let id = ask(&mut context, "human.approval", APPROVAL);
        release_instance(&mut context, &"i".into());
        assert_eq!(choose(&mut context, &id, "user:anna", "yes", "k"), Err("not-found".into()));
        assert!(context.wakes.is_empty());
    }
}
