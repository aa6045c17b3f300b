//! What must not be taken: one row per packet, what is sent and how the connection ends.

use crate::wire::*;

/// After a CONNECT of that version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_that_break_the_rules_end_the_connection_with_the_code_of_the_rule() {
    let broker = broker().await;
    let big_filter = "a".repeat(1025);
    let rows: Vec<(&str, u8, Vec<u8>, u8)> = vec![
        ("v3.1.1 [MQTT-3.1.0-2] a second CONNECT", 4, connect4(2, 60, &["x"]), 0x82),
        ("v5 [MQTT-3.1.0-2] a second CONNECT", 5, connect5(2, 60, &[], "x", b""), 0x82),
        ("v3.1.1 [MQTT-2.2.2-2] reserved flags of SUBSCRIBE", 4, packet(0x80, &[&[0, 1], &s("t"), &[0]]), 0x81),
        ("v3.1.1 [MQTT-3.8.1-1] reserved flags of SUBSCRIBE", 4, packet(0x83, &[&[0, 1], &s("t"), &[0]]), 0x81),
        ("v5 [MQTT-2.1.3-1] reserved flags of PINGREQ", 5, vec![0xC1, 0], 0x81),
        ("v5 [MQTT-3.8.1-1] reserved flags of SUBSCRIBE", 5, packet(0x80, &[&[0, 1, 0], &s("t"), &[0]]), 0x81),
        ("v5 [MQTT-3.10.1-1] reserved flags of UNSUBSCRIBE", 5, packet(0xA0, &[&[0, 1, 0], &s("t")]), 0x81),
        ("v3.1.1 [MQTT-3.10.1-1] reserved flags of UNSUBSCRIBE", 4, packet(0xA0, &[&[0, 1], &s("t")]), 0x81),
        ("v5 [MQTT-3.6.1-1] reserved flags of PUBREL", 5, packet(0x60, &[&[0, 1]]), 0x81),
        ("v3.1.1 [MQTT-3.6.1-1] reserved flags of PUBREL", 4, packet(0x60, &[&[0, 1]]), 0x81),
        ("v5 [MQTT-3.14.1-1] reserved flags of DISCONNECT", 5, vec![0xE1, 0], 0x81),
        ("v3.1.1 [MQTT-3.14.1-1] reserved flags of DISCONNECT", 4, vec![0xE1, 0], 0x81),
        ("v5 [MQTT-3.15.1-1] reserved flags of AUTH", 5, vec![0xF1, 0], 0x81),
        ("v3.1.1 [MQTT-3.3.1-4] QoS 3", 4, packet(0x36, &[&s("t"), &[0, 1]]), 0x81),
        ("v5 [MQTT-3.3.1-4] QoS 3", 5, packet(0x36, &[&s("t"), &[0, 1, 0]]), 0x81),
        ("v5 [MQTT-2.2.1-3] packet id 0 in SUBSCRIBE", 5, packet(0x82, &[&[0, 0, 0], &s("t"), &[0]]), 0x81),
        ("v5 [MQTT-2.2.1-3] packet id 0 in PUBLISH", 5, packet(0x32, &[&s("t"), &[0, 0, 0]]), 0x81),
        ("v5 [MQTT-2.2.1-3] packet id 0 in UNSUBSCRIBE", 5, packet(0xA2, &[&[0, 0, 0], &s("t")]), 0x81),
        ("v3.1.1 [MQTT-2.3.1-1] packet id 0 in SUBSCRIBE", 4, packet(0x82, &[&[0, 0], &s("t"), &[0]]), 0x81),
        ("v3.1.1 [MQTT-2.3.1-1] packet id 0 in PUBLISH", 4, packet(0x34, &[&s("t"), &[0, 0]]), 0x81),
        ("v3.1.1 [MQTT-1.5.3-1] a surrogate in a topic", 4, packet(0x30, &[&[0, 3, 0xED, 0xA0, 0x80]]), 0x81),
        ("v5 [MQTT-1.5.4-1] a surrogate in a topic", 5, packet(0x30, &[&[0, 3, 0xED, 0xA0, 0x80, 0]]), 0x81),
        ("v5 [MQTT-1.5.4-1] an overlong form in a filter", 5, packet(0x82, &[&[0, 1, 0, 0, 2, 0xC0, 0xAF, 0]]), 0x81),
        ("v3.1.1 [MQTT-3.8.3-1] a filter that is not UTF-8", 4, packet(0x82, &[&[0, 1, 0, 1, 0xFF, 0]]), 0x81),
        ("v5 [MQTT-3.8.3-1] a filter that is not UTF-8", 5, packet(0x82, &[&[0, 1, 0, 0, 1, 0xFF, 0]]), 0x81),
        ("v3.1.1 [MQTT-3.10.3-1] a filter that is not UTF-8", 4, packet(0xA2, &[&[0, 1, 0, 1, 0xFF]]), 0x81),
        ("v5 [MQTT-3.10.3-1] a filter that is not UTF-8", 5, packet(0xA2, &[&[0, 1, 0, 0, 1, 0xFF]]), 0x81),
        ("v3.1.1 [MQTT-3.3.2-1] a topic that is not UTF-8", 4, packet(0x30, &[&[0, 1, 0xFF]]), 0x81),
        ("v5 [MQTT-3.3.2-1] a topic that is not UTF-8", 5, packet(0x30, &[&[0, 1, 0xFF, 0]]), 0x81),
        ("v3.1.1 [MQTT-3.3.2-2] a wildcard in a topic", 4, packet(0x30, &[&s("a/+")]), 0x90),
        ("v5 [MQTT-3.3.2-2] and v5 [MQTT-4.7.0-1] a wildcard in a topic", 5, packet(0x30, &[&s("a/#"), &[0]]), 0x90),
        ("v3.1.1 [MQTT-4.7.3-1] an empty topic", 4, packet(0x30, &[&s(""), b"x"]), 0x90),
        ("v5 [MQTT-4.7.3-1] an empty topic without an alias", 5, packet(0x30, &[&s(""), &[0], b"x"]), 0x82),
        ("v3.1.1 [MQTT-3.8.3-3] SUBSCRIBE without a filter", 4, packet(0x82, &[&[0, 1]]), 0x81),
        ("v5 [MQTT-3.8.3-2] SUBSCRIBE without a filter", 5, packet(0x82, &[&[0, 1, 0]]), 0x82),
        ("v3.1.1 [MQTT-3.10.3-2] UNSUBSCRIBE without a filter", 4, packet(0xA2, &[&[0, 1]]), 0x81),
        ("v5 [MQTT-3.10.3-2] UNSUBSCRIBE without a filter", 5, packet(0xA2, &[&[0, 1, 0]]), 0x82),
        ("v3.1.1 [MQTT-3-8.3-4] reserved bits of a requested QoS", 4, packet(0x82, &[&[0, 1], &s("t"), &[4]]), 0x81),
        ("v3.1.1 [MQTT-3-8.3-4] requested QoS 3", 4, packet(0x82, &[&[0, 1], &s("t"), &[3]]), 0x81),
        ("v5 [MQTT-3.8.3-5] reserved bits of subscription options", 5, packet(0x82, &[&[0, 1, 0], &s("t"), &[0xC0]]), 0x81),
        ("v5 [MQTT-3.8.3-4] no local on a shared subscription", 5, packet(0x82, &[&[0, 1, 0], &s("$share/g/t"), &[5]]), 0x82),
        ("v5 [MQTT-3.3.4-6] a subscription identifier from a client", 5, packet(0x30, &[&s("t"), &[2, 0x0B, 1]]), 0x82),
        ("v5 [MQTT-3.3.2-8] topic alias 0", 5, packet(0x30, &[&s("t"), &[3, 0x23, 0, 0]]), 0x82),
        ("v5 [MQTT-3.3.2-9] an alias above the maximum", 5, packet(0x30, &[&s("t"), &[3, 0x23, 0xFF, 0xFF]]), 0x94),
        ("v5 [MQTT-4.13.1-1] an alias that nothing was said of", 5, packet(0x30, &[&s(""), &[3, 0x23, 0, 1]]), 0x82),
        ("v5 [MQTT-3.3.2-14] a response topic with wildcards", 5, packet(0x30, &[&s("t"), &[6, 8, 0, 3], b"a/#"]), 0x82),
        ("v5 [MQTT-3.3.2-13] a response topic that is not UTF-8", 5, packet(0x30, &[&s("t"), &[4, 8, 0, 1, 0xFF]]), 0x81),
        ("v5 [MQTT-3.3.2-19] a content type that is not UTF-8", 5, packet(0x30, &[&s("t"), &[4, 3, 0, 1, 0xFF]]), 0x81),
        ("v5 [MQTT-1.5.7-1] a user property that is not UTF-8", 5, packet(0x30, &[&s("t"), &[7, 0x26, 0, 1, b'k', 0, 1, 0xFF]]), 0x81),
        ("v5 [MQTT-4.13.1-1] an expiry interval twice", 5, packet(0x30, &[&s("t"), &[10, 2, 0, 0, 0, 1, 2, 0, 0, 0, 1]]), 0x82),
        ("v5 [MQTT-4.13.1-1] a property of another packet", 5, packet(0x30, &[&s("t"), &[3, 0x21, 0, 1]]), 0x82),
        ("v5 [MQTT-4.12.0-7] AUTH without a method agreed on", 5, packet(0xF0, &[&[0x18, 0]]), 0x82),
        ("v3.1.1 [MQTT-4.8.0-1] a packet that only servers send", 4, vec![0x20, 2, 0, 0], 0x81),
        ("v3.1.1 [MQTT-4.8.0-1] a remaining length of five bytes", 4, vec![0x30, 0x80, 0x80, 0x80, 0x80, 1], 0x81),
        ("v5 [MQTT-4.13.1-1] a remaining length of five bytes", 5, vec![0x30, 0x80, 0x80, 0x80, 0x80, 1], 0x81),
        ("v5 [MQTT-3.2.2-15] a packet above the maximum", 5, vec![0x30, 0xFF, 0xFF, 0x7F], 0x95),
        ("v5 [MQTT-4.13.1-1] DISCONNECT that prolongs a session of nothing", 5, packet(0xE0, &[&[0, 5, 0x11, 0, 0, 0, 9]]), 0x82),
    ];
    for (statement, version, bytes, code) in rows {
        let mut wire = Wire::join(&broker, version, "odd").await;
        wire.send(&bytes).await;
        wire.expect_close(code, statement).await;
    }
    // A filter that cannot be kept is answered, and ends nothing.
    let mut wire = Wire::join(&broker, 5, "odd").await;
    wire.send(&packet(0x82, &[&[0, 1, 0], &s(&big_filter), &[0]])).await;
    wire.expect(&packet(0x90, &[&[0, 1, 0, 0x8F]]), "v5 [MQTT-3.9.3-2] a filter above the bound").await;
    assert!(broker.health().is_good());
}

