//! `spalla flow test`: the command. A building is made once for scenarios that are given the same.

use super::files::{self, Invalid};
use super::on_deep_stack;
use crate::cli::failure::{Failure, USAGE, usage};
use crate::cli::output::{self, outln};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use spalla_shared::rehearsal::scenario::{self, Played, Scenario};
use spalla_shared::rehearsal::{World, building};
use spalla_shared::time::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Lines of a trace that stand beside a failing expectation; all of it is in the JSON.
const TRACE_SHOWN: usize = 40;

#[derive(clap::Args)]
pub struct TestArgs {
    /// Scenario files, or folders of them (their *.yaml and *.yml).
    #[arg(required_unless_present = "schema")]
    files: Vec<PathBuf>,
    /// Print the JSON Schema of scenario files instead, for editors.
    #[arg(long)]
    schema: bool,
}

pub fn test(args: TestArgs, json: bool) -> Result<ExitCode> {
    if args.schema {
        output::json(&Value::from(scenario::schema()));
        return Ok(ExitCode::SUCCESS);
    }
    on_deep_stack(move || match play(&args.files)? {
        Ok(played) => Ok(if json { tell_json(&played) } else { tell(&played) }),
        Err(invalid) => {
            if json {
                let files: Vec<Value> = invalid.iter().map(Invalid::json).collect();
                output::json(&json!({ "error": { "code": "invalid", "message": "nothing was played" }, "files": files }));
            } else {
                invalid.iter().flat_map(Invalid::lines).for_each(|line| eprintln!("{line}"));
            }
            Ok(ExitCode::from(USAGE))
        }
    })
}

/// A scenario that was played, and its file.
pub struct Outcome {
    pub file: PathBuf,
    pub scenario: Scenario,
    pub played: Played,
}

/// Plays all scenarios of all files; nothing where any file is invalid.
pub fn play(files: &[PathBuf]) -> Result<Result<Vec<Outcome>, Vec<Invalid>>> {
    let (mut scenarios, mut invalid) = (Vec::new(), Vec::new());
    for file in files::expand(files)? {
        match scenario::read(&files::text(&file)?) {
            Ok(found) => scenarios.extend(found.into_iter().map(|scenario| (file.clone(), scenario))),
            Err(found) => invalid.push(Invalid { file, found }),
        }
    }
    if !invalid.is_empty() {
        return Ok(Err(invalid));
    }
    if scenarios.is_empty() {
        let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        bail!(usage(format!("there is no scenario in {}", names.join(", "))));
    }
    let mut buildings = Buildings::default();
    let mut outcomes = Vec::new();
    for (file, scenario) in scenarios {
        match buildings.of(&file, &scenario)? {
            Ok(world) => {
                let played = scenario::play(&scenario, world);
                outcomes.push(Outcome { file, scenario, played });
            }
            Err(invalid) => return Ok(Err(invalid)),
        }
    }
    Ok(Ok(outcomes))
}

/// Buildings by what was declared in them, and when.
#[derive(Default)]
pub struct Buildings {
    made: BTreeMap<(Vec<PathBuf>, Timestamp), World>,
}

impl Buildings {
    /// The building of a scenario. The inner error: resource files that are invalid.
    pub fn of(&mut self, file: &Path, scenario: &Scenario) -> Result<Result<World, Vec<Invalid>>> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let paths: Vec<PathBuf> = scenario.given.resources.iter().map(|path| folder.join(&**path)).collect();
        let key = (files::expand(&paths)?, scenario.given.clock);
        if let Some(world) = self.made.get(&key) {
            return Ok(Ok(world.clone()));
        }
        let resources = match files::resources(&key.0)? {
            Ok(resources) => resources,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let world = match building::build(key.1, resources) {
            Ok(world) => world,
            Err(why) => bail!(Failure::new("invalid", format!("{}:{}: given.resources: {why}", file.display(), scenario.line))),
        };
        self.made.insert(key, world.clone());
        Ok(Ok(world))
    }
}

fn tell(outcomes: &[Outcome]) -> ExitCode {
    for outcome in outcomes {
        let Outcome { file, scenario, played } = outcome;
        let held = if played.misses.is_empty() { "ok" } else { "FAILED" };
        outln!("{held:6} {}:{}: {}", file.display(), scenario.line, scenario.title);
        for miss in &played.misses {
            outln!("  {}:{}: {}", file.display(), miss.line, miss.what);
            outln!("    expected {}", miss.expected);
            outln!("    found    {}", miss.found);
        }
        if !played.misses.is_empty() {
            outln!("  trace:");
            for line in played.trace.iter().skip(played.trace.len().saturating_sub(TRACE_SHOWN)) {
                outln!("    {line}");
            }
        }
    }
    let failed = failed(outcomes);
    outln!("{} scenarios, {failed} failed", outcomes.len());
    code(failed)
}

