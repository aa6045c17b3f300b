//! The cloud's side, as a reference: what any consumer of the topics has to do, and what it may rely on.
//!
//! Takes batches, keeps each sequence once, acknowledges up to the first hole, asks for what is missing, refuses the
//! batches of a speaker that was replaced. `take` and `tick` decide; `run` does it over a link.

mod stream;

use super::courier::dropped_ranges;
use super::wire::{Names, WireError, decode};
use super::{CloudLink, LinkEvent};
use crate::config::Encoding;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use spalla_broker::message::Message;
use spalla_shared::engine::outbox::OutboxItem;
use spalla_shared::id::{NodeId, SiteId};
use spalla_shared::summary::{Birth, EventAck, EventBatch, EventGap, NodeState, SiteSummary};
use spalla_shared::topic::CloudTopic;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::Stream;
use tokio::sync::mpsc;

/// A hole is asked for again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Lives of a log that are remembered; the oldest goes.
const STREAMS_MAX: usize = 16;

/// What was seen, over all incarnations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Sequences up to the newest one seen, from the first this receiver was told of.
    pub expected: u64,
    /// Of these, held: each once.
    pub received: u64,
    /// Of these, told to be dropped by the mesh (its outbox overflowed).
    pub dropped: u64,
    /// Of these, neither: not here yet, or `lost`.
    pub missing: u64,
    /// Trimmed from the outbox before they came here: another receiver acknowledged them, or something is wrong.
    pub lost: u64,
    /// Times that a hole was noticed.
    pub gaps: u64,
    /// Items that came again.
    pub duplicates: u64,
    /// Batches of a speaker that had been replaced; refused.
    pub stale_epoch: u64,
    /// Messages that could not be read.
    pub undecodable: u64,
    pub summaries: u64,
    /// Summaries that came again: a new speaker shows all of them once.
    pub summaries_repeated: u64,
    /// Summaries that were never seen, by their numbers.
    pub summaries_skipped: u64,
}

/// What came of one message.
#[derive(Debug, Default)]
pub struct Taken {
    /// Items that were not here before, in order within the batch. Store them before `replies` are published.
    pub items: Vec<OutboxItem>,
    /// Acknowledgements and questions.
    pub replies: Vec<Message>,
}

pub struct Receiver {
    names: Names,
    encoding: Encoding,
    streams: BTreeMap<String, Stream>,
    /// Incarnations, oldest first.
    order: Vec<String>,
    summaries: BTreeMap<SiteId, SiteSummary>,
    nodes: BTreeMap<NodeId, NodeState>,
    birth: Option<Birth>,
    counts: Counts,
}

impl Receiver {
    pub fn new(names: Names, encoding: Encoding) -> Self {
        Self {
            names,
            encoding,
            streams: BTreeMap::new(),
            order: Vec::new(),
            summaries: BTreeMap::new(),
            nodes: BTreeMap::new(),
            birth: None,
            counts: Counts::default(),
        }
    }

    /// Filters to subscribe to, QoS 1. `birth` comes first: it says where the sequences begin.
    pub fn subscriptions(names: &Names) -> Vec<String> {
        let base = names.topic(&CloudTopic::Birth);
        let mut filters = vec![base.clone(), names.topic(&CloudTopic::Events)];
        if let Some(root) = base.strip_suffix("birth") {
            filters.extend([format!("{root}sum/+"), format!("{root}node/+/state")]);
        }
        filters
    }

    pub fn counts(&self) -> Counts {
        let mut counts = self.counts;
        for stream in self.streams.values() {
            stream.add_to(&mut counts);
        }
        counts
    }

    /// The newest summary of each site.
    pub fn summaries(&self) -> &BTreeMap<SiteId, SiteSummary> {
        &self.summaries
    }

    pub fn nodes(&self) -> &BTreeMap<NodeId, NodeState> {
        &self.nodes
    }

    pub fn birth(&self) -> Option<&Birth> {
        self.birth.as_ref()
    }

    /// Everything up to here is held, of the newest incarnation.
    pub fn contiguous_upto(&self) -> u64 {
        self.order.last().and_then(|last| self.streams.get(last)).map_or(0, Stream::high)
    }

