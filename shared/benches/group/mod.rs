//! A group with flows deployed, for benches: commands go straight to `apply`.

// Each bench uses a part of it.
#![allow(dead_code)]

use spalla_shared::engine::command::FlowSelector;
use spalla_shared::engine::{Accepted, Command, Entry, State, apply};
use spalla_shared::flow;
use spalla_shared::id::{Actor, GroupId};
use spalla_shared::resource::{FlowDocument, Resource, read};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::path::{Path, PathBuf};

pub const START: i64 = 1_795_424_400_000;

pub struct Group {
    pub state: State,
}

impl Group {
    pub fn new(flows: &[String]) -> Self {
        let mut group = Self { state: State::new(GroupId::mesh()) };
        let flows = flows.iter().map(|text| {
            let checked = flow::check(text).unwrap_or_else(|found| panic!("{found:#?}"));
            Resource::Flow(FlowDocument { document: checked.document })
        });
        group.apply(Command::Deploy { resources: flows.collect(), by: Actor::system() });
        group
    }

    pub fn config() -> Self {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let mut files: Vec<PathBuf> =
            ["pools.yaml", "people.yaml", "areas.yaml", "three-buildings/devices.yaml"].map(|name| config.join(name)).into();
        for folder in ["flows", "profiles"] {
            files.extend(std::fs::read_dir(config.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
        }
        let resources: Vec<Resource> = files.iter().flat_map(|file| read(&std::fs::read_to_string(file).unwrap()).unwrap()).collect();
        let mut group = Self::new(&[]);
        group.apply(Command::Deploy { resources, by: Actor::system() });
        group
    }

    pub fn apply(&mut self, command: Command) -> Accepted {
        let entry = Entry { index: self.state.applied + 1, at: Timestamp(START), command };
        apply(&mut self.state, &entry).reply.unwrap_or_else(|error| panic!("{error:?}"))
    }

    pub fn start(&mut self, namespace: &str, name: &str, input: Value) {
        let flow = FlowSelector { namespace: namespace.into(), name: name.into(), version: None };
        self.apply(Command::Start { flow, input, key: "".into(), by: Actor::system() });
        // The cloud takes what it is told, or the outbox would be what is measured.
        self.state.outbox.items.clear();
    }

    /// An area without a door.
    pub fn area(&mut self, name: &str) {
        let text = format!("kind: area\nname: {name}\ndoors: []\n");
        self.apply(Command::Deploy { resources: read(&text).unwrap(), by: Actor::system() });
    }

    pub fn settle(&mut self) {
        while !self.state.ready.is_empty() {
            self.apply(Command::Continue);
        }
    }
}

/// What a visitor flow of `config` is started with.
pub fn visit(n: usize) -> Value {
    let text = format!(
        r#"{{"visit":{{"id":"v{n}","visitor":{{"id":"p{n}","name":"Vera","phone":"+49301","document":"X1"}},"host":{{"email":"anna@example.com"}},
        "room":"orion","from":"2026-11-23T09:00:00Z","until":"2026-11-23T11:00:00Z","vehicle":{{"plate":"B-X {n}","ev":true}}}}}}"#
    );
    Value::from_json(&text).expect("a visit")
}
