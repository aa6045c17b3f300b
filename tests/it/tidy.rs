//! Rules of this repository that no compiler keeps.

use std::path::{Path, PathBuf};

const LINES_MAX: usize = 900;

#[test]
fn the_repository_keeps_its_own_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository");
    let mut files = Vec::new();
    for folder in ["shared", "broker", "gateway", "tests"] {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 100, "the walk found {} files", files.len());
    let mut broken = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).expect("inside").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        let lines = text.lines().count();
        if lines > LINES_MAX {
            broken.push(format!("{name}: {lines} lines; split it"));
        }
        // A comment may name what the code may not use.
        let own_tests = text.lines().position(|line| line == "mod tests {").unwrap_or(usize::MAX);
        let code = text.lines().enumerate().take(own_tests).filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (at, line) in code {
            broken.extend(rules(&name, line).into_iter().map(|rule| format!("{name}:{}: {rule}: {}", at + 1, line.trim())));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn rules(name: &str, line: &str) -> Vec<&'static str> {
    // This file has to name what it looks for.
    if name == "tests/it/tidy.rs" {
        return Vec::new();
    }
    let test = name.contains("/tests/") || name.contains("/benches/") || name.starts_with("tests/") || name.ends_with("tests.rs");
    let mut broken = Vec::new();
    // A comment inside a template (`# …`) may show a topic. Unit tests stand at the end of their files and spell topics out.
    if line.contains("spalla/v1/") && !test && !line.trim_start().starts_with('#') && name != "shared/src/topic.rs" {
        broken.push("topic text is built and read by `shared/src/topic.rs` alone");
    }
    if (line.contains("rumqttd::") || line.contains("rumqttc::")) && !name.starts_with("broker/") {
        broken.push("rumqttd and rumqttc are named by `broker` alone");
    }
    if line.contains("openraft::") && !name.starts_with("gateway/src/consensus") {
        broken.push("openraft is named by `consensus` alone");
    }
    if name.starts_with("shared/")
        && !test
        && ["tokio::", "SystemTime::now", "Instant::now", "std::fs", "std::net", "rand::"].iter().any(|word| line.contains(word))
    {
        broken.push("`shared` opens nothing, waits for nothing, reads no clock, rolls no dice");
    }
    if ["todo!(", "unimplemented!(", "dbg!("].iter().any(|word| line.contains(word)) {
        broken.push("half-done");
    }
    broken
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}
