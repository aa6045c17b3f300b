//! One card lets one person into an area of two buildings, also over a cut between them.
//!
//! | rule | what must never happen | tests |
//! |---|---|---|
//! | S12 | buildings that cannot hear each other let one card in twice, and nobody knows of it | [`s12_s13_two_buildings_with_one_area_are_cut_apart`], `engine::passback::tests` |
//! | S13 | who went in meanwhile is let in once more when the link is back | the same |
//! | | everybody is kept out because nobody says that it is over | [`a_building_whose_gateway_is_replaced_does_not_stay_split`] |

use crate::alone::{admitted, apply, attached, campus, decided, level, login, profiles};
use crate::{ADMIT_FLOW, PROGRAM, SITES};
use serde_json::{Value, json};
use spalla_broker::client::Version;
use spalla_tests::mesh::parsed;
use spalla_tests::{Device, Login, Mesh, Node, until};

/// A reader and the gate that it opens, with what both have said so far.
struct Entrance {
    site: &'static str,
    badge: Device,
    arms: Device,
    gate: Login,
    said: u32,
}

impl Entrance {
    async fn of(node: &Node, declared_at: &Node, site: &'static str) -> Self {
        let gate = login(declared_at, json!({ "id": format!("{site}/gate"), "profile": "turnstile" })).await;
        let opens = format!("{site}/gate");
        let reader = login(declared_at, json!({ "id": format!("{site}/reader"), "profile": "qr-reader", "opens": opens })).await;
        let here = |login: &Login| Login { port: node.devices_port, ..login.clone() };
        let (gate, reader) = (here(&gate), here(&reader));
        // A gateway knows a login once it has heard of the device.
        for device in [&gate, &reader] {
            until("the gateway knows the device", async || {
                node.api.try_get(&format!("/devices/{}", device.id)).await.filter(|answer| answer.status == 200).map(drop)
            })
            .await;
        }
        let badge = Device::connect(&reader, Version::V5).await;
        let arms = Device::connect(&gate, Version::V5).await;
        arms.listen().await.expect("listens");
        Self { site, badge, arms, gate, said: 0 }
    }

    /// Shows the token and gives what is decided in `group`. Whether the gate then moves is for other stories to look at.
    async fn shows(&mut self, node: &Node, group: &str, token: &str) -> String {
        let before = decided(node, group, &self.gate.id).await.len();
        self.said += 1;
        let id = format!("{}-{}", self.site, self.said);
        self.badge.say("presented", &json!({ "id": id, "token": token, "direction": "in" })).await.expect("acknowledged");
        until("it is decided", async || decided(node, group, &self.gate.id).await.get(before).cloned()).await
    }

    async fn passes(&mut self, direction: &str) {
        self.said += 1;
        let id = format!("{}-{}", self.site, self.said);
        self.arms.say("passed", &json!({ "id": id, "direction": direction, "holder": "vera" })).await.expect("acknowledged");
    }
}

async fn floor(node: &Node) -> Value {
    node.api.get("/areas/floor").await.data().clone()
}

/// What the mesh's log says of it; a gateway that hears no leader counts all other buildings as out of reach by itself.
async fn out_of_reach(node: &Node, sites: &[&str]) -> Option<()> {
    let answer = node.api.get("/areas/floor").await;
    (!answer.is_stale() && answer.data()["out_of_reach"] == json!(sites)).then_some(())
}

