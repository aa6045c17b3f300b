//! Many runs, and that a run can be played again.

use crate::mistakes;
use crate::play::play;
use spalla::consensus::simulation::Mistake;

/// Of `cargo test`: a few seconds.
const RUNS: u64 = 24;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a whole number")))
}

#[test]
fn seeds() {
    let (seed, runs) = (number("SIM_SEED"), number("SIM_RUNS"));
    let first = seed.unwrap_or(1);
    // One seed alone is played to be looked at.
    let (runs, show) = (runs.unwrap_or(if seed.is_some() { 1 } else { RUNS }), seed.is_some() && runs.is_none());
    let mistake = std::env::var("SIM_MISTAKE").map_or(Mistake::None, |name| mistakes::named(&name));
    let (mut told, mut crashes, mut terms, mut snapshots, mut openings) = (0, 0, 0, 0, 0);
    for seed in first..first + runs {
        let played = play(seed, mistake, show);
        assert!(played.broken().is_empty(), "{}", played.report());
        let history = &played.history;
        told += history.told.len();
        crashes += history.crashes;
        terms += history.leaders.len();
        snapshots += history.snapshots;
        openings += history.granted.len();
    }
    println!(
        "{runs} runs: {told} commands told of, {crashes} crashes, {terms} leaders, {snapshots} snapshots taken up, {openings} openings"
    );
    // A simulation in which nothing happens finds nothing.
    let enough = runs as usize;
    assert!(told > enough * 20 && crashes as usize > enough && terms > enough && openings > enough);
}

#[test]
fn a_seed_gives_the_same_run() {
    for seed in 100..103 {
        let (one, other) = (play(seed, Mistake::None, false).history, play(seed, Mistake::None, false).history);
        assert_eq!((one.events, one.trace), (other.events, other.trace), "seed {seed}:\n{:#?}\n{:#?}", one.lines, other.lines);
    }
}
