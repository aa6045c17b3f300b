//! All runs of a flow: first untroubled, then each trouble at each place that the untroubled run came by.

use super::account;
use super::player::{Player, Run};
use super::story::Story;
use super::trouble::Trouble;
use crate::rehearsal::World;
use crate::rehearsal::scenario::trace;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Places of one kind that are tried: a flow with more is tried at this many, evenly spread.
pub const PLACES_MAX: usize = 200;

#[derive(Clone, Debug)]
pub struct Report {
    pub runs: usize,
    pub entries: usize,
    /// Steps and effects of the untroubled run.
    pub steps: usize,
    pub effects: usize,
    pub failures: Vec<Failure>,
    /// Places where the flow waited for somebody or something that could not be invented.
    pub unheard: BTreeSet<String>,
    /// How it ends when all is well.
    pub ends: Vec<String>,
    /// Tasks that no run came to: of those nothing is said.
    pub never: Vec<Arc<str>>,
    /// Of the run that was asked for, else of the untroubled one.
    pub trace: Vec<String>,
}

/// A run that broke something.
#[derive(Clone, Debug)]
pub struct Failure {
    pub trouble: Trouble,
    pub broken: Vec<String>,
    pub steps: usize,
    pub trace: Vec<String>,
}

impl Report {
    /// The failure that is seen soonest: what to look at first.
    pub fn shortest(&self) -> Option<&Failure> {
        self.failures.iter().min_by_key(|failure| failure.steps)
    }
}

/// Puts a flow through everything, or through `only` one trouble. `progress` hears of each run: (made, planned).
pub fn torture(story: &Story, building: &World, only: Option<Trouble>, mut progress: impl FnMut(usize, usize)) -> Report {
    let quiet = Player::new(story, building, Trouble::Nothing).play();
    let troubles = match only {
        // Played already.
        Some(Trouble::Nothing) => Vec::new(),
        Some(only) => vec![only],
        None => troubles(&quiet),
    };
    let planned = troubles.len() + 1;
    let mut report = Report {
        runs: 0,
        entries: 0,
        steps: quiet.steps,
        effects: quiet.effects,
        failures: Vec::new(),
        unheard: BTreeSet::new(),
        ends: quiet.ends.clone(),
        never: Vec::new(),
        trace: Vec::new(),
    };
    let opened = quiet.opened.clone();
    let mut reached = quiet.reached.clone();
    report.note(Trouble::Nothing, quiet, &opened);
    progress(report.runs, planned);
    for trouble in troubles {
        let mut run = Player::new(story, building, trouble).play();
        reached.append(&mut run.reached);
        report.note(trouble, run, &opened);
        progress(report.runs, planned);
    }
    report.never = building.state.plans.get(&story.flow).map(|plan| account::never(plan, &reached)).unwrap_or_default();
    report
}

impl Report {
    fn note(&mut self, trouble: Trouble, run: Run, opened: &[String]) {
        self.runs += 1;
        self.entries += run.world.log.len();
        self.trace = trace(&run.world.records);
        let mut broken = run.broken;
        if matches!(trouble, Trouble::Twice | Trouble::FailsOver) && run.opened != opened {
            broken.push(format!("opens otherwise than when all is well: {}, not {}", listed(&run.opened), listed(opened)));
        }
        if !broken.is_empty() {
            self.failures.push(Failure { trouble, broken, steps: run.steps, trace: self.trace.clone() });
        }
        if trouble == Trouble::Nothing {
            self.unheard = run.unheard;
        }
    }
}

/// Openings in one line, the first of them.
fn listed(opened: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = if opened.len() > SHOWN { format!(", … ({} in all)", opened.len()) } else { String::new() };
    format!("[{}{more}]", opened.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "))
}

fn troubles(quiet: &Run) -> Vec<Trouble> {
    let mut troubles = vec![Trouble::Twice, Trouble::FailsOver];
    for at in spread(quiet.effects) {
        troubles.extend([Trouble::Fails(at), Trouble::IsUnknown(at), Trouble::NeverAnswers(at)]);
    }
    for at in spread(quiet.steps.saturating_add(1)) {
        troubles.extend([Trouble::CancelledAt(at), Trouble::SuspendedAt(at)]);
    }
    troubles
}

/// 1 to `count`, at most [`PLACES_MAX`] of them.
fn spread(count: usize) -> impl Iterator<Item = usize> {
    (1..=count).step_by(count.div_ceil(PLACES_MAX).max(1))
}
