//! The uplink's one loop: hears the log, the link and the clock, and starts what is due. Whatever waits (a publish, a proposal)
//! runs beside the loop and comes back to it; nothing here blocks it.

mod hearing;
mod showing;

use super::board::Board;
use super::chair::{Chair, Move, View};
use super::courier::Courier;
use super::wire::Names;
use super::{CloudLink, LinkError, LinkEvent, Now, PeerSummaries, SummaryMaker, Timings, incarnation};
use crate::config::Encoding;
use crate::consensus::{GroupRef, ProposeError, Receipt};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use spalla_broker::message::Message;
use spalla_shared::engine::Command;
use spalla_shared::engine::command::UplinkCommand;
use spalla_shared::engine::outbox::Speaker;
use spalla_shared::id::{NodeId, SiteId};
use spalla_shared::summary::{Birth, EventAck, NodeState, SiteSummary};
use spalla_shared::time::Timestamp;
use spalla_shared::topic::CloudTopic;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Batches handed to the link and not acknowledged by the broker.
const BATCHES_MAX: usize = 4;
/// Summaries likewise.
const SUMMARIES_MAX: usize = 4;
/// Shortest sleep between two looks at nothing new.
const SLEEP_MIN: Duration = Duration::from_millis(10);

pub struct UplinkOptions {
    pub names: Names,
    pub encoding: Encoding,
    pub timings: Timings,
    pub now: Now,
}

/// What the API and the dashboard show of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub connected: bool,
    /// The epoch under which this gateway speaks.
    pub epoch: Option<u64>,
    pub sent_upto: u64,
    pub acknowledged_seq: u64,
    pub newest_seq: u64,
    /// Items sent more than once.
    pub resent: u64,
    pub last_error: Option<String>,
}

pub struct Uplink {
    group: GroupRef,
    link: Arc<dyn CloudLink>,
    maker: Arc<SummaryMaker>,
    peers: Arc<dyn PeerSummaries>,
    options: UplinkOptions,
    status: watch::Sender<Status>,

    connected: bool,
    chair: Chair,
    courier: Courier,
    board: Board,
    /// The epoch of this gateway's running tenure.
    tenure: Option<u64>,
    birth: Option<Birth>,
    role: Option<&'static str>,
    /// The newest acknowledgement heard; it counts when this gateway speaks and it names this log.
    ack: Option<EventAck>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    busy: Busy,
    look_at_summaries: Instant,
    /// After a refused publish nothing is tried before it.
    not_before: Option<Instant>,
}

/// What runs beside the loop, each with its bound.
#[derive(Default)]
struct Busy {
    asking: bool,
    acknowledging: bool,
    yielding: bool,
    collecting: bool,
    birth: bool,
    role: bool,
    batches: usize,
    summaries: usize,
}

enum Done {
    Asked { asked: Instant, wall: Timestamp, outcome: Result<Receipt, ProposeError> },
    Yielded(Result<Receipt, ProposeError>),
    Acknowledged(Result<Receipt, ProposeError>),
    Collected(Vec<SiteSummary>),
    BatchPublished(Result<(), LinkError>),
    BirthPublished(Result<(), LinkError>),
    RolePublished(Result<(), LinkError>),
    SummaryPublished(SiteId, Result<(), LinkError>),
}

/// One look at the applied state.
struct Look {
    speaker: Option<Speaker>,
    clock: Timestamp,
    acknowledged_seq: u64,
    newest_seq: u64,
    incarnation: Option<String>,
    rank: u32,
}

