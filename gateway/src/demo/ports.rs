//! Ports for gateways on one machine: outside the range from which systems take ports for outgoing connections. In that range a
//! client that dials a gateway which is not up yet, or was killed, can be given the gateway's own port, and keep it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 12_000;
const LAST: u16 = 31_000;
/// Three listeners of up to five gateways, with room.
const BLOCK: u16 = 20;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// First port of `count` (at most 20) consecutive ports that are free now and are given to nobody else of this process.
pub fn free_block(count: u16) -> anyhow::Result<u16> {
    anyhow::ensure!(count <= BLOCK, "a block has {BLOCK} ports, not {count}");
    let blocks = (LAST - FIRST) / BLOCK;
    // Processes that run beside each other begin at different places.
    let offset = u16::try_from(std::process::id() % u32::from(blocks)).unwrap_or(0);
    for _ in 0..blocks {
        let at = (NEXT.fetch_add(1, Ordering::Relaxed) % blocks + offset) % blocks;
        let first = FIRST + at * BLOCK;
        let held: Vec<_> = (first..first + count).map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if held.len() == usize::from(count) {
            return Ok(first);
        }
    }
    anyhow::bail!("no {count} consecutive free ports on 127.0.0.1 from {FIRST} to {LAST}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The demo once took ports that the system had just given out; some of its starts found one of them taken by a client.
    #[test]
    fn blocks_differ_and_lie_outside_the_ports_of_clients() {
        let first = free_block(9).unwrap();
        let second = free_block(9).unwrap();
        assert!(first.abs_diff(second) >= 9, "{first} and {second} overlap");
        assert!(free_block(BLOCK + 1).is_err());
        if let Ok(range) = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range") {
            let lowest: u16 = range.split_whitespace().next().and_then(|port| port.parse().ok()).unwrap();
            assert!(LAST < lowest, "clients' ports begin at {lowest} here");
        }
    }
}
