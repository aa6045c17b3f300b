//! Golden logs: text files of commands with what `apply` made of them, below each command on lines that begin with `> `.
//!
//! A change of what an old log means shows as a difference here, and must be guarded by the semantics in force (see
//! `engine::semantics`). `GOLDEN=write cargo test -p spalla-shared --test golden` writes the files anew; read the difference before
//! it is committed. The digest at the end covers the whole state, so a new field of the state changes it in every file.
//!
//! Commands: `config` · `flow NAME VERSION` with the document on lines that begin with `| ` · `start NAME JSON` ·
//! `event TYPE SOURCE JSON` · `pass ISO-8601` · `continue` · `answer [JSON]`, `fail STATUS TYPE`, `unknown`, `attempt`: the oldest open
//! effect · `settle`: all effects, with usual answers · `choose TO WHO CHOICE`, `complete TO WHO JSON` · `suspend`, `resume`, `retry`,
//! `skip JSON`, `context JSON`, `cancel`: the instance that has run longest · `up NODE SITE` · `understands NODE VERSION` · `enable VERSION`.

use spalla_shared::engine::command::{FlowSelector, OperatorAction, WorkItemAction};
use spalla_shared::engine::effect::Place;
use spalla_shared::engine::record::RecordBody;
use spalla_shared::engine::{Applied, Command, Effect, EffectClass, Entry, Outcome, Problem, Request, State, apply};
use spalla_shared::event::Event;
use spalla_shared::id::{Actor, DeviceId, EffectId, GroupId, InstanceId, NodeId, SiteId};
use spalla_shared::resource::{FlowDocument, Resource, read};
use spalla_shared::time::{Timestamp, parse_duration_ms};
use spalla_shared::value::Value;
use spalla_shared::{codec, flow};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// 2026-11-23T09:00:00Z.
const START: i64 = 1_795_424_400_000;
/// Fewer traces than this mean that the folder was not found.
const TRACES_MIN: usize = 12;

#[test]
fn old_logs_mean_what_they_meant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= TRACES_MIN, "{files:?}");
    let write = std::env::var_os("GOLDEN").is_some_and(|mode| mode == "write");
    let mut changed = Vec::new();
    for file in files {
        let before = std::fs::read_to_string(&file).unwrap();
        let after = Trace::of(&before);
        if before == after {
            continue;
        }
        let at = before.lines().zip(after.lines()).position(|(before, after)| before != after).unwrap_or(0);
        let line = |text: &str| text.lines().nth(at).unwrap_or("(no line)").to_owned();
        changed.push(format!("{}:{}\n  was: {}\n  now: {}", file.display(), at + 1, line(&before), line(&after)));
        if write {
            std::fs::write(&file, after).unwrap();
        }
    }
    assert!(write || changed.is_empty(), "an old log has another meaning now:\n{}", changed.join("\n"));
}

/// Entries between two restores of the replica.
const RESTORE_EVERY: u64 = 16;

/// The same log on two replicas, one of them restored from a snapshot every now and then.
struct Trace {
    state: State,
    replica: State,
    at: Timestamp,
    text: String,
    /// Items of the cloud's outbox that were shown.
    told: u64,
}

impl Trace {
    fn of(script: &str) -> String {
        let (state, replica) = (State::new(GroupId::mesh()), State::new(GroupId::mesh()));
        let mut trace = Self { state, replica, at: Timestamp(START), text: String::new(), told: 0 };
        let mut lines = script.lines().filter(|line| !line.starts_with('>')).peekable();
        while let Some(line) = lines.next() {
            let mut block = String::new();
            writeln!(trace.text, "{line}").unwrap();
            while let Some(part) = lines.peek().and_then(|line| line.strip_prefix("| ")) {
                writeln!(trace.text, "| {part}").unwrap();
                writeln!(block, "{part}").unwrap();
                lines.next();
            }
            if !line.trim().is_empty() && !line.starts_with('#') {
                trace.command(line, &block);
            }
        }
        let digest = trace.state.digest();
        assert_eq!(digest, trace.replica.digest(), "a restored replica went another way");
        writeln!(trace.text, "> digest {digest}").unwrap();
        trace.text
    }

