//! Filters: which topics each takes.

use crate::wire::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_take_what_the_specification_says_and_nothing_else() {
    let broker = broker().await;
    let hash = "v3.1.1 [MQTT-4.7.1-2] and v5 [MQTT-4.7.1-1] `#`";
    let plus = "v3.1.1 [MQTT-4.7.1-3] and v5 [MQTT-4.7.1-2] `+`";
    let plain = "v3.1.1 [MQTT-4.7.3-1], v3.1.1 [MQTT-3.3.2-3], v5 [MQTT-3.3.2-3] and v5 [MQTT-4.7.3-1] levels as they are";
    let rows: [(&str, &str, &[&str], &[&str]); 13] = [
        (hash, "a/b/#", &["a/b", "a/b/c", "a/b/c/d", "a/b/"], &["a", "a/bc", "b/b"]),
        (hash, "#", &["a", "/", "a//b", "é"], &[]),
        (plus, "a/+", &["a/b", "a/", "a/é"], &["a", "a/b/c", "/a"]),
        (plus, "+", &["a"], &["/a", "a/", "a/b"]),
        (plus, "/+", &["/a", "/"], &["a", "a/b"]),
        (plus, "+/+", &["/a", "a/", "/"], &["a", "a/b/c"]),
        (plus, "+/b/#", &["a/b", "a/b/c", "/b"], &["b", "a/c/b"]),
        (plus, "a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/d"]),
        (plain, "a", &["a"], &["A", "a ", "/a", "a/", "b"]),
        (plain, "a//b", &["a//b"], &["a/b"]),
        (plain, "/", &["/"], &["//", "a/"]),
        (plain, "e\u{301}", &["e\u{301}"], &["é"]),
        (plain, "ACCOUNTS", &["ACCOUNTS"], &["Accounts"]),
    ];
    for version in [4, 5] {
        for (statement, filter, taken, left) in rows {
            let mut taker = Wire::join(&broker, version, "taker").await;
            taker.subscribe(filter, 0).await;
            for topic in taken {
                taker.give(0, topic, 0, b"x").await;
                taker.get(0, topic, 0, b"x", &format!("{statement}: {filter} takes {topic}")).await;
            }
            let mut last = Wire::join(&broker, version, "last").await;
            last.subscribe("#", 0).await;
            for topic in left {
                last.give(0, topic, 0, b"x").await;
                last.get(0, topic, 0, b"x", "published").await;
                taker.expect_nothing(&format!("{statement}: {filter} leaves {topic}")).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_that_are_none_are_refused_and_the_others_beside_them_kept() {
    let broker = broker().await;
    for filter in ["a/#/b", "#a", "a#", "a/b#", "+a", "a+", "a/+b/c", ""] {
        for (version, refused) in [(4, 0x80), (5, 0x8F)] {
            let mut wire = Wire::join(&broker, version, "odd").await;
            let none: &[u8] = if version == 5 { &[0] } else { &[] };
            wire.send(&packet(0x82, &[&[0, 1], none, &s("good"), &[1], &s(filter), &[1]])).await;
            let statement = format!(
                "v3.1.1 [MQTT-4.7.1-2], v3.1.1 [MQTT-4.7.1-3], v3.1.1 [MQTT-3.8.4-5], v3.1.1 [MQTT-3.9.3-2], v5 [MQTT-4.7.1-1], v5 [MQTT-4.7.1-2], \
                 v5 [MQTT-3.8.4-6] {filter:?}"
            );
            wire.expect(&packet(0x90, &[&[0, 1], none, &[1, refused]]), &statement).await;
            wire.give(0, "good", 0, b"x").await;
            wire.get(0, "good", 0, b"x", "the other filter is kept").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wildcards_do_not_take_the_servers_own_topics() {
    let broker = broker().await;
    let first_round = async {
        while broker.stats().retained == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), first_round).await.expect("the broker speaks of itself");
    for version in [4, 5] {
        let mut named = Wire::join(&broker, version, "named").await;
        named.subscribe("$SYS/broker/version", 0).await;
        let got = named.next().await.expect("a PUBLISH");
        assert_eq!(got[0], 0x31, "retained, by name");
        let mut wild = Wire::join(&broker, version, "wild").await;
        for filter in ["#", "+/#", "+/broker/version", "+/broker/#"] {
            wild.subscribe(filter, 0).await;
        }
        wild.expect_nothing("v3.1.1 [MQTT-4.7.2-1] and v5 [MQTT-4.7.2-1] `$…` and wildcards in front").await;
        wild.give(0, "$SYS/broker/version", 0, b"mine").await;
        wild.expect_close(0x90, "a client does not speak for the server").await;
    }
}

/// Some are refused with a code, some as malformed: none is granted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_name_is_one_level_and_a_filter_follows_it() {
    let broker = broker().await;
    for filter in ["$share/g", "$share//a", "$share/+/a", "$share/g#/a", "$share/g/a#", "$share/g/"] {
        for version in [4, 5] {
            let mut wire = Wire::join(&broker, version, "odd").await;
            let none: &[u8] = if version == 5 { &[0] } else { &[] };
            wire.send(&packet(0x82, &[&[0, 1], none, &s(filter), &[1]])).await;
            let answer = wire.next().await;
            let refused = answer.as_ref().is_none_or(|packet| packet[0] == 0xE0 || packet.last().is_some_and(|code| *code >= 0x80));
            assert!(refused, "v5 [MQTT-4.8.2-1] and v5 [MQTT-4.8.2-2] {filter}: {answer:x?}");
        }
    }
    assert_eq!(broker.stats().subscriptions, 0);
}
