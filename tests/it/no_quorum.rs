//! One gateway alone confirms nothing, says so in time, and still shows what it knows.

use crate::{NOTE_FLOW, PROGRAM, SITES};
use serde_json::json;
use spalla_broker::client::Version;
use spalla_tests::{Device, LONG, Mesh, mesh::config_folder, until};
use std::time::Duration;

/// For changes of the members to be refused: 3 s are promised, the rest is for a busy machine. Work that is under way is waited
/// for longer than that.
const MEMBERS_IN_TIME: Duration = Duration::from_secs(10);

const BADGE_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: badge, version: '1.0.0' }
schedule: { on: { one: { with: { type: spalla.device.badge } } } }
do:
  - note: { set: { seen: true } }
"#;

#[tokio::test]
async fn without_a_quorum_nothing_is_confirmed_and_reads_go_on() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    let profile = std::fs::read_to_string(config_folder().join("profiles/qr-reader.yaml")).expect("a profile");
    for text in [&profile, NOTE_FLOW, BADGE_FLOW] {
        let answer = mesh.nodes[1].api.apply(text).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let login = mesh.add_device(0, "badge", "qr-reader").await;
    let device = Device::connect(&login, Version::V5).await;
    device.say("badge", &json!({ "id": "first" })).await.expect("acknowledged");

    mesh.nodes[1].kill();
    mesh.nodes[2].kill();
    let api = &mesh.nodes[0].api;
    until("the gateway that is left says that it is stale", async || api.get("/status").await.is_stale().then_some(())).await;

    // Writes are refused in time: 3 s are promised, the rest is for a busy machine.
    let request = api.request("POST", "/api/v1/instances").json(&json!({ "flow": "it/note", "input": { "about": "alone" } }));
    let refused = api.send(request.timeout(LONG)).await.expect("an answer in time");
    assert_eq!((refused.status, refused.code()), (503, "no-quorum"), "{}", refused.text);
    let by_hand = mesh.nodes[0].cli(&["instance", "start", "it/note"]);
    let told = String::from_utf8_lossy(&by_hand.stderr).into_owned();
    assert!(!by_hand.status.success() && told.contains("no quorum") && told.lines().count() == 1, "{told}");
    // So are changes of the members, which wait longer where work is under way. Both at once: each has its own time.
    let alone = &mesh.nodes[0];
    let (removal, transfer) = tokio::join!(
        api.send(api.request("DELETE", "/api/v1/mesh/members/3").timeout(MEMBERS_IN_TIME)),
        api.send(api.request("POST", "/api/v1/mesh/transfer").json(&json!({})).timeout(MEMBERS_IN_TIME)),
    );
    for refused in [removal, transfer] {
        let refused = refused.expect("an answer in time");
        assert_eq!((refused.status, refused.code()), (503, "no-quorum"), "{}", refused.text);
    }
    for arguments in [["mesh", "remove", "3"].as_slice(), &["mesh", "transfer"]] {
        let told = String::from_utf8_lossy(&alone.cli(arguments).stderr).into_owned();
        assert!(told.contains("no gateway leads"), "{arguments:?}: {told}");
    }
    // Who led is not said to lead, and how old it all is stands beside it, in words.
    let shown = api.get("/mesh").await;
    let looked = api.get("/mesh/status").await;
    for (answer, groups) in [(&shown, &shown.data()["groups"]), (&looked, &looked.data()["groups"])] {
        let data = answer.data();
        assert!(data["leader"].is_null() && data["as_of"].as_str().is_some_and(|told| told.starts_with("as of ")), "{data}");
        assert!(data["members"].as_array().expect("members").iter().all(|member| member["leader"] == false), "{data}");
        let group = groups.as_array().expect("groups").iter().find(|group| group["group"] == "mesh").expect("the mesh's");
        assert!(group["leader"].is_null(), "{group}");
    }
    let told = String::from_utf8_lossy(&alone.cli(&["mesh", "status"]).stdout).into_owned();
    assert!(told.contains("group mesh: nobody is heard to lead") && told.contains("  as of "), "{told}");
    // Reads go on, and say so to programs, balancers and people.
    assert_eq!(api.get("/flows").await.data().as_array().map(Vec::len), Some(2));
    let ready = api.send(api.anonymous("GET", "/readyz")).await.expect("an answer");
    assert_eq!((ready.status, ready.code()), (503, "no-quorum"));
    let read = mesh.nodes[0].cli(&["flow", "list"]);
    assert!(read.status.success() && String::from_utf8_lossy(&read.stderr).contains("may be old"));

    // The device gets no PUBACK as long as nobody else has its event; its client sends it again by itself.
    let told = tokio::spawn({
        let client = device.client.clone();
        let topic = login.event_topic("badge");
        async move {
            let message = spalla_broker::message::Message {
                topic,
                payload: json!({ "id": "second" }).to_string().into(),
                qos: spalla_broker::message::Qos::AtLeastOnce,
                ..Default::default()
            };
            client.publish(message).await
        }
    });
    until("the event is turned away twice", async || (api.metric("spalla_events_not_now_total").await >= 2).then_some(())).await;
    assert!(!told.is_finished(), "acknowledged without a quorum");
    assert_eq!(api.get("/status").await.data()["instances"]["started"], 1);

    mesh.nodes[1].start();
    mesh.nodes[2].start();
    told.await.expect("the client lives").expect("acknowledged once there is a quorum again");
    mesh.agreed().await;
    for node in &mesh.nodes {
        let trail = node.api.get("/audit?limit=500&action=event.received").await;
        let seen = trail.text.matches("\"second\"").count();
        assert_eq!(seen, 1, "audited at {} once: {}", node.site, trail.text);
        assert_eq!(node.api.get("/status").await.data()["instances"]["started"], 2, "one instance per event at {}", node.site);
    }
}
