//! rumqttd's router behind one pair of in-process links: everything goes in by one, everything comes out by the other, and
//! who takes what is matched outside. Decision 0003 says why not a link per session.
//!
//! The traps of that router and what is done about each: one ASCII topic for all (its per-topic maps never shrink, its
//! parser panics on others); no link per client (it keeps every client id for ever); at most `HELD_BYTES` inside, far below
//! the log it skips silently when full; a sequence number, so that a skip would be seen; `ready()` after every Unschedule;
//! a probe each second, because a panic in its thread leaves the process standing.
//!
//! A copy of what is inside is kept outside (reference counted, so it costs no second payload). When the thread ends or
//! stalls, another router is started and what had not come out goes in again, in its order; receipts wait meanwhile.

use crate::message::Message;
use crate::router::envelope::{self, Content};
use crate::router::{Receipt, Router, RouterGone, RouterHealth, Sink};
use crate::store::Ticket;
use bytes::Bytes;
use parking_lot::Mutex;
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::{Notification, RouterConfig};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, oneshot, watch};

const TOPIC: &str = "spalla/m";
const FILTER: &str = "spalla/#";
/// What may be inside at one time: messages weigh their payload and `WEIGHT_BASE`.
const HELD_BYTES: usize = 16 * 1024 * 1024;
const WEIGHT_BASE: usize = 512;
/// The log of one topic inside the router: several times what may be inside.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
const SEGMENTS: usize = 8;
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Probes that may be unanswered before the router counts as stalled and is replaced.
const PROBES_UNANSWERED_MAX: u64 = 5;
/// Between two attempts to start a router; only a process without threads needs a second one.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct RumqttdRouter {
    shared: Arc<Shared>,
}

struct Shared {
    input: Mutex<Input>,
    held: Semaphore,
    /// The thread has ended, or there is none yet.
    broken: AtomicBool,
    /// Rung by whoever finds the router broken.
    heal: Notify,
    rescued: AtomicU64,
    restarts: AtomicU64,
    unanswered: AtomicU64,
    stop: watch::Sender<bool>,
}

struct Input {
    link: Option<LinkTx>,
    sequence: u64,
    /// What went in and has not come out, oldest first; bounded by `HELD_BYTES`, probes by one.
    inside: VecDeque<Inside>,
}

struct Inside {
    sequence: u64,
    bytes: Bytes,
    receipt: Option<oneshot::Sender<Option<Ticket>>>,
}

impl RumqttdRouter {
    /// Starts the router thread and the task that empties it into `sink`. Call inside a tokio runtime.
    pub fn start(sink: Sink) -> Result<Self, RouterGone> {
        Self::start_watched(sink, PROBE_EVERY)
    }

    fn start_watched(sink: Sink, probe_every: Duration) -> Result<Self, RouterGone> {
        let (stop, stopped) = watch::channel(false);
        let (input, output) = spawn()?;
        let shared = Arc::new(Shared {
            input: Mutex::new(Input { link: Some(input), sequence: 0, inside: VecDeque::new() }),
            held: Semaphore::new(HELD_BYTES),
            broken: AtomicBool::new(false),
            heal: Notify::new(),
            rescued: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            stop,
        });
        tokio::spawn(keep_running(shared.clone(), output, sink, stopped.clone()));
        tokio::spawn(watch_over(shared.clone(), probe_every, stopped));
        Ok(Self { shared })
    }
}

/// A router thread with its two links.
fn spawn() -> Result<(LinkTx, LinkRx), RouterGone> {
    let config = RouterConfig {
        max_connections: 4,
        max_outgoing_packet_count: 1000,
        max_segment_size: SEGMENT_BYTES,
        max_segment_count: SEGMENTS,
        ..RouterConfig::default()
    };
    let events = rumqttd::Router::new(0, config).spawn();
    let (input, _unused, _) = LinkBuilder::new("in", events.clone()).build().map_err(|_| RouterGone)?;
    let (mut subscriber, output, _) = LinkBuilder::new("out", events).build().map_err(|_| RouterGone)?;
    subscriber.subscribe(FILTER).map_err(|_| RouterGone)?;
    Ok((input, output))
}