fn tell_json(outcomes: &[Outcome]) -> ExitCode {
    let scenarios: Vec<Value> = outcomes
        .iter()
        .map(|Outcome { file, scenario, played }| {
            let misses: Vec<Value> = played
                .misses
                .iter()
                .map(|miss| json!({ "line": miss.line, "what": miss.what, "expected": miss.expected, "found": miss.found }))
                .collect();
            json!({ "file": file.display().to_string(), "line": scenario.line, "scenario": &*scenario.title, "ok": misses.is_empty(),
                "failures": misses, "entries": played.entries, "trace": played.trace })
        })
        .collect();
    let failed = failed(outcomes);
    output::json(&json!({ "scenarios": scenarios, "played": outcomes.len(), "failed": failed }));
    code(failed)
}

fn failed(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| !outcome.played.misses.is_empty()).count()
}

fn code(failed: usize) -> ExitCode {
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_config_holds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/scenarios");
        let told = on_deep_stack(move || {
            let outcomes = match play(&[folder])? {
                Ok(outcomes) => outcomes,
                Err(invalid) => bail!(invalid.iter().flat_map(Invalid::lines).collect::<Vec<_>>().join("\n")),
            };
            assert!(outcomes.len() >= 20, "only {} scenarios were found", outcomes.len());
            let missed = |outcome: &Outcome| {
                let misses = outcome.played.misses.iter();
                let told =
                    misses.map(|miss| format!("  line {}: {}: expected {}, found {}", miss.line, miss.what, miss.expected, miss.found));
                format!("{}\n{}\n{}", outcome.scenario.title, told.collect::<Vec<_>>().join("\n"), outcome.played.trace.join("\n"))
            };
            Ok(outcomes.iter().filter(|outcome| !outcome.played.misses.is_empty()).map(missed).collect::<Vec<_>>().join("\n\n"))
        });
        assert_eq!(told.unwrap(), "");
    }

    #[test]
    fn the_visit_that_the_readme_starts_waits_for_its_document() {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let visit = include_str!("../../../config/three-buildings/visit.json");
        let text = format!(
            "scenario: the readme's visit
given: {{ resources: [ flows, profiles, three-buildings/devices.yaml, pools.yaml, people.yaml, areas.yaml ] }}
when:
  - start: {{ flow: visitor, input: {} }}
  - event: {{ type: spalla.device.document-read, source: /sites/hq/devices/id-scanner, data: {{ visitId: visit-1, valid: true }} }}
expect: {{ at: [ askHost ], workItems: [ {{ to: 'user:anna@example.com' }} ] }}
",
            visit.replace('\n', " ")
        );
        let scenarios = scenario::read(&text).unwrap();
        let misses = on_deep_stack(move || {
            let Ok(building) = Buildings::default().of(&config.join("readme.yaml"), &scenarios[0])? else { bail!("a file is invalid") };
            Ok(scenario::play(&scenarios[0], building).misses)
        });
        assert_eq!(misses.unwrap(), []);
    }

    #[test]
    fn an_expectation_that_fails_is_told_with_its_line_and_the_trace() {
        let folder = tempfile::tempdir().unwrap();
        let flow = "document: { dsl: '1.0.3', namespace: test, name: flow, version: '1.0.0' }\ndo: [ { sleep: { wait: P7D } }, { last: { set: { a: 1 } } } ]";
        std::fs::write(folder.path().join("flow.yaml"), flow).unwrap();
        let text = "scenario: a week\ngiven: { resources: [ flow.yaml ] }\nwhen:\n  - start: { flow: flow }\n  - expect: { at: [ sleep ] }\n  \
                    - wait: P7D\nexpect:\n  status: completed\n  output: { a: 2 }\n";
        let file = folder.path().join("week.yaml");
        std::fs::write(&file, text).unwrap();
        let outcomes = play(&[file]).unwrap().unwrap_or_default();
        let played = &outcomes[0].played;
        let told: Vec<_> = played.misses.iter().map(|miss| (miss.line, &*miss.what, &*miss.expected, &*miss.found)).collect();
        assert_eq!(told, [(9, "output", r#"{"a":2}"#, r#"{"a":1}"#)]);
        assert!(played.trace.iter().any(|line| line.ends_with("/do/1/last completed: {\"a\":1}")), "{:#?}", played.trace);
    }
}
