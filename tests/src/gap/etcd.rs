//! etcd beside ours, by its JSON gateway: a key of its own is one write.

use super::{Cluster, Door, Fault};
use crate::wait::until;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use spalla::demo::ports;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const MEMBERS: u16 = 3;

pub struct Etcd {
    members: Vec<Member>,
    http: reqwest::Client,
    /// Heartbeat and election timeout, in milliseconds.
    timing: (u64, u64),
    _folder: TempDir,
}

struct Member {
    arguments: Vec<String>,
    url: String,
    child: Option<Child>,
}

impl Member {
    fn start(&mut self) {
        let child = Command::new("etcd").args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("etcd starts"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Etcd {
    pub fn is_installed() -> bool {
        Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Three members on loopback, plain HTTP, fsync on as it is by default.
    pub async fn start(timing: (u64, u64)) -> Self {
        let folder = tempfile::Builder::new().prefix("spalla-etcd-").tempdir().expect("a folder");
        let first = ports::free_block(MEMBERS * 2).expect("free ports");
        let peer = |number: u16| format!("http://127.0.0.1:{}", first + MEMBERS + number);
        let all: Vec<String> = (0..MEMBERS).map(|number| format!("m{number}={}", peer(number))).collect();
        let mut members: Vec<Member> = (0..MEMBERS)
            .map(|number| {
                let url = format!("http://127.0.0.1:{}", first + number);
                let data = folder.path().join(number.to_string()).display().to_string();
                let options = [
                    ("name", format!("m{number}")),
                    ("data-dir", data),
                    ("listen-client-urls", url.clone()),
                    ("advertise-client-urls", url.clone()),
                    ("listen-peer-urls", peer(number)),
                    ("initial-advertise-peer-urls", peer(number)),
                    ("initial-cluster", all.join(",")),
                    ("heartbeat-interval", timing.0.to_string()),
                    ("election-timeout", timing.1.to_string()),
                    ("log-level", "error".into()),
                ];
                let arguments = options.into_iter().map(|(name, value)| format!("--{name}={value}")).collect();
                Member { arguments, url, child: None }
            })
            .collect();
        members.iter_mut().for_each(Member::start);
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let etcd = Self { members, http, timing, _folder: folder };
        etcd.leader().await;
        etcd
    }

    async fn status(&self, member: &Member) -> Option<Value> {
        ask(&self.http, &format!("{}/v3/maintenance/status", member.url), &json!({})).await
    }
}

async fn ask(http: &reqwest::Client, url: &str, body: &Value) -> Option<Value> {
    http.post(url).json(body).send().await.ok()?.error_for_status().ok()?.json().await.ok()
}

/// Its JSON gives 64-bit numbers as text.
fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl Cluster for Etcd {
    fn name(&self) -> String {
        format!("etcd, heartbeat {} ms, election {} ms", self.timing.0, self.timing.1)
    }

    async fn leader(&self) -> usize {
        until("a member of etcd leads", async || {
            for (place, member) in self.members.iter().enumerate() {
                if let Some(status) = self.status(member).await
                    && number(&status["leader"]) != 0
                    && status["leader"] == status["header"]["member_id"]
                {
                    return Some(place);
                }
            }
            None
        })
        .await
    }

    fn strike(&mut self, place: usize, fault: Fault) {
        assert_eq!(fault, Fault::Kill, "etcd's members have no links of ours between them");
        self.members[place].kill();
    }

    fn mend(&mut self, place: usize) {
        self.members[place].start();
    }

    async fn level(&self, place: usize) {
        let mut wanted = 0;
        for (_, member) in self.members.iter().enumerate().filter(|(other, _)| *other != place) {
            wanted = wanted.max(self.status(member).await.map_or(0, |status| number(&status["raftAppliedIndex"])));
        }
        until("the member of etcd is level", async || {
            (number(&self.status(&self.members[place]).await?["raftAppliedIndex"]) >= wanted).then_some(())
        })
        .await;
    }

    fn doors(&self) -> Vec<impl Door> {
        self.members.iter().map(|member| Put { http: self.http.clone(), url: format!("{}/v3/kv/put", member.url) }).collect()
    }

    async fn count(&self) -> u64 {
        // `n` to `o` in Base64: every key that begins with n.
        let body = json!({ "key": "bg==", "range_end": "bw==", "count_only": true });
        let range = ask(&self.http, &format!("{}/v3/kv/range", self.members[0].url), &body).await;
        range.map_or(0, |range| number(&range["count"]))
    }
}

#[derive(Clone)]
struct Put {
    http: reqwest::Client,
    url: String,
}

impl Door for Put {
    async fn write(&self, n: u64) -> bool {
        let key = BASE64.encode(format!("n{n}"));
        ask(&self.http, &self.url, &json!({ "key": key, "value": "e30=" })).await.is_some()
    }
}
