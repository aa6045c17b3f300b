//! Pictures of all flows that we ship, and of hostile ones: well-formed, deterministic, nothing outside its box.

use super::paper::{Look, Shape};
use super::*;
use serde_json::json;
use spalla_shared::flow;
use std::path::Path;

fn plan(text: &str) -> Plan {
    flow::check(text).unwrap_or_else(|found| panic!("{found:#?}\n{text}")).plan
}
fn of_tasks(tasks: &str) -> Plan {
    plan(&format!("do:\n{tasks}\ndocument: {{ dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0', title: A <\"sample\"> }}\n"))
}
fn shipped() -> Vec<Plan> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/flows");
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("flows").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| plan(&std::fs::read_to_string(path).expect("text"))).collect()
}

/// Elements open and close in order, and attributes are quoted: enough for any XML reader, since all text is escaped.
fn well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("no end: {part}"));
        assert!(!text.contains('>') || text.contains("&gt;") || tag.starts_with("style"), "{part}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{part}");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a name"));
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{part}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn every_task_that_does_something_is_in_the_picture_once() {
    for plan in shipped() {
        let drawn = svg(&plan, None);
        well_formed(&drawn);
        assert_eq!(drawn, svg(&plan, None), "the same flow gives the same picture");
        for task in &plan.tasks {
            use flow::plan::TaskKind as Kind;
            let counts = drawn.matches(&format!("data-task=\"{}\"", task.reference)).count();
            let wanted = !matches!(task.kind, Kind::Fork { .. } | Kind::Try(_));
            assert!(if wanted { counts == 1 } else { counts <= 1 }, "{} {}: {counts} times", plan.key, task.reference);
        }
    }
}

/// A picture in which text runs out of its box or boxes lie over each other cannot be read.
#[test]
fn no_text_leaves_its_box_and_no_boxes_overlap() {
    let long = "W".repeat(300);
    let mut plans = shipped();
    plans.push(of_tasks(&format!(
        "  - {long}: {{ call: human.task, with: {{ to: 'role:{long}', title: {long} }}, timeout: {{ after: PT1M }}, if: .{long} }}"
    )));
    plans.push(of_tasks(&format!("  - a: {{ switch: [ {{ {long}: {{ when: .x, then: end }} }}, {{ other: {{ then: exit }} }} ] }}")));
    for plan in plans {
        let model = build::model(&plan);
        let piece = layout::Layout { progress: None }.flow(&model);
        let boxes: Vec<(f64, f64, f64, f64, Look)> = piece
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Box { x, y, w, h, look, .. } => Some((*x, *y, *w, *h, *look)),
                _ => None,
            })
            .collect();
        for shape in &piece.shapes {
            let Shape::Text { x, y, anchor, class, text } = shape else { continue };
            let size = if matches!(*class, "title" | "quiet") {
                14.0
            } else if matches!(*class, "small" | "label" | "now" | "trouble") {
                11.0
            } else {
                12.0
            };
            let wide = text::width(text, size, !matches!(*class, "small" | "line" | "quiet"));
            let from = if *anchor == paper::Anchor::Middle { x - wide / 2.0 } else { *x };
            assert!(from >= -0.1 && from + wide <= piece.w + 0.1, "{}: `{text}` at {from} of {}", plan.key, piece.w);
            if matches!(*class, "label") {
                continue;
            }
            let inside =
                boxes.iter().any(|(bx, by, w, h, _)| *bx <= from + 0.1 && from + wide <= bx + w + 0.1 && *by <= *y && *y <= by + h);
            assert!(inside, "{}: `{text}` stands in no box", plan.key);
        }
        for (at, one) in boxes.iter().enumerate() {
            assert!(one.0 >= -0.1 && one.0 + one.2 <= piece.w + 0.1 && one.1 + one.3 <= piece.h + 0.1, "{}: {one:?}", plan.key);
            for other in boxes.iter().skip(at + 1).filter(|other| other.4 != Look::Frame && other.4 != Look::Condition) {
                if matches!(one.4, Look::Frame | Look::Condition) {
                    continue;
                }
                let apart =
                    one.0 + one.2 <= other.0 || other.0 + other.2 <= one.0 || one.1 + one.3 <= other.1 || other.1 + other.3 <= one.1;
                assert!(apart, "{}: {one:?} lies over {other:?}", plan.key);
            }
        }
    }
}

