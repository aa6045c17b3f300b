//! Visitors: each books, shows its document, waits for the host, gets a QR code by notification, shows it at the way in,
//! and some time later at the way out. A visitor who is not let in within a while shows the code again.

use super::world::{Streams, World};
use serde_json::{Value, json};
use spalla_shared::id::DeviceId;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Where things are at hq.
const SCANNER: &str = "hq/id-scanner";
const READER_IN: &str = "hq/qr-turnstile-1";
const READER_OUT: &str = "hq/qr-turnstile-2";
const DOOR_IN: &str = "hq/turnstile-1";
const DOOR_OUT: &str = "hq/turnstile-2";
const ROOMS: [&str; 3] = ["orion", "vega", "lyra"];
pub const FLOW: &str = "spalla/visitor";

/// How long a room's door stands open for one person.
const WALK_TIME: Duration = Duration::from_secs(1);
/// A visitor who is not let in shows the code again after this long.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often a code is shown at one door.
const SHOWINGS_MAX: u32 = 60;
/// A visit that has not ended by then counts as unfinished.
pub const VISIT_TIME_MAX: Duration = Duration::from_secs(240);

#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub started: u64,
    pub completed: u64,
    pub faulted: u64,
    pub unfinished: u64,
}

impl Tally {
    pub fn ended(&self) -> u64 {
        self.completed + self.faulted + self.unfinished
    }
}

/// What the notification brings.
#[derive(Clone)]
struct Code {
    token: String,
    credential: String,
}

/// What the visitors' agents share.
pub struct Visitors {
    world: Arc<World>,
    next: AtomicU64,
    run: String,
    /// visit id -> its QR code, once notified.
    codes: Mutex<HashMap<String, watch::Sender<Option<Code>>>>,
    /// (door, credential) -> times that the door turned for it.
    passed: watch::Sender<BTreeMap<(DeviceId, String), u32>>,
    pub tally: watch::Sender<Tally>,
}

impl Visitors {
    pub fn new(world: Arc<World>, streams: Streams) -> Arc<Self> {
        let visitors = Arc::new(Self {
            world,
            next: AtomicU64::new(1),
            run: format!("{:06x}", rand::random::<u32>() & 0xff_ffff),
            codes: Mutex::default(),
            passed: watch::Sender::new(BTreeMap::new()),
            tally: watch::Sender::new(Tally::default()),
        });
        tokio::spawn(visitors.clone().listen(streams));
        visitors
    }

