//! The command line's way to a gateway: its public HTTP API.

use super::failure::{Failure, usage};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Longest time for which a stream is followed.
const STREAM_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

/// For a file of many gigabytes over a thin line.
const DOWNLOAD_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(6 * 3_600);

/// Where the API is and how to get in. All of it may come from the gateway's own config.
#[derive(Clone, Debug, clap::Args)]
pub struct Connection {
    /// Base URL of a gateway's API, e.g. http://127.0.0.1:8080.
    #[arg(long, global = true, env = "SPALLA_URL", value_name = "URL")]
    pub api: Option<String>,
    /// File with the bearer token.
    #[arg(long, global = true, env = "SPALLA_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A gateway's config, from which the URL and the token are taken [default: ./spalla.toml].
    #[arg(long, short = 'c', global = true, env = "SPALLA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Certificate authority of the API, where it is not publicly trusted.
    #[arg(long, global = true, env = "SPALLA_URL_CA", value_name = "FILE")]
    pub api_ca: Option<PathBuf>,
    /// In whose name: `anna@example.com`, `user:…`.
    #[arg(long = "as", global = true, env = "SPALLA_ACTOR", value_name = "WHO")]
    pub actor: Option<String>,
}

/// Far above what one event takes.
const STREAM_EVENT_MAX: usize = 1024 * 1024;

pub struct Client {
    base: String,
    token: String,
    actor: Option<String>,
    http: reqwest::Client,
}

impl Client {
    pub fn new(connection: &Connection) -> Result<Self> {
        Self::with(connection, None)
    }

    /// With a token that stands in no file.
    pub fn with_token(connection: &Connection, token: &str) -> Result<Self> {
        Self::with(connection, Some(token))
    }

    fn with(connection: &Connection, token: Option<&str>) -> Result<Self> {
        let config_path = connection.config.clone().unwrap_or_else(|| "spalla.toml".into());
        let config = if connection.config.is_some() || (connection.api.is_none() && config_path.exists()) {
            // The files of the gateway are its own business: a certificate that is being renewed must not stand in the way of a revocation.
            Some(crate::config::Config::read_with_environment(&config_path)?)
        } else {
            None
        };
        let base = match (&connection.api, &config) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(config)) => {
                let scheme = if config.api.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", config.api.listen)
            }
            (None, None) => {
                bail!(usage("which gateway? Give --api URL with --token-file FILE, or --config FILE (there is no ./spalla.toml here)"))
            }
        };
        if !reqwest::Url::parse(&base).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            bail!(usage(format!("--api {base}: write the address of a gateway's API, e.g. http://127.0.0.1:8080")));
        }
        let token_file = match (&connection.token_file, &config) {
            _ if token.is_some() => None,
            (Some(file), _) => Some(file.clone()),
            (None, Some(config)) => Some(config.api.token_file.clone()),
            (None, None) => bail!(usage("--token-file FILE is missing: the file that `spalla init` wrote and `api.token_file` names")),
        };
        let token = match token_file {
            Some(file) => std::fs::read_to_string(&file).with_context(|| format!("token file {}", file.display()))?.trim().to_owned(),
            None => token.unwrap_or_default().to_owned(),
        };
        let mut http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(30));
        if let Some(ca) = &connection.api_ca {
            let pem = std::fs::read(ca).with_context(|| format!("--api-ca {}", ca.display()))?;
            let certificate = reqwest::Certificate::from_pem(&pem).with_context(|| format!("--api-ca {}", ca.display()))?;
            http = http.tls_certs_merge([certificate]);
        }
        Ok(Self { base, token, actor: connection.actor.clone(), http: http.build()? })
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(self.http.get(format!("{}/api/v1{path}", self.base))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(self.http.post(format!("{}/api/v1{path}", self.base)).json(body)).await
    }

    pub async fn post_text(&self, path: &str, body: String) -> Result<Value> {
        self.send(self.http.post(format!("{}/api/v1{path}", self.base)).header("content-type", "application/yaml").body(body)).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.send(self.http.delete(format!("{}/api/v1{path}", self.base))).await
    }

    /// An answer that is no JSON.
    pub async fn get_text(&self, path: &str) -> Result<String> {
        Ok(self.answer(self.http.get(format!("{}/api/v1{path}", self.base))).await?.text().await?)
    }

    /// Writes a long answer to a new file that only its owner reads.
    pub async fn download(&self, path: &str, to: &std::path::Path) -> Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt;
        let request = self.http.get(format!("{}/api/v1{path}", self.base)).timeout(DOWNLOAD_TIME_MAX);
        let mut response = self.answer(request).await?;
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to);
        let mut file = file.with_context(|| to.display().to_string())?;
        while let Some(chunk) = response.chunk().await? {
            file.write_all(&chunk).with_context(|| to.display().to_string())?;
        }
        file.sync_all().with_context(|| to.display().to_string())
    }

    /// Server-sent events, each with its name and data, until `each` breaks (`Some`) or the other side ends them (`None`).
    pub async fn stream<T>(&self, path: &str, mut each: impl FnMut(&str, &Value) -> ControlFlow<T>) -> Result<Option<T>> {
        let request = self.http.get(format!("{}/api/v1{path}", self.base)).timeout(STREAM_TIME_MAX);
        let mut response = self.answer(request).await?;
        let mut rest = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            rest.extend_from_slice(&chunk);
            if rest.len() > STREAM_EVENT_MAX {
                bail!(Failure::new("failed", format!("{}: an event of more than {STREAM_EVENT_MAX} bytes", self.base)));
            }
            while let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = rest.drain(..end + 2).collect();
                let text = String::from_utf8_lossy(&block);
                let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name).map(str::trim_start));
                if let Some(data) = field("data:").and_then(|data| serde_json::from_str(data).ok())
                    && let ControlFlow::Break(value) = each(field("event:").unwrap_or("message"), &data)
                {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let text = self.answer(request).await?.text().await;
        let text = text.map_err(|error| Failure::new("no-gateway", format!("{}: {}", self.base, no_answer(&error))))?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A successful answer, or the failure that it tells of.
    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response> {
        let mut request = request.bearer_auth(&self.token);
        if let Some(actor) = &self.actor {
            request = request.header("x-spalla-actor", actor);
        }
        let unanswered = |error| Failure::new("no-gateway", format!("{}: {}", self.base, no_answer(&error)));
        let response = request.send().await.map_err(unanswered)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.map_err(unanswered)?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let message = body["error"]["message"].as_str().map_or_else(|| format!("HTTP {status}: {body}"), str::to_owned);
        let mut all = message;
        for detail in body["error"]["details"].as_array().into_iter().flatten().skip(1) {
            let line =
                format!("\n  line {}, column {}: {}", detail["line"], detail["column"], detail["message"].as_str().unwrap_or_default());
            all.push_str(&line);
        }
        let code = body["error"]["code"].as_str().unwrap_or("failed");
        bail!(Failure::new(code, all))
    }
}