#[async_trait::async_trait]
impl Router for RumqttdRouter {
    async fn publish(&self, origin: u64, message: &Message) -> Result<Receipt, RouterGone> {
        let permits = self.shared.held.acquire_many(weight(message.payload.len())).await.map_err(|_| RouterGone)?;
        let (receipt, receipt_rx) = oneshot::channel();
        self.shared.push(Some(receipt), |sequence| envelope::seal_message(sequence, origin, message));
        permits.forget();
        Ok(receipt_rx)
    }

    fn health(&self) -> RouterHealth {
        if self.shared.broken.load(Ordering::Relaxed) || *self.shared.stop.borrow() {
            RouterHealth::Gone
        } else if self.shared.unanswered.load(Ordering::Relaxed) > PROBES_UNANSWERED_MAX {
            RouterHealth::Stalled
        } else {
            RouterHealth::Working
        }
    }

    fn rescued(&self) -> u64 {
        self.shared.rescued.load(Ordering::Relaxed)
    }

    fn restarts(&self) -> u64 {
        self.shared.restarts.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.shared.stop.send_replace(true);
        self.shared.held.close();
        // Whoever waits for a receipt hears that none comes.
        self.shared.input.lock().inside.clear();
    }

    #[cfg(test)]
    fn kill(&self) {
        // K1: a topic that begins outside ASCII ends the thread. Nothing of ours sends one.
        if let Some(link) = &mut self.shared.input.lock().link {
            link.try_publish("\u{e9}/x", "x").ok();
        }
    }
}

impl Shared {
    /// Sequence and place in the router are given under one lock, so that order in is order out.
    fn push(&self, receipt: Option<oneshot::Sender<Option<Ticket>>>, seal: impl FnOnce(u64) -> Option<Bytes>) {
        let mut input = self.input.lock();
        let sequence = input.sequence;
        let Some(bytes) = seal(sequence) else { return };
        input.sequence += 1;
        let taken = input.hand_in(bytes.clone());
        input.inside.push_back(Inside { sequence, bytes, receipt });
        drop(input);
        if !taken {
            self.break_down();
        }
    }

    fn break_down(&self) {
        self.mark_broken();
        self.heal.notify_one();
    }

