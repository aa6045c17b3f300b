//! The headless demo: visits in flight, one fault after the other, then the promises checked from what devices, the cloud
//! stand-in and the stored files saw.

use super::report::{Audit, Fault, Report, State, Summaries, Visits};
use super::visitors::{FLOW, VISIT_TIME_MAX, Visitors};
use super::world::{SITES, World};
use super::{Say, sensors, staff};
use crate::history::{FILE_NAME, Verification, verify_audit};
use anyhow::{Result, bail};
use serde_json::Value;
use spalla_shared::id::GroupId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The bookings are spread over about this long, so that visits are at every task whenever a fault strikes.
const BOOKING_TIME: Duration = Duration::from_secs(50);
/// How long visitors stay inside: a second more each, and again.
const STAYS: u64 = 12;
/// How long each fault lasts.
const FAULT_TIME: Duration = Duration::from_secs(5);
/// From a repair until the mesh must be whole again.
const HEAL_TIME_MAX: Duration = Duration::from_secs(60);
/// Calm between a repair and the next fault: work goes on that the next fault then hits.
const CALM_TIME: Duration = Duration::from_secs(4);
/// Until the last visits and staff flows have ended and the cloud holds everything.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(120);

pub async fn play(world: Arc<World>, visitors: Arc<Visitors>, visits: u64, say: Say) -> Result<Report> {
    let began = Instant::now();
    let mut report = Report::default();
    let staff = tokio::spawn(staff::answer_everything(world.clone()));
    let sensors = tokio::spawn(sensors::run(world.clone()));
    let booking = tokio::spawn(book(visitors.clone(), visits));
    let mut timed: Vec<(Instant, Instant)> = Vec::new();

    for kind in ["kill-leader", "kill-follower", "cut-site", "cut-cloud", "kill-all"] {
        tokio::time::sleep(CALM_TIME).await;
        let at = Instant::now();
        let on = strike(&world, kind).await?;
        say(&format!("{kind} {on}"));
        tokio::time::sleep(FAULT_TIME).await;
        world.restore().await?;
        whole_again(&world).await?;
        say(&format!("{kind} {on}: mended, the mesh is whole again"));
        timed.push((at, Instant::now()));
        report.faults.push(Fault { kind: kind.into(), on, at: at.duration_since(began).as_secs_f64(), gap_ms: 0 });
    }
    booking.await?;
    say("all faults are over; the last visits end");
    let mut tally = visitors.tally.subscribe();
    let last = tokio::time::timeout(VISIT_TIME_MAX, tally.wait_for(|tally| tally.ended() >= visits)).await;
    if last.is_err() {
        say("some visits did not end in time");
    }
    for (fault, (from, to)) in report.faults.iter_mut().zip(timed) {
        fault.gap_ms = u64::try_from(world.ledger.longest_gap(from, to).as_millis()).unwrap_or(u64::MAX);
    }
    sensors.abort();
    say("waiting until all flows have ended and the cloud holds everything");
    let newest_seq = settle(&world).await?;
    staff.abort();
    let tally = *visitors.tally.borrow();
    report.visits = Visits {
        started: tally.started,
        completed: tally.completed,
        faulted: tally.faulted,
        unfinished: tally.unfinished + visits.saturating_sub(tally.ended()),
    };
    report.state = compare_states(&world).await;
    let totals = world.ledger.totals();
    report.duplicate_actuations = totals.duplicate_openings + totals.openings_without_showing;
    report.stale_actuations = totals.stale_openings;
    report.acked_events = totals.acknowledged_events;
    report.device_commands = totals.commands;
    let counted = world.cloud.counts();
    report.summaries = Summaries {
        expected: newest_seq,
        received: counted.received,
        gaps: counted.missing,
        duplicates: counted.duplicates,
        taken_twice: counted.taken_twice,
        site_summaries: counted.site_summaries,
        sites: counted.sites,
    };
    world.stop().await;
    let folders: Vec<_> = world.buildings.lock().await.iter().map(|building| building.data.clone()).collect();
    report.audit = compare_audits(&folders);
    report.acked_events_lost = lost_events(&world, &folders)?;
    report.duration_s = began.elapsed().as_secs_f64();
    report.judge(visits);
    Ok(report)
}

async fn book(visitors: Arc<Visitors>, visits: u64) {
    for number in 0..visits {
        tokio::spawn(visitors.clone().visit(Duration::from_secs(1 + number % STAYS)));
        tokio::time::sleep(BOOKING_TIME.div_f64(visits as f64)).await;
    }
}

/// Does the harm; gives on whom.
async fn strike(world: &World, kind: &str) -> Result<String> {
    let Some(leader) = world.leader().await else { bail!("no leader before `{kind}`") };
    Ok(match kind {
        "kill-leader" => {
            world.buildings.lock().await[leader].kill();
            SITES[leader].into()
        }
        "kill-follower" => {
            let follower = (leader + 1) % SITES.len();
            world.buildings.lock().await[follower].kill();
            SITES[follower].into()
        }
        // The site where the visitors are: the harshest choice.
        "cut-site" => {
            world.cut_site(0);
            SITES[0].into()
        }
        "cut-cloud" => {
            world.cut_cloud();
            "all".into()
        }
        _ => {
            world.buildings.lock().await.iter_mut().for_each(super::building::Building::kill);
            "all".into()
        }
    })
}

