//! Every construct of the flow language on a mesh whose leader is killed again and again: what each instance gives, and which tasks it went
//! through, is what one undisturbed gateway gives.

use crate::{PROGRAM, SITES};
use serde_json::{Value, json};
use spalla_tests::{Api, Mesh, until, until_within};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub mod erp;
mod flows;

use erp::Erp;

/// Instances, some per leader that dies.
const EACH: u64 = 4;
const KILLS: u64 = 4;
/// A minute may just have begun.
const MINUTE_TIME_MAX: Duration = Duration::from_secs(100);

#[tokio::test]
async fn a_flow_gives_the_same_while_leaders_die_as_on_one_gateway() {
    let erp = Erp::start().await;
    let undisturbed = {
        let mesh = Mesh::start(PROGRAM, &SITES[..1]).await;
        declare(&mesh.nodes[0].api).await;
        for n in 0..EACH * KILLS {
            start(&mesh.nodes[0].api, n, &erp).await;
        }
        results(&mesh.nodes[0].api, EACH * KILLS).await
    };

    let erp = Erp::start().await;
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    declare(&mesh.nodes[0].api).await;
    semantics_are_switched_on_once(&mesh).await;
    for kill in 0..KILLS {
        let leader = mesh.leader().await;
        let other = (leader + 1) % SITES.len();
        for n in kill * EACH..(kill + 1) * EACH {
            start(&mesh.nodes[other].api, n, &erp).await;
        }
        // In the middle of what it does: some wait, some call, some have ended.
        let begun = format!("/erp/{}/", kill * EACH);
        until("an instance has got as far as its calls", async || erp.has_heard(&begun).then_some(())).await;
        mesh.nodes[leader].kill();
        let next = until("another gateway leads", async || {
            let answer = mesh.nodes[other].api.try_get("/mesh").await?;
            let leads = &answer.data()["leader"];
            (!leads.is_null() && *leads != json!(mesh.nodes[leader].number)).then(|| leads.clone())
        })
        .await;
        assert_ne!(next, json!(mesh.nodes[leader].number));
        mesh.nodes[leader].start();
        mesh.ready().await;
    }
    let api = mesh.nodes[0].api.clone();
    let disturbed = results(&api, EACH * KILLS).await;
    for (n, one) in &undisturbed {
        assert_eq!(disturbed.get(n), Some(one), "instance {n}: on the mesh (left) it went another way than on one gateway");
        assert_eq!(one.status, "completed", "{one:?}");
    }
    assert_eq!(disturbed.len(), undisturbed.len());

    // What nobody waited for came about as well, and once each.
    let told: BTreeSet<u64> = (0..EACH * KILLS).collect();
    for flow in ["it/heard", "it/aside"] {
        until(&format!("each {flow} has ended"), async || {
            let of = finished(&api, flow).await;
            let numbers: BTreeSet<u64> = of.iter().filter_map(|row| row["output"]["n"].as_u64()).collect();
            assert!(of.len() <= told.len(), "{flow} ran {} times for {} events", of.len(), told.len());
            (numbers == told && of.len() == told.len()).then_some(())
        })
        .await;
    }
    for flow in ["it/clock", "it/again", "it/minute"] {
        went_on(&api, flow).await;
    }
    api.start("it/whole", &json!({})).await;
    let rows = until("all spots are taken at once", async || Some(finished(&api, "it/whole").await).filter(|rows| !rows.is_empty())).await;
    assert_eq!(rows[0]["output"]["n"], json!(EACH * KILLS), "a spot was not given back: {rows:?}");
    // While a clock ticks no two gateways stand still at one entry.
    for flow in ["clock", "again", "minute"] {
        assert_eq!(api.post_surely(&format!("/flows/it/{flow}/1.0.0/disable"), &json!({})).await.status, 200, "{flow}");
    }
    mesh.agreed().await;
}

