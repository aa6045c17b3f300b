//! What clients were not let do, gathered for the audit trail: the first of its kind is told at once, those that follow in the
//! next minute as one number. So a flood of denials is a link a minute and fills no log. The counters count each by itself.

use super::Ingress;
use parking_lot::Mutex;
use spalla_broker::hooks;
use spalla_shared::engine::denial::TEXT_LEN_MAX;
use spalla_shared::engine::{Command, Denial, Denied};
use spalla_shared::id::Actor;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Between two links about the same client and kind.
const GATHERED_FOR: Duration = Duration::from_secs(60);
/// Between two proposals.
const PACE: Duration = Duration::from_secs(1);
/// Clients and kinds told apart at one time; the rest is `others`, of each of the four kinds. Together `DENIALS_MAX`.
const TOLD_APART_MAX: usize = 12;
const OTHERS: &str = "others";
const UNKNOWN: &str = "unknown";

#[derive(Default)]
pub(super) struct Denials {
    open: Mutex<BTreeMap<(Actor, Denied), Gathered>>,
    ring: Notify,
}

struct Gathered {
    first: Arc<str>,
    count: u64,
    told_at: Option<Instant>,
}

impl Denials {
    pub fn note(&self, who: Actor, what: Denied, first: &str) {
        let first: String = first.chars().take(TEXT_LEN_MAX).collect();
        self.add(Denial { who, what, first: first.into(), count: 1 });
        self.ring.notify_one();
    }

    fn add(&self, denial: Denial) {
        let Denial { who, what, first, count } = denial;
        let mut open = self.open.lock();
        let told_apart = open.keys().filter(|(who, _)| who.as_str() != OTHERS).count();
        let known = open.contains_key(&(who.clone(), what));
        let who = if known || told_apart < TOLD_APART_MAX { who } else { Actor::new(OTHERS) };
        let gathered = open.entry((who, what)).or_insert(Gathered { first: first.clone(), count: 0, told_at: None });
        if gathered.count == 0 {
            gathered.first = first;
        }
        gathered.count = gathered.count.saturating_add(count);
    }

    /// What is to be told now; each kind of each client once a minute.
    fn due(&self, now: Instant) -> Vec<Denial> {
        let mut open = self.open.lock();
        let over = |gathered: &Gathered| gathered.told_at.is_none_or(|at| now.saturating_duration_since(at) >= GATHERED_FOR);
        open.retain(|_, gathered| gathered.count > 0 || !over(gathered));
        let due = open.iter_mut().filter(|(_, gathered)| gathered.count > 0 && over(gathered));
        due.map(|((who, what), gathered)| {
            gathered.told_at = Some(now);
            Denial { who: who.clone(), what: *what, first: gathered.first.clone(), count: std::mem::take(&mut gathered.count) }
        })
        .collect()
    }

    fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }
}

impl Ingress {
    pub(super) fn note_denied(&self, denied: hooks::Denied<'_>) {
        match denied {
            hooks::Denied::Login { username, address, .. } => {
                let known = username.and_then(|username| self.known_login(username));
                let who = known.map_or_else(|| Actor::new(UNKNOWN), |known| Actor::new(&*known.principal));
                self.denials.note(who, Denied::Login, &address.ip().to_string());
            }
            hooks::Denied::Publish { who, topic } => self.denials.note(Actor::new(&*who.name), Denied::Publish, topic),
            hooks::Denied::Subscribe { who, filter } => self.denials.note(Actor::new(&*who.name), Denied::Subscribe, filter),
        }
    }

    /// Brings denials into the audit trail. Runs until it is dropped; spawn it once.
    pub async fn keep_denials(self: Arc<Self>) {
        let Some(group) = self.groups.first() else { return };
        let mut told = 0u64;
        loop {
            if self.denials.is_empty() {
                self.denials.ring.notified().await;
            }
            let denials = self.denials.due(Instant::now());
            if !denials.is_empty() {
                told += 1;
                let key = format!("{}-{}-{told}", self.options.node, self.options.boot);
                let command = Command::Denials { node: self.options.node, denials: denials.clone(), key: key.into() };
                if let Err(error) = self.commit(group, command).await {
                    tracing::debug!(%error, "denials wait for a quorum");
                    denials.into_iter().for_each(|denial| self.denials.add(denial));
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(denials: &Denials, now: Instant) -> Vec<(String, u64)> {
        denials.due(now).into_iter().map(|denial| (format!("{} {:?} {}", denial.who, denial.what, denial.first), denial.count)).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_a_flood_once_a_minute() {
        let (denials, start) = (Denials::default(), Instant::now());
        let rogue = || Actor::new("device:hq/rogue");
        denials.note(rogue(), Denied::Publish, "a");
        assert_eq!(told(&denials, start), [("device:hq/rogue Publish a".into(), 1)]);
        for number in 0..10_000 {
            denials.note(rogue(), Denied::Publish, &format!("b{number}"));
        }
        denials.note(rogue(), Denied::Subscribe, "#");
        assert_eq!(told(&denials, start + PACE), [("device:hq/rogue Subscribe #".into(), 1)]);
        assert_eq!(told(&denials, start + GATHERED_FOR), [("device:hq/rogue Publish b0".into(), 10_000)]);
        assert!(told(&denials, start + 2 * GATHERED_FOR).is_empty() && denials.is_empty(), "what is over is forgotten");
    }

    #[test]
    fn many_who_are_denied_share_a_line() {
        let (denials, start) = (Denials::default(), Instant::now());
        for number in 0..1000 {
            let who = Actor::new(format!("device:hq/{number:04}"));
            for what in [Denied::Login, Denied::Publish, Denied::Subscribe, Denied::Command] {
                denials.note(who.clone(), what, &"x".repeat(3000));
            }
        }
        let all = denials.due(start);
        assert_eq!((all.len(), all.iter().map(|denial| denial.count).sum::<u64>()), (spalla_shared::engine::denial::DENIALS_MAX, 4000));
        assert!(all.iter().all(|denial| denial.first.len() == TEXT_LEN_MAX));
        assert!(denials.due(start + PACE).is_empty());
    }
}