#[tokio::test]
async fn s12_s13_two_buildings_with_one_area_are_cut_apart() {
    let mesh = campus(&["hq", "plant", "depot"]).await;
    let (hq, plant) = (&mesh.nodes[0], &mesh.nodes[1]);
    apply(hq, ADMIT_FLOW).await;
    let (mut at_hq, mut at_plant) = (Entrance::of(hq, hq, "hq").await, Entrance::of(plant, hq, "plant").await);
    let area = "kind: area\nname: floor\ndoors: [hq/gate, plant/gate]\nanti_passback: { rule: hard, when_split: warn }\n";
    until("every gateway is of this build, and the rule is taken", async || (hq.api.apply(area).await.status == 200).then_some(())).await;
    apply(hq, "kind: area\nname: gates\ndoors: [hq/gate, plant/gate]\n").await;
    let token = admitted(hq).await;
    level(&mesh, "plant", &[1]).await;
    for (node, entrance) in [(hq, &at_hq), (plant, &at_plant)] {
        for group in ["mesh".to_owned(), format!("site:{}", entrance.site)] {
            attached(node, &group, &entrance.gate).await;
        }
    }

    // Together: inside is inside, by whichever door.
    assert_eq!(at_hq.shows(hq, "mesh", &token).await, "granted");
    at_hq.passes("in").await;
    assert_eq!(at_plant.shows(hq, "mesh", &token).await, "anti-passback");
    at_plant.passes("out").await;

    // Apart: either side lets her in, as the area says, and the trail says that nobody could look.
    mesh.cut_off(&[1]);
    until("the plant says that it is cut off", async || plant.api.get("/status").await.is_stale().then_some(())).await;
    until("the others say so too", async || out_of_reach(hq, &["plant"]).await).await;
    assert_eq!(at_plant.shows(plant, "site:plant", &token).await, "granted, anti-passback-split");
    at_plant.passes("in").await;
    assert_eq!(at_hq.shows(hq, "mesh", &token).await, "granted, anti-passback-split");

    // Together again: what was passed at the plant counts before the rule is hard again.
    mesh.heal();
    until("all is heard", async || out_of_reach(hq, &[]).await).await;
    let shown = floor(hq).await;
    assert_eq!((&shown["inside"], &shown["people"][0]["person"]), (&json!(1), &json!("vera")), "{shown}");
    assert_eq!(at_hq.shows(hq, "mesh", &token).await, "anti-passback");

    // A guard who knows better forgives her.
    let forgiven = parsed(&hq.cli_meanwhile(&["area", "forgive", "floor", "--person", "vera", "--as", "anna", "--json"]).await);
    assert_eq!(forgiven["forgiven"], 1, "{forgiven}");
    assert_eq!(at_hq.shows(hq, "mesh", &token).await, "granted");
    let trail = hq.api.get("/audit?limit=1000&subject=floor").await;
    assert!(trail.text.contains("area.forgiven") && trail.text.contains("user:anna"), "{}", trail.text);
    mesh.agreed().await;

    for (arguments, what) in [(&["area", "list"][..], "hard, when split warn"), (&["area", "show", "floor"], "plant/gate")] {
        let said = hq.cli_meanwhile(arguments).await;
        assert!(String::from_utf8_lossy(&said.stdout).contains(what), "{said:?}");
    }
    let refused = hq.cli_meanwhile(&["area", "forgive", "gates", "--everybody"]).await;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("no area `gates` with anti-passback"), "{why}");
}

/// Nobody said that a building was heard out whose gateway had been replaced: its group was gone, and the area stayed shut for all.
#[tokio::test]
async fn a_building_whose_gateway_is_replaced_does_not_stay_split() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    profiles(&mesh.nodes[0]).await;
    let (hq, plant) = (&mesh.nodes[0], &mesh.nodes[1]);
    apply(hq, ADMIT_FLOW).await;
    let mut at_hq = Entrance::of(hq, hq, "hq").await;
    drop(Entrance::of(plant, hq, "plant").await);
    let area = "kind: area\nname: floor\ndoors: [hq/gate, plant/gate]\nanti_passback: { rule: hard }\n";
    until("every gateway is of this build, and the rule is taken", async || (hq.api.apply(area).await.status == 200).then_some(())).await;
    apply(hq, "kind: area\nname: gates\ndoors: [hq/gate]\n").await;
    let token = admitted(hq).await;
    attached(hq, "mesh", &at_hq.gate).await;
    mesh.nodes[1].kill();
    let hq = &mesh.nodes[0];
    until("the plant is lost", async || out_of_reach(hq, &["plant"]).await).await;
    assert_eq!(at_hq.shows(hq, "mesh", &token).await, "anti-passback-split");

    let replacement = mesh.join(0, "plant", &[]).await;
    mesh.nodes[replacement].start();
    mesh.nodes[replacement].ready().await;
    let hq = &mesh.nodes[0];
    parsed(&hq.cli_meanwhile(&["mesh", "remove", "2", "--json"]).await);
    until("nothing is split any more", async || out_of_reach(hq, &[]).await).await;
    assert_eq!(at_hq.shows(hq, "mesh", &token).await, "granted");
}
