//! Slows guessing down: after a few failed logins a client id, and the address they come from, must wait before the next
//! one is even looked at. The wait doubles with every failure; a good login ends it for the id. The table is bounded, and
//! what is oldest in it gives way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures that cost nothing: somebody mistypes.
const FREE: u32 = 5;
/// More clients than one share an address (a NAT, a gateway): it is given more room than an id.
const FREE_PER_ADDRESS: u32 = 50;
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// Short enough that a building whose devices share an address and met a gateway without their passwords is back soon.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Failures older than this are forgotten.
const MEMORY: Duration = Duration::from_secs(600);

/// Who tries: the id it claims and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub client_id: String,
    pub address: IpAddr,
}

pub(crate) struct Bouncer {
    /// Ids are told apart per address, so that nobody locks a device out from elsewhere.
    ids: HashMap<(IpAddr, String), Record>,
    addresses: HashMap<IpAddr, Record>,
    len_max: usize,
}

#[derive(Clone, Copy)]
struct Record {
    failures: u32,
    last: Instant,
}

impl Record {
    fn waits(&self, free: u32, now: Instant) -> bool {
        let Some(over) = self.failures.checked_sub(free) else { return false };
        let wait = WAIT_FIRST.saturating_mul(1 << over.min(16)).min(WAIT_MAX);
        now.saturating_duration_since(self.last) < wait
    }
}

impl Bouncer {
    pub fn new(len_max: usize) -> Self {
        Self { ids: HashMap::new(), addresses: HashMap::new(), len_max: len_max.max(1) }
    }

    /// Whether a login is to be looked at.
    pub fn admits(&self, origin: &Origin, now: Instant) -> bool {
        let id = self.ids.get(&(origin.address, origin.client_id.clone()));
        let address = self.addresses.get(&origin.address);
        !id.is_some_and(|record| record.waits(FREE, now)) && !address.is_some_and(|record| record.waits(FREE_PER_ADDRESS, now))
    }

    pub fn failed(&mut self, origin: &Origin, now: Instant) {
        book(&mut self.ids, (origin.address, origin.client_id.clone()), now, self.len_max);
        book(&mut self.addresses, origin.address, now, self.len_max);
    }

    pub fn succeeded(&mut self, origin: &Origin) {
        if !self.ids.is_empty() {
            self.ids.remove(&(origin.address, origin.client_id.clone()));
        }
    }

    pub fn sweep(&mut self, now: Instant) {
        let fresh = |record: &Record| now.saturating_duration_since(record.last) < MEMORY;
        self.ids.retain(|_, record| fresh(record));
        self.addresses.retain(|_, record| fresh(record));
    }
}

fn book<K: std::hash::Hash + Eq + Clone>(table: &mut HashMap<K, Record>, key: K, now: Instant, len_max: usize) {
    if table.len() >= len_max
        && !table.contains_key(&key)
        && let Some(oldest) = table.iter().min_by_key(|(_, record)| record.last).map(|(key, _)| key.clone())
    {
        table.remove(&oldest);
    }
    let record = table.entry(key).or_insert(Record { failures: 0, last: now });
    record.failures = record.failures.saturating_add(1);
    record.last = now;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(id: &str, host: u8) -> Origin {
        Origin { client_id: id.into(), address: [10, 0, 0, host].into() }
    }

    #[test]
    fn guessing_gets_slower_for_the_id_and_its_address_and_for_nobody_else() {
        let start = Instant::now();
        let mut bouncer = Bouncer::new(100);
        for _ in 0..FREE {
            assert!(bouncer.admits(&origin("lock", 1), start));
            bouncer.failed(&origin("lock", 1), start);
        }
        assert!(!bouncer.admits(&origin("lock", 1), start));
        assert!(bouncer.admits(&origin("lock", 2), start) && bouncer.admits(&origin("other", 1), start));
        let later = start + WAIT_FIRST;
        assert!(bouncer.admits(&origin("lock", 1), later));
        bouncer.failed(&origin("lock", 1), later);
        assert!(!bouncer.admits(&origin("lock", 1), later + WAIT_FIRST), "the wait has doubled");
        for number in 0..FREE_PER_ADDRESS {
            bouncer.failed(&origin(&number.to_string(), 3), start);
        }
        assert!(!bouncer.admits(&origin("new", 3), start));
        assert!(bouncer.ids.len() <= 100);
        bouncer.sweep(start + MEMORY + WAIT_MAX);
        assert!(bouncer.ids.is_empty() && bouncer.addresses.is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let start = Instant::now();
        let mut bouncer = Bouncer::new(10);
        for number in 0..30u8 {
            bouncer.failed(&origin("x", number), start + Duration::from_millis(number.into()));
        }
        assert_eq!((bouncer.ids.len(), bouncer.addresses.len()), (10, 10));
        assert!(bouncer.addresses.contains_key(&IpAddr::from([10, 0, 0, 29])));
    }
}