impl Uplink {
    pub fn new(
        group: GroupRef,
        link: Arc<dyn CloudLink>,
        maker: Arc<SummaryMaker>,
        peers: Arc<dyn PeerSummaries>,
        options: UplinkOptions,
    ) -> Self {
        let chair = Chair::new(group.node(), options.timings);
        let courier = Courier::new(options.timings);
        Self {
            group,
            link,
            maker,
            peers,
            options,
            status: watch::Sender::default(),
            connected: false,
            chair,
            courier,
            board: Board::default(),
            tenure: None,
            birth: None,
            role: None,
            ack: None,
            work: FuturesUnordered::new(),
            busy: Busy::default(),
            look_at_summaries: Instant::now(),
            not_before: None,
        }
    }

    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// What the link's connection should leave behind when it breaks.
    pub fn will(names: &Names, node: NodeId, encoding: Encoding, at: Timestamp) -> Option<Message> {
        let body = NodeState { online: false, at, role: "gone".into() };
        names.message(&CloudTopic::NodeState(node), &body, encoding, true).ok()
    }

    /// The filters that the link subscribes to, QoS 1, at each connection.
    pub fn subscriptions(names: &Names) -> Vec<String> {
        [CloudTopic::Ack, CloudTopic::Gap].iter().map(|topic| names.topic(topic)).collect()
    }

