//! A short run of what `--bin chaos` does for hours.

use crate::PROGRAM;
use spalla_tests::chaos::{Until, run};

/// A power cut everywhere, a death, clocks that leap both ways, a full disk and bad links are among them.
const SEED: u64 = 14541;
const STEPS: usize = 5;

#[tokio::test]
async fn a_mesh_keeps_its_promises_through_faults_drawn_from_a_seed() {
    let said = std::cell::RefCell::new(Vec::new());
    let verdict = run(PROGRAM, SEED, Until::Steps(STEPS), |what| said.borrow_mut().push(what.to_owned())).await;
    assert!(verdict.broken.is_empty(), "seed {SEED}: {:#?}\n{:#?}", verdict.broken, said.borrow());
    assert!(
        verdict.events > 0 && verdict.turns > 0 && verdict.commands > 0 && verdict.cloud > 0 && verdict.registers.operations > 0,
        "nothing was put to the test: {verdict:?}"
    );
}
