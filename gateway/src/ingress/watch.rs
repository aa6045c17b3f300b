//! What devices say and what it was understood as, side by side, for whoever puts a device in. Nobody watching: no cost.
//! A watcher that reads too slowly misses messages and is told how many; it never holds a device up.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use spalla_broker::message::Message;
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Messages kept for a watcher that is behind: a few seconds of a busy building.
const KEPT_MAX: usize = 512;
/// Watchers at one time.
const WATCHERS_MAX: usize = 16;
/// Shown of one payload, bytes.
const SHOWN_MAX: usize = 4 * 1024;
/// Of one page, bytes: half of what a call between gateways carries.
const PAGE_SIZE_MAX: usize = 512 * 1024;
/// How long this gateway goes on keeping for another one that asked.
const LEASE: Duration = Duration::from_secs(5);

pub struct Watch {
    kept: Mutex<Kept>,
    /// Number that the next message gets; counts from 1.
    next: watch::Sender<u64>,
    watchers: AtomicUsize,
}

#[derive(Default)]
struct Kept {
    messages: VecDeque<(u64, Arc<Heard>)>,
    /// Another gateway asked for messages and may ask again until then.
    leased_until: Option<Instant>,
}

/// Messages from some number on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    pub messages: Vec<Arc<Heard>>,
    /// Where the next page begins.
    pub next: u64,
    /// Messages that came too fast to be in a page.
    pub lost: u64,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    pub at: String,
    /// The login that it came by.
    pub login: DeviceId,
    pub topic: String,
    /// Text, or hexadecimal digits where it is none; cut at 4 KiB. A presented credential is not shown.
    pub payload: String,
    pub retained: bool,
    pub qos: u8,
    /// What it meant, with the device that it meant it for.
    pub understood: Vec<Json>,
    pub problems: Vec<String>,
    /// `taken`, `refused: …` or `not now: …`.
    pub verdict: String,
}

/// Somebody who watches at this gateway; messages are kept while it lives.
pub struct Watcher {
    watch: Arc<Watch>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watch.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { kept: Mutex::default(), next: watch::Sender::new(1), watchers: AtomicUsize::new(0) }
    }
}

impl Watch {
    pub fn is_watched(&self) -> bool {
        self.is_watched_at(Instant::now())
    }

    fn is_watched_at(&self, now: Instant) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0 || self.kept.lock().leased_until.is_some_and(|until| now < until)
    }

    /// `None`: as many watch already as may.
    pub fn begin(self: &Arc<Self>) -> Option<Watcher> {
        let more = |watchers: usize| (watchers < WATCHERS_MAX).then_some(watchers + 1);
        self.watchers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Watcher { watch: self.clone() })
    }

    /// Keeps messages for another gateway, which asks again before [`LEASE`] is over.
    pub fn lease(&self) {
        self.kept.lock().leased_until = Some(Instant::now() + LEASE);
    }

    /// Messages of `device` (of all where `None`) from number `from` on, waiting a while for the first. Without `from`: no messages,
    /// and where they begin.
    pub async fn page(&self, from: Option<u64>, device: Option<&str>, wait: Duration) -> Page {
        let mut next = self.next.subscribe();
        let now = *next.borrow_and_update();
        // A gateway that was started anew counts anew.
        let Some(from) = from.filter(|from| *from <= now) else { return Page { next: now, ..Page::default() } };
        let _ = tokio::time::timeout(wait, next.wait_for(|next| *next > from)).await;
        self.kept_from(from, device)
    }

    fn kept_from(&self, from: u64, device: Option<&str>) -> Page {
        let kept = self.kept.lock();
        let first = kept.messages.front().map_or(from, |(number, _)| *number);
        let mut page = Page { messages: Vec::new(), next: from.max(first), lost: first.saturating_sub(from) };
        let mut size = 0;
        for (number, message) in kept.messages.iter().filter(|(number, _)| *number >= from) {
            if device.is_none_or(|device| message.concerns(device)) {
                let more = message.size();
                if more > PAGE_SIZE_MAX {
                    page.lost += 1;
                } else if size + more > PAGE_SIZE_MAX {
                    return page;
                } else {
                    size += more;
                    page.messages.push(message.clone());
                }
            }
            page.next = number + 1;
        }
        page
    }

    pub(super) fn tell(&self, heard: Heard) {
        let mut kept = self.kept.lock();
        if kept.messages.len() >= KEPT_MAX {
            kept.messages.pop_front();
        }
        self.next.send_modify(|next| {
            kept.messages.push_back((*next, Arc::new(heard)));
            *next += 1;
        });
    }
}

