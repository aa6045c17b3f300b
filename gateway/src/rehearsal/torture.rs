//! `spalla flow torture`: the command. Progress goes to stderr.

use super::files::{self, Invalid};
use super::on_deep_stack;
use super::test::Buildings;
use crate::cli::failure::{Failure, USAGE};
use crate::cli::output::{self, outln};
use anyhow::Result;
use serde_json::{Value, json};
use spalla_shared::rehearsal::World;
use spalla_shared::rehearsal::building;
use spalla_shared::rehearsal::scenario::{self, Scenario};
use spalla_shared::rehearsal::torture::{Report, Story, Trouble, torture as put_through};
use spalla_shared::resource::Resource;
use spalla_shared::time::Timestamp;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// When it begins where no scenario says so: 2026-11-23T09:00:00Z, the clock that scenarios have too.
const CLOCK: Timestamp = Timestamp(1_795_424_400_000);
/// Tasks that no run reached; all of them are in the JSON.
const NEVER_SHOWN: usize = 12;
/// Lines of the trace of the shortest failure; all of it is in the JSON.
const TRACE_SHOWN: usize = 60;

#[derive(clap::Args)]
pub struct TortureArgs {
    /// Flows. May be left out where --scenario is given.
    #[arg(required_unless_present = "scenario")]
    files: Vec<PathBuf>,
    /// Files or folders with what the flows use: other flows, profiles, devices, pools, areas, people.
    #[arg(long, value_name = "PATH")]
    with: Vec<PathBuf>,
    /// Scenarios that supply input, events, answers and resources. May be given several times.
    #[arg(long, value_name = "FILE")]
    scenario: Vec<PathBuf>,
    /// Only this trouble, with its trace: what a failure names, e.g. `fails:3`.
    #[arg(long, value_name = "TROUBLE")]
    only: Option<Trouble>,
}

pub fn torture(args: TortureArgs, json: bool) -> Result<ExitCode> {
    on_deep_stack(move || {
        let only = args.only;
        let subjects = match subjects(args)? {
            Ok(subjects) => subjects,
            Err(invalid) => {
                if json {
                    let files: Vec<Value> = invalid.iter().map(Invalid::json).collect();
                    output::json(&json!({ "error": { "code": "invalid", "message": "nothing was run" }, "files": files }));
                } else {
                    invalid.iter().flat_map(Invalid::lines).for_each(|line| eprintln!("{line}"));
                }
                return Ok(ExitCode::from(USAGE));
            }
        };
        let reports: Vec<(String, Report)> = subjects.into_iter().map(|subject| subject.run(only)).collect();
        Ok(if json { tell_json(&reports) } else { tell(&reports, only.is_some()) })
    })
}

/// What is put through everything.
struct Subject {
    name: String,
    story: Story,
    building: World,
}

impl Subject {
    fn run(self, only: Option<Trouble>) -> (String, Report) {
        let shown = std::io::stderr().is_terminal();
        let report = put_through(&self.story, &self.building, only, |made, planned| {
            if shown && (made % 25 == 0 || made == planned) {
                eprint!("\r{}: {made} of {planned} runs", self.name);
            }
        });
        if shown {
            eprintln!();
        }
        (self.name, report)
    }
}