    /// Runs until `stop` turns true, then steps back and says so to the cloud. Ends too when link or group are gone.
    pub async fn run(mut self, mut events: mpsc::Receiver<LinkEvent>, mut stop: watch::Receiver<bool>) {
        let mut applied = self.group.applied();
        let mut leadership = self.group.leadership();
        loop {
            let leads = leadership.borrow_and_update().is_self;
            applied.borrow_and_update();
            let wake = tokio::time::Instant::from_std(self.step(leads).max(Instant::now() + SLEEP_MIN));
            tokio::select! {
                // A dropped sender means stop too.
                _ = stop.wait_for(|stop| *stop) => break,
                event = events.recv() => match event {
                    Some(event) => self.heard(event),
                    None => break,
                },
                changed = applied.changed() => match changed {
                    Ok(()) => self.maker.measure_skew(),
                    Err(_) => return,
                },
                changed = leadership.changed() => if changed.is_err() { return },
                Some(done) = self.work.next(), if !self.work.is_empty() => self.done(done),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.farewell().await;
    }

    /// Starts everything that is due; gives the instant of the next look.
    fn step(&mut self, leads: bool) -> Instant {
        let now = Instant::now();
        let look = self.look();
        let view = View {
            now,
            wall: (self.options.now)(),
            connected: self.connected,
            leads,
            speaker: look.speaker.as_ref(),
            clock: look.clock,
            rank: look.rank,
        };
        match self.chair.decide(&view) {
            Move::Ask { until } if !self.busy.asking => self.ask(now, view.wall, until),
            Move::Yield { epoch } if !self.busy.yielding => self.step_back(epoch),
            Move::Ask { .. } | Move::Yield { .. } | Move::Wait => {}
        }
        let mut wakes = vec![self.chair.wakes(&view)];
        let epoch = self.chair.speaks(now).filter(|_| self.connected);
        if epoch != self.tenure {
            self.change_tenure(epoch, look.acknowledged_seq, now);
        }
        if self.connected && self.not_before.is_none_or(|instant| now >= instant) {
            self.show_role(leads);
            if let (Some(epoch), Some(incarnation)) = (epoch, &look.incarnation) {
                self.acknowledge(incarnation, &look);
                if self.birth.is_none() || now >= self.look_at_summaries {
                    self.show_birth(epoch, incarnation, &look);
                }
                if self.birth.is_some() {
                    self.send_batches(epoch, incarnation, now);
                    self.show_summaries(now);
                    // With all places taken, the next one that comes free wakes the loop.
                    wakes.extend(self.courier.wakes().filter(|_| self.busy.batches < BATCHES_MAX));
                    wakes.push(self.look_at_summaries);
                }
            }
        }
        wakes.extend(self.not_before.filter(|instant| *instant > now));
        self.tell(&look);
        wakes.into_iter().min().unwrap_or(now + SLEEP_MIN)
    }

    fn look(&self) -> Look {
        let own = self.group.node();
        let state = self.group.state().read();
        Look {
            speaker: state.outbox.speaker.clone(),
            clock: state.clock,
            acknowledged_seq: state.outbox.acknowledged_seq,
            newest_seq: state.outbox.newest_seq,
            incarnation: incarnation(&self.options.names, &state),
            rank: u32::try_from(state.nodes.range(..own).count()).unwrap_or(u32::MAX).min(64),
        }
    }

    fn change_tenure(&mut self, epoch: Option<u64>, acknowledged_seq: u64, now: Instant) {
        match (self.tenure, epoch) {
            (_, Some(epoch)) => tracing::info!(epoch, acknowledged_seq, "this gateway speaks to the cloud"),
            (Some(epoch), None) => tracing::info!(epoch, "this gateway no longer speaks to the cloud"),
            (None, None) => {}
        }
        self.tenure = epoch;
        self.birth = None;
        self.courier.begin(acknowledged_seq);
        self.board.clear();
        self.look_at_summaries = now;
    }

    fn ask(&mut self, asked: Instant, wall: Timestamp, until: Timestamp) {
        self.busy.asking = true;
        let (group, node) = (self.group.clone(), self.group.node());
        self.work.push(Box::pin(async move {
            let outcome = group.propose(Command::Uplink(UplinkCommand::Speak { node, until })).await;
            Done::Asked { asked, wall, outcome }
        }));
    }

    fn step_back(&mut self, epoch: u64) {
        self.busy.yielding = true;
        let (group, node) = (self.group.clone(), self.group.node());
        let yielding = async move { Done::Yielded(group.propose(Command::Uplink(UplinkCommand::Yield { node, epoch })).await) };
        self.work.push(Box::pin(yielding));
    }

    /// Brings the cloud's acknowledgement into the log, which trims the outbox everywhere.
    fn acknowledge(&mut self, incarnation: &str, look: &Look) {
        let Some(ack) = self.ack.as_ref().filter(|ack| ack.incarnation == incarnation && ack.upto_seq > look.acknowledged_seq) else {
            return;
        };
        if ack.upto_seq > look.newest_seq {
            // Kept, it would count later for items that nobody has taken. A true one comes again with the next batch.
            let why = format!("the cloud acknowledges {}, but the newest event is {}", ack.upto_seq, look.newest_seq);
            tracing::warn!("{why}");
            self.ack = None;
            return self.failed(why);
        }
        if self.busy.acknowledging {
            return;
        }
        self.busy.acknowledging = true;
        let (group, upto_seq) = (self.group.clone(), ack.upto_seq);
        let acknowledging =
            async move { Done::Acknowledged(group.propose(Command::Uplink(UplinkCommand::Acknowledged { upto_seq })).await) };
        self.work.push(Box::pin(acknowledging));
    }

    /// An orderly end: the chair is free at once, and the cloud knows that this gateway is gone.
    async fn farewell(mut self) {
        if let Some(epoch) = self.tenure.take() {
            let node = self.group.node();
            let yielding = self.group.propose(Command::Uplink(UplinkCommand::Yield { node, epoch }));
            let _ = tokio::time::timeout(Duration::from_secs(1), yielding).await;
        }
        if self.connected
            && let Some(message) = Self::will(&self.options.names, self.group.node(), self.options.encoding, (self.options.now)())
        {
            let _ = tokio::time::timeout(Duration::from_secs(1), self.link.publish(message)).await;
        }
    }

    fn failed(&mut self, why: String) {
        self.status.send_if_modified(|status| {
            let changed = status.last_error.as_ref() != Some(&why);
            status.last_error = Some(why);
            changed
        });
    }

    fn tell(&mut self, look: &Look) {
        let (connected, epoch, sent_upto, resent) = (self.connected, self.tenure, self.courier.sent_upto(), self.courier.resent);
        self.status.send_if_modified(|status| {
            let next = Status {
                connected,
                epoch,
                sent_upto,
                acknowledged_seq: look.acknowledged_seq,
                newest_seq: look.newest_seq,
                resent,
                last_error: status.last_error.clone(),
            };
            let changed = *status != next;
            *status = next;
            changed
        });
    }
}
