//! rumqttd's router behind one pair of in-process links: everything goes in by one, everything comes out by the other, and
//! who takes what is matched outside. Decision 0003 says why not a link per session.
//!
//! The traps of that router and what is done about each: one ASCII topic for all (its per-topic maps never shrink, its
//! parser panics on others); no link per client (it keeps every client id for ever); at most `HELD_BYTES` inside, far below
//! the log it skips silently when full; a sequence number, so that a skip would be seen; `ready()` after every Unschedule;
//! a probe each second, because a panic in its thread leaves the process standing.

use crate::message::Message;
use crate::router::envelope::{self, Content};
use crate::router::{Router, RouterGone, RouterHealth, Sink};
use parking_lot::Mutex;
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::{Notification, RouterConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

const TOPIC: &str = "spalla/m";
const FILTER: &str = "spalla/#";
/// What may be inside at one time: messages weigh their payload and `WEIGHT_BASE`.
const HELD_BYTES: usize = 16 * 1024 * 1024;
const WEIGHT_BASE: usize = 512;
/// The log of one topic inside the router: several times what may be inside.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
const SEGMENTS: usize = 8;
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Probes that may be unanswered before the router counts as stalled.
const PROBES_UNANSWERED_MAX: u64 = 5;

pub(crate) struct RumqttdRouter {
    shared: Arc<Shared>,
}

struct Shared {
    input: Mutex<Input>,
    held: Semaphore,
    gone: AtomicBool,
    received: AtomicU64,
    lost: AtomicU64,
    unanswered: AtomicU64,
    stop: watch::Sender<bool>,
}

struct Input {
    link: LinkTx,
    sequence: u64,
}

impl RumqttdRouter {
    /// Starts the router thread and the task that empties it into `sink`. Call inside a tokio runtime.
    pub fn start(sink: Sink) -> Result<Self, RouterGone> {
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
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            input: Mutex::new(Input { link: input, sequence: 0 }),
            held: Semaphore::new(HELD_BYTES),
            gone: AtomicBool::new(false),
            received: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            stop,
        });
        tokio::spawn(empty(shared.clone(), output, sink, stopped.clone()));
        tokio::spawn(watch_over(shared.clone(), stopped));
        Ok(Self { shared })
    }
}

#[async_trait::async_trait]
impl Router for RumqttdRouter {
    async fn publish(&self, origin: u64, message: &Message) -> Result<(), RouterGone> {
        let permits = self.shared.held.acquire_many(weight(message.payload.len())).await.map_err(|_| RouterGone)?;
        self.shared.push(|sequence| envelope::seal_message(sequence, origin, message))?;
        permits.forget();
        Ok(())
    }

    fn health(&self) -> RouterHealth {
        if self.shared.gone.load(Ordering::Relaxed) {
            RouterHealth::Gone
        } else if self.shared.unanswered.load(Ordering::Relaxed) > PROBES_UNANSWERED_MAX {
            RouterHealth::Stalled
        } else {
            RouterHealth::Working
        }
    }

    fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.shared.stop.send_replace(true);
        self.shared.fail();
    }
}

impl Shared {
    /// Sequence and place in the router are given under one lock, so that order in is order out.
    fn push(&self, seal: impl FnOnce(u64) -> Option<bytes::Bytes>) -> Result<(), RouterGone> {
        let mut input = self.input.lock();
        let Some(bytes) = seal(input.sequence) else {
            return Ok(());
        };
        match input.link.try_publish(TOPIC, bytes) {
            Ok(_) => {}
            // The message lies in the link's buffer already; a full channel only means that the router was told often enough.
            Err(LinkError::TrySend(error)) if !error.to_string().contains("closed") => {}
            Err(_) => {
                drop(input);
                self.fail();
                return Err(RouterGone);
            }
        }
        input.sequence += 1;
        Ok(())
    }

    fn fail(&self) {
        if !self.gone.swap(true, Ordering::Relaxed) && !*self.stop.borrow() {
            tracing::error!("the message router has ended; no message is acknowledged until the broker is started again");
        }
        self.held.close();
    }
}

