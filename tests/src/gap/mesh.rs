//! Our own mesh: an instance of a flow that ends by itself at once, begun under a key of its own, is one write.

use super::{Cluster, Door, Fault};
use crate::api::Api;
use crate::mesh::Mesh;
use crate::wait::until;
use serde_json::json;

/// One entry of the log each.
pub(crate) const FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: gap, name: note, version: '1.0.0' }
do:
  - note:
      call: audit.note:1.0.0@default
      with: { subject: gap, text: noted }
"#;

pub struct OwnMesh {
    mesh: Mesh,
    timing: String,
    struck: Option<Fault>,
}

impl OwnMesh {
    /// Three gateways that run `program`, with `peers.timing` as given; with links that can be cut where `cuts`.
    pub async fn start(program: &str, timing: &str, cuts: bool) -> Self {
        let sites = ["hq", "plant", "depot"];
        let mut mesh = if cuts { Mesh::init_linked(program, &sites).await } else { Mesh::init(program, &sites) };
        mesh.set_timing(timing);
        mesh.start_all();
        mesh.ready().await;
        let applied = mesh.nodes[0].api.apply(FLOW).await;
        assert_eq!(applied.status, 200, "{}", applied.text);
        Self { mesh, timing: timing.into(), struck: None }
    }
}

pub(crate) async fn applied(api: &Api) -> Option<u64> {
    api.try_get("/status").await?.data()["applied"].as_u64()
}

impl Cluster for OwnMesh {
    fn name(&self) -> String {
        format!("spalla, timing {}", self.timing)
    }

    async fn leader(&self) -> usize {
        self.mesh.leader().await
    }

    fn strike(&mut self, place: usize, fault: Fault) {
        match fault {
            Fault::Kill => self.mesh.nodes[place].kill(),
            Fault::Cut => self.mesh.cut_off(&[place]),
        }
        self.struck = Some(fault);
    }

    fn mend(&mut self, place: usize) {
        match self.struck.take() {
            Some(Fault::Kill) => self.mesh.nodes[place].start(),
            Some(Fault::Cut) => self.mesh.heal(),
            None => {}
        }
    }

    async fn level(&self, place: usize) {
        let others = self.mesh.nodes.iter().enumerate().filter(|(other, _)| *other != place);
        let mut wanted = 0;
        for (_, node) in others {
            wanted = wanted.max(applied(&node.api).await.unwrap_or_default());
        }
        until("the gateway is level", async || (applied(&self.mesh.nodes[place].api).await? >= wanted).then_some(())).await;
    }

    fn doors(&self) -> Vec<impl Door> {
        self.mesh.nodes.iter().map(|node| ApiDoor(node.api.clone())).collect()
    }

    async fn count(&self) -> u64 {
        self.mesh.agreed().await;
        self.mesh.nodes[0].api.get("/status").await.data()["instances"]["completed"].as_u64().unwrap_or_default()
    }
}

#[derive(Clone)]
pub(crate) struct ApiDoor(pub Api);

impl Door for ApiDoor {
    async fn write(&self, n: u64) -> bool {
        let body = json!({ "flow": "gap/note", "input": {}, "key": format!("n{n}") });
        self.0.try_post("/instances", &body).await.is_some_and(|answer| answer.status == 200)
    }
}
