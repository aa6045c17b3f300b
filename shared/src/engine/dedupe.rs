//! What came already: keys with the instant at which they lapse. Bounded by time and by number.

use super::context::Context;
use super::state::Seen;
use crate::event::Event;
use crate::id::InstanceId;
use std::sync::Arc;

/// How long a key is remembered. A device that sends the same event again after a day sends a new one.
pub const SEEN_TTL_MS: u64 = 24 * 60 * 60 * 1000;
/// Keys kept; past it the quarter that would lapse first goes early.
pub const SEEN_LEN_MAX: usize = 100_000;
/// Lapsed keys are swept when the number of keys is a multiple of it: about 100 steps per new key.
const SWEEP_EVERY: usize = 1024;

pub fn event_key(event: &Event) -> Arc<str> {
    format!("event:{}\u{1f}{}", event.source, event.id).into()
}
pub fn start_key(key: &str) -> Arc<str> {
    format!("start:{key}").into()
}
pub fn work_key(key: &str) -> Arc<str> {
    format!("work:{key}").into()
}

/// What is remembered under `key`, unless it has lapsed.
pub fn seen<'a>(context: &'a Context, key: &str) -> Option<&'a Seen> {
    context.state.seen.get(key).filter(|seen| context.now < seen.lapses_at)
}

/// Remembers `key` from now on, with the instance that it gave.
pub fn remember(context: &mut Context, key: Arc<str>, instance: Option<InstanceId>) {
    let now = context.now;
    let all = &mut context.state.seen;
    if all.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
        all.retain(|_, seen| now < seen.lapses_at);
    }
    if all.len() >= SEEN_LEN_MAX {
        let mut lapses: Vec<_> = all.values().map(|seen| seen.lapses_at).collect();
        let (_, cut, _) = lapses.select_nth_unstable(SEEN_LEN_MAX / 4);
        let cut = *cut;
        all.retain(|_, seen| cut < seen.lapses_at);
    }
    all.insert(key, Seen { lapses_at: now.plus(SEEN_TTL_MS), instance });
}

/// True the first time that `key` comes, and remembers it.
pub fn first_time(context: &mut Context, key: Arc<str>) -> bool {
    if seen(context, &key).is_some() {
        return false;
    }
    remember(context, key, None);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::State;
    use crate::id::GroupId;
    use crate::time::Timestamp;

    #[test]
    fn a_key_counts_once_until_it_lapses() {
        let mut state = State::new(GroupId::mesh());
        let mut context = Context::new(&mut state, 1, Timestamp(1000));
        assert!(first_time(&mut context, "work:a".into()));
        assert!(!first_time(&mut context, "work:a".into()));
        context.now = Timestamp(1000).plus(SEEN_TTL_MS);
        assert!(first_time(&mut context, "work:a".into()));
    }

    #[test]
    fn the_oldest_keys_go_when_there_are_too_many() {
        let mut state = State::new(GroupId::mesh());
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        for number in 0..=SEEN_LEN_MAX {
            context.now = Timestamp(number as i64);
            remember(&mut context, work_key(&number.to_string()), None);
        }
        assert!(context.state.seen.len() <= SEEN_LEN_MAX);
        assert!(seen(&context, "work:0").is_none());
        assert!(seen(&context, &work_key(&SEEN_LEN_MAX.to_string())).is_some());
    }
}