/// Why there is none, and what to look at.
fn no_answer(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        return "no answer in time; is the gateway overloaded, or cut off?";
    }
    if error.is_connect() {
        return "nothing answers there; is the gateway running?";
    }
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    if causes.filter_map(|cause| cause.downcast_ref::<hyper::Error>()).any(hyper::Error::is_parse) {
        return "what answers there does not speak HTTP as a gateway's API does; is this the port of `api.listen`?";
    }
    "the connection ended before the answer was there; a change may have been made: look before you ask again"
}

/// Text as one segment of a path or one value of a query: what people type may hold `/`, `?` or `&`.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// What the command line says of a server that gives `answer` and hangs up.
    async fn said_of(answer: &'static [u8]) -> String {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let served = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(answer).await;
        });
        let client = Client { base, token: "t".into(), actor: None, http: reqwest::Client::new() };
        let error = client.delete("/mesh/members/3").await.expect_err("no answer");
        served.await.expect("served");
        assert!(error.downcast_ref::<Failure>().is_some_and(Failure::is_no_gateway), "{error}");
        error.to_string()
    }

    /// A gateway that stopped while it was asked was told as a wrong port.
    #[tokio::test]
    async fn an_answer_that_breaks_off_is_not_told_as_a_wrong_port() {
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"] {
            let said = said_of(answer).await;
            assert!(said.contains("ended before the answer") && said.contains("may have been made"), "{said}");
        }
        // A TLS listener's alert, and a greeting of something else.
        for answer in [&b"\x15\x03\x03\x00\x02\x02\x46"[..], b"220 mail.example ESMTP\r\n"] {
            let said = said_of(answer).await;
            assert!(said.contains("does not speak HTTP"), "{said}");
        }
    }
}