    fn command(&mut self, line: &str, block: &str) {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (name, first, second, third) = (word(), word(), word(), word());
        let rest = line.get(name.len()..).unwrap_or_default().trim();
        let json = |text: &str| Value::from_json(text).unwrap_or_else(|error| panic!("{line}: {error}"));
        let by = Actor::from("user:golden");
        match name {
            "config" => self.config(),
            "flow" => {
                let head = format!("document: {{ dsl: '1.0.3', namespace: golden, name: {first}, version: '{second}' }}\n");
                let checked = flow::check(&format!("{head}{block}")).unwrap_or_else(|found| panic!("{line}: {found:#?}"));
                self.apply(Command::Deploy { resources: vec![Resource::Flow(FlowDocument { document: checked.document })], by });
            }
            "start" => {
                let input = json(rest.strip_prefix(first).unwrap_or_default().trim());
                let namespace = if self.state.flows.keys().any(|key| &*key.namespace == "golden") { "golden" } else { "spalla" };
                let flow = FlowSelector { namespace: namespace.into(), name: first.into(), version: None };
                self.apply(Command::Start { flow, input, key: "".into(), by });
            }
            "event" => {
                let credential = self.state.credentials.keys().next().map(ToString::to_string).unwrap_or_default();
                let event = Event {
                    id: format!("e{}", self.state.applied).into(),
                    source: second.into(),
                    kind: first.into(),
                    subject: None,
                    time: self.at,
                    data: json(&third.replace("CREDENTIAL", &credential)),
                    extensions: Default::default(),
                };
                self.apply(Command::Event { event, historical: false });
            }
            "pass" => {
                self.at = self.at.plus(parse_duration_ms(first).unwrap_or_else(|| panic!("{line}: no duration")));
                self.apply(Command::TimersDue);
            }
            "continue" => self.apply(Command::Continue),
            "attempt" => self.attempt(self.oldest_effect()),
            "answer" => {
                let output = if first.is_empty() { None } else { Some(json(rest)) };
                self.answer(self.oldest_effect(), output.map(|output| Outcome::Done { output }));
            }
            "fail" => {
                let problem = Problem::standard(second, first.parse().unwrap(), "said the service");
                self.answer(self.oldest_effect(), Some(Outcome::Failed { problem }));
            }
            "unknown" => self.answer(self.oldest_effect(), Some(Outcome::Unknown { detail: "the power failed".into() })),
            "settle" => self.settle(),
            "choose" => self.work_item(first, second, WorkItemAction::Choose { choice: third.into(), comment: None }),
            "complete" => self.work_item(first, second, WorkItemAction::Complete { answers: json(third), comment: None }),
            "suspend" => self.operate(OperatorAction::Suspend),
            "resume" => self.operate(OperatorAction::Resume),
            "retry" => self.operate(OperatorAction::Retry),
            "cancel" => self.operate(OperatorAction::Cancel { reason: "golden".into() }),
            "skip" => self.operate(OperatorAction::Skip { output: json(rest) }),
            "context" => self.operate(OperatorAction::SetContext { context: json(rest) }),
            "up" => self.up(first.parse().unwrap(), second),
            "understands" => {
                self.apply(Command::Understands { node: NodeId(first.parse().unwrap()), semantics: second.parse().unwrap() });
            }
            "enable" => self.apply(Command::EnableSemantics { version: first.parse().unwrap() }),
            other => panic!("there is no command `{other}`"),
        }
    }

    fn apply(&mut self, command: Command) {
        let applied = self.quietly(command);
        self.show(&applied);
    }

    fn quietly(&mut self, command: Command) -> Applied {
        let entry = Entry { index: self.state.applied + 1, at: self.at, command };
        if entry.index.is_multiple_of(RESTORE_EVERY) {
            self.replica = codec::decode(&codec::encode(&self.replica)).unwrap();
            self.replica.rebuild_plans().unwrap();
        }
        let applied = apply(&mut self.state, &entry);
        let other = apply(&mut self.replica, &entry);
        assert_eq!((&applied.reply, &applied.effects, &applied.records), (&other.reply, &other.effects, &other.records));
        applied
    }

    fn show(&mut self, applied: &Applied) {
        let text = &mut self.text;
        let reply = match &applied.reply {
            Ok(accepted) => serde_json::to_string(accepted).unwrap(),
            Err(rejection) => format!("refused {}: {}", rejection.code, rejection.message),
        };
        writeln!(text, "> {} {reply}", self.state.applied).unwrap();
        for record in &applied.records {
            let line = match &record.body {
                RecordBody::Audit(link) => format!("audit {} {} {} {}", link.actor, link.action, link.subject, link.data),
                RecordBody::InstanceStarted { instance, flow, business_key, input, .. } => {
                    format!("started {instance} {flow} {} {input}", business_key.as_deref().unwrap_or("-"))
                }
                RecordBody::InstanceEnded { instance, status, output, problem } => {
                    format!("ended {instance} {status:?} {output} {}", problem.clone().unwrap_or_default())
                }
                RecordBody::Task(task) => format!("task {} {} {}", task.what, task.reference, task.data),
            };
            writeln!(text, ">   {line}").unwrap();
        }
        for effect in &applied.effects {
            let after = effect.deadline.since(self.at);
            let request = serde_json::to_string(&effect.request).unwrap();
            writeln!(text, ">   effect {} {:?} within {after} ms {request}", effect.key, effect.class).unwrap();
        }
        let told = self.told;
        for item in self.state.outbox.items.iter().filter(|item| item.seq > told && &*item.event.kind != "spalla.audit") {
            if !matches!(item.class, spalla_shared::engine::outbox::OutboxClass::Audit) {
                writeln!(text, ">   cloud {} {:?} {} {}", item.seq, item.class, item.event.kind, item.event.data).unwrap();
            }
        }
        self.told = self.state.outbox.newest_seq;
    }