    /// A bell that was rung for the router before this one is not heard again.
    async fn found_broken(&self) {
        loop {
            self.heal.notified().await;
            if self.broken.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn mark_broken(&self) {
        if !self.broken.swap(true, Ordering::Relaxed) && !*self.stop.borrow() {
            tracing::error!("the message router has ended; another one takes up what it held");
        }
    }

    /// Hands on everything up to `sequence`. What the router skipped is taken from the copy.
    fn deliver_to(&self, sequence: u64, sink: &Sink) {
        loop {
            let Some(inside) = ({
                let mut input = self.input.lock();
                let due = input.inside.front().is_some_and(|inside| inside.sequence <= sequence);
                if due { input.inside.pop_front() } else { None }
            }) else {
                return;
            };
            if inside.sequence < sequence {
                self.rescued.fetch_add(1, Ordering::Relaxed);
                tracing::error!(sequence = inside.sequence, "the message router skipped a message; it is delivered from the copy");
            }
            match envelope::open(&inside.bytes) {
                Some((_, Content::Message { origin, message })) => {
                    let weight = weight(message.payload.len());
                    let ticket = sink(origin, message);
                    self.held.add_permits(weight as usize);
                    if let Some(receipt) = inside.receipt {
                        receipt.send(ticket).ok();
                    }
                }
                Some((_, Content::Probe)) => self.unanswered.store(0, Ordering::Relaxed),
                None => {}
            }
        }
    }
}

impl Input {
    /// False where the router is no more.
    fn hand_in(&mut self, bytes: Bytes) -> bool {
        let Some(link) = &mut self.link else { return true };
        match link.try_publish(TOPIC, bytes) {
            Ok(_) => true,
            // The message lies in the link's buffer already; a full channel only means that the router was told often enough.
            Err(LinkError::TrySend(error)) if !error.to_string().contains("closed") => true,
            Err(_) => {
                self.link = None;
                false
            }
        }
    }
}

fn weight(payload_len: usize) -> u32 {
    u32::try_from((payload_len + WEIGHT_BASE).min(HELD_BYTES)).unwrap_or(u32::MAX)
}

/// Empties one router after the other until the broker stops.
async fn keep_running(shared: Arc<Shared>, mut output: LinkRx, sink: Sink, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = empty(&shared, &mut output, &sink) => {}
            () = shared.found_broken() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        shared.mark_broken();
        output = loop {
            if let Some(output) = restart(&shared) {
                break output;
            }
            tokio::select! {
                () = tokio::time::sleep(RESTART_PAUSE) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        };
    }
}

/// A new router with everything in it that the old one had not given back.
fn restart(shared: &Shared) -> Option<LinkRx> {
    let (link, output) = spawn().ok()?;
    let mut input = shared.input.lock();
    input.link = Some(link);
    let again: Vec<Bytes> = input.inside.iter().map(|inside| inside.bytes.clone()).collect();
    let count = again.len();
    if !again.into_iter().all(|bytes| input.hand_in(bytes)) {
        return None;
    }
    shared.restarts.fetch_add(1, Ordering::Relaxed);
    shared.unanswered.store(0, Ordering::Relaxed);
    shared.broken.store(false, Ordering::Relaxed);
    drop(input);
    tracing::warn!(messages = count, "a new message router runs");
    Some(output)
}

/// Runs until the router has ended.
async fn empty(shared: &Shared, output: &mut LinkRx, sink: &Sink) {
    loop {
        match output.next().await {
            Ok(Some(Notification::Forward(forward))) => {
                if let Some(sequence) = envelope::sequence(&forward.publish.payload) {
                    shared.deliver_to(sequence, sink);
                }
            }
            Ok(Some(Notification::Unschedule)) => {
                if output.ready().is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

async fn watch_over(shared: Arc<Shared>, probe_every: Duration, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(probe_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        // A probe that waits behind others tells as much as another one would.
        match shared.unanswered.fetch_add(1, Ordering::Relaxed) {
            0 => shared.push(None, |sequence| envelope::seal(sequence, &Content::Probe)),
            unanswered if unanswered > PROBES_UNANSWERED_MAX => {
                tracing::error!(unanswered, "the message router stands still");
                shared.break_down();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Qos;
    use tokio::sync::mpsc;

    const PUBLISHERS: u64 = 8;

    fn collecting(probe_every: Duration) -> (Arc<RumqttdRouter>, mpsc::UnboundedReceiver<(u64, Message)>) {
        let (seen, seen_rx) = mpsc::unbounded_channel();
        let sink: Sink = Box::new(move |origin, message| {
            seen.send((origin, message)).ok();
            None
        });
        (Arc::new(RumqttdRouter::start_watched(sink, probe_every).expect("starts")), seen_rx)
    }

    fn numbered(origin: u64, count: usize, len: usize) -> Message {
        let mut payload = vec![0; len];
        payload[..8].copy_from_slice(&(count as u64).to_be_bytes());
        Message { topic: format!("é/{origin}"), payload: Bytes::from(payload), qos: Qos::AtLeastOnce, ..Message::default() }
    }

    async fn expect_in_order(seen: &mut mpsc::UnboundedReceiver<(u64, Message)>, each: usize) {
        let mut next = [0u64; PUBLISHERS as usize];
        for _ in 0..PUBLISHERS as usize * each {
            let (origin, message) = seen.recv().await.expect("comes out");
            let count = u64::from_be_bytes(message.payload[..8].try_into().expect("8 bytes"));
            assert_eq!(count, next[origin as usize], "publisher {origin}");
            next[origin as usize] += 1;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everything_comes_out_once_and_in_order_from_many_publishers() {
        const EACH: usize = 2_000;
        let (router, mut seen) = collecting(PROBE_EVERY);
        for origin in 0..PUBLISHERS {
            let router = router.clone();
            tokio::spawn(async move {
                for count in 0..EACH {
                    // 20 KiB each: 320 MB in all, many times what may be inside and what the log holds.
                    router.publish(origin, &numbered(origin, count, 20 * 1024)).await.expect("routed");
                }
            });
        }
        expect_in_order(&mut seen, EACH).await;
        assert_eq!((router.rescued(), router.restarts(), router.health()), (0, 0, RouterHealth::Working));
        router.stop();
        assert!(router.publish(0, &Message::default()).await.is_err());
        assert_eq!(router.health(), RouterHealth::Gone);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_router_that_dies_again_and_again_loses_nothing_repeats_nothing_and_keeps_the_order() {
        const EACH: usize = 3_000;
        let (router, mut seen) = collecting(PROBE_EVERY);
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|origin| {
                let router = router.clone();
                tokio::spawn(async move {
                    let mut receipts = Vec::new();
                    for count in 0..EACH {
                        receipts.push(router.publish(origin, &numbered(origin, count, 64)).await.expect("routed"));
                    }
                    for receipt in receipts {
                        receipt.await.expect("every message has its receipt");
                    }
                })
            })
            .collect();
        for death in 1..=3 {
            router.kill();
            let noticed = async {
                while router.restarts() < death {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), noticed).await.expect("noticed and replaced");
        }
        expect_in_order(&mut seen, EACH).await;
        for publisher in publishers {
            publisher.await.expect("ran");
        }
        assert_eq!(router.health(), RouterHealth::Working);
    }

    /// The thread's end is an event and waits for no probe: with a watchdog that never looks it is noticed all the same, and long
    /// before one of the real watchdog's would be due.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_death_is_noticed_without_the_watchdog_and_sooner_than_it() {
        let (router, mut seen) = collecting(Duration::from_secs(3600));
        let mut quickest = Duration::MAX;
        for round in 0..5 {
            let began = std::time::Instant::now();
            router.kill();
            router.publish(round, &numbered(round, 0, 8)).await.expect("routed").await.expect("comes out of the next router");
            quickest = quickest.min(began.elapsed());
            assert_eq!(seen.recv().await.map(|(origin, _)| origin), Some(round));
        }
        assert!(router.restarts() >= 5, "{} restarts", router.restarts());
        assert!(quickest < PROBE_EVERY, "{quickest:?} from death to delivery");
    }

    /// A router that lives and gives nothing back: what it swallowed comes out of the next one.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_router_that_stands_still_is_found_by_the_watchdog_and_loses_nothing() {
        let (router, mut seen) = collecting(Duration::from_millis(20));
        router.publish(1, &numbered(1, 0, 8)).await.expect("routed").await.expect("comes out");
        // From here on everything goes to a router that nobody listens to.
        let (deaf, _unheard) = spawn().expect("a router");
        let before = router.restarts();
        router.shared.input.lock().link = Some(deaf);
        let receipts: Vec<_> = [router.publish(1, &numbered(1, 1, 8)).await, router.publish(1, &numbered(1, 2, 8)).await].into();
        for receipt in receipts {
            receipt.expect("routed").await.expect("comes out of the next router");
        }
        assert!(router.restarts() > before);
        for count in 0..3u64 {
            let (_, message) = seen.recv().await.expect("comes out");
            assert_eq!(message.payload[..8], count.to_be_bytes());
        }
        assert_eq!(router.health(), RouterHealth::Working);
    }
}
