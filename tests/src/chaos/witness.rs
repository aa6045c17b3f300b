//! What was seen from outside: by devices, and by those who asked. The gateways' own opinion is looked at only in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// A command as a device got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub id: String,
    pub command: String,
    /// Whose unit.
    pub unit: String,
    /// Which holder's turn.
    pub turn: u64,
}

#[derive(Default)]
pub struct Witness {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Numbers of events that a gateway acknowledged.
    acknowledged: BTreeSet<u64>,
    /// Turns that a gateway took.
    begun: BTreeSet<u64>,
    told: Vec<Told>,
}

impl Witness {
    pub fn acknowledged(&self, event: u64) {
        self.lock().acknowledged.insert(event);
    }
    pub fn begun(&self, turn: u64) {
        self.lock().begun.insert(turn);
    }
    pub fn told(&self, told: Told) {
        self.lock().told.push(told);
    }
    pub fn events(&self) -> BTreeSet<u64> {
        self.lock().acknowledged.clone()
    }
    pub fn turns(&self) -> BTreeSet<u64> {
        self.lock().begun.clone()
    }
    pub fn commands(&self) -> usize {
        self.lock().told.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What broke of: nobody is let in twice in one turn, and a unit has one holder at a time.
    pub fn broken(&self) -> Vec<String> {
        broken(&self.lock().told)
    }
}

/// `open` lets the holder of a unit in, `close` is its leave; a `close` may be repeated, an `open` never.
fn broken(told: &[Told]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut opened: BTreeMap<u64, usize> = BTreeMap::new();
    let mut holder: BTreeMap<&str, u64> = BTreeMap::new();
    for one in told {
        match &*one.command {
            "open" => {
                *opened.entry(one.turn).or_default() += 1;
                if let Some(before) = holder.insert(&one.unit, one.turn).filter(|before| *before != one.turn) {
                    broken.push(format!("unit {} went to turn {} while turn {before} had not left", one.unit, one.turn));
                }
            }
            "close" => {
                if holder.get(&*one.unit) == Some(&one.turn) {
                    holder.remove(&*one.unit);
                }
            }
            other => broken.push(format!("nobody sends `{other}`")),
        }
    }
    broken.extend(opened.into_iter().filter(|(_, times)| *times > 1).map(|(turn, times)| format!("turn {turn} was let in {times} times")));
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(command: &str, unit: &str, turn: u64) -> Told {
        Told { id: String::new(), command: command.into(), unit: unit.into(), turn }
    }

    #[test]
    fn two_holders_and_two_openings_are_seen() {
        let good = [told("open", "a", 1), told("open", "b", 2), told("close", "a", 1), told("close", "a", 1), told("open", "a", 3)];
        assert_eq!(broken(&good), Vec::<String>::new());
        assert_eq!(broken(&[told("open", "a", 1), told("open", "a", 2)]).len(), 1);
        assert_eq!(broken(&[told("open", "a", 1), told("close", "a", 1), told("open", "a", 1)]), ["turn 1 was let in 2 times"]);
        // A late leave of the one before does not free the unit of the one after.
        let late = [told("open", "a", 1), told("close", "a", 1), told("open", "a", 2), told("close", "a", 1), told("open", "a", 3)];
        assert_eq!(broken(&late).len(), 1);
    }
}