fn weight(payload_len: usize) -> u32 {
    u32::try_from((payload_len + WEIGHT_BASE).min(HELD_BYTES)).unwrap_or(u32::MAX)
}

async fn empty(shared: Arc<Shared>, mut output: LinkRx, sink: Sink, mut stopped: watch::Receiver<bool>) {
    let mut expected = 0;
    loop {
        let notification = tokio::select! {
            notification = output.next() => notification,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match notification {
            Ok(Some(Notification::Forward(forward))) => {
                let Some((sequence, content)) = envelope::open(&forward.publish.payload) else { continue };
                if sequence > expected {
                    let lost = sequence - expected;
                    shared.lost.fetch_add(lost, Ordering::Relaxed);
                    tracing::error!(lost, "the message router skipped messages");
                }
                expected = sequence + 1;
                shared.received.store(expected, Ordering::Relaxed);
                match content {
                    Content::Probe => shared.unanswered.store(0, Ordering::Relaxed),
                    Content::Message { origin, message } => {
                        let weight = weight(message.payload.len());
                        sink(origin, message);
                        shared.held.add_permits(weight as usize);
                    }
                }
            }
            Ok(Some(Notification::Unschedule)) => {
                if output.ready().is_err() {
                    return shared.fail();
                }
            }
            Ok(_) => {}
            Err(_) => return shared.fail(),
        }
    }
}

async fn watch_over(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        // A probe that waits behind others tells as much as another one would.
        if shared.unanswered.fetch_add(1, Ordering::Relaxed) == 0
            && shared.push(|sequence| envelope::seal(sequence, &Content::Probe)).is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Qos;
    use bytes::Bytes;
    use tokio::sync::mpsc;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everything_comes_out_once_and_in_order_from_many_publishers() {
        const PUBLISHERS: u64 = 8;
        const EACH: usize = 2_000;
        let (seen, mut seen_rx) = mpsc::unbounded_channel();
        let router = Arc::new(
            RumqttdRouter::start(Box::new(move |origin, message| {
                seen.send((origin, message)).ok();
            }))
            .expect("starts"),
        );
        for origin in 0..PUBLISHERS {
            let router = router.clone();
            tokio::spawn(async move {
                for count in 0..EACH {
                    // 20 KiB each: 320 MB in all, many times what may be inside and what the log holds.
                    let mut payload = vec![0; 20 * 1024];
                    payload[..8].copy_from_slice(&(count as u64).to_be_bytes());
                    let message = Message {
                        topic: format!("é/{origin}"),
                        payload: Bytes::from(payload),
                        qos: Qos::AtLeastOnce,
                        ..Message::default()
                    };
                    router.publish(origin, &message).await.expect("routed");
                }
            });
        }
        let mut next = [0u64; PUBLISHERS as usize];
        for _ in 0..PUBLISHERS as usize * EACH {
            let (origin, message) = seen_rx.recv().await.expect("comes out");
            let count = u64::from_be_bytes(message.payload[..8].try_into().expect("8 bytes"));
            assert_eq!(count, next[origin as usize], "publisher {origin}");
            next[origin as usize] += 1;
        }
        assert_eq!((router.lost(), router.health()), (0, RouterHealth::Working));
        router.stop();
        assert_eq!(router.publish(0, &Message::default()).await, Err(RouterGone));
        assert_eq!(router.health(), RouterHealth::Gone);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_in_the_router_thread_is_noticed() {
        let router = RumqttdRouter::start(Box::new(|_, _| {})).expect("starts");
        router.publish(0, &Message::default()).await.expect("works");
        // K1: a topic that begins outside ASCII ends the thread. Nothing of ours sends one.
        router.shared.input.lock().link.try_publish("\u{e9}/x", "x").expect("taken");
        let noticed = async {
            while router.health() != RouterHealth::Gone {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), noticed).await.expect("noticed");
        assert_eq!(router.publish(0, &Message::default()).await, Err(RouterGone));
    }
}
