//! Ports for a mesh: outside the range from which systems take ports for outgoing connections, so that a gateway that was
//! killed finds its ports free when it starts again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 12_000;
const LAST: u16 = 31_000;
/// Three listeners of up to five gateways, with room.
const BLOCK: u16 = 20;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// First port of `count` consecutive ports that are free now and are given to nobody else of this process.
pub fn free_block(count: u16) -> u16 {
    assert!(count <= BLOCK, "a block has {BLOCK} ports");
    let blocks = (LAST - FIRST) / BLOCK;
    // Test processes that run beside each other begin at different places.
    let offset = u16::try_from(std::process::id() % u32::from(blocks)).unwrap_or(0);
    for _ in 0..blocks {
        let at = (NEXT.fetch_add(1, Ordering::Relaxed) + offset) % blocks;
        let first = FIRST + at * BLOCK;
        let held: Vec<_> = (first..first + count).map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if held.len() == usize::from(count) {
            return first;
        }
    }
    panic!("no {count} consecutive free ports");
}
