//! The demo's way into the mesh: any gateway takes any call, so it asks one after the other until one answers.

use anyhow::{Result, bail};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const CALL_TIME_MAX: Duration = Duration::from_secs(6);
/// Between two rounds over all gateways.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

pub struct Gateways {
    pub apis: Vec<(SocketAddr, String)>,
    http: reqwest::Client,
    next: AtomicUsize,
}

impl Gateways {
    pub fn new(apis: Vec<(SocketAddr, String)>) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(CALL_TIME_MAX).connect_timeout(Duration::from_secs(1)).no_proxy().build()?;
        Ok(Self { apis, http, next: AtomicUsize::new(0) })
    }

    /// One call at one gateway. `Err` where it does not answer or refuses.
    pub async fn at(&self, place: usize, post: Option<&Value>, path: &str) -> Result<Value> {
        let (address, token) = &self.apis[place % self.apis.len()];
        let url = format!("http://{address}/api/v1{path}");
        let request = match post {
            Some(body) => self.http.post(url).json(body),
            None => self.http.get(url),
        };
        let response = request.bearer_auth(token).header("x-spalla-actor", "user:demo").send().await?;
        let status = response.status();
        let body: Value = response.json().await?;
        if !status.is_success() {
            bail!("{}", body["error"]["message"].as_str().unwrap_or(status.as_str()));
        }
        Ok(body)
    }

    /// The same call in another's name at any gateway that answers, until `until`. A key in the body makes repeats harmless.
    pub async fn anywhere(&self, post: Option<&Value>, path: &str, actor: &str, until: Instant) -> Result<Value> {
        let mut last: Option<String>;
        loop {
            for _ in 0..self.apis.len() {
                let place = self.next.fetch_add(1, Ordering::Relaxed) % self.apis.len();
                let (address, token) = &self.apis[place];
                let url = format!("http://{address}/api/v1{path}");
                let request = match post {
                    Some(body) => self.http.post(url).json(body),
                    None => self.http.get(url),
                };
                match request.bearer_auth(token).header("x-spalla-actor", actor).send().await {
                    Ok(response) if response.status().is_success() => return Ok(response.json().await?),
                    Ok(response) if response.status().is_client_error() && response.status() != 429 => {
                        let body: Value = response.json().await.unwrap_or_default();
                        bail!("{path}: {}", body["error"]["message"].as_str().unwrap_or("refused"));
                    }
                    Ok(response) => last = Some(format!("HTTP {}", response.status())),
                    Err(error) => last = Some(error.without_url().to_string()),
                }
                if Instant::now() >= until {
                    bail!("{path}: no gateway answered in time ({})", last.unwrap_or_default());
                }
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    pub async fn apply(&self, text: &str, until: Instant) -> Result<()> {
        loop {
            let mut last = String::new();
            for (address, token) in &self.apis {
                let sent = self.http.post(format!("http://{address}/api/v1/apply")).bearer_auth(token).body(text.to_owned()).send().await;
                match sent {
                    Ok(response) if response.status().is_success() => return Ok(()),
                    Ok(response) if response.status().is_client_error() => bail!("apply: {}", response.text().await.unwrap_or_default()),
                    Ok(response) => last = response.text().await.unwrap_or_default(),
                    Err(error) => last = error.without_url().to_string(),
                }
            }
            if Instant::now() >= until {
                bail!("apply: no gateway took it in time ({last})");
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }
}
