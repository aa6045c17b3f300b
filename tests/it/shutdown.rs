//! SIGTERM: the others hear that the devices are gone, the ports are free at once, and nothing has to be mended at the next start.

use crate::{NOTE_FLOW, PROGRAM, SITES};
use serde_json::json;
use spalla_broker::client::Version;
use spalla_tests::mesh::config_folder;
use spalla_tests::{Device, Mesh, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

#[tokio::test]
async fn an_asked_for_end_is_quick_clean_and_told() {
    let mut mesh = Mesh::start(PROGRAM, &SITES).await;
    let leader = mesh.leader().await;
    let (gone, stays) = ((leader + 1) % 3, (leader + 2) % 3);
    let profile = std::fs::read_to_string(config_folder().join("profiles/qr-reader.yaml")).expect("a profile");
    for text in [&profile, NOTE_FLOW] {
        assert_eq!(mesh.nodes[stays].api.apply(text).await.status, 200);
    }
    mesh.agreed().await;
    let login = mesh.add_device(gone, "reader-1", "qr-reader").await;
    let device = Device::connect(&login, Version::V5).await;
    mesh.nodes[stays].connected(&login.id).await;
    // Someone at the API who keeps his connection, and someone who says half a word.
    let address = mesh.nodes[gone].api.base.trim_start_matches("http://").to_owned();
    let mut half = TcpStream::connect(&address).expect("connects");
    half.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n").expect("written");

    let began = Instant::now();
    assert!(mesh.nodes[gone].stop().await.success());
    println!("SIGTERM to the end of the process: {} ms", began.elapsed().as_millis());
    // The gateway told it before it went; the next start, which would clear it, has not happened.
    mesh.nodes[stays].away(&login.id).await;
    let mut rest = Vec::new();
    assert!(matches!(half.read_to_end(&mut rest), Ok(_) | Err(_)), "the socket is closed");

    mesh.nodes[gone].start();
    mesh.ready().await;
    assert!(!mesh.nodes[gone].log().contains("Truncating"), "the log was not closed in order");
    mesh.nodes[stays].connected(&login.id).await;
    mesh.nodes[gone].api.start("it/note", &json!({ "about": "after" })).await;
    mesh.agreed().await;
    drop(device);

    // The leader, too: the two others go on.
    let leader = mesh.leader().await;
    let began = Instant::now();
    assert!(mesh.nodes[leader].stop().await.success());
    println!("the leader: {} ms", began.elapsed().as_millis());
    let other = (leader + 1) % 3;
    until("another leads", async || {
        let answer = mesh.nodes[other].api.post("/instances", &json!({ "flow": "it/note", "input": { "about": "on" }, "key": "on" })).await;
        (answer.status == 200).then_some(())
    })
    .await;
    mesh.nodes[leader].start();
    mesh.ready().await;
    mesh.agreed().await;
}
