//! The body of the fuzz target `packet` on the plain toolchain: its seeds, and inputs mutated from a fixed number.
//! `FUZZ_ROUNDS=100000 cargo test --release -p spalla-broker --test packet_fuzz` goes further.

#[path = "../../tests/fuzz/bodies/packet.rs"]
mod packet;

use std::path::Path;

/// Some seconds in a debug build.
const ROUNDS: u64 = 1_500;

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds/packet");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("seeds").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() > 5, "seeds");
    files.into_iter().map(|file| std::fs::read(file).expect("a seed")).collect()
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }
}

#[test]
fn whatever_a_client_sends_is_answered_well_formed_and_harms_nobody() {
    let seeds = seeds();
    seeds.iter().for_each(|seed| packet::run(seed));
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut dice = Dice(0x5EED_0002);
    for _ in 0..rounds {
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(4) {
            let (at, len) = (dice.below(bytes.len()), 1 + dice.below(12));
            let end = (at + len).min(bytes.len());
            match dice.below(4) {
                0 if at < bytes.len() => bytes[at] = dice.below(256) as u8,
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let other = &seeds[dice.below(seeds.len())];
                    let from = dice.below(other.len());
                    let piece = other[from..(from + len * 4).min(other.len())].to_vec();
                    bytes.splice(at..end, piece);
                }
            }
        }
        packet::run(&bytes);
    }
}
