//! `spalla flow check --explain CODE`.

use super::super::super::failure::usage;
use super::super::super::output::{self, outln};
use anyhow::{Result, bail};
use serde_json::json;
use spalla_shared::flow::codes::{self, CODES};
use spalla_shared::flow::{Severity, nearest};
use std::process::ExitCode;

pub fn explain(name: &str, json: bool) -> Result<ExitCode> {
    let Some(code) = codes::find(name) else {
        let names = || CODES.iter().map(|code| code.name);
        let hint = nearest(name, names()).map_or_else(|| names().collect::<Vec<_>>().join(", "), |near| format!("did you mean `{near}`?"));
        bail!(usage(format!("there is no code `{name}`; {hint}")));
    };
    let severity = if code.severity == Severity::Error { "error" } else { "warning" };
    if json {
        output::json(&json!({
            "code": code.name, "severity": severity, "title": code.title, "help": code.help, "wrong": code.wrong, "right": code.right,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    outln!("{} ({severity}): {}\n\n{}", code.name, code.title, code.help);
    for (word, example) in [("wrong", code.wrong), ("right", code.right)] {
        if !example.is_empty() {
            outln!("\n{word}:");
            example.lines().for_each(|line| outln!("    {line}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    /// The table in the documentation; on a change, `WRITE_DOCS=1 cargo test -p spalla documented` writes it anew.
    #[test]
    fn every_code_is_documented() {
        let mut table = String::from(
            "# What `spalla flow check` says\n\nCodes are stable. `spalla flow check --explain CODE` shows examples of the mistake and of its mending.\n\n\
             | code | | what | how to mend it |\n|---|---|---|---|\n",
        );
        for code in CODES {
            let severity = if code.severity == Severity::Error { "error" } else { "warning" };
            let cell = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(table, "| `{}` | {severity} | {} | {} |", code.name, cell(code.title), cell(code.help));
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/flow-check.md");
        if std::env::var_os("WRITE_DOCS").is_some() {
            std::fs::write(&path, &table).expect("written");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("docs/flow-check.md"), table);
    }
}
