//! The API of one gateway, as any program calls it.

use crate::wait::until;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longer than the 3 s in which a write is answered, so that a hanging API shows as such.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Api {
    pub base: String,
    pub token: String,
    http: reqwest::Client,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
    /// Null where the text is no JSON.
    pub body: Value,
}

impl Answer {
    pub fn data(&self) -> &Value {
        &self.body["data"]
    }
    /// `error.code`, or nothing.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }
    pub fn is_stale(&self) -> bool {
        self.body["freshness"]["stale"] == true
    }
    /// Neither yes nor no: over an election or a disk that is slow, a write may end so.
    pub fn is_undecided(&self) -> bool {
        matches!(self.status, 503 | 504)
    }
}

impl Api {
    pub fn new(base: impl Into<String>, token: impl Into<String>) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().expect("an HTTP client");
        Self { base: base.into(), token: token.into(), http }
    }

    /// A request to `path`, which begins with `/`, with the token. For what the methods below do not do.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse().expect("an HTTP method");
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// The same without the token.
    pub fn anonymous(&self, method: &str, path: &str) -> RequestBuilder {
        self.http.request(method.parse().expect("an HTTP method"), format!("{}{path}", self.base))
    }

    /// Nothing where nobody answers.
    pub async fn send(&self, request: RequestBuilder) -> Option<Answer> {
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Some(Answer { status, text, body })
    }

    /// `path` counts from `/api/v1`.
    pub async fn try_get(&self, path: &str) -> Option<Answer> {
        self.send(self.request("GET", &format!("/api/v1{path}"))).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.unwrap_or_else(|| panic!("nobody answers GET {path} at {}", self.base))
    }

    pub async fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        self.send(self.request("POST", &format!("/api/v1{path}")).json(body)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body).await.unwrap_or_else(|| panic!("nobody answers POST {path} at {}", self.base))
    }

    /// Asks again until it is decided. For what has a key, or does the same when it is done twice.
    pub async fn post_surely(&self, path: &str, body: &Value) -> Answer {
        until(&format!("POST {path} is decided"), async || Some(self.post(path, body).await).filter(|answer| !answer.is_undecided())).await
    }

    /// Starts a flow, once, and gives the instance.
    pub async fn start(&self, flow: &str, input: &Value) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let key = format!("start-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let answer = self.post_surely("/instances", &json!({ "flow": flow, "input": input, "key": key })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.data()["instance"].as_str().expect("an id").to_owned()
    }

    /// Asks again until it is decided: what is declared already stays as it is.
    pub async fn apply(&self, yaml: &str) -> Answer {
        until("an apply is decided", async || {
            let request = self.request("POST", "/api/v1/apply").body(yaml.to_owned());
            let answer = self.send(request).await.unwrap_or_else(|| panic!("nobody answers an apply at {}", self.base));
            (!answer.is_undecided()).then_some(answer)
        })
        .await
    }

    /// A number of `/metrics`; 0 where it is not there.
    pub async fn metric(&self, name: &str) -> u64 {
        let answer = self.send(self.anonymous("GET", "/metrics")).await.expect("metrics");
        let line = answer.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}
