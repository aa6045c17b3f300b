//! Changes that wait for the next group: at most one for each thing, so that a slow disk makes groups larger, not endless.

use crate::message::Message;
use crate::store::{Change, QueueRow, RowState, SessionRow, Then, WillRow};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Batch {
    pub retained: BTreeMap<String, Option<Arc<Message>>>,
    pub sessions: BTreeMap<u64, Option<SessionRow>>,
    pub queued: BTreeMap<(u64, u64), Queued>,
    pub received: BTreeMap<(u64, u16), bool>,
    pub wills: BTreeMap<u64, Option<WillRow>>,
    pub then: Vec<Then>,
}

pub(super) enum Queued {
    Insert(QueueRow),
    State(RowState),
    Delete,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.has_no_changes() && self.then.is_empty()
    }

    pub fn has_no_changes(&self) -> bool {
        self.retained.is_empty() && self.sessions.is_empty() && self.queued.is_empty() && self.received.is_empty() && self.wills.is_empty()
    }

    pub fn put(&mut self, change: Change) {
        match change {
            Change::Retain(message) => {
                self.retained.insert(message.topic.clone(), Some(message));
            }
            Change::Unretain(topic) => {
                self.retained.insert(topic, None);
            }
            Change::Session(row) => {
                self.sessions.insert(row.session, Some(*row));
            }
            Change::Forget(session) => self.forget(session),
            Change::Queue(row) => {
                self.queued.insert((row.session, row.order), Queued::Insert(*row));
            }
            Change::State { session, order, state } => match self.queued.get_mut(&(session, order)) {
                Some(Queued::Insert(row)) => row.state = state,
                Some(Queued::Delete) => {}
                Some(Queued::State(old)) => *old = state,
                None => {
                    self.queued.insert((session, order), Queued::State(state));
                }
            },
            Change::Unqueue { session, order } => match self.queued.get(&(session, order)) {
                // Never written: nothing to delete.
                Some(Queued::Insert(_)) => {
                    self.queued.remove(&(session, order));
                }
                _ => {
                    self.queued.insert((session, order), Queued::Delete);
                }
            },
            Change::Received { session, packet_id } => {
                self.received.insert((session, packet_id), true);
            }
            Change::Released { session, packet_id } => {
                self.received.insert((session, packet_id), false);
            }
            Change::Will(row) => {
                self.wills.insert(row.session, Some(*row));
            }
            Change::Unwill(session) => {
                self.wills.insert(session, None);
            }
        }
    }

    fn forget(&mut self, session: u64) {
        let queued: Vec<_> = self.queued.range((session, 0)..=(session, u64::MAX)).map(|(key, _)| *key).collect();
        for key in queued {
            self.queued.remove(&key);
        }
        let received: Vec<_> = self.received.range((session, 0)..=(session, u16::MAX)).map(|(key, _)| *key).collect();
        for key in received {
            self.received.remove(&key);
        }
        self.sessions.insert(session, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(order: u64) -> Change {
        Change::Queue(Box::new(QueueRow::waiting(order)))
    }

    #[test]
    fn what_came_and_went_within_one_group_is_never_written() {
        let mut batch = Batch::default();
        batch.put(row(1));
        batch.put(row(2));
        batch.put(Change::State { session: 1, order: 2, state: RowState::Sent });
        batch.put(Change::Unqueue { session: 1, order: 1 });
        batch.put(Change::State { session: 1, order: 3, state: RowState::Released });
        batch.put(Change::Unqueue { session: 1, order: 3 });
        let left: Vec<_> = batch
            .queued
            .iter()
            .map(|(key, change)| (key.1, matches!(change, Queued::Insert(row) if row.state == RowState::Sent)))
            .collect();
        assert_eq!(left, [(2, true), (3, false)]);
        batch.put(Change::Received { session: 1, packet_id: 7 });
        batch.put(Change::Forget(1));
        assert!(batch.queued.is_empty() && batch.received.is_empty() && matches!(batch.sessions.get(&1), Some(None)));
    }
}