/// Session present and code.
type ConnackCode = Option<(u8, u8)>;

/// As the first packet of a connection. `None`: the socket is closed without a CONNACK.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_breaks_the_rules_is_refused_as_its_version_says() {
    let broker = broker().await;
    let will5 = [&[0][..], &s("w"), &s("x")].concat();
    let rows: Vec<(&str, Vec<u8>, ConnackCode)> = vec![
        ("v3.1.1 [MQTT-3.1.0-1] PINGREQ first", vec![0xC0, 0], None),
        ("v5 [MQTT-3.1.0-1] PUBLISH first", packet(0x30, &[&s("t"), b"x"]), None),
        ("v3.1.1 [MQTT-3.1.2-1] another protocol name", packet(0x10, &[&s("MQTX"), &[4, 2, 0, 60], &s("x")]), None),
        ("v5 [MQTT-3.1.2-1] another protocol name", packet(0x10, &[&s("mqtt"), &[5, 2, 0, 60, 0], &s("x")]), None),
        ("v3.1.1 [MQTT-3.1.2-2] another protocol level", packet(0x10, &[&s("MQTT"), &[3, 2, 0, 60], &s("x")]), Some((0, 1))),
        ("v5 [MQTT-3.1.2-2] another protocol level", packet(0x10, &[&s("MQTT"), &[6, 2, 0, 60, 0], &s("x")]), Some((0, 1))),
        ("v3.1.1 [MQTT-3.1.2-3] the reserved flag", connect4(3, 60, &["x"]), None),
        ("v5 [MQTT-3.1.2-3] the reserved flag", connect5(3, 60, &[], "x", b""), Some((0, 0x81))),
        ("v3.1.1 [MQTT-3.1.2-13] a will QoS without a will", connect4(0x0A, 60, &["x"]), None),
        ("v5 [MQTT-3.1.2-11] a will QoS without a will", connect5(0x0A, 60, &[], "x", b""), Some((0, 0x81))),
        ("v3.1.1 [MQTT-3.1.2-14] will QoS 3", connect4(0x1E, 60, &["x", "w", "m"]), None),
        ("v5 [MQTT-3.1.2-12] will QoS 3", connect5(0x1E, 60, &[], "x", &will5), Some((0, 0x81))),
        ("v3.1.1 [MQTT-3.1.2-15] will retain without a will", connect4(0x22, 60, &["x"]), None),
        ("v5 [MQTT-3.1.2-13] will retain without a will", connect5(0x22, 60, &[], "x", b""), Some((0, 0x81))),
        ("v3.1.1 [MQTT-3.1.2-22] a password without a user", connect4(0x42, 60, &["x", "pw"]), None),
        ("v3.1.1 [MQTT-3.1.2-18] a user name without its flag", connect4(0x02, 60, &["x", "user"]), None),
        ("v3.1.1 [MQTT-3.1.2-19] a flag without its user name", connect4(0x82, 60, &["x"]), None),
        ("v5 [MQTT-3.1.2-16] a user name without its flag", connect5(0x02, 60, &[], "x", &s("user")), Some((0, 0x81))),
        ("v5 [MQTT-3.1.2-17] a flag without its user name", connect5(0x82, 60, &[], "x", b""), Some((0, 0x81))),
        ("v5 [MQTT-3.1.2-19] a flag without its password", connect5(0xC2, 60, &[], "x", &s("user")), Some((0, 0x81))),
        ("v3.1.1 [MQTT-3.1.3-3] no client id", packet(0x10, &[&s("MQTT"), &[4, 2, 0, 60]]), None),
        ("v3.1.1 [MQTT-3.1.3-4] a client id that is not UTF-8", packet(0x10, &[&s("MQTT"), &[4, 2, 0, 60, 0, 1, 0xFF]]), None),
        ("v3.1.1 [MQTT-3.1.3-8] no client id and a session", connect4(0x00, 60, &[""]), Some((0, 2))),
        (
            "v3.1.1 [MQTT-3.1.3-10] a will topic that is not UTF-8",
            packet(0x10, &[&s("MQTT"), &[4, 6, 0, 60], &s("x"), &[0, 1, 0xFF, 0, 0]]),
            None,
        ),
        (
            "v3.1.1 [MQTT-3.1.3-11] a user name that is not UTF-8",
            packet(0x10, &[&s("MQTT"), &[4, 0x82, 0, 60], &s("x"), &[0, 1, 0xFF]]),
            None,
        ),
        ("v5 [MQTT-3.1.3-11] a will topic that is not UTF-8", connect5(6, 60, &[], "x", &[0, 0, 1, 0xFF, 0, 0]), Some((0, 0x81))),
        ("v5 [MQTT-3.1.3-12] a user name that is not UTF-8", connect5(0x82, 60, &[], "x", &[0, 1, 0xFF]), Some((0, 0x81))),
        ("v5 [MQTT-3.1.4-1] a property twice", connect5(2, 60, &[&[0x21, 0, 9], &[0x21, 0, 9]], "x", b""), Some((0, 0x82))),
        ("v5 [MQTT-3.1.4-1] receive maximum 0", connect5(2, 60, &[&[0x21, 0, 0]], "x", b""), Some((0, 0x82))),
        ("v5 [MQTT-3.1.4-1] maximum packet size 0", connect5(2, 60, &[&[0x27, 0, 0, 0, 0]], "x", b""), Some((0, 0x82))),
        ("v5 [MQTT-4.12.0-1] an authentication method", connect5(2, 60, &[&[0x15], &s("X")], "x", b""), Some((0, 0x8C))),
        ("v3.1.1 [MQTT-3.1.4-1] bytes behind the end", connect4(2, 60, &["x", "more"]), None),
    ];
    for (statement, bytes, answer) in rows {
        let mut wire = Wire::open(&broker).await;
        wire.send(&bytes).await;
        if let Some((present, code)) = answer {
            let got = wire.next().await;
            let found = got.as_ref().map(|packet| (packet[0], packet[2], packet[3]));
            assert_eq!(found, Some((0x20, present, code)), "{statement}: got {got:x?}");
        }
        wire.expect_end(statement).await;
    }
    assert_eq!(broker.stats().connections, 0);
}