#[test]
fn words_are_plain_and_side_roads_say_when_they_are_taken() {
    let visitor = shipped().into_iter().find(|plan| &*plan.key.name == "visitor").expect("the visitor flow");
    let drawn = svg(&visitor, None);
    for words in [
        "ask host",
        "asks the host",
        "“Admit ‹visitor",
        "after 10 minutes",
        "whichever is done first",
        "at the same time",
        "car",
        "on foot",
    ] {
        assert!(drawn.contains(words), "`{words}` is missing");
    }
    let jumps = of_tasks(
        "  - a: { wait: PT1S }\n  - b: { switch: [ { again: { when: .x, then: a } }, { on: { then: c } } ] }\n  - c: { wait: PT2S }",
    );
    assert!(svg(&jumps, None).contains("back to “A”"));
    let early = of_tasks("  - a: { if: .x, set: { y: 1 }, then: end }\n  - b: { wait: PT1S }");
    assert!(svg(&early, None).contains("the flow ends here"));
}

#[test]
fn the_picture_of_an_instance_shows_where_it_is() {
    let plan = of_tasks("  - a: { wait: PT1S }\n  - b: { wait: PT1S }\n  - c: { if: .x, wait: PT1S }\n  - d: { wait: PT1S }");
    let progress = Progress::of(&json!({
        "id": "i1", "status": "running", "business_key": "V-7", "incident": null,
        "positions": [{ "reference": "/do/1/b", "name": "b", "waits_for": "timer", "since": 1_795_424_400_000_i64 }],
        "trace": [
            { "reference": "/do/0/a", "what": "started" }, { "reference": "/do/0/a", "what": "completed" },
            { "reference": "/do/2/c", "what": "skipped" }, { "reference": "/do/1/b", "what": "started" },
        ],
    }));
    let drawn = svg(&plan, Some(&progress));
    well_formed(&drawn);
    for (reference, class) in [("/do/0/a", "is-done"), ("/do/1/b", "is-here"), ("/do/2/c", "is-skipped")] {
        assert!(drawn.contains(&format!("{class}\" data-task=\"{reference}\"")), "{reference} {class}");
    }
    assert!(drawn.contains("waits for its time since") && drawn.contains("instance i1 (V-7): running"));
    assert!(drawn.contains("<g class=\"step wait\" data-task=\"/do/3/d\">"), "what is to come has no sign");
}

#[test]
fn mermaid_names_every_node_that_it_joins() {
    for plan in shipped().into_iter().chain([of_tasks("  - a: { set: '${ \"x\" }', metadata: {} }")]) {
        let text = mermaid(&plan);
        assert!(text.contains("flowchart TD"));
        let defined = |name: &str| {
            text.lines()
                .map(|line| line.trim_start().trim_start_matches("subgraph "))
                .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['[', '(', '{'])))
        };
        for line in text.lines().map(str::trim).filter(|line| line.contains("-->") || line.contains("-.->")) {
            for name in [line.split_whitespace().next(), line.split_whitespace().last()].into_iter().flatten() {
                assert!(defined(name), "{name} of `{line}`\n{text}");
            }
        }
        assert_eq!(text.matches("subgraph ").count(), text.lines().filter(|line| line.trim() == "end").count());
    }
}

#[test]
fn large_flows_are_drawn_in_time_and_hostile_names_do_no_harm() {
    let many = of_tasks(&(0..1_500).map(|n| format!("  - t{n}: {{ wait: PT1S }}\n")).collect::<String>());
    well_formed(&svg(&many, None));
    let cases: String = (0..60).map(|n| format!("{{ c{n}: {{ when: .x == {n}, then: t{n} }} }}, ")).collect();
    let tasks: String = (0..60).map(|n| format!("  - t{n}: {{ wait: PT1S, then: t{} }}\n", (n * 7 + 1) % 60)).collect();
    well_formed(&svg(&of_tasks(&format!("  - s: {{ switch: [ {cases} {{ rest: {{ then: end }} }} ] }}\n{tasks}")), None));
    let hostile =
        of_tasks("  - \"</text><script>alert(1)</script>\": { call: audit.note, with: { subject: a, text: \"\\u0007 & ]]> <b>\" } }");
    let drawn = svg(&hostile, None);
    well_formed(&drawn);
    assert!(!drawn.contains("<script") && !mermaid(&hostile).contains("<script"));
}
