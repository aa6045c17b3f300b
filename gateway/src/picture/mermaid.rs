//! Model -> Mermaid flowchart: for pages that draw it themselves.

use super::model::{Block, Kind, Model, Step};
use std::fmt::Write;

pub fn mermaid(model: &Model) -> String {
    let mut out = Out { text: String::new(), next: 0, depth: 1 };
    let _ = writeln!(out.text, "---\ntitle: {}\n---\nflowchart TD", quoted(&model.title));
    let start = out.node(&format!("([{}])", quoted(&model.start)));
    let ends = out.block(&model.body, vec![(start, String::new())]);
    if !ends.is_empty() {
        let done = out.node("([\"Done\"])");
        out.join(&ends, &done);
    }
    out.text.push_str(
        "  classDef person fill:#f7f0fb,stroke:#7a3e9d\n  classDef device fill:#eef5fc,stroke:#1f5fa8\n  classDef stop fill:#fef1f0,stroke:#b42318\n",
    );
    out.text
}

/// Nodes from which control comes, with the words on the way.
type Ends = Vec<(String, String)>;

struct Out {
    text: String,
    next: usize,
    depth: usize,
}

impl Out {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{}{line}", "  ".repeat(self.depth));
    }

    fn node(&mut self, shape: &str) -> String {
        let name = format!("n{}", self.next);
        self.next += 1;
        self.line(&format!("{name}{shape}"));
        name
    }

    fn join(&mut self, ends: &Ends, to: &str) {
        for (from, words) in ends {
            let label = if words.is_empty() { String::new() } else { format!("|{}|", quoted(words)) };
            self.line(&format!("{from} -->{label} {to}"));
        }
    }

    fn block(&mut self, block: &Block, from: Ends) -> Ends {
        match block {
            Block::Step(step) => {
                let name = self.step(step);
                self.join(&from, &name);
                if step.kind == Kind::Stop && step.only_if.is_none() { Vec::new() } else { vec![(name, String::new())] }
            }
            Block::Jump(text) => {
                let name = self.node(&format!("([{}])", quoted(text)));
                self.join(&from, &name);
                Vec::new()
            }
            Block::Sequence(blocks) => blocks.iter().fold(from, |from, block| self.block(block, from)),
            Block::Parallel { label, branches, .. } => {
                let fork = self.node(&format!("{{{{{}}}}}", quoted(label)));
                self.join(&from, &fork);
                let ends: Ends = branches.iter().flat_map(|branch| self.block(branch, vec![(fork.clone(), String::new())])).collect();
                if ends.is_empty() {
                    return ends;
                }
                let meet = self.node("((\" \"))");
                self.join(&ends, &meet);
                vec![(meet, String::new())]
            }
            Block::Decision { question, ways, .. } => {
                let name = self.node(&format!("{{{}}}", quoted(question)));
                self.join(&from, &name);
                ways.iter().flat_map(|(words, way)| self.block(way, vec![(name.clone(), words.clone())])).collect()
            }
            Block::Guarded { body, label, road, .. } => {
                let first = self.next;
                let mut ends = self.block(body, from);
                // The road leaves the box, or the frame, of what it guards.
                let guarded = if matches!(**body, Block::Frame { .. }) { format!("f{}", first + 1) } else { format!("n{first}") };
                if road.is_empty() {
                    self.line(&format!("{guarded} -.->|{}| {guarded}", quoted(label)));
                } else {
                    let tag = self.node(&format!("[/{}/]", quoted(label)));
                    self.line(&format!("{guarded} -.-> {tag}"));
                    ends.extend(self.block(road, vec![(tag, String::new())]));
                }
                ends
            }
            Block::Frame { title, only_if, body, .. } => {
                let title = only_if.as_ref().map_or_else(|| title.clone(), |only_if| format!("{title} ({only_if})"));
                // A box of its own at the beginning: whoever leaves the frame leaves it here, and an empty frame is seen.
                self.next += 1;
                let frame = format!("f{}", self.next);
                self.line(&format!("subgraph {frame}[{}]", quoted(&title)));
                self.depth += 1;
                let ends = self.block(body, from);
                self.depth -= 1;
                self.line("end");
                ends
            }
        }
    }

    fn step(&mut self, step: &Step) -> String {
        let mut parts = vec![step.title.clone()];
        parts.extend(step.only_if.clone().map(|only_if| format!("({only_if})")));
        parts.extend(step.lines.clone());
        parts.extend(step.limit.clone());
        let text = parts.iter().map(|part| plain(part)).collect::<Vec<_>>().join("<br/>");
        let (open, close) = match step.kind {
            Kind::Wait | Kind::EventIn => ("([", "])"),
            Kind::SubFlow => ("[[", "]]"),
            Kind::EventOut => ("[/", "/]"),
            _ => ("[", "]"),
        };
        let class = match step.kind {
            Kind::Person => ":::person",
            Kind::Device => ":::device",
            Kind::Stop => ":::stop",
            _ => "",
        };
        self.node(&format!("{open}\"{text}\"{close}{class}"))
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", plain(text))
}

/// Text that cannot end its quotes or begin markup.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '#' => out.push_str("#35;"),
            '`' => out.push('\''),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}
