//! The person at the terminal, who answers for devices and people, and tells events.

use spalla_shared::engine::Outcome;
use spalla_shared::rehearsal::answer;
use spalla_shared::rehearsal::asked::Asked;
use spalla_shared::value::Value;
use tokio::sync::mpsc;

/// Lines that nobody has read yet; who types faster waits.
const LINES_MAX: usize = 16;

/// What a line means.
pub enum Said {
    Answer(Outcome),
    Event(Value),
}

/// Lines of standard input, read on a thread of their own: the terminal cannot be awaited.
pub fn lines() -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel(LINES_MAX);
    let _ = std::thread::Builder::new().name("terminal".into()).spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

pub fn ask(asked: &Asked) {
    eprintln!("{} ({}) calls {} {}", asked.task, asked.reference, asked.function, asked.with);
    eprintln!("  {}", how(asked));
}

/// What may be typed.
fn how(asked: &Asked) -> String {
    let short = match &*asked.function {
        "human.approval" => format!("type one of: {}", choices(asked).unwrap_or_default().join(", ")),
        "human.task" => "type `done`, or `done {…}` with what the form asks for".into(),
        "device.command" => "type `done`".into(),
        _ => return "type what it gives as JSON, or `error TYPE`".into(),
    };
    format!("{short}; or what it gives as JSON, or `error TYPE`")
}

/// What `done` stands for.
fn done(asked: &Asked, rest: &str) -> Option<Result<Value, String>> {
    let answers = match rest.trim() {
        "" => Value::empty_object(),
        text => match Value::from_json(text) {
            Ok(answers) => answers,
            Err(error) => return Some(Err(format!("what stands behind `done` is not JSON: {error}"))),
        },
    };
    match &*asked.function {
        "human.task" => Some(Ok(Value::object([
            ("done", Value::Bool(true)),
            ("answers", answers),
            ("by", Value::from("user:you")),
            ("comment", Value::Null),
        ]))),
        "device.command" => Some(Ok(Value::object([("status", Value::from("done")), ("detail", Value::Null)]))),
        _ => None,
    }
}

pub fn invite_event(kinds: &[String]) {
    let kinds = if kinds.is_empty() { "any type".to_owned() } else { kinds.join(", ") };
    eprintln!("listening for {kinds}: type `event {{\"type\": …, \"source\": …, \"data\": …}}`");
}

/// Reads a line. The error says what could be typed.
pub fn read(line: &str, question: Option<&Asked>) -> Result<Said, String> {
    let line = line.trim();
    if let Some(event) = line.strip_prefix("event ") {
        return Value::from_json(event.trim()).map(Said::Event).map_err(|error| format!("the event is not JSON: {error}"));
    }
    let Some(asked) = question else { return Err("nothing is asked now; `event {\"type\": …}` sends an event".into()) };
    if let Some(kind) = line.strip_prefix("error ") {
        let error = Value::object([("type", Value::from(kind.trim())), ("detail", Value::from("said at the terminal"))]);
        return Ok(Said::Answer(Outcome::Failed { problem: answer::problem(&error) }));
    }
    if let Some(output) = line.strip_prefix("done").and_then(|rest| done(asked, rest)) {
        return output.map(|output| Said::Answer(Outcome::Done { output }));
    }
    if choices(asked).is_some_and(|choices| choices.iter().any(|choice| choice == line)) {
        let output = Value::object([("choice", Value::from(line)), ("by", Value::from("user:you")), ("comment", Value::Null)]);
        return Ok(Said::Answer(Outcome::Done { output }));
    }
    match Value::from_json(line) {
        Ok(output) => Ok(Said::Answer(Outcome::Done { output })),
        Err(_) if line.is_empty() => Err(how(asked)),
        Err(error) => Err(format!("this is not JSON: {error}; {}", how(asked))),
    }
}

fn choices(asked: &Asked) -> Option<Vec<String>> {
    if *asked.function != *"human.approval" {
        return None;
    }
    match asked.with.get("choices").and_then(Value::as_array) {
        Some(choices) => Some(choices.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        None => Some(vec!["approve".into(), "reject".into()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_answer_a_choice_an_error_or_an_event() {
        let asked = Asked { function: "human.approval".into(), task: "ask".into(), reference: "/do/0/ask".into(), with: Value::Null };
        let output = |line: &str| match read(line, Some(&asked)) {
            Ok(Said::Answer(Outcome::Done { output })) => output.to_json(),
            Ok(Said::Answer(Outcome::Failed { problem })) => problem.kind.to_string(),
            Ok(Said::Event(event)) => format!("event {event}"),
            Ok(Said::Answer(Outcome::Unknown { .. })) => "unknown".into(),
            Err(why) => why,
        };
        assert_eq!(output("approve"), r#"{"by":"user:you","choice":"approve","comment":null}"#);
        assert_eq!(output(r#"{"choice": "reject"}"#), r#"{"choice":"reject"}"#);
        assert_eq!(output("error refused"), "https://spalla.dev/errors/refused");
        assert_eq!(output(r#"event {"type": "x"}"#), r#"event {"type":"x"}"#);
        assert!(output("maybe").starts_with("this is not JSON"));
        assert!(read("{}", None).is_err());
        // A standard error is the specification's, and nothing typed says what could be.
        assert_eq!(output("error timeout"), "https://serverlessworkflow.io/spec/1.0.0/errors/timeout");
        assert!(output("").starts_with("type one of: approve, reject"));
        let task = Asked { function: "human.task".into(), ..asked.clone() };
        let Ok(Said::Answer(Outcome::Done { output })) = read(r#"done {"ok": true}"#, Some(&task)) else { panic!() };
        assert_eq!(output.to_json(), r#"{"answers":{"ok":true},"by":"user:you","comment":null,"done":true}"#);
        assert!(read("done {", Some(&task)).is_err());
    }
}
