//! A broker that lets everybody do everything, for `tests/clients.sh` and for trying things out; never for a building.
//! Prints its port. Ends with its standard input's owner, on Ctrl-C.
//!
//! `cargo run --example open_broker [PORT]`

use spalla_broker::hooks::AllowAll;
use spalla_broker::server::{Broker, BrokerConfig};
use std::sync::Arc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(0), |port| port.parse::<u16>())?;
    let config = BrokerConfig { tcp: Some(([127, 0, 0, 1], port).into()), ..BrokerConfig::default() };
    let broker = Broker::start(config, Arc::new(AllowAll)).await?;
    if let Some(address) = broker.addresses().tcp {
        println!("{}", address.port());
    }
    tokio::signal::ctrl_c().await?;
    broker.shutdown().await;
    Ok(())
}
