//! What the groups of idle buildings cost the gateways that have them: one that votes alone in each, and two that hold copies of each.
//!
//! ```text
//! voter (process) -> one heartbeat in 5 s and group, no ticks -> copy holder (process), copy holder (process)
//!   '------------------ CPU time and resident memory of each, from outside ------------------'
//! ```
//!
//! Measured is agreement alone, with the product's own code for it: the log, openraft, the mesh transport over mutual TLS. The groups'
//! states are empty. Not measured is what else a gateway does for each group (it looks each second whether members changed and timers are
//! due) and for itself: broker, API, history, the mesh's own group with its heartbeats. A real gateway votes in one such group, and
//! holds copies of two on average; so many at one show what one more costs. The memory of a part holds its connections to the two others.

mod part;

pub use part::as_part;

use crate::mesh::Mesh;
use crate::node::resident_kib;
use crate::numbers::rounded;
use nix::time::ClockId;
use nix::unistd::Pid;
use part::{LEVEL, PART};
use serde::Serialize;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// After the last group is there: two heartbeats of it.
const SETTLE: Duration = Duration::from_secs(10);
/// For all groups of a part to be there; the part itself gives up sooner.
const LEVEL_TIME_MAX: Duration = Duration::from_secs(330);

#[derive(Debug, Serialize)]
pub struct Idle {
    pub groups: u16,
    pub seconds: f64,
    pub voter: Cost,
    /// Each of both.
    pub copy_holders: Vec<Cost>,
    /// What one group more costs, against the fewest groups that were measured.
    pub voter_per_group: Option<Cost>,
    pub copy_holder_per_group: Option<Cost>,
}

/// Of one process, or a difference of two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    pub cpu_ms_per_s: f64,
    pub resident_mib: f64,
}

impl Cost {
    fn per_group(self, groups: u16, fewest: Self, fewest_groups: u16) -> Option<Self> {
        let more = groups.checked_sub(fewest_groups).filter(|more| *more > 0)?;
        let each = |this: f64, fewest: f64| rounded((this - fewest) / f64::from(more));
        Some(Self {
            cpu_ms_per_s: each(self.cpu_ms_per_s, fewest.cpu_ms_per_s),
            resident_mib: each(self.resident_mib, fewest.resident_mib),
        })
    }

    fn mean(all: &[Self]) -> Option<Self> {
        let mean = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        (!all.is_empty()).then(|| Self { cpu_ms_per_s: mean(|cost| cost.cpu_ms_per_s), resident_mib: mean(|cost| cost.resident_mib) })
    }
}

/// Measures each number of groups in processes of their own, for `time`.
pub async fn measure(program: &str, groups: &[u16], time: Duration, say: impl Fn(&str)) -> Vec<Idle> {
    let mut groups = groups.to_vec();
    groups.sort_unstable();
    groups.dedup();
    let mut all: Vec<Idle> = Vec::new();
    for groups in groups {
        let mut idle = measure_one(program, groups, time, &say).await;
        if let Some(fewest) = all.first() {
            idle.voter_per_group = idle.voter.per_group(groups, fewest.voter, fewest.groups);
            let means = Cost::mean(&idle.copy_holders).zip(Cost::mean(&fewest.copy_holders));
            idle.copy_holder_per_group = means.and_then(|(mean, few)| mean.per_group(groups, few, fewest.groups));
        }
        say(&format!("{idle:?}"));
        all.push(idle);
    }
    all
}

async fn measure_one(program: &str, groups: u16, time: Duration, say: &impl Fn(&str)) -> Idle {
    // For its folders, certificates and ports; none of its gateways is started.
    let mesh = Mesh::init(program, &["hq", "plant", "depot"]);
    let began = Instant::now();
    let mut parts: Vec<Part> = mesh.nodes.iter().map(|node| Part::start(program, &node.config, groups)).collect();
    for part in &mut parts {
        part.level().await;
    }
    say(&format!("{groups} groups are there and copied after {:.1} s", began.elapsed().as_secs_f64()));
    tokio::time::sleep(SETTLE).await;
    let (from, before): (Instant, Vec<Duration>) = (Instant::now(), parts.iter().map(Part::cpu).collect());
    tokio::time::sleep(time).await;
    let (seconds, after): (f64, Vec<Duration>) = (from.elapsed().as_secs_f64(), parts.iter().map(Part::cpu).collect());
    let costs = parts.iter().zip(before.iter().zip(&after)).map(|(part, (before, after))| Cost {
        cpu_ms_per_s: rounded(after.saturating_sub(*before).as_secs_f64() * 1_000.0 / seconds),
        resident_mib: rounded(resident_kib(part.id) as f64 / 1024.0),
    });
    let mut costs: Vec<Cost> = costs.collect();
    let voter = costs.remove(0);
    Idle { groups, seconds: rounded(seconds), voter, copy_holders: costs, voter_per_group: None, copy_holder_per_group: None }
}

/// A process that ends with its input, at the latest with this one.
struct Part {
    child: Child,
    id: u32,
}

impl Part {
    fn start(program: &str, config: &std::path::Path, groups: u16) -> Self {
        let mut command = Command::new(program);
        command.arg(PART).arg(config).arg(groups.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().expect("the part starts");
        let id = child.id().expect("it runs");
        Self { child, id }
    }

    async fn level(&mut self) {
        let said = self.child.stdout.take().expect("its output");
        let line = tokio::time::timeout(LEVEL_TIME_MAX, BufReader::new(said).lines().next_line()).await;
        assert_eq!(line.expect("it is level in time").expect("its output is text").as_deref(), Some(LEVEL), "a part ended");
    }

    /// All its threads' time since it began, those that ended included.
    fn cpu(&self) -> Duration {
        let id = Pid::from_raw(i32::try_from(self.id).expect("a process id"));
        ClockId::pid_cpu_clock_id(id).and_then(ClockId::now).expect("the part runs").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_more_costs_the_difference_shared_by_all_that_are_more() {
        let cost = |cpu_ms_per_s, resident_mib| Cost { cpu_ms_per_s, resident_mib };
        let fewest = cost(0.5, 20.0);
        assert_eq!(cost(5.4, 44.5).per_group(50, fewest, 1), Some(cost(0.1, 0.5)));
        assert_eq!(cost(0.4, 20.0).per_group(11, fewest, 1), Some(cost(-0.01, 0.0)), "less is told as less");
        assert_eq!(fewest.per_group(1, fewest, 1), None);
        assert_eq!(Cost::mean(&[cost(1.0, 10.0), cost(2.0, 30.0)]), Some(cost(1.5, 20.0)));
        assert_eq!(Cost::mean(&[]), None);
    }
}
