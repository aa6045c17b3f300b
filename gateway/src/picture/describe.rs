//! One task -> one box: what kind it is, and in a line or two whom it asks and for what.

use super::build::{argument, events, with};
use super::model::{Kind, Step};
use super::words;
use spalla_shared::flow::plan::Consume;
use spalla_shared::flow::plan::{Call, ErrorSpec, HttpCall, Task, TaskKind, Template, Until};
use spalla_shared::value::Value;

pub fn step(task: &Task) -> Step {
    let (kind, lines) = match &task.kind {
        TaskKind::Call(Call::Function { function, .. } | Call::Outside { function, .. }) => function_lines(task, function),
        TaskKind::Call(Call::Http(http)) => (Kind::System, vec![http_line(http)]),
        TaskKind::Wait(duration) => (Kind::Wait, vec![format!("waits {}", words::duration(duration))]),
        TaskKind::Listen(listen) => {
            let mut lines = vec![format!("waits for: {}", events(&listen.to))];
            if matches!(&listen.to, Consume::Any { until: Some(Until::Condition(_)), .. }) {
                lines.push("until enough have come".into());
            }
            (Kind::EventIn, lines)
        }
        TaskKind::Emit(template) => (Kind::EventOut, vec![format!("tells everybody: {}", emitted(template))]),
        TaskKind::Run(run) => {
            let what = words::lower_words(&run.name);
            (Kind::SubFlow, vec![if run.await_ { format!("runs “{what}”") } else { format!("starts “{what}” and goes on") }])
        }
        TaskKind::Raise(error) => (Kind::Stop, error_title(error).into_iter().collect()),
        TaskKind::Set(_) => (Kind::Note, Vec::new()),
        // Those are drawn as blocks of their own.
        TaskKind::Do(_) | TaskKind::For(_) | TaskKind::Fork { .. } | TaskKind::Switch(_) | TaskKind::Try(_) => (Kind::Note, Vec::new()),
    };
    Step {
        kind,
        title: words::humanised(&task.name),
        lines,
        limit: task.timeout.as_ref().map(|limit| format!("at most {}", words::duration(limit))),
        only_if: None,
        reference: task.reference.clone(),
    }
}

fn function_lines(task: &Task, function: &str) -> (Kind, Vec<String>) {
    let text = |name: &str| argument(task, name);
    let to = || with(task).and_then(|with| with.get("to")).map_or_else(|| "a person".into(), words::recipient);
    let named = |lead: &str, name: &str| text(name).map(|said| format!("{lead}{said}"));
    match function {
        "human.approval" => {
            let mut lines = vec![format!("asks {}", to())];
            lines.extend(text("question").map(|question| format!("“{question}”")));
            let quorum = with(task).and_then(|with| with.get("quorum")).and_then(Value::as_i64).filter(|count| *count > 1);
            lines.extend(quorum.map(|count| format!("{count} people must agree")));
            (Kind::Person, lines)
        }
        "human.task" => {
            let mut lines = vec![format!("work for {}", to())];
            lines.extend(text("title").map(|title| format!("“{title}”")));
            (Kind::Person, lines)
        }
        "device.command" => {
            let target = text("target").unwrap_or_else(|| "a device".into());
            let target = target.strip_prefix("group:").map_or(target.clone(), |group| format!("all of {group}"));
            (
                Kind::Device,
                vec![format!("{target}: {}", text("command").map_or_else(|| "command".into(), |word| words::lower_words(&word)))],
            )
        }
        "device.read" => (Kind::Device, named("reads ", "property").into_iter().chain(named("of ", "target")).collect()),
        "credential.issue" => {
            let kind = text("kind").unwrap_or_default();
            let kind = if kind == "qr" || kind == "pin" { kind.to_uppercase() } else { kind };
            (Kind::Access, vec![format!("makes a {kind} code").replace("a  code", "a pass").replace("card code", "card")])
        }
        "credential.revoke" => (Kind::Access, vec!["makes the pass worthless".into()]),
        "access.grant" => (
            Kind::Access,
            vec![text("area").map_or_else(|| "lets the pass open doors".into(), |area| format!("lets the pass open: {area}"))],
        ),
        "access.revoke" => (Kind::Access, vec!["takes the right to open back".into()]),
        "resource.allocate" => (Kind::Resource, named("reserves one of: ", "pool").into_iter().collect()),
        "resource.release" => (Kind::Resource, named("gives back: ", "pool").into_iter().collect()),
        "resource.releaseAll" => {
            let revokes = with(task).and_then(|with| with.get("alsoRevokeCredentials")).and_then(Value::as_bool) == Some(true);
            (Kind::Resource, vec![format!("gives back all that is reserved{}", if revokes { ", and takes the passes back" } else { "" })])
        }
        "notify.send" => (Kind::Message, std::iter::once(format!("tells {}", to())).chain(named("message: ", "template")).collect()),
        "notify.broadcast" => (Kind::Message, named("tells ", "audience").into_iter().chain(named("message: ", "template")).collect()),
        "presence.snapshot" => (Kind::System, named("who is in ", "site").or_else(|| named("who is in ", "zone")).into_iter().collect()),
        "sheet.appendRow" => (Kind::System, named("writes a row into ", "workbook").into_iter().collect()),
        "sheet.findRow" => (Kind::System, named("looks into ", "workbook").into_iter().collect()),
        "audit.note" => (Kind::Note, text("text").into_iter().map(|said| format!("notes: {said}")).collect()),
        other => (Kind::System, vec![other.to_owned()]),
    }
}

/// The system that is asked: its host and path, without what identifies a caller.
fn http_line(http: &HttpCall) -> String {
    let verb = match &*http.method {
        "get" | "head" | "options" => "asks",
        _ => "tells",
    };
    let address = match &http.endpoint {
        Template::Literal(Value::String(uri)) => {
            let rest = uri.split_once("://").map_or(&**uri, |(_, rest)| rest);
            rest.split(['?', '#']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned()
        }
        _ => "another system".into(),
    };
    format!("{verb} {address}")
}

fn emitted(template: &Template) -> String {
    let kind = match template {
        Template::Literal(event) => event.get("type").and_then(Value::as_str),
        Template::Object(fields) => fields.iter().find_map(|(name, value)| match value {
            Template::Literal(value) if &**name == "type" => value.as_str(),
            _ => None,
        }),
        _ => None,
    };
    kind.map_or_else(|| "an event".into(), |kind| words::lower_words(kind.strip_prefix("spalla.").unwrap_or(kind)))
}

fn error_title(error: &ErrorSpec) -> Option<String> {
    match error.title.as_ref()? {
        Template::Literal(Value::String(title)) => Some(format!("because: {title}")),
        _ => None,
    }
}

/// The word for a kind in the legend.
pub fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Person => "person",
        Kind::Device => "device",
        Kind::Access => "pass",
        Kind::Resource => "place",
        Kind::Message => "message",
        Kind::System => "other system",
        Kind::Wait => "wait",
        Kind::EventIn => "waits for an event",
        Kind::EventOut => "tells an event",
        Kind::SubFlow => "another flow",
        Kind::Note => "note",
        Kind::Stop => "stops",
    }
}