/// Every gateway runs, follows a leader and has all devices.
async fn whole_again(world: &World) -> Result<()> {
    let until = tokio::time::Instant::now() + HEAL_TIME_MAX;
    'whole: loop {
        if tokio::time::Instant::now() > until {
            for building in world.buildings.lock().await.iter_mut() {
                if !building.is_running() {
                    bail!("the gateway of {} ended by itself:\n{}", building.site, building.log_tail());
                }
            }
            bail!("the mesh was not whole again within {} s", HEAL_TIME_MAX.as_secs());
        }
        for place in 0..SITES.len() {
            match world.gateways.at(place, None, "/status").await {
                Ok(body) if body["freshness"]["stale"] == false && body["data"]["devices"]["online"] == world.devices.len() => {}
                _ => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue 'whole;
                }
            }
        }
        return Ok(());
    }
}

/// Waits until no visit runs and everything numbered is acknowledged by the cloud; gives the newest sequence.
async fn settle(world: &World) -> Result<u64> {
    let until = tokio::time::Instant::now() + SETTLE_TIME_MAX;
    loop {
        let body = world.gateways.anywhere(None, "/status", "user:demo", until).await?;
        let (data, newest) = (&body["data"], body["data"]["outbox"]["newest_seq"].as_u64().unwrap_or_default());
        let visits = world.gateways.anywhere(None, &format!("/instances?flow={FLOW}"), "user:demo", until).await?;
        let idle = visits["data"].as_array().is_some_and(Vec::is_empty) && data["outbox"]["acknowledged_seq"] == newest;
        if (idle && world.cloud.counts().received >= newest) || tokio::time::Instant::now() > until {
            return Ok(newest);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Digests of all gateways at one and the same log index.
async fn compare_states(world: &World) -> State {
    let mut state = State::default();
    for _ in 0..100 {
        let mut found: Vec<Value> = Vec::new();
        for place in 0..SITES.len() {
            if let Ok(body) = world.gateways.at(place, None, "/state/digest").await {
                found.push(body["data"].clone());
            }
        }
        let indices: BTreeSet<u64> = found.iter().filter_map(|data| data["applied"].as_u64()).collect();
        if found.len() == SITES.len() && indices.len() == 1 {
            let digests: BTreeSet<String> = found.iter().map(|data| data["digest"].to_string()).collect();
            state.applied = indices.first().copied().unwrap_or_default();
            state.replicas_equal = digests.len() == 1;
            state.digests = digests.into_iter().collect();
            return state;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    state
}

/// The chains on disk: whole, and the same on all as far as the shortest goes (the last links may be under way when they stop).
fn compare_audits(folders: &[std::path::PathBuf]) -> Audit {
    let mut audit = Audit { chain_ok: true, ..Audit::default() };
    let mut counts = Vec::new();
    for folder in folders {
        match verify_audit(&folder.join(FILE_NAME), &GroupId::mesh()) {
            Ok(Verification::Verified { count, head }) => {
                counts.push(count);
                audit.heads.push(head);
            }
            other => {
                audit.chain_ok = false;
                audit.heads.push(format!("{other:?}"));
            }
        }
    }
    audit.links = counts.iter().copied().min().unwrap_or_default();
    let shared: Vec<Option<String>> = folders.iter().map(|folder| link_at(folder, audit.links)).collect();
    audit.replicas_equal = audit.chain_ok && shared.iter().all(|hash| hash.is_some() && *hash == shared[0]);
    audit
}

fn link_at(folder: &std::path::Path, seq: u64) -> Option<String> {
    let connection = rusqlite::Connection::open_with_flags(folder.join(FILE_NAME), rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    connection.query_row("SELECT hash FROM audit WHERE grp = 'mesh' AND seq = ?1", [i64::try_from(seq).ok()?], |row| row.get(0)).ok()
}

/// Acknowledged events that no stored audit trail knows.
fn lost_events(world: &World, folders: &[std::path::PathBuf]) -> Result<u64> {
    let mut known = BTreeSet::new();
    for folder in folders {
        let connection = rusqlite::Connection::open_with_flags(folder.join(FILE_NAME), rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut statement =
            connection.prepare("SELECT data FROM audit WHERE grp = 'mesh' AND action IN ('event.received', 'event.late')")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        for data in rows {
            let data: Value = serde_json::from_str(&data?)?;
            known.insert((data["source"].as_str().unwrap_or_default().to_owned(), data["id"].as_str().unwrap_or_default().to_owned()));
        }
    }
    Ok(world.ledger.acknowledged_events().difference(&known).count() as u64)
}
