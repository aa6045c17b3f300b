//! The cloud stand-in: an MQTT broker of its own and a subscriber that acknowledges, asks for gaps and counts.

use crate::config::{self, Encoding, MqttVersion};
use crate::uplink::receiver::Receiver;
use crate::uplink::{self, Names};
use anyhow::{Context, Result};
use parking_lot::Mutex;
use spalla_broker::hooks::AllowAll;
use spalla_broker::server::{Broker, BrokerConfig};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

pub struct Cloud {
    pub address: SocketAddr,
    broker: Broker,
    receiver: Arc<Mutex<Receiver>>,
    kept: Arc<Mutex<Kept>>,
}

/// What the receiver handed on to be kept: counted here, so that its own bookkeeping is checked too.
#[derive(Default)]
struct Kept {
    seqs: BTreeSet<u64>,
    twice: u64,
}

/// What came up, each numbered event once.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub received: u64,
    pub taken_twice: u64,
    pub missing: u64,
    pub duplicates: u64,
    pub site_summaries: u64,
    pub sites: Vec<String>,
}

impl Cloud {
    pub async fn start(organisation: &str, mesh: &str) -> Result<Self> {
        let config = BrokerConfig { tcp: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..BrokerConfig::default() };
        let broker = Broker::start(config, Arc::new(AllowAll)).await?;
        let address = broker.addresses().tcp.context("the cloud's broker listens")?;
        let names = Names { organisation: organisation.into(), mesh: mesh.into() };
        let receiver = Arc::new(Mutex::new(Receiver::new(names.clone(), Encoding::Cbor)));
        let own = config::Cloud {
            url: format!("mqtt://{address}"),
            username: None,
            password_file: None,
            ca: None,
            mqtt: MqttVersion::default(),
            encoding: Encoding::Cbor,
        };
        let (link, events) = uplink::connect(&own, "cloud", Receiver::subscriptions(&names), None)?;
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let keep = kept.clone();
        tokio::spawn(Receiver::run(receiver.clone(), link, events, move |items| {
            let mut kept = keep.lock();
            for item in items {
                let new = kept.seqs.insert(item.seq);
                kept.twice += u64::from(!new);
            }
        }));
        Ok(Self { address, broker, receiver, kept })
    }

    pub fn counts(&self) -> Counts {
        let receiver = self.receiver.lock();
        let counts = receiver.counts();
        let kept = self.kept.lock();
        Counts {
            received: kept.seqs.len() as u64,
            taken_twice: kept.twice,
            missing: counts.missing + counts.lost + counts.dropped,
            duplicates: counts.duplicates,
            site_summaries: counts.summaries,
            sites: receiver.summaries().keys().map(ToString::to_string).collect(),
        }
    }

    pub async fn stop(&self) {
        self.broker.shutdown().await;
    }
}