impl Heard {
    pub(super) fn new(login: &DeviceId, message: &Message, hidden: bool, now: Timestamp) -> Self {
        Self {
            at: now.to_rfc3339(),
            login: login.clone(),
            topic: message.topic.clone(),
            payload: if hidden { "(a credential; not shown)".into() } else { shown(&message.payload) },
            retained: message.retain,
            qos: message.qos as u8,
            understood: Vec::new(),
            problems: Vec::new(),
            verdict: String::new(),
        }
    }

    pub(super) fn note(&mut self, device: &DeviceId, what: &str, mut fields: Json) {
        fields["device"] = json!(device);
        fields["is"] = json!(what);
        self.understood.push(fields);
    }

    /// Whether it is about `device`: its login, or one that it was understood for.
    pub fn concerns(&self, device: &str) -> bool {
        self.login.as_str() == device || self.understood.iter().any(|what| what["device"] == device)
    }

    /// About as many bytes as it is long when written.
    fn size(&self) -> usize {
        let texts = self.topic.len() + self.payload.len() + self.problems.iter().map(String::len).sum::<usize>();
        texts + self.understood.iter().map(|what| what.to_string().len()).sum::<usize>() + 256
    }
}

fn shown(payload: &[u8]) -> String {
    let (part, cut) = if payload.len() > SHOWN_MAX { (&payload[..SHOWN_MAX], "…") } else { (payload, "") };
    match std::str::from_utf8(part) {
        Ok(text) => format!("{text}{cut}"),
        // Cut inside a character.
        Err(error) if error.error_len().is_none() => format!("{}{cut}", String::from_utf8_lossy(&part[..error.valid_up_to()])),
        Err(_) => format!("{}{cut}", hex::encode(part)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(watch: &Watch, device: &str) {
        watch.tell(Heard::new(&DeviceId::new(device), &Message { topic: "t".into(), ..Message::default() }, false, Timestamp(0)));
    }

    #[tokio::test]
    async fn a_watcher_sees_all_from_where_it_began_and_is_told_what_it_missed() {
        let watch = Arc::new(Watch::default());
        said(&watch, "hq/a");
        let begin = watch.page(None, None, Duration::ZERO).await;
        assert_eq!(begin, Page { messages: Vec::new(), next: 2, lost: 0 });
        let (waiting, speaker) = (watch.clone(), watch.clone());
        let page = tokio::spawn(async move { waiting.page(Some(2), Some("hq/b"), Duration::from_secs(60)).await });
        tokio::task::yield_now().await;
        said(&speaker, "hq/b");
        assert_eq!(page.await.expect("a page").messages.len(), 1);
        for _ in 0..KEPT_MAX + 7 {
            said(&watch, "hq/a");
        }
        let page = watch.page(Some(3), None, Duration::ZERO).await;
        assert_eq!((page.messages.len(), page.lost), (KEPT_MAX, 7));
        assert_eq!(watch.page(Some(page.next), None, Duration::ZERO).await.messages.len(), 0);
        assert_eq!(watch.page(Some(99_999), None, Duration::ZERO).await.next, page.next, "of an earlier start");
    }

    #[test]
    fn nothing_is_kept_once_nobody_watches() {
        let watch = Arc::new(Watch::default());
        let watchers: Vec<Watcher> = (0..WATCHERS_MAX).filter_map(|_| watch.begin()).collect();
        assert!(watchers.len() == WATCHERS_MAX && watch.begin().is_none() && watch.is_watched());
        drop(watchers);
        assert!(!watch.is_watched() && watch.begin().is_some());
        watch.lease();
        assert!(watch.is_watched());
        assert!(!watch.is_watched_at(Instant::now() + LEASE));
    }
}
