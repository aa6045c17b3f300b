//! The client: over restarts of its server, and when its owner changes his mind.

use super::house::*;
use crate::client::{Client, ClientConfig, ClientError, ClientEvent, Version};
use crate::clock;
use crate::hooks::{AllowAll, Verdict};
use crate::message::{Message, Qos};
use crate::server::{Broker, BrokerConfig};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_and_subscriptions_outlive_a_restart_of_the_server() {
    for version in BOTH {
        let config = BrokerConfig { tcp: Some(([127, 0, 0, 1], 0).into()), ..BrokerConfig::default() };
        let first = Broker::start(config, Arc::new(AllowAll)).await.expect("starts");
        let address = first.addresses().tcp.expect("listens");
        let client = ClientConfig { version, ..ClientConfig::new("127.0.0.1", address.port(), "c") };
        let (client, mut events) = Client::connect(client).expect("usable");
        within(client.subscribe("t/#", Qos::AtLeastOnce)).await.expect("granted");
        first.shutdown().await;
        disconnected(&mut events).await;
        let sending: Vec<_> = (0..150)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move { client.publish(text("t/1", &number.to_string(), Qos::AtLeastOnce)).await })
            })
            .collect();
        let brief = Message { expires_at: Some(clock::now().plus(50)), ..text("t/1", "brief", Qos::AtLeastOnce) };
        assert_eq!(within(client.publish(brief)).await, Err(ClientError::Expired));
        let second = BrokerConfig { tcp: Some(address), ..BrokerConfig::default() };
        let second = Broker::start(second, Arc::new(AllowAll)).await.expect("starts");
        for sent in sending {
            assert_eq!(within(sent).await.expect("ran"), Ok(()), "{version:?}");
        }
        within(client.publish(text("t/1", "end", Qos::ExactlyOnce))).await.expect("acknowledged");
        let mut got = payloads_to(&mut events, "end").await;
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), 151, "all, and not the one whose time was over");
        client.disconnect().await;
        assert_eq!(client.publish(text("t/1", "late", Qos::AtLeastOnce)).await, Err(ClientError::Closed));
        second.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_was_given_up_is_not_sent_again() {
    let mut house = open().await;
    let (client, mut events) = house.client("c", Version::V5).await;
    let given_up = tokio::time::timeout(Duration::from_millis(50), client.publish(text("hold/a", "no", Qos::AtLeastOnce)));
    assert!(given_up.await.is_err());
    let (first, verdict) = within(house.held.recv()).await.expect("asked");
    assert_eq!(&first.payload[..], b"no");
    verdict.send(Verdict::NotNow("no quorum")).expect("heard");
    disconnected(&mut events).await;
    let sending = {
        let client = client.clone();
        tokio::spawn(async move { client.publish(text("hold/a", "yes", Qos::AtLeastOnce)).await })
    };
    let (next, verdict) = within(house.held.recv()).await.expect("asked");
    assert_eq!(&next.payload[..], b"yes");
    verdict.send(Verdict::Accept { route: true }).expect("heard");
    assert_eq!(within(sending).await.expect("ran"), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_gets_no_answer_can_be_closed() {
    let mut house = open().await;
    let (client, mut events) = house.client("c", Version::V4).await;
    let sending = {
        let client = client.clone();
        tokio::spawn(async move { client.publish(text("hold/a", "x", Qos::AtLeastOnce)).await })
    };
    let _held = within(house.held.recv()).await.expect("asked");
    within(client.disconnect()).await;
    assert_eq!(within(sending).await.expect("ran"), Err(ClientError::Closed));
    while let Some(event) = within(events.recv()).await {
        assert!(!matches!(event, ClientEvent::Message(_)));
    }
}
