//! What must go on whatever happens: a router that dies, members of a group that vanish, sockets that trickle, readers that
//! sleep, guessers. The silent losses of rumqttd's own listener are each a test here or in `taking` and `sessions`.

use super::house::*;
use crate::client::{ClientConfig, Version};
use crate::message::{Message, Qos};
use crate::server::Limits;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_dies_is_replaced_and_nothing_acknowledged_is_lost() {
    const EACH: usize = 400;
    let house = open().await;
    let (taker, mut events) = house.client("taker", Version::V5).await;
    taker.subscribe("t/#", Qos::AtLeastOnce).await.expect("granted");
    let givers: Vec<_> = (0..4)
        .map(|giver| {
            let config = house.config(&format!("giver-{giver}"), Version::V5);
            tokio::spawn(async move {
                let (client, events) = crate::client::Client::connect(config).expect("usable");
                for number in 0..EACH {
                    client.publish(text(&format!("t/{giver}"), &number.to_string(), Qos::AtLeastOnce)).await.expect("acknowledged");
                }
                (client, events)
            })
        })
        .collect();
    for death in 1..=3 {
        house.broker.kill_router();
        until(|| house.broker.stats().router_restarts >= death).await;
    }
    let mut next = [0; 4];
    for _ in 0..4 * EACH {
        let got = message(&mut events).await;
        let giver: usize = got.topic[2..].parse().expect("a number");
        assert_eq!(got.payload, next[giver].to_string(), "giver {giver}");
        next[giver] += 1;
    }
    let mut still_there = Vec::new();
    for giver in givers {
        still_there.push(within(giver).await.expect("ran"));
    }
    assert!(house.broker.health().is_good());
    assert_eq!(house.broker.stats().ended.len(), 0, "no session ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_shares_fairly_and_loses_nothing_when_a_member_vanishes() {
    let house = open().await;
    for version in BOTH {
        let group: Vec<_> = ["a", "b", "c"].iter().map(|name| format!("{name}-{version:?}")).collect();
        let mut members = Vec::new();
        for id in &group {
            let (client, events) = house.client(id, version).await;
            client.subscribe("$share/g/work/+", Qos::AtLeastOnce).await.expect("granted");
            members.push((client, events));
        }
        let (giver, _events) = house.client("giver", Version::V5).await;
        for number in 0..30 {
            within(giver.publish(text("work/1", &number.to_string(), Qos::AtLeastOnce))).await.expect("acknowledged");
        }
        for (_, events) in &mut members {
            for _ in 0..10 {
                message(events).await;
            }
        }
        for (client, _) in &members {
            client.disconnect().await;
        }
        until(|| group.iter().all(|id| !house.broker.is_connected(id))).await;
    }

    // One member takes and never acknowledges; what it had goes to the other.
    let mut deaf = house.raw().await;
    deaf.join_v4("deaf", false, 60).await;
    deaf.send(b"\x82\x0f\x00\x01\x00\x0a$share/g/w\x01").await;
    deaf.expect(b"\x90\x03\x00\x01\x01").await;
    let (other, mut events) = house.client("other", Version::V5).await;
    other.subscribe("$share/g/w", Qos::AtLeastOnce).await.expect("granted");
    for number in 0..200 {
        within(other.publish(text("w", &number.to_string(), Qos::AtLeastOnce))).await.expect("acknowledged");
    }
    let mut got: Vec<u32> = Vec::new();
    for _ in 0..100 {
        got.push(String::from_utf8_lossy(&message(&mut events).await.payload).parse().expect("a number"));
    }
    drop(deaf);
    for _ in 0..100 {
        got.push(String::from_utf8_lossy(&message(&mut events).await.payload).parse().expect("a number"));
    }
    got.sort_unstable();
    assert_eq!(got, (0..200).collect::<Vec<_>>());
    // While one is here, nothing is put aside for the other.
    within(other.publish(text("w", "live", Qos::AtLeastOnce))).await.expect("acknowledged");
    assert_eq!(payloads_to(&mut events, "live").await, ["live"]);
    let mut back = house.raw().await;
    back.join_v4("deaf", false, 60).await;
    back.send(b"\xc0\x00").await;
    back.expect(b"\xd0\x00").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_absent_member_goes_to_the_first_that_comes() {
    let house = open().await;
    for id in ["one", "two"] {
        let config = ClientConfig { clean: false, ..house.config(id, Version::V4) };
        let (client, _events) = house.join(config).await;
        client.subscribe("$share/g/w", Qos::AtLeastOnce).await.expect("granted");
        client.disconnect().await;
        until(|| !house.broker.is_connected(id)).await;
    }
    for number in 0..10 {
        house.broker.publish(text("w", &number.to_string(), Qos::AtLeastOnce)).await.expect("routed");
    }
    house.settled().await;
    let (_two, mut events) = house.join(ClientConfig { clean: false, ..house.config("two", Version::V4) }).await;
    let mut got = Vec::new();
    for _ in 0..10 {
        got.push(message(&mut events).await.payload);
    }
    got.sort_unstable();
    assert_eq!(got.len(), 10);
    got.dedup();
    assert_eq!(got.len(), 10, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_trickle_are_ended_and_hold_nobody_up() {
    let limits = Limits { connect_timeout: Duration::from_millis(500), packet_timeout: Duration::from_millis(500), ..Limits::default() };
    let house = open_with(limits).await;
    let mut slow = Vec::new();
    for number in 0..20 {
        let mut raw = house.raw().await;
        if number % 2 == 0 {
            raw.join_v4(&format!("slow{number}"), true, 0).await;
            raw.send(b"\x30\x20").await;
        } else {
            raw.send(b"\x10\x20").await;
        }
        slow.push(tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            // One byte at a time, always in time for a clock that starts again with each.
            for _ in 0..200 {
                if raw.0.write_all(b"\x00").await.is_err() {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            false
        }));
    }
    let (client, mut events) = house.client("quick", Version::V5).await;
    client.subscribe("t", Qos::AtLeastOnce).await.expect("granted");
    within(client.publish(text("t", "x", Qos::AtLeastOnce))).await.expect("acknowledged");
    assert_eq!(payloads_to(&mut events, "x").await, ["x"]);
    for raw in slow {
        assert!(within(raw).await.expect("ran"), "still connected");
    }
    until(|| {
        let stats = house.broker.stats();
        stats.ended.get("packet-timeout") == Some(&10) && stats.refused.contains_key("connect-timeout")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keep_alive_counts_packets_and_not_bytes() {
    let house = open().await;
    let mut raw = house.raw().await;
    raw.join_v4("mute", true, 1).await;
    raw.send(b"\x30\x7f").await;
    let writer = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while raw.0.write_all(b"\x01").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    until(|| house.broker.stats().ended.get("keep-alive") == Some(&1)).await;
    within(writer).await.expect("ran");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_v5_subscriber_is_told_0x97() {
    let house = open_with(Limits { outgoing_queue: 16, in_flight: 4, ..Limits::default() }).await;
    let mut raw = house.raw().await;
    let mut body = b"\x00\x04MQTT\x05\xc2\x00\x3c\x00".to_vec();
    for part in ["slow", "slow", "secret"] {
        body.extend([0, part.len() as u8]);
        body.extend(part.as_bytes());
    }
    raw.send(&[&[0x10, body.len() as u8], &body[..]].concat()).await;
    raw.send(b"\x82\x07\x00\x01\x00\x00\x01t\x01").await;
    until(|| house.broker.stats().subscriptions == 1).await;
    // It reads, and acknowledges nothing.
    for _ in 0..40 {
        house.broker.publish(text("t", "x", Qos::AtLeastOnce)).await.expect("routed");
    }
    let rest = raw.rest().await;
    assert!(rest.windows(3).any(|part| part[0] == 0xE0 && part[2] == 0x97), "{rest:x?}");
    until(|| house.broker.stats().ended.get("slow") == Some(&1)).await;
    assert!(house.broker.stats().dropped.get("slow").is_some_and(|count| *count >= 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_passwords_gets_slow_for_the_guesser_and_for_nobody_else() {
    let house = open().await;
    let guess = || async {
        let mut raw = house.raw().await;
        raw.send(b"\x10\x1a\x00\x04MQTT\x05\xc2\x00\x3c\x00\x00\x02id\x00\x02me\x00\x05wrong").await;
        let answer = raw.rest().await;
        answer.get(3).copied()
    };
    let mut codes = Vec::new();
    for _ in 0..8 {
        codes.push(guess().await);
    }
    assert_eq!(codes[..5], [Some(0x86); 5]);
    assert!(codes[5..].contains(&Some(0x9F)), "{codes:x?}");
    let (_other, _events) = house.client("other", Version::V5).await;
    assert!(house.broker.stats().refused.contains_key("login-rate"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_principal_cannot_take_all_places() {
    let house = open_with(Limits { connections_per_principal: 2, ..Limits::default() }).await;
    let config = |id: &str| ClientConfig { client_id: id.into(), ..house.config("many", Version::V5) };
    let (_one, _events) = house.join(config("1")).await;
    let (two, _events) = house.join(config("2")).await;
    let (_three, mut events) = crate::client::Client::connect(config("3")).expect("usable");
    assert!(disconnected(&mut events).await.contains("QuotaExceeded"));
    let (_other, _events) = house.client("other", Version::V5).await;
    two.disconnect().await;
    assert_eq!(house.logged("+3 4").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_read_no_faster_than_its_rate_and_loses_nothing() {
    let house = open_with(Limits { publish_rate: 50, ..Limits::default() }).await;
    let (taker, mut events) = house.client("taker", Version::V5).await;
    taker.subscribe("t", Qos::AtMostOnce).await.expect("granted");
    let mut raw = house.raw().await;
    raw.join_v4("fast", true, 60).await;
    let began = std::time::Instant::now();
    for number in 0..100u8 {
        raw.send(&[0x30, 4, 0, 1, b't', number]).await;
    }
    for number in 0..100u8 {
        assert_eq!(message(&mut events).await.payload[0], number);
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "the second fifty wait for their second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_topics_are_retained_readable_and_not_taken_by_wildcards() {
    let house = open_with(Limits { sys_every: Duration::from_millis(100), ..Limits::default() }).await;
    let (watcher, mut seen) = house.client("watcher", Version::V5).await;
    watcher.subscribe("#", Qos::AtLeastOnce).await.expect("granted");
    watcher.subscribe("+/broker/#", Qos::AtLeastOnce).await.expect("granted");
    let (reader, mut events) = house.client("reader", Version::V4).await;
    reader.subscribe("$SYS/broker/clients/connected", Qos::AtLeastOnce).await.expect("granted");
    loop {
        let said = message(&mut events).await;
        assert_eq!(said.topic, "$SYS/broker/clients/connected");
        if &said.payload[..] == b"2" {
            break;
        }
    }
    within(watcher.publish(text("end", "end", Qos::AtLeastOnce))).await.expect("acknowledged");
    assert_eq!(payloads_to(&mut seen, "end").await, ["end"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_message_and_its_properties_survive_a_v4_publisher_between() {
    let house = open().await;
    let (giver, _events) = house.client("giver", Version::V5).await;
    let rich = Message {
        retain: true,
        is_text: true,
        user_properties: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
        ..text("k", "v", Qos::AtLeastOnce)
    };
    within(giver.publish(rich.clone())).await.expect("acknowledged");
    let (taker, mut events) = house.client("taker", Version::V5).await;
    taker.subscribe("k", Qos::AtLeastOnce).await.expect("granted");
    assert_eq!(message(&mut events).await, rich);
}

/// Mutated packets into real connections: whatever comes, only that connection may end. Seeds are the corpus in
/// `tests/corpus`, one packet per line in hex; a failure prints the bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_packets_end_at_most_their_own_connection() {
    let house = open_with(Limits { connect_timeout: Duration::from_secs(2), ..Limits::default() }).await;
    let corpus: Vec<Vec<u8>> = include_str!("../../tests/corpus/packets.hex")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| (0..line.len() / 2).map(|at| u8::from_str_radix(&line[2 * at..2 * at + 2], 16).expect("hex")).collect())
        .collect();
    let (steady, mut events) = house.client("steady", Version::V5).await;
    steady.subscribe("steady", Qos::AtLeastOnce).await.expect("granted");
    let mut dice = Dice(0x5EED_0001);
    for round in 0..600 {
        let mut raw = house.raw().await;
        if round % 4 != 0 {
            raw.join_v4("fuzz", true, 60).await;
        }
        let mut bytes = Vec::new();
        for _ in 0..1 + dice.below(3) {
            let mut packet = corpus[dice.below(corpus.len())].clone();
            for _ in 0..dice.below(4) {
                let at = dice.below(packet.len());
                match dice.below(3) {
                    0 => packet[at] = dice.below(256) as u8,
                    1 => packet.insert(at, dice.below(256) as u8),
                    _ if packet.len() > 1 => drop(packet.remove(at)),
                    _ => {}
                }
            }
            bytes.extend(packet);
        }
        tokio::io::AsyncWriteExt::write_all(&mut raw.0, &bytes).await.ok();
        drop(raw);
        if round % 20 == 0 {
            let number = round.to_string();
            within(steady.publish(text("steady", &number, Qos::AtLeastOnce))).await.expect("acknowledged");
            assert_eq!(payloads_to(&mut events, &number).await, [number.as_str()], "after {bytes:02x?}");
        }
    }
    assert!(house.broker.health().is_good() && steady.is_connected());
    assert_eq!((house.broker.stats().router_restarts, house.broker.stats().ended.get("internal")), (0, None));
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}
