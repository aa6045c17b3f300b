//! Temperature sensors: a reading a second each; now and then one gets too warm for a while.

use super::world::World;
use std::sync::Arc;
use std::time::Duration;

const READING_EVERY: Duration = Duration::from_secs(1);
/// Every so many readings a warm spell begins…
const WARM_EVERY: u64 = 30;
/// …and lasts for so many.
const WARM_FOR: u64 = 3;

/// Runs until it is aborted.
pub async fn run(world: Arc<World>) {
    let sensors: Vec<_> = world.devices.values().filter(|device| device.id.name().starts_with("temperature")).cloned().collect();
    for tick in 0u64.. {
        for (place, sensor) in sensors.iter().enumerate() {
            let phase = tick + 10 * place as u64;
            let warm = place == 0 && phase % WARM_EVERY >= WARM_EVERY - WARM_FOR;
            let value = if warm { 29.5 } else { 20.0 + (phase % 20) as f64 / 10.0 };
            sensor.reading("temperature", value).await;
        }
        tokio::time::sleep(READING_EVERY).await;
    }
}
