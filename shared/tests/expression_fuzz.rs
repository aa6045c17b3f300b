//! A short fuzz on the plain toolchain: the seeds of `tests/fuzz`, and a bounded number of mutations of them from a fixed number.
//! The long, coverage-guided runs are described in `tests/fuzz/Cargo.toml`; both check what `tests/fuzz/bodies` says.

#[path = "../../tests/fuzz/bodies/expression.rs"]
mod body;

use std::path::{Path, PathBuf};

/// Mutations of one target: some seconds in a debug build.
const ROUNDS: u32 = 3_000;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz").join(name)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder("seeds").join(target)).expect("seeds").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "{target}: {} seeds", paths.len());
    paths.into_iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

/// The words of libFuzzer's dictionary.
fn words() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(folder("expression.dict")).expect("a dictionary");
    let inner = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    inner.map(|word| word.replace("\\x0a", "\n").replace("\\\"", "\"").replace("\\\\", "\\").into_bytes()).collect()
}

/// xorshift64: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (sides.max(1) as u64)).unwrap_or(0)
    }
}

fn mutate(dice: &mut Dice, seeds: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[dice.roll(seeds.len())].clone();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(data.len() + 1);
        let to = at + dice.roll(data.len() + 1 - at);
        match dice.roll(6) {
            0 => drop(data.splice(at..at, words[dice.roll(words.len())].iter().copied())),
            1 => drop(data.splice(at..to, words[dice.roll(words.len())].iter().copied())),
            2 => drop(data.drain(at..to)),
            3 => {
                let other = &seeds[dice.roll(seeds.len())];
                let from = dice.roll(other.len() + 1);
                drop(data.splice(at..to, other[from..].iter().copied()));
            }
            4 => {
                let again = data[at..to].to_vec();
                drop(data.splice(at..at, again));
            }
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    *byte = dice.roll(128) as u8;
                }
            }
        }
        data.truncate(2_000);
    }
    data
}

fn run(target: &'static str, check: fn(&[u8])) {
    let body = move || {
        let (seeds, words) = (seeds(target), words());
        seeds.iter().for_each(|seed| check(seed));
        let mut dice = Dice(0x5eed_5eed_5eed_5eed);
        for round in 0..ROUNDS {
            let data = mutate(&mut dice, &seeds, &words);
            let result = std::panic::catch_unwind(|| check(&data));
            assert!(result.is_ok(), "{target}, round {round}: {:?}", String::from_utf8_lossy(&data));
        }
    };
    // What callers are told to have.
    let thread = std::thread::Builder::new().stack_size(16 * 1024 * 1024).spawn(body).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn parsing_seeds_and_mutations() {
    run("expression_parse", body::parse);
}

#[test]
fn evaluating_seeds_and_mutations() {
    run("expression_eval", body::eval);
}
