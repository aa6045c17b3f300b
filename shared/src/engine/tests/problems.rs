//! Every way to fail: a type of the specification, a JSON pointer to where it happened, and words that help.

use super::harness::{Bench, named};
use crate::engine::command::Command;
use crate::engine::effect::Outcome;
use crate::engine::problem::Problem;
use crate::engine::state::{Node, SEMANTICS_VERSION};
use crate::id::NodeId;
use crate::time::Timestamp;

fn incident(fields: &str) -> Problem {
    let mut bench = Bench::flow(fields);
    bench.state.nodes.insert(NodeId(1), Node { site: "hq".into(), boot: 1, version: "1".into(), api: None, up_at: Timestamp(0) });
    bench.apply(Command::Understands { node: NodeId(1), semantics: SEMANTICS_VERSION }).reply.unwrap();
    bench.apply(Command::EnableSemantics { version: SEMANTICS_VERSION }).reply.unwrap();
    let id = bench.start(r#"{"n": 1, "list": [1, 2], "name": "Vera"}"#);
    bench.instance(&id).incident.clone().unwrap_or_else(|| panic!("no incident: {:?}", bench.instance(&id).positions())).problem
}

#[test]
fn each_failure_has_its_type_its_place_and_a_readable_detail() {
    let cases = [
        (
            "do:\n  - bad: { set: { a: '${ .n + .list }' } }\n",
            "expression",
            "/do/0/bad",
            "`.n + .list`, given an object with list, n, name",
        ),
        ("do:\n  - bad: { set: { a: 1 }, if: '${ .name.first == 1 }' }\n", "expression", "/do/0/bad", "given an object with list, n, name"),
        ("do:\n  - bad: { set: { a: 1 }, output: { as: '${ .a | keys }' } }\n", "expression", "/do/0/bad", "given an object with a"),
        (
            "do:\n  - bad: { for: { in: '${ .n }' }, do: [ { x: { set: { a: 1 } } } ] }\n",
            "expression",
            "/do/0/bad",
            "`for.in` gave a number",
        ),
        ("do:\n  - bad: { wait: '${ .name }' }\n", "expression", "/do/0/bad", "is not an ISO 8601 duration"),
        ("do:\n  - bad: { set: { a: '${ [limit(200000; repeat_(1))] }' } }\n", "expression", "/do/0/bad", "out of budget"),
        (
            "do:\n  - bad: { set: { a: 1 }, input: { schema: { document: { type: object, required: [ gone ] } } } }\n",
            "validation",
            "/do/0/bad",
            "gone",
        ),
        (
            "do:\n  - bad: { set: { a: 1 }, output: { schema: { document: { type: object, properties: { a: { type: string } } } } } }\n",
            "validation",
            "/do/0/bad",
            "output/a",
        ),
        (
            "do:\n  - bad: { set: { a: 1 }, export: { as: '${ [] }', schema: { document: { type: object } } } }\n",
            "validation",
            "/do/0/bad",
            "export",
        ),
        ("do:\n  - bad: { call: http, with: { method: get, endpoint: '${ .n }' } }\n", "configuration", "/do/0/bad", "not a URI"),
        (
            "do:\n  - bad: { call: http, with: { method: get, endpoint: 'http://localhost/{name}/{gone}' } }\n",
            "configuration",
            "/do/0/bad",
            "`gone`",
        ),
        (
            "do:\n  - in:\n      do:\n        - bad: { run: { workflow: { namespace: test, name: nobody, version: latest } } }\n",
            "configuration",
            "/do/0/in/do/0/bad",
            "no flow test/nobody is deployed",
        ),
        ("do:\n  - bad: { emit: { event: { with: { type: x, time: '${ .name }' } } } }\n", "validation", "/do/0/bad", "RFC 3339"),
    ];
    for (fields, kind, pointer, words) in cases {
        let fields = fields.replace("repeat_(1)", "range(9999999)");
        let problem = incident(&fields);
        assert_eq!(&*problem.kind, format!("https://serverlessworkflow.io/spec/1.0.0/errors/{kind}"), "{fields}: {problem:?}");
        assert_eq!(problem.instance.as_deref(), Some(pointer), "{fields}");
        let detail = problem.detail.unwrap_or_default();
        assert!(detail.contains(words), "{fields}: {detail}");
    }
}

#[test]
fn the_flows_own_failures_point_to_the_flow() {
    let fault = |bench: &Bench| {
        bench.ends().iter().find_map(|end| match end {
            crate::engine::record::RecordBody::InstanceEnded { problem: Some(problem), .. } => Some(problem.to_json()),
            _ => None,
        })
    };
    let mut bench = Bench::flow("timeout: { after: PT5S }\ndo:\n  - sleep: { wait: PT1H }\n");
    bench.start("{}");
    bench.pass(5000);
    assert!(fault(&bench).unwrap().contains(r#""instance":"/timeout""#));
    let mut bench = Bench::flow("do:\n  - one: { set: { a: 1 } }\noutput: { schema: { document: { type: array } } }\n");
    bench.start("{}");
    let problem = fault(&bench).unwrap();
    assert!(problem.contains(r#""instance":"/output""#) && problem.contains("validation"), "{problem}");
    let refused =
        Bench::flow("input: { schema: { document: { type: array } } }\ndo:\n  - one: { set: { a: 1 } }\n").try_start("flow", "{}");
    assert_eq!(&*refused.reply.unwrap_err().code, "invalid");
}

#[test]
fn both_hosts_and_both_spellings_are_one_type() {
    let hosts = ["https://serverlessworkflow.io", "https://open-workflow-specification.org"];
    let paths = ["/spec/1.0.0/errors/", "/dsl/errors/types/"];
    let spellings: Vec<String> = hosts.iter().flat_map(|host| paths.iter().map(move |path| format!("{host}{path}"))).collect();
    for raised in &spellings {
        for caught in &spellings {
            let flow = |name: &str| {
                format!(
                    "do:
  - attempt:
      try: [ {{ bad: {{ raise: {{ error: {{ type: '{raised}authorization', status: 403 }} }} }} }} ]
      catch: {{ errors: {{ with: {{ type: '{caught}{name}' }} }}, as: e, do: [ {{ got: {{ set: '${{ {{ t: $e.type }} }}' }} }} ] }}
"
                )
            };
            let mut bench = Bench::flow(&flow("authorization"));
            let id = bench.start("{}");
            assert_eq!(bench.completed(&id), format!(r#"{{"t":"{raised}authorization"}}"#), "{raised} by {caught}");
            let mut bench = Bench::flow(&flow("authentication"));
            let id = bench.start("{}");
            assert!(bench.ended(&id).is_some_and(|(_, kind)| kind == format!("{raised}authorization")), "another type is another type");
        }
    }
}

/// What an executor says went wrong stands with the task that called, under the type that it gave.
#[test]
fn what_executors_report_keeps_its_type_and_gets_its_place() {
    for (name, status) in [("authentication", 401), ("authorization", 403), ("communication", 503), ("timeout", 408), ("runtime", 500)] {
        let flow = "do:\n  - list:\n      do:\n        - ask: { call: http, with: { method: get, endpoint: 'http://localhost/x' } }\n";
        let mut bench = Bench::new(&[&named("flow", flow)]);
        let id = bench.start("{}");
        bench.answer(bench.effect(), Outcome::Failed { problem: Problem::standard(name, status, "no") });
        let problem = bench.instance(&id).incident.clone().unwrap().problem;
        assert!(problem.kind.ends_with(name) && problem.status == status, "{problem:?}");
        assert_eq!(problem.instance.as_deref(), Some("/do/0/list/do/0/ask"));
    }
}