    /// All of `config/` with its devices connected. What it records is left to the digest.
    fn config(&mut self) {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let mut files: Vec<PathBuf> =
            ["pools.yaml", "people.yaml", "areas.yaml", "three-buildings/devices.yaml"].map(|name| config.join(name)).into();
        for folder in ["flows", "profiles"] {
            files.extend(std::fs::read_dir(config.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
        }
        files.sort();
        let mut resources: Vec<Resource> = files.iter().flat_map(|file| read(&std::fs::read_to_string(file).unwrap()).unwrap()).collect();
        resources.sort_by_key(|resource| matches!(resource, Resource::Flow(_) | Resource::Area(_)));
        let device = |resource: &Resource| if let Resource::Device(device) = resource { Some(device.id.clone()) } else { None };
        let devices: Vec<DeviceId> = resources.iter().filter_map(device).collect();
        for (node, site) in [(1, "hq"), (2, "plant"), (3, "depot")] {
            let up = Command::NodeUp { node: NodeId(node), site: SiteId::new(site), boot: 1, version: "1".into(), api: None };
            self.quietly(up).reply.unwrap();
        }
        self.quietly(Command::Deploy { resources, by: Actor::system() }).reply.unwrap();
        for device in devices {
            let node = NodeId(match device.site().as_str() {
                "hq" => 1,
                "plant" => 2,
                _ => 3,
            });
            self.quietly(Command::Presence { device, node, session: 1, online: true }).reply.unwrap();
        }
        self.told = self.state.outbox.newest_seq;
    }

    fn up(&mut self, node: u64, site: &str) {
        self.apply(Command::NodeUp { node: NodeId(node), site: SiteId::new(site), boot: 1, version: "1".into(), api: None });
    }

    fn oldest_effect(&self) -> EffectId {
        *self.state.effects.keys().next().expect("an open effect")
    }

    fn place(&self, effect: &Effect) -> NodeId {
        match effect.place(&self.state) {
            Place::Node(node) => node,
            Place::Leader | Place::Nowhere => NodeId(1),
        }
    }

    fn attempt(&mut self, effect: EffectId) {
        let node = self.place(&self.state.effects[&effect]);
        self.apply(Command::EffectAttempt { effect, node });
    }

    fn answer(&mut self, effect: EffectId, outcome: Option<Outcome>) {
        let open = &self.state.effects[&effect];
        let (node, outcome) = (self.place(open), outcome.unwrap_or_else(|| usual(&open.request)));
        self.apply(Command::EffectDone { effect, outcome, node });
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            match self.state.effects.values().next() {
                Some(effect) if effect.class == EffectClass::Opening && effect.attempt.is_none() => self.attempt(effect.id),
                Some(effect) => self.answer(effect.id, None),
                None if self.state.ready.is_empty() => return,
                None => self.apply(Command::Continue),
            }
        }
        panic!("it never settles");
    }

    fn work_item(&mut self, to: &str, who: &str, action: WorkItemAction) {
        let item = self.state.work_items.values().find(|item| &*item.to == to).unwrap_or_else(|| panic!("nothing is asked of {to}"));
        let key = format!("{}", self.state.applied).into();
        self.apply(Command::WorkItem { id: item.id.clone(), action, by: format!("user:{who}").into(), key });
    }

    fn operate(&mut self, action: OperatorAction) {
        let oldest = self.state.instances.values().min_by_key(|instance| (instance.events_from, instance.depth));
        let instance = oldest.map_or_else(|| InstanceId::from("none"), |instance| instance.id.clone());
        self.apply(Command::Operator { instance, action, by: Actor::from("user:operator") });
    }
}

fn usual(request: &Request) -> Outcome {
    let output = match request {
        Request::Device { .. } => r#"{"status":"done","detail":null,"at":"2026-11-23T09:00:00Z"}"#.to_owned(),
        Request::ReadDevice { .. } => r#"{"value":1,"observedAt":"2026-11-23T09:00:00Z","quality":"good"}"#.to_owned(),
        Request::SignCredential { credential, .. } => format!(r#"{{"credentialId":"{credential}","token":"t"}}"#),
        Request::Notify { .. } => r#"{"delivered":1}"#.to_owned(),
        Request::AppendRow { .. } => r#"{"row":1}"#.to_owned(),
        Request::FindRow { .. } | Request::Function { .. } => "null".to_owned(),
        Request::Http(_) => return Outcome::Failed { problem: Problem::standard("communication", 503, "nobody is there") },
    };
    Outcome::Done { output: Value::from_json(&output).unwrap() }
}
