//! CONNECT that is taken, CONNACK, keep-alive, limits that are agreed on, the end.

use crate::wire::*;
use spalla_broker::server::Limits;
use std::time::Duration;

/// The properties of a v5 CONNACK, as (identifier, bytes) of the fixed-length ones this broker sends.
fn connack_has(connack: &[u8], property: &[u8]) -> bool {
    connack.windows(property.len()).any(|window| window == property)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_is_answered_first_and_once() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut wire = Wire::join(&broker, version, "one").await;
        wire.expect_nothing("v5 [MQTT-3.2.0-1] CONNACK comes first, v5 [MQTT-3.2.0-2] and once, v3.1.1 [MQTT-3.2.0-1]").await;
        wire.expect_nothing("v5 [MQTT-3.12.4-1] and v3.1.1 [MQTT-3.12.4-1] PINGRESP").await;
        wire.end().await;
    }
    // Packets that come with the CONNECT are taken after it.
    let mut wire = Wire::open(&broker).await;
    wire.send(&[connect4(2, 60, &["early"]), vec![0xC0, 0]].concat()).await;
    wire.expect(&[0x20, 2, 0, 0], "v3.1.1 [MQTT-3.1.4-4] packets before the CONNACK").await;
    wire.expect(&[0xD0, 0], "v3.1.1 [MQTT-3.1.4-4] are answered after it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_of_a_client_that_was_refused() {
    let broker = broker().await;
    let mut wire = Wire::open(&broker).await;
    let publish = packet(0x31, &[&s("refused"), b"x"]);
    wire.send(&[connect4(0x00, 60, &[""]), publish].concat()).await;
    wire.expect(&[0x20, 2, 0, 2], "v3.1.1 [MQTT-3.2.2-4] session present 0 beside a refusal, v3.1.1 [MQTT-3.1.3-9]").await;
    wire.expect_end("v3.1.1 [MQTT-3.2.2-5] and v5 [MQTT-3.2.2-7] closed after a refusal").await;
    let mut other = Wire::join(&broker, 5, "other").await;
    other.subscribe("refused", 0).await;
    other.expect_nothing("v5 [MQTT-3.1.4-6] nothing after a refused CONNECT is processed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_ids_are_taken_and_given() {
    let broker = broker().await;
    for id in ["a", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[..23].into(), "é/+#$ ~"] {
        for version in [4, 5] {
            let wire = Wire::join(&broker, version, id).await;
            // v3.1.1 [MQTT-3.1.3-5], v5 [MQTT-3.1.3-5]: at least these.
            wire.end().await;
        }
    }
    let mut wire = Wire::open(&broker).await;
    wire.send(&connect4(2, 60, &[""])).await;
    wire.expect(&[0x20, 2, 0, 0], "v3.1.1 [MQTT-3.1.3-6] and v3.1.1 [MQTT-3.1.3-7] an empty id with a clean session").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::open(&broker).await;
        wire.send(&connect5(2, 60, &[], "", b"")).await;
        let connack = wire.next().await.expect("a CONNACK");
        let at = connack.windows(8).position(|window| window.starts_with(&[0x12]) && window[3..].starts_with(b"auto-"));
        let at = at.expect("v5 [MQTT-3.1.3-6] and v5 [MQTT-3.2.2-16] an empty id is given one");
        let len = usize::from(connack[at + 2]);
        ids.push(connack[at + 3..at + 3 + len].to_vec());
        wire.end().await;
    }
    assert_ne!(ids[0], ids[1], "v5 [MQTT-3.1.3-7] given ids are unique");
    let mut wire = Wire::open(&broker).await;
    wire.send(&connect5(2, 60, &[], "a\u{1}b", b"")).await;
    let refused = wire.next().await.expect("a CONNACK");
    assert_eq!((refused[0], refused[3]), (0x20, 0x85), "v5 [MQTT-3.1.3-8] an id that is not taken");
    wire.expect_end("v5 [MQTT-3.1.3-8]").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_past_one_and_a_half_keep_alive_times_is_the_end_and_pings_are_not_silence() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut wire = Wire::open(&broker).await;
        wire.version = version;
        wire.send(&if version == 4 { connect4(2, 1, &["quiet"]) } else { connect5(2, 1, &[], "quiet", b"") }).await;
        assert_eq!(wire.next().await.expect("a CONNACK")[0], 0x20);
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            wire.expect_nothing("v5 [MQTT-3.1.2-20] a ping in time").await;
        }
        wire.expect_close(0x8D, "v3.1.1 [MQTT-3.1.2-24] and v5 [MQTT-3.1.2-22] silence").await;
    }
    let broker = broker_with(Limits { keep_alive_max: Duration::from_secs(1), ..Limits::default() }).await;
    let mut wire = Wire::open(&broker).await;
    wire.send(&connect5(2, 600, &[], "long", b"")).await;
    let connack = wire.next().await.expect("a CONNACK");
    assert!(connack_has(&connack, &[0x13, 0, 1]), "v5 [MQTT-3.2.2-21] server keep alive in {connack:x?}");
    wire.expect_close(0x8D, "v5 [MQTT-3.2.2-21] the server's keep alive is the one that counts").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_connection_takes_over() {
    let broker = broker().await;
    for version in [4, 5] {
        let mut old = Wire::join(&broker, version, "twin").await;
        let mut new = Wire::join(&broker, version, "twin").await;
        old.expect_close(0x8E, "v3.1.1 [MQTT-3.1.4-2] and v5 [MQTT-3.1.4-3] the same client id again").await;
        new.expect_nothing("v3.1.1 [MQTT-3.1.4-3] the new one goes on").await;
        new.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_packet_size_is_kept_to() {
    let broker = broker().await;
    let mut wire = Wire::open(&broker).await;
    wire.send(&connect5(2, 60, &[&[0x27, 0, 0, 0, 30]], "small", b"")).await;
    let connack = wire.next().await.expect("a CONNACK");
    assert_eq!(connack[3], 0);
    wire.subscribe("t", 1).await;
    let mut giver = Wire::join(&broker, 5, "giver").await;
    giver.give(2, "t", 1, &[b'x'; 23]).await;
    giver.expect(&[0x40, 2, 0, 1], "v5 [MQTT-3.1.2-25] what is too large for one is still acknowledged").await;
    giver.give(2, "t", 2, &[b'x'; 22]).await;
    giver.expect(&[0x40, 2, 0, 2], "PUBACK").await;
    // 2 + 3 + 2 + 1 + 22 = 30: the first one was not sent, the second just fits.
    wire.get(2, "t", 2, &[b'x'; 22], "v5 [MQTT-3.1.2-24] nothing above the maximum packet size").await;
    // A reason that makes the packet too large is left out.
    wire.send(&packet(0x30, &[&s("a/#"), &[0]])).await;
    let farewell = wire.next().await.expect("a DISCONNECT");
    assert!(farewell[0] == 0xE0 && farewell[2] == 0x90 && farewell.len() <= 30, "v5 [MQTT-3.14.2-3] in {farewell:x?}");
    assert_eq!(broker.stats().dropped.get("too-large-for-client"), Some(&1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reasons_are_given_to_those_who_want_them() {
    let broker = broker().await;
    for (wanted, id) in [(1, "asks"), (0, "asks-not")] {
        let mut wire = Wire::open(&broker).await;
        wire.send(&connect5(2, 60, &[&[0x17, wanted]], id, b"")).await;
        assert_eq!(wire.next().await.expect("a CONNACK")[3], 0);
        // Not the text it says it is: refused with a code, and a reason for who wants one.
        let bytes = wire.publish(2, "t", 7, &[&[1, 1]], b"\xFF");
        wire.send(&bytes).await;
        let puback = wire.next().await.expect("a PUBACK");
        assert_eq!(puback[..5].to_vec(), [0x40, puback[1], 0, 7, 0x99], "v5 [MQTT-3.4.2-1] the code of the refusal");
        assert_eq!(puback.len() > 6, wanted == 1, "v5 [MQTT-3.1.2-29] request problem information {wanted}");
        wire.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_says_what_it_takes() {
    let broker = broker().await;
    let mut wire = Wire::open(&broker).await;
    wire.send(&connect5(2, 60, &[], "asks", b"")).await;
    let connack = wire.next().await.expect("a CONNACK");
    assert_eq!(connack[2..4], [0, 0], "v5 [MQTT-3.2.2-1] reserved flags 0, v5 [MQTT-3.2.2-2] no session");
    assert!(connack_has(&connack, &[0x21, 0, 64]), "v5 [MQTT-3.3.4-7] receive maximum");
    assert!(connack_has(&connack, &[0x27, 0, 4, 0, 0]), "v5 [MQTT-3.2.2-15] maximum packet size");
    assert!(connack_has(&connack, &[0x22, 0, 32]), "v5 [MQTT-3.2.2-18] topic alias maximum");
    // Maximum QoS, retain, wildcards, identifiers and shared subscriptions: absent is "all of it" ([MQTT-3.2.2-9] and on).
    for absent in [0x24, 0x25, 0x28, 0x29, 0x2A] {
        assert!(!connack[5..].chunks(3).any(|chunk| chunk[0] == absent && chunk.len() > 1 && chunk[1] == 0), "{connack:x?}");
    }
}