    pub fn take(&mut self, message: &Message, now: Instant) -> Taken {
        match self.read(message, now) {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(topic = message.topic, %error, "cannot be read");
                self.counts.undecodable += 1;
                Taken::default()
            }
        }
    }

    /// Asks again for what is still missing. Call about once a second.
    pub fn tick(&mut self, now: Instant) -> Vec<Message> {
        let asked: Vec<EventGap> = self
            .streams
            .iter_mut()
            .filter_map(|(incarnation, stream)| {
                let (from, to) = stream.ask(now, ASK_AGAIN)?;
                Some(EventGap { incarnation: incarnation.clone(), from, to })
            })
            .collect();
        asked.iter().filter_map(|gap| self.names.message(&CloudTopic::Gap, gap, self.encoding, false).ok()).collect()
    }

    fn read(&mut self, message: &Message, now: Instant) -> Result<Taken, WireError> {
        match self.names.parse(&message.topic) {
            Some(CloudTopic::Birth) => {
                let birth: Birth = decode(message)?;
                let stream = self.stream(&birth.incarnation);
                stream.born(birth.first_seq, birth.epoch);
                self.birth = Some(birth);
            }
            Some(CloudTopic::Events) => {
                let batch: EventBatch = decode(message)?;
                return Ok(self.take_batch(batch, now));
            }
            Some(CloudTopic::Summary(site)) => self.take_summary(site, decode(message)?),
            Some(CloudTopic::NodeState(node)) => {
                self.nodes.insert(node, decode(message)?);
            }
            _ => {}
        }
        Ok(Taken::default())
    }

    fn take_batch(&mut self, batch: EventBatch, now: Instant) -> Taken {
        let stream = self.stream(&batch.incarnation);
        if !stream.knows_its_begin() {
            // Without `birth` nobody knows where to count from; it is sent again until it is acknowledged.
            return Taken::default();
        }
        if !stream.accepts(batch.epoch) {
            self.counts.stale_epoch += 1;
            return Taken::default();
        }
        let mut items = Vec::new();
        for item in batch.items {
            for (from, to) in dropped_ranges(&item) {
                stream.dropped(from, to);
            }
            if stream.insert(item.seq) {
                items.push(item);
            }
        }
        let ack = EventAck { incarnation: batch.incarnation.clone(), upto_seq: stream.high() };
        let gap = stream.ask(now, ASK_AGAIN).map(|(from, to)| EventGap { incarnation: batch.incarnation, from, to });
        // Retained, so that the next speaker knows at once where to begin; repeated for a speaker that missed it.
        let ack = self.names.message(&CloudTopic::Ack, &ack, self.encoding, true).ok();
        let gap = gap.and_then(|gap| self.names.message(&CloudTopic::Gap, &gap, self.encoding, false).ok());
        Taken { items, replies: ack.into_iter().chain(gap).collect() }
    }

    fn take_summary(&mut self, site: SiteId, summary: SiteSummary) {
        self.counts.summaries += 1;
        if let Some(last) = self.summaries.get(&site)
            && (last.node, last.boot) == (summary.node, summary.boot)
        {
            if summary.seq <= last.seq {
                self.counts.summaries_repeated += 1;
                return;
            }
            self.counts.summaries_skipped += summary.seq - last.seq - 1;
        }
        self.summaries.insert(site, summary);
    }

    fn stream(&mut self, incarnation: &str) -> &mut Stream {
        if !self.streams.contains_key(incarnation) {
            self.order.push(incarnation.into());
            if self.order.len() > STREAMS_MAX {
                self.streams.remove(&self.order.remove(0));
            }
        }
        self.streams.entry(incarnation.into()).or_default()
    }

    /// Feeds a shared receiver from a link until its events end. `keep` stores new items before they are acknowledged.
    pub async fn run(
        receiver: Arc<Mutex<Self>>,
        link: Arc<dyn CloudLink>,
        mut events: mpsc::Receiver<LinkEvent>,
        mut keep: impl FnMut(&[OutboxItem]) + Send,
    ) {
        let mut tick = tokio::time::interval(ASK_AGAIN / 2);
        loop {
            let replies = tokio::select! {
                event = events.recv() => match event {
                    Some(LinkEvent::Message(message)) => {
                        let taken = receiver.lock().take(&message, Instant::now());
                        keep(&taken.items);
                        taken.replies
                    }
                    Some(LinkEvent::Up | LinkEvent::Down(_)) => Vec::new(),
                    None => return,
                },
                _ = tick.tick() => receiver.lock().tick(Instant::now()),
            };
            for reply in replies {
                if let Err(error) = link.publish(reply).await {
                    tracing::debug!(%error, "a reply was not published; the next batch brings it again");
                }
            }
        }
    }
}
