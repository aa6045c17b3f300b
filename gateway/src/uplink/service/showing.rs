//! What goes up: birth, role, events, summaries. Each starts a publish beside the loop, within its bound.

use super::{BATCHES_MAX, Done, Look, SUMMARIES_MAX, Uplink};
use crate::uplink::LinkError;
use crate::uplink::courier::BATCH_SIZE_MAX;
use crate::uplink::wire::encode;
use serde::Serialize;
use spalla_broker::message::Message;
use spalla_shared::summary::{Birth, EventBatch, NodeState};
use spalla_shared::topic::CloudTopic;
use std::time::{Duration, Instant};

impl Uplink {
    /// Says who speaks and what for: at the begin of a tenure, and again when gateways or flows changed.
    pub(super) fn show_birth(&mut self, epoch: u64, incarnation: &str, look: &Look) {
        if self.busy.birth {
            return;
        }
        let birth = {
            let state = self.group.state().read();
            Birth {
                incarnation: incarnation.into(),
                epoch,
                first_seq: look.acknowledged_seq + 1,
                at: look.clock,
                nodes: state.nodes.iter().map(|(id, node)| (*id, node.site.clone())).collect(),
                flows: state.flows.keys().map(|key| key.to_string()).collect(),
            }
        };
        let known = |shown: &Birth| (shown.epoch, &shown.nodes, &shown.flows) == (birth.epoch, &birth.nodes, &birth.flows);
        if self.birth.as_ref().is_some_and(known) {
            return;
        }
        self.busy.birth = true;
        self.publish(&CloudTopic::Birth, &birth, true, Done::BirthPublished);
        self.birth = Some(birth);
    }

    /// `node/{n}/state`: every connected gateway says that it is there.
    pub(super) fn show_role(&mut self, leads: bool) {
        let role = match (self.tenure, leads) {
            (Some(_), _) => "speaker",
            (None, true) => "leader",
            (None, false) => "follower",
        };
        if self.role == Some(role) || self.busy.role {
            return;
        }
        self.busy.role = true;
        self.role = Some(role);
        let body = NodeState { online: true, at: (self.options.now)(), role: role.into() };
        self.publish(&CloudTopic::NodeState(self.group.node()), &body, true, Done::RolePublished);
    }

    pub(super) fn send_batches(&mut self, epoch: u64, incarnation: &str, now: Instant) {
        while self.busy.batches < BATCHES_MAX {
            let due = {
                let state = self.group.state().read();
                self.courier.next(&state.outbox, now, (self.options.now)())
            };
            let Some(mut batch) = due else { return };
            let payload = loop {
                let body = EventBatch { incarnation: incarnation.into(), epoch, historical: batch.historical, items: batch.body() };
                match encode(&body, self.options.encoding) {
                    Ok(payload) if payload.len() > BATCH_SIZE_MAX && batch.halve() => {}
                    Ok(payload) => break payload,
                    Err(error) => return self.failed(format!("events: {error}")),
                }
            };
            // The lease is looked at as the last thing before it leaves.
            if self.chair.speaks(Instant::now()) != Some(epoch) {
                return;
            }
            self.courier.sent(&batch, now);
            self.busy.batches += 1;
            let message = self.options.names.with_payload(&CloudTopic::Events, payload, self.options.encoding, false);
            self.hand_over(message, Done::BatchPublished);
        }
    }

    pub(super) fn show_summaries(&mut self, now: Instant) {
        if now >= self.look_at_summaries && !self.busy.collecting {
            self.look_at_summaries = now + self.options.timings.summary_min;
            self.busy.collecting = true;
            let (maker, peers) = (self.maker.clone(), self.peers.clone());
            let patience = self.options.timings.summary_min.max(Duration::from_secs(1));
            self.work.push(Box::pin(async move {
                let mut summaries = vec![maker.current()];
                summaries.extend(tokio::time::timeout(patience, peers.collect()).await.unwrap_or_default());
                Done::Collected(summaries)
            }));
        }
        while self.busy.summaries < SUMMARIES_MAX {
            let Some((site, summary)) = self.board.take() else { return };
            self.busy.summaries += 1;
            let topic = CloudTopic::Summary(site.clone());
            self.publish(&topic, &summary, true, move |outcome| Done::SummaryPublished(site, outcome));
        }
    }

    fn publish<T: Serialize>(
        &mut self,
        topic: &CloudTopic,
        body: &T,
        retain: bool,
        done: impl FnOnce(Result<(), LinkError>) -> Done + Send + 'static,
    ) {
        match encode(body, self.options.encoding) {
            Ok(payload) => {
                let message = self.options.names.with_payload(topic, payload, self.options.encoding, retain);
                self.hand_over(message, done);
            }
            Err(error) => {
                let refused = LinkError::Refused(error.to_string());
                self.work.push(Box::pin(async move { done(Err(refused)) }));
            }
        }
    }

    fn hand_over(&mut self, message: Message, done: impl FnOnce(Result<(), LinkError>) -> Done + Send + 'static) {
        let link = self.link.clone();
        let patience = self.options.timings.resend_after;
        self.work.push(Box::pin(async move {
            let outcome = tokio::time::timeout(patience, link.publish(message)).await;
            done(outcome.unwrap_or(Err(LinkError::Down)))
        }));
    }
}
