//! Numbers of the rooms that keep nothing in the log.

use crate::api::Gauges;
use crate::ingress::Ingress;
use crate::uplink;
use spalla_broker::server::Broker;
use std::sync::Arc;
use tokio::sync::watch;

pub struct Rooms {
    pub broker: Arc<Broker>,
    pub ingress: Arc<Ingress>,
    pub uplink: Option<watch::Receiver<uplink::Status>>,
}

impl Gauges for Rooms {
    fn read(&self) -> Vec<(&'static str, u64)> {
        let broker = self.broker.stats();
        let of = |counted: &std::collections::BTreeMap<&'static str, u64>, reason: &str| counted.get(reason).copied().unwrap_or(0);
        let denied = of(&broker.dropped, "denied") + of(&broker.dropped, "subscription-denied");
        let mut out = vec![
            ("mqtt_connections", broker.connections),
            ("mqtt_received_total", broker.received),
            ("mqtt_sent_total", broker.sent),
            ("mqtt_refused_total", broker.refused.values().sum()),
            ("mqtt_dropped_total", broker.dropped.values().sum()),
            ("mqtt_denied_total", denied),
            ("mqtt_slow_total", of(&broker.ended, "slow")),
            ("mqtt_router_restarts_total", broker.router_restarts),
        ];
        out.extend(self.ingress.counters().named());
        if let Some(uplink) = &self.uplink {
            let uplink = uplink.borrow();
            out.push(("cloud_connected", u64::from(uplink.connected)));
            out.push(("cloud_resent_total", uplink.resent));
        }
        out
    }
}