/// Each scenario; and each flow that stands in a file of its own.
fn subjects(args: TortureArgs) -> Result<Result<Vec<Subject>, Vec<Invalid>>> {
    let mut subjects = Vec::new();
    let mut buildings = Buildings::default();
    for file in files::expand(&args.scenario)? {
        let scenarios: Vec<Scenario> = match scenario::read(&files::text(&file)?) {
            Ok(scenarios) => scenarios,
            Err(found) => return Ok(Err(vec![Invalid { file, found }])),
        };
        for scenario in scenarios {
            let building = match buildings.of(&file, &scenario)? {
                Ok(building) => building,
                Err(invalid) => return Ok(Err(invalid)),
            };
            let name = format!("{}:{}: {}", file.display(), scenario.line, scenario.title);
            // One that only refuses a start tells no story.
            let Some(story) = Story::of_scenario(&scenario, &building) else { continue };
            subjects.push(Subject { name, story, building });
        }
    }
    if args.files.is_empty() {
        return Ok(Ok(subjects));
    }
    let paths: Vec<PathBuf> = args.files.iter().chain(&args.with).cloned().collect();
    let resources = match files::resources(&paths)? {
        Ok(resources) => resources,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let wanted = match files::resources(&args.files)? {
        Ok(wanted) => wanted,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let building = building::build(CLOCK, resources).map_err(|why| Failure::new("invalid", why))?;
    for resource in wanted.iter().filter(|resource| matches!(resource, Resource::Flow(_))) {
        let (_, title) = resource.title();
        let Some(plan) = building.state.plans.values().find(|plan| plan.key.to_string() == title) else { continue };
        subjects.push(Subject { name: title, story: Story::of_flow(plan), building: building.clone() });
    }
    Ok(Ok(subjects))
}

/// `traced`: one trouble was asked for, whose trace is shown whatever came of it.
fn tell(reports: &[(String, Report)], traced: bool) -> ExitCode {
    for (name, report) in reports {
        let held = if report.failures.is_empty() { "ok" } else { "FAILED" };
        outln!(
            "{held:6} {name}: {} runs, {} log entries ({} steps and {} effects when all is well)",
            report.runs,
            report.entries,
            report.steps,
            report.effects
        );
        for end in &report.ends {
            outln!("  when all is well: {end}");
        }
        if !report.never.is_empty() && !traced {
            let shown: Vec<&str> = report.never.iter().take(NEVER_SHOWN).map(|reference| &**reference).collect();
            let more = report.never.len().saturating_sub(shown.len());
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            outln!("  {} tasks were never reached, and nothing is said of them: {}{more}", report.never.len(), shown.join(", "));
        }
        for place in &report.unheard {
            outln!("  not past {place}: nobody and nothing came that it waits for; --scenario may say what does");
        }
        for failure in &report.failures {
            outln!("  --only {}: {}", failure.trouble, failure.broken.join("; "));
        }
        if traced {
            for line in &report.trace {
                outln!("    {line}");
            }
        } else if let Some(shortest) = report.shortest() {
            outln!("  the shortest, --only {}, in {} steps:", shortest.trouble, shortest.steps);
            for line in shortest.trace.iter().skip(shortest.trace.len().saturating_sub(TRACE_SHOWN)) {
                outln!("    {line}");
            }
        }
    }
    code(reports)
}

fn tell_json(reports: &[(String, Report)]) -> ExitCode {
    let flows: Vec<Value> = reports
        .iter()
        .map(|(name, report)| {
            let failures: Vec<Value> = report
                .failures
                .iter()
                .map(|failure| json!({ "trouble": failure.trouble.to_string(), "broken": failure.broken, "steps": failure.steps }))
                .collect();
            let shortest = report.shortest().map(|failure| json!({ "trouble": failure.trouble.to_string(), "trace": failure.trace }));
            json!({ "flow": name, "ok": report.failures.is_empty(), "runs": report.runs, "entries": report.entries, "steps": report.steps,
                "effects": report.effects, "ends": report.ends, "notReached": report.unheard, "neverReached": report.never, "failures": failures, "shortest": shortest })
        })
        .collect();
    output::json(&json!({ "flows": flows, "runs": reports.iter().map(|(_, report)| report.runs).sum::<usize>() }));
    code(reports)
}

fn code(reports: &[(String, Report)]) -> ExitCode {
    if reports.iter().all(|(_, report)| report.failures.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_flow_of_config_survives_everything() {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let path = |name: &str| config.join(name);
        // The first scenario of each file is the good way.
        let names = ["visitor", "sensor-limit", "goods-gate", "evacuation", "evacuate-building"];
        let scenario = names.map(|name| path(&format!("scenarios/{name}.yaml"))).to_vec();
        let args = TortureArgs { files: Vec::new(), with: Vec::new(), scenario, only: None };
        let broken = on_deep_stack(move || {
            let Ok(subjects) = subjects(args)? else { anyhow::bail!("a file is invalid") };
            let mut first = std::collections::BTreeSet::new();
            let good = subjects.into_iter().filter(|subject| first.insert(subject.story.flow.clone()));
            let reports: Vec<(String, Report)> = good.map(|subject| subject.run(None)).collect();
            assert_eq!(reports.len(), names.len(), "{:?}", reports.iter().map(|(name, _)| name).collect::<Vec<_>>());
            let told = |(name, report): &(String, Report)| {
                assert!(report.runs > 5, "{name}: {} runs", report.runs);
                let failures = report.failures.iter();
                failures.map(|failure| format!("{name} {}: {:?}", failure.trouble, failure.broken)).collect::<Vec<_>>()
            };
            Ok(reports.iter().flat_map(told).collect::<Vec<_>>())
        });
        assert_eq!(broken.unwrap(), Vec::<String>::new());
    }
}
