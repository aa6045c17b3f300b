//! The expressions of the flows in `config/flows`, and values for what they name.

use spalla_shared::flow::plan::Plan;
use spalla_shared::resource::{Resource, read_with_warnings};
use spalla_shared::value::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Flow and source, each once, in order.
pub fn of_flows() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/flows");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).expect("config/flows") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let file = read_with_warnings(&text).unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
        for resource in file.resources {
            let Resource::Flow(flow) = resource else { continue };
            let plan = Plan::compile(&flow.document).unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            found.extend(printed(&format!("{plan:?}")).into_iter().map(|source| (name.clone(), source)));
        }
    }
    assert!(found.len() > 50, "{} expressions", found.len());
    found.into_iter().collect()
}

/// A plan prints each of its expressions as `Expression("source")`.
fn printed(plan: &str) -> Vec<String> {
    let literal = |rest: &str| {
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let closes = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        end.map(|(at, _)| rest[..=at].to_owned())
    };
    // Of Rust's escapes, these sources use those that JSON has too.
    plan.split("Expression(")
        .skip(1)
        .filter_map(literal)
        .map(|text| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}")))
        .collect()
}

/// One value for each runtime argument, and for any other name that an expression uses.
pub fn variables(names: &[String]) -> Vec<(&str, Value)> {
    let known = Value::from_json(include_str!("flow_variables.json")).expect("JSON");
    let input = known.get("input").cloned().unwrap_or_default();
    names.iter().map(|name| (name.as_str(), known.get(name).unwrap_or(&input).clone())).collect()
}

/// What `.` is: a list where the source takes one apart, else an object.
pub fn input(source: &str) -> Value {
    let known = Value::from_json(include_str!("flow_variables.json")).expect("JSON");
    let name = if source.contains(".[") { "input" } else { "context" };
    known.get(name).cloned().unwrap_or_default()
}
