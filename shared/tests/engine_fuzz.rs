//! The bodies of the fuzz targets `document` and `apply`, on the plain toolchain: their seeds, and inputs mutated from a fixed number.
//! `FUZZ_ROUNDS=100000 cargo test --release -p spalla-shared --test engine_fuzz` goes further.

#[path = "../../tests/fuzz/bodies/apply.rs"]
mod apply;
#[path = "../../tests/fuzz/bodies/document.rs"]
mod document;

use spalla_shared::id::{GroupId, derived_u64};
use std::path::Path;

/// Some seconds in a debug build.
const ROUNDS: u64 = 60;

fn rounds() -> u64 {
    std::env::var("FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds for {target}");
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Numbers that are the same in every run.
struct Dice {
    round: u64,
    drawn: u32,
}

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.drawn += 1;
        usize::try_from(derived_u64(&GroupId::mesh(), self.round, self.drawn, "fuzz") % limit.max(1) as u64).unwrap_or(0)
    }
}

/// A seed with a few bytes changed, taken out, doubled, or with a piece of another seed in it.
fn mutated(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(4) {
        let (at, len) = (dice.below(bytes.len()), 1 + dice.below(12));
        let end = (at + len).min(bytes.len());
        match dice.below(5) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(dice.below(256)).unwrap_or(0),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len());
                let piece = other[from..(from + len * 4).min(other.len())].to_vec();
                bytes.splice(at..end, piece);
            }
            _ => {
                const TOKENS: [&str; 12] = ["${ ", " }", "\n", "  ", ": ", "- ", "{", "[", "do:", "then: ", "'", "&a *a"];
                bytes.splice(at..at, TOKENS[dice.below(TOKENS.len())].bytes());
            }
        }
    }
    bytes
}

/// On a thread with the stack that a gateway's applying thread has.
fn deep(body: fn()) {
    #[allow(clippy::disallowed_methods)] // A test may.
    std::thread::Builder::new().stack_size(32 << 20).spawn(body).unwrap().join().unwrap();
}

#[test]
fn any_text_is_checked() {
    deep(|| {
        let seeds = seeds("document");
        seeds.iter().for_each(|seed| document::run(seed));
        for round in 0..rounds() {
            document::run(&mutated(&seeds, &mut Dice { round, drawn: 0 }));
        }
    });
}

#[test]
fn any_commands_are_applied() {
    deep(|| {
        let seeds = seeds("apply");
        seeds.iter().for_each(|seed| apply::run(seed));
        for round in 0..rounds() {
            let mut dice = Dice { round, drawn: 0 };
            let bytes = match round % 3 {
                0 => (0..3 * (1 + dice.below(60))).map(|_| u8::try_from(dice.below(256)).unwrap_or(0)).collect(),
                _ => mutated(&seeds, &mut dice),
            };
            apply::run(&bytes);
        }
    });
}
