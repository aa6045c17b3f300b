//! What comes back to the loop: the link's events, the cloud's words, the ends of publishes and proposals.

use super::{Done, Uplink};
use crate::consensus::Receipt;
use crate::uplink::wire::decode;
use crate::uplink::{LinkError, LinkEvent, incarnation};
use spalla_broker::message::Message;
use spalla_shared::engine::Accepted;
use spalla_shared::summary::{EventAck, EventGap};
use spalla_shared::topic::CloudTopic;
use std::time::Instant;

impl Uplink {
    pub(super) fn heard(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up => {
                self.connected = true;
                self.role = None;
                self.birth = None;
                self.not_before = None;
                let acknowledged_seq = self.group.state().read().outbox.acknowledged_seq;
                self.courier.begin(acknowledged_seq);
                self.board.clear();
            }
            LinkEvent::Down(why) => {
                if self.connected {
                    tracing::warn!(why, "the cloud cannot be reached; its events wait in the log");
                }
                self.connected = false;
                self.failed(why);
            }
            LinkEvent::Message(message) => self.take(&message),
        }
    }

    fn take(&mut self, message: &Message) {
        let outcome = match self.options.names.parse(&message.topic) {
            Some(CloudTopic::Ack) => decode::<EventAck>(message).map(|ack| {
                // Acknowledgements may overtake each other; only the farthest counts.
                let farther = self.ack.as_ref().is_none_or(|last| last.incarnation != ack.incarnation || last.upto_seq < ack.upto_seq);
                if farther {
                    self.ack = Some(ack);
                }
            }),
            Some(CloudTopic::Gap) => decode::<EventGap>(message).map(|gap| {
                let own = incarnation(&self.options.names, &self.group.state().read());
                if self.tenure.is_some() && own.as_ref() == Some(&gap.incarnation) {
                    self.courier.gap(gap.from, gap.to);
                }
            }),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::warn!(topic = message.topic, %error, "the cloud said what cannot be read");
            self.failed(format!("{}: {error}", message.topic));
        }
    }

    pub(super) fn done(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Asked { asked, wall, outcome } => {
                self.busy.asking = false;
                match outcome {
                    Ok(Receipt { at, reply: Ok(Accepted::Speaker { node, epoch, until }), .. }) if node == self.group.node() => {
                        self.chair.granted(asked, wall, at, epoch, until);
                    }
                    Ok(receipt) => self.chair.refused(now, Some((wall, receipt.at))),
                    Err(_) => self.chair.refused(now, None),
                }
            }
            Done::Yielded(outcome) => {
                self.busy.yielding = false;
                if let Err(error) = outcome {
                    tracing::debug!(%error, "stepping back was not committed; the lease runs out by itself");
                }
            }
            Done::Acknowledged(outcome) => {
                self.busy.acknowledging = false;
                match outcome {
                    Ok(Receipt { reply: Err(rejection), .. }) => {
                        tracing::warn!(%rejection, "the cloud's acknowledgement was refused");
                        self.ack = None;
                        self.failed(rejection.to_string());
                    }
                    Ok(_) => {}
                    Err(_) => self.not_before = Some(now + self.options.timings.lease / 20),
                }
            }
            Done::Collected(summaries) => {
                self.busy.collecting = false;
                if self.tenure.is_some() {
                    self.board.put(summaries);
                }
            }
            Done::BatchPublished(outcome) => {
                self.busy.batches = self.busy.batches.saturating_sub(1);
                if self.published(outcome, now).is_err() {
                    let acknowledged_seq = self.group.state().read().outbox.acknowledged_seq;
                    self.courier.failed(acknowledged_seq);
                }
            }
            Done::BirthPublished(outcome) => {
                self.busy.birth = false;
                if self.published(outcome, now).is_err() {
                    self.birth = None;
                }
            }
            Done::RolePublished(outcome) => {
                self.busy.role = false;
                if self.published(outcome, now).is_err() {
                    self.role = None;
                }
            }
            Done::SummaryPublished(site, outcome) => {
                self.busy.summaries = self.busy.summaries.saturating_sub(1);
                if self.published(outcome, now).is_err() {
                    self.board.failed(&site);
                }
            }
        }
    }

    fn published(&mut self, outcome: Result<(), LinkError>, now: Instant) -> Result<(), ()> {
        outcome.map_err(|error| {
            self.not_before = Some(now + self.options.timings.lease / 20);
            self.failed(error.to_string());
        })
    }
}
