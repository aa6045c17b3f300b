//! What each code of a finding means: for `spalla flow check --explain CODE` and for the table in the documentation.

use super::diagnostic::Severity;

/// One code. Codes are stable: scripts and editors may tell findings apart by them.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    pub name: &'static str,
    pub severity: Severity,
    /// What is wrong, in a line.
    pub title: &'static str,
    /// Why it matters and how to mend it.
    pub help: &'static str,
    /// A document, or a part of one, with the mistake and mended.
    pub wrong: &'static str,
    pub right: &'static str,
}

const fn error(name: &'static str, title: &'static str, help: &'static str, wrong: &'static str, right: &'static str) -> Code {
    Code { name, severity: Severity::Error, title, help, wrong, right }
}
const fn warning(name: &'static str, title: &'static str, help: &'static str, wrong: &'static str, right: &'static str) -> Code {
    Code { name, severity: Severity::Warning, title, help, wrong, right }
}

/// The code of that name.
pub fn find(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name)
}

/// All codes, by name.
pub const CODES: &[Code] = &[
    error(
        "bad-alias",
        "A YAML alias stands inside its own anchor",
        "It would have no end. Write the value out.",
        "a: &x [ *x ]",
        "a: &x [ 1 ]\nb: *x",
    ),
    error(
        "bad-argument",
        "An argument of a catalog function is unknown, missing or of the wrong type",
        "`spalla flow functions NAME` shows what a function takes. What is literal is checked here, what is an expression when it has a value.",
        "call: audit.note\nwith: { subject: gate, txt: opened }",
        "call: audit.note\nwith: { subject: gate, text: opened }",
    ),
    error(
        "bad-duration",
        "A duration that cannot be read, is empty or too long",
        "Write ISO 8601 text or a mapping of whole numbers; months and years have no fixed length and are refused.",
        "wait: 5",
        "wait: PT5S      # or { seconds: 5 }",
    ),
    error(
        "bad-expression",
        "A jq expression that does not parse, or uses what is refused",
        "The place is the character at which it breaks. Refused is what could wait, look outside or differ between gateways (`now`, `env`, `input`, …).",
        "if: .x ==",
        "if: .x == 1",
    ),
    error(
        "bad-key",
        "A YAML key that is no text",
        "An expression that begins with `{` or `[` needs quotes.",
        "set: ${ {a: 1} }: x",
        "set: '${ {a: 1} }'",
    ),
    error(
        "bad-name",
        "A name that means something else already",
        "`continue`, `exit` and `end` are what `then` does; a function of the document may not be called like one of the catalog.",
        "- end: { wait: PT1S }",
        "- finish: { wait: PT1S }",
    ),
    error(
        "bad-number",
        "A number that is not finite or needs more than 64 bits",
        "Numbers must be the same on every gateway. Put it in quotes if text is meant.",
        "card: 99999999999999999999",
        "card: '99999999999999999999'",
    ),
    error(
        "bad-schema",
        "A JSON Schema with a keyword that is not known here",
        "Known is the subset that can be checked the same way on every gateway: no `$ref`, no network.",
        "schema: { document: { typ: object } }",
        "schema: { document: { type: object } }",
    ),
    error("bad-tag", "A YAML tag that is not known", "Leave it out: the type is told from the value.", "a: !secret x", "a: x"),
    error(
        "bad-type",
        "A value of the wrong kind: a list where a mapping is meant, a number where text is",
        "Versions and such must stand in quotes, or YAML reads a number.",
        "version: 1.0",
        "version: '1.0.0'",
    ),
    error(
        "bad-value",
        "A value that is not one of those that are possible here",
        "The message names what is possible.",
        "metadata: { spalla/scope: building }",
        "metadata: { spalla/scope: site }",
    ),
    error(
        "bad-yaml",
        "Text that is no YAML",
        "Usually indentation, or text that holds `: ` without quotes. Nothing behind this place was read.",
        "title: Visitor: arrival",
        "title: 'Visitor: arrival'",
    ),
    warning(
        "blocking-in-for",
        "A task that waits stands inside a `for`, which goes one by one",
        "A slow door or person holds up all that come behind. In a flow with `spalla/priority: life-safety` this is an error.",
        "for: { each: door, in: .doors }\ndo: [ { lock: { call: device.command, with: { target: '${ $door }', command: lock } } } ]",
        "call: device.command\nwith: { target: 'group:doors', command: lock }",
    ),
    error(
        "duplicate-default",
        "A second case without `when`",
        "Only one case can be the default.",
        "- a: { then: x }\n- b: { then: y }",
        "- a: { when: .car, then: x }\n- b: { then: y }",
    ),
    error(
        "duplicate-key",
        "A key stands twice in one mapping",
        "YAML would keep one of them in silence.",
        "set: { a: 1, a: 2 }",
        "set: { a: 2 }",
    ),
    error(
        "duplicate-name",
        "Two tasks, cases, extensions or resources with one name",
        "`then` and people could not tell which is meant.",
        "- ask: { wait: PT1S }\n- ask: { wait: PT2S }",
        "- ask: { wait: PT1S }\n- askAgain: { wait: PT2S }",
    ),
    error(
        "empty",
        "A list or text that must hold something is empty",
        "Add an item, or take the key out.",
        "do: []",
        "do: [ { nap: { wait: PT1S } } ]",
    ),
    error(
        "empty-file",
        "The file holds no document",
        "Begin with `document:` for a flow or `kind:` for a resource.",
        "",
        "document: { dsl: '1.0.3', … }",
    ),
    warning(
        "endless-listen",
        "A `listen` with no timeout around it waits for ever if the event never comes",
        "Give the task, a task around it or the flow a `timeout`, or let it race against a `wait` in a `fork` with `compete`.",
        "- gone:\n    listen: { to: { one: { with: { type: spalla.device.passed } } } }",
        "- gone:\n    listen: { to: { one: { with: { type: spalla.device.passed } } } }\n    timeout: { after: { hours: 8 } }",
    ),
    warning(
        "filter-too-wide",
        "An event filter without a `type`",
        "Every event of the mesh enters the log and is looked at.",
        "one: { with: { source: hq/gate } }",
        "one: { with: { type: spalla.device.passed, source: hq/gate } }",
    ),
    error(
        "missing-key",
        "A key that must be there is not",
        "The message says which, and the place is where it belongs.",
        "raise: { error: { type: x } }",
        "raise: { error: { type: x, status: 403 } }",
    ),
    error(
        "missing-name",
        "A task without a name",
        "Each task is `- name:` with the rest below it, further in.",
        "- {}",
        "- nap: { wait: PT1S }",
    ),
    error(
        "missing-target",
        "`then` names a task that does not stand beside this one",
        "`then` reaches tasks of the same list, and `continue`, `exit`, `end`. A fork's branch cannot jump to another.",
        "then: secnd",
        "then: second",
    ),
    error(
        "no-kind",
        "A task that does not say what it does",
        "It needs exactly one of call, do, emit, for, fork, listen, raise, run, set, switch, try, wait.",
        "- a: { sett: { x: 1 } }",
        "- a: { set: { x: 1 } }",
    ),
    warning(
        "not-evaluated",
        "`${` inside longer text is not evaluated",
        "Only a text that is an expression as a whole is one.",
        "title: Plate ${ .plate }",
        "title: '${ \"Plate \" + .plate }'",
    ),
    error(
        "refused",
        "Something of the language that this profile leaves out",
        "`run: shell|script|container` would let a flow file run programs on every gateway; whatever is fetched from elsewhere would not be there when the building is cut off. The message says what to use instead.",
        "run: { shell: { command: ls } }",
        "call: http\nwith: { method: post, endpoint: https://tools.example/ls }",
    ),
    error(
        "secret-in-expression",
        "`$secrets` in an expression",
        "Its value would be written into the log on every gateway. A secret is named, and looked up where the request is sent.",
        "headers: { authorization: '${ $secrets.erp }' }",
        "endpoint: { uri: https://erp.example, authentication: { bearer: { use: erp } } }",
    ),
    error(
        "several-documents",
        "A second document in a file that must hold one",
        "Put each flow into a file of its own, or use `spalla apply`.",
        "a: 1\n---\nb: 2",
        "a: 1",
    ),
    error(
        "several-kinds",
        "A task that wants to do two things",
        "Make two tasks of it.",
        "- a: { set: { x: 1 }, wait: PT1S }",
        "- a: { set: { x: 1 } }\n- b: { wait: PT1S }",
    ),
    error(
        "several-names",
        "Two names where one task stands",
        "Usually the second line wants a `- ` of its own, or to be further in.",
        "- a: { wait: PT1S }\n  b: { wait: PT1S }",
        "- a: { wait: PT1S }\n- b: { wait: PT1S }",
    ),
    warning(
        "skipped-output",
        "A field is read that only a task gives which its `if` may skip",
        "A skipped task hands its *input* on, so the field is missing or means something else. Decide with a `switch`, or give a default with `//`.",
        "- spot: { if: .car, call: resource.allocate, with: { pool: p } }\n- tell: { set: '${ { at: .unit } }' }",
        "- tell: { set: '${ { at: (.unit // \"none\") } }' }",
    ),
    warning(
        "swallowed-error",
        "A `catch` that neither does anything nor tries again",
        "The error is gone without a trace for people. Say in `do` what happens then, if only an `audit.note`.",
        "catch: {}",
        "catch: { do: [ { note: { call: audit.note, with: { subject: gate, text: it failed } } } ] }",
    ),
    error("too-deep", "Nested deeper than is allowed", "Split the document.", "", ""),
    error(
        "too-large",
        "A file, flow, list or expression beyond its bound",
        "Split it into flows that call each other with `run: { workflow: … }`.",
        "",
        "",
    ),
    warning(
        "unbounded-retry",
        "A retry without a limit",
        "It is tried again ten times. Say how often is meant: `count` is the number of tries after the first.",
        "retry: { delay: PT2S }",
        "retry: { delay: PT2S, limit: { attempt: { count: 5 } } }",
    ),
    warning(
        "unknown-error-type",
        "A type that looks like one of the specification and is none",
        "It would never match.",
        "type: https://serverlessworkflow.io/spec/1.0.0/errors/timeuot",
        "type: https://serverlessworkflow.io/spec/1.0.0/errors/timeout",
    ),
    error(
        "unknown-function",
        "`call` names nothing that can be called",
        "`spalla flow functions` lists the catalog; functions of the document stand under `use.functions`.",
        "call: device.comand",
        "call: device.command",
    ),
    error(
        "unknown-key",
        "A key that is not known here",
        "The specification's own schema lets some of these pass; at run time they would do nothing.",
        "thenn: end",
        "then: end",
    ),
    error(
        "unknown-name",
        "A name that is not defined under `use`",
        "Define it there, or mend the spelling.",
        "timeout: slow",
        "use: { timeouts: { slow: { after: PT1M } } }",
    ),
    error(
        "unknown-variable",
        "A `$variable` that is not known at this place",
        "Known are the runtime arguments and the variables of the `for`, `foreach` and `catch` around.",
        "set: '${ $contxt.x }'",
        "set: '${ $context.x }'",
    ),
    warning(
        "unreachable-task",
        "A task that control never reaches",
        "What stands before it always goes elsewhere, and no `then` names it.",
        "- a: { wait: PT1S, then: end }\n- b: { wait: PT1S }",
        "- a: { wait: PT1S }\n- b: { wait: PT1S, then: end }",
    ),
    error("unreadable-file", "The file cannot be read", "Look at its name, its rights and its encoding (UTF-8).", "", ""),
    error(
        "unsafe-profile",
        "A device profile that could harm people or property",
        "The message says which rule of safety it breaks and how to mend it.",
        "",
        "",
    ),
    warning(
        "unused-definition",
        "Something under `use` that nothing refers to",
        "Usually a slip in the name where it is meant to be used.",
        "use: { timeouts: { slow: { after: PT1M } } }",
        "timeout: slow",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn names_stand_once_and_in_order_and_each_is_explained() {
        for pair in CODES.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} {}", pair[0].name, pair[1].name);
        }
        for code in CODES {
            assert!(code.title.len() > 10 && !code.title.ends_with('.') && code.help.ends_with(['.', ')']), "{}", code.name);
        }
    }

    /// Whatever the source can say is explained, and nothing else is.
    #[test]
    fn every_code_of_the_source_is_here() {
        let mut used: BTreeSet<String> = ["unreadable-file".to_owned()].into();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for folder in ["flow", "resource"] {
            walk(&source.join(folder), &mut used);
        }
        let known: BTreeSet<String> = CODES.iter().map(|code| code.name.to_owned()).collect();
        assert_eq!(used, known);
    }

    fn walk(folder: &Path, used: &mut BTreeSet<String>) {
        let words = regex::Regex::new(r#"\b(?:error|error_on_key|warning|failure)\(\s*"([a-z-]+)","#).unwrap();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                walk(&path, used);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "codes.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap();
                used.extend(words.captures_iter(code).map(|found| found[1].to_owned()));
            }
        }
    }
}