/// The gateways of this build switch the meaning that they all know on, through the log: the audit says so, once, and the same everywhere.
async fn semantics_are_switched_on_once(mesh: &Mesh) {
    until("the newest semantics are in force at every gateway", async || {
        for node in &mesh.nodes {
            let answer = node.api.try_get("/audit?limit=500").await?;
            let all = answer.data().as_array()?;
            let enabled: Vec<&Value> = all.iter().filter(|one| one["action"] == "semantics.enabled").collect();
            assert!(enabled.len() <= 1, "{enabled:?}");
            enabled.first()?;
        }
        Some(())
    })
    .await;
}

/// A schedule went on under each leader, and never started two for one instant.
async fn went_on(api: &Api, flow: &str) {
    let before = finished(api, flow).await.len();
    // That one has had its turns while leaders died, unless no minute began meanwhile.
    if flow == "it/minute" {
        let began = async || (before > 0 || !finished(api, flow).await.is_empty()).then_some(());
        until_within(MINUTE_TIME_MAX, "a minute begins", began).await;
    } else {
        until(&format!("{flow} goes on"), async || (finished(api, flow).await.len() > before).then_some(())).await;
    }
    let rows = finished(api, flow).await;
    let instants: BTreeSet<&str> = rows.iter().filter_map(|row| row["started_at"].as_str()).collect();
    assert_eq!(instants.len(), rows.len(), "one instant started two: {rows:?}");
}

async fn declare(api: &Api) {
    for text in flows::ALL {
        let answer = api.apply(text).await;
        assert_eq!(answer.status, 200, "{}\n{text}", answer.text);
    }
}

/// Over the time in which there may be no leader; the key makes repeating safe.
async fn start(api: &Api, n: u64, erp: &Erp) {
    let body = json!({ "flow": "it/every", "input": { "n": n, "erp": erp.port() }, "key": format!("every-{n}") });
    until("a start is taken", async || {
        let answer = api.post("/instances", &body).await;
        assert!(matches!(answer.status, 200 | 503 | 504), "{answer:?}");
        (answer.status == 200).then_some(())
    })
    .await;
}

/// How an instance went: what it gave, and every task that began with how it ended.
#[derive(Debug, PartialEq)]
struct Went {
    status: String,
    output: Value,
    tasks: Vec<(String, String, u32)>,
}

/// By the number that an instance was started with, once `count` have ended.
async fn results(api: &Api, count: u64) -> BTreeMap<u64, Went> {
    let rows = until("all instances end", async || {
        let stuck = api.try_get("/instances?status=incident&limit=100").await?;
        assert_eq!(stuck.data().as_array().map(Vec::len), Some(0), "{}", stuck.text);
        let rows = finished(api, "it/every").await;
        (rows.len() as u64 >= count).then_some(rows)
    })
    .await;
    let mut all = BTreeMap::new();
    for row in rows {
        let n = row["input"]["n"].as_u64().expect("a number");
        let mut tasks: BTreeMap<(String, String), u32> = BTreeMap::new();
        let page = api.get(&format!("/instances/{}/trace", row["id"].as_str().expect("an id"))).await;
        for line in page.data().as_array().expect("lines") {
            let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            *tasks.entry((word("reference"), word("what"))).or_default() += 1;
        }
        let tasks = tasks.into_iter().map(|((reference, what), times)| (reference, what, times)).collect();
        let status = row["status"].as_str().unwrap_or_default().to_owned();
        let before = all.insert(n, Went { status, output: row["output"].clone(), tasks });
        assert!(before.is_none(), "{n} was started twice");
    }
    all
}

async fn finished(api: &Api, flow: &str) -> Vec<Value> {
    let Some(answer) = api.try_get("/instances?status=finished&limit=1000").await else { return Vec::new() };
    let mut rows = answer.data().as_array().cloned().unwrap_or_default();
    rows.retain(|row| row["flow"].as_str().is_some_and(|of| of.starts_with(&format!("{flow}:"))));
    rows
}