    /// One visit from booking to the way out; `stay` is the time inside.
    pub async fn visit(self: Arc<Self>, stay: Duration) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let visit = format!("visit-{}-{number}", self.run);
        let until = Instant::now() + VISIT_TIME_MAX;
        let (code, mut waiting) = watch::channel(None);
        if let Ok(mut codes) = self.codes.lock() {
            codes.insert(visit.clone(), code);
        }
        let outcome = self.go_through(&visit, number, stay, until, &mut waiting).await;
        if let Ok(mut codes) = self.codes.lock() {
            codes.remove(&visit);
        }
        self.world.ledger.progress();
        self.tally.send_modify(|tally| match outcome.as_deref() {
            Some("completed") => tally.completed += 1,
            Some(_) => tally.faulted += 1,
            None => tally.unfinished += 1,
        });
    }

    /// How the instance ended; `None` when it did not in time.
    async fn go_through(
        &self,
        visit: &str,
        number: u64,
        stay: Duration,
        until: Instant,
        waiting: &mut watch::Receiver<Option<Code>>,
    ) -> Option<String> {
        let now = jiff::Timestamp::now();
        let body = json!({
            "flow": FLOW,
            "key": visit,
            "input": { "visit": {
                "id": visit,
                "visitor": { "id": format!("visitor-{}-{number}", self.run), "name": format!("Visitor {number}"), "phone": format!("+49 555 {number:04}"), "document": format!("P{number:06}") },
                "host": { "email": "anna@example.com" },
                "room": ROOMS[usize::try_from(number).unwrap_or_default() % ROOMS.len()],
                "from": (now - jiff::SignedDuration::from_mins(5)).to_string(),
                "until": (now + jiff::SignedDuration::from_hours(4)).to_string(),
                "vehicle": if number.is_multiple_of(3) { json!({ "plate": format!("B-SP {number}"), "ev": number.is_multiple_of(2) }) } else { Value::Null },
            } },
        });
        let started = self.world.gateways.anywhere(Some(&body), "/instances", "user:reception@example.com", until).await.ok()?;
        let instance = started["data"]["instance"].as_str()?.to_owned();
        self.tally.send_modify(|tally| tally.started += 1);
        self.world.ledger.progress();
        self.device(SCANNER)?
            .event(
                "document-read",
                json!({ "id": format!("{visit}-scan"), "visitId": visit, "document": format!("P{number:06}"), "valid": true }),
            )
            .await;
        let code = loop {
            if let Some(code) = waiting.borrow_and_update().clone() {
                break code;
            }
            tokio::select! {
                changed = waiting.changed() => changed.ok()?,
                () = tokio::time::sleep(Duration::from_secs(2)) => if let Some(ended) = self.ended(&instance).await { return Some(ended) },
                () = tokio::time::sleep_until(until) => return None,
            }
        };
        self.show(READER_IN, DOOR_IN, visit, &code, until).await?;
        tokio::time::sleep(stay).await;
        self.show(READER_OUT, DOOR_OUT, visit, &code, until).await?;
        while Instant::now() < until {
            if let Some(ended) = self.ended(&instance).await {
                return Some(ended);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        None
    }

    /// Shows the code at a reader until its door has turned for it.
    async fn show(&self, reader: &str, door: &str, visit: &str, code: &Code, until: Instant) -> Option<()> {
        let door = DeviceId::new(door);
        let mut passed = self.passed.subscribe();
        for showing in 1..=SHOWINGS_MAX {
            // A fresh showing is a fresh event: it never repeats an old one's opening.
            let id = format!("{visit}-{}-{showing}", door.name());
            self.world.ledger.shown(door.as_str(), &code.credential);
            self.device(reader)?
                .event("presented", json!({ "id": id, "time": jiff::Timestamp::now().to_string(), "token": code.token }))
                .await;
            let turned = passed.wait_for(|passed| passed.contains_key(&(door.clone(), visit.to_owned())));
            if let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, turned).await {
                return Some(());
            }
            if Instant::now() > until {
                return None;
            }
        }
        None
    }

    async fn ended(&self, instance: &str) -> Option<String> {
        let body = self.world.gateways.anywhere(None, &format!("/instances/{instance}"), "user:demo", Instant::now()).await.ok()?;
        match body["data"]["status"].as_str() {
            Some("running" | "suspended") | None => None,
            Some(ended) => Some(ended.to_owned()),
        }
    }

    fn device(&self, id: &str) -> Option<&super::device::Device> {
        self.world.devices.get(&DeviceId::new(id))
    }

    /// The contact of a door whose lock was opened: open for as long as somebody walks through.
    fn door_moves(&self, lock: &DeviceId) {
        let Some(room) = lock.name().strip_prefix("lock-") else { return };
        let contact = DeviceId::of(&lock.site(), &format!("contact-{room}"));
        let Some(contact) = self.world.devices.get(&contact).cloned() else { return };
        tokio::spawn(async move {
            contact.state("open", json!(true)).await;
            tokio::time::sleep(WALK_TIME).await;
            contact.state("open", json!(false)).await;
        });
    }

    /// Hands QR tokens to their visitors, and lets turnstiles report who passed.
    async fn listen(self: Arc<Self>, mut streams: Streams) {
        // credential -> visit, learned from the notification that carried the token.
        let mut visits: HashMap<String, String> = HashMap::new();
        loop {
            tokio::select! {
                Some(notification) = streams.notifications.recv() => {
                    self.world.ledger.progress();
                    let field = |name: &str| notification.data[name].as_str().map(str::to_owned);
                    if let (Some(visit), Some(token), Some(credential)) = (field("visit"), field("qr"), field("credentialId")) {
                        visits.insert(credential.clone(), visit.clone());
                        if let Ok(codes) = self.codes.lock() && let Some(waiting) = codes.get(&visit) {
                            waiting.send_replace(Some(Code { token, credential }));
                        }
                    }
                }
                Some((device, command)) = streams.moves.recv() => {
                    self.door_moves(&device);
                    let Some(credential) = command.args.get("credentialId").and_then(|id| id.as_str()) else { continue };
                    self.world.ledger.opened(device.as_str(), credential);
                    let direction = if device.as_str() == DOOR_OUT { "out" } else { "in" };
                    if let Some(turnstile) = self.world.devices.get(&device) {
                        turnstile.event("passed", json!({ "id": format!("passed-{}", command.id), "direction": direction, "credentialId": credential })).await;
                    }
                    if let Some(visit) = visits.get(credential) {
                        self.passed.send_modify(|passed| *passed.entry((device.clone(), visit.clone())).or_default() += 1);
                    }
                }
                else => return,
            }
        }
    }
}
