//! HTTP calls of flows. The effect's key travels as `Idempotency-Key`, so that a try after a lost answer, or by the next
//! leader, is the same call to the other side. Bounded in time, tries and bytes; secrets are read when it is sent.

use super::executors::failed;
use super::secret::SecretFolder;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, Url, redirect};
use spalla_shared::engine::effect::{HttpAuthentication, HttpRequest};
use spalla_shared::engine::{Outcome, Problem};
use spalla_shared::flow::plan::HttpOutput;
use spalla_shared::value::Value;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Largest body that is taken: it enters the log.
const BODY_LEN_MAX: usize = 64 * 1024;
/// Connections tried for one effect; what comes back wrong is the flow's to retry.
const TRIES_MAX: u32 = 5;
const AGAIN_FIRST: Duration = Duration::from_millis(200);
const REDIRECTS_MAX: usize = 5;
/// Characters of a refusal's body that its problem repeats.
const SAID_LEN_MAX: usize = 256;
/// Response headers that are handed on.
const HEADERS_MAX: usize = 64;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Cheap to clone. Connections and certificates are set up with the first call: a gateway whose flows call nobody needs none.
#[derive(Clone, Default)]
pub struct HttpClient {
    client: Arc<OnceLock<Result<Client, String>>>,
}

/// A POST of the gateway's own.
pub(super) struct Post<'a> {
    pub uri: &'a str,
    pub key: &'a str,
    pub body: &'a Value,
    pub until: Instant,
}

impl HttpClient {
    fn client(&self) -> Result<&Client, Problem> {
        let client = self.client.get_or_init(|| {
            // Also done by the wiring; a second call changes nothing.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let agent = concat!("spalla/", env!("CARGO_PKG_VERSION"));
            // Redirects are followed here, where it is known which headers may go to another host.
            let client = Client::builder().redirect(redirect::Policy::none()).user_agent(agent).build();
            client.map_err(|error| reason(&error))
        });
        client.as_ref().map_err(|error| Problem::standard("configuration", 500, format!("this gateway cannot make HTTP calls: {error}")))
    }

    pub(crate) async fn run(&self, request: &HttpRequest, key: &str, secrets: &SecretFolder, until: Instant) -> Outcome {
        match self.call(request, key, secrets, until).await {
            Ok(output) => Outcome::Done { output },
            Err(problem) => failed(problem),
        }
    }

    pub(super) async fn post(&self, post: Post<'_>) -> Result<(), Problem> {
        let url = url(post.uri)?;
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, header(post.key)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let call = Call { method: Method::POST, url, headers, body: Some(post.body.to_json()) };
        let response = send(self.client()?, &call, post.until).await?;
        // The address itself is a secret with some services, and what they say may repeat it.
        if accepts(&response, false) { Ok(()) } else { Err(refusal(&response)) }
    }

    async fn call(&self, request: &HttpRequest, key: &str, secrets: &SecretFolder, until: Instant) -> Result<Value, Problem> {
        let method = Method::from_bytes(request.method.to_ascii_uppercase().as_bytes())
            .map_err(|_| configuration(format!("`{}` is not an HTTP method", request.method)))?;
        let mut url = url(&request.uri)?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| configuration(format!("`{name}` is not a header name")))?;
            headers.append(name, header(value)?);
        }
        let shown = headers.clone();
        headers.insert(IDEMPOTENCY_KEY, header(key)?);
        if let Some(authentication) = &request.authentication {
            let mut value = header(&authorization(authentication, secrets).await?)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let is_text = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| !kind.contains("json"));
        let body = request.body.as_ref().map(|body| match body {
            Value::String(text) if is_text => text.to_string(),
            body => body.to_json(),
        });
        if body.is_some() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let asked = Value::object([
            ("method", Value::from(method.as_str())),
            ("uri", Value::from(url.as_str())),
            ("headers", shown_headers(&shown)),
        ]);
        let mut call = Call { method, url, headers, body };
        let client = self.client()?;
        let mut response = send(client, &call, until).await?;
        for _ in 0..if request.redirect { REDIRECTS_MAX } else { 0 } {
            let Some(next) = call.redirected(&response) else { break };
            call = next;
            response = send(client, &call, until).await?;
        }
        if !accepts(&response, request.redirect) {
            return Err(refused(response, &call, until).await);
        }
        let status = response.status().as_u16();
        let response_headers = shown_headers(response.headers());
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        // Base64 makes four of three.
        let len_max = if request.output == HttpOutput::Raw { BODY_LEN_MAX / 4 * 3 } else { BODY_LEN_MAX };
        let bytes = timeout_at(until, read_body(response, len_max)).await.map_err(|_| late())??;
        Ok(match request.output {
            HttpOutput::Raw => Value::from(BASE64.encode(bytes)),
            HttpOutput::Content => content(&bytes, &content_type)?,
            HttpOutput::Response => Value::object([
                ("request", asked),
                ("statusCode", Value::Int(i64::from(status))),
                ("headers", response_headers),
                ("content", content(&bytes, &content_type)?),
            ]),
        })
    }
}

/// One request, as it goes out.
struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<String>,
}

impl Call {
    /// Whether a text repeats what may identify the caller: the credentials, or the query, which may carry a token.
    fn is_betrayed_by(&self, text: &str) -> bool {
        let given = self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' ')).map(|(_, given)| given);
        let password = given.and_then(|given| {
            let pair = String::from_utf8(BASE64.decode(given).ok()?).ok()?;
            pair.split_once(':').map(|(_, password)| password.to_owned())
        });
        let betrays = |secret: &str| !secret.is_empty() && text.contains(secret);
        given.is_some_and(betrays) || password.as_deref().is_some_and(betrays) || self.url.query().is_some_and(betrays)
    }

    /// The next request where the answer sends elsewhere. What the author or the gateway put into headers for one origin, credentials
    /// above all, does not go to another; an unencrypted one is another.
    fn redirected(&self, response: &Response) -> Option<Self> {
        let status = response.status();
        let changes = matches!(status.as_u16(), 301..=303);
        if !changes && !matches!(status.as_u16(), 307 | 308) {
            return None;
        }
        let url = self.url.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let mut next = Self { method: self.method.clone(), url, headers: self.headers.clone(), body: self.body.clone() };
        if next.url.origin() != self.url.origin() {
            let neutral = |name: &HeaderName| [ACCEPT, CONTENT_TYPE, IDEMPOTENCY_KEY].contains(name);
            next.headers =
                self.headers.iter().filter(|(name, _)| neutral(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
        }
        // What browsers do, and what senders of these statuses expect: the answer is fetched.
        if changes && self.method != Method::HEAD && (status.as_u16() == 303 || self.method == Method::POST) {
            next.method = Method::GET;
            next.body = None;
            next.headers.remove(CONTENT_TYPE);
        }
        Some(next)
    }
}

/// Sends until there is an answer of any status. Tries again when the connection failed: the key makes it the same call.
async fn send(client: &Client, call: &Call, until: Instant) -> Result<Response, Problem> {
    let mut pause = AGAIN_FIRST;
    let mut tries = 0;
    loop {
        tries += 1;
        let mut request = client.request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        let error = match timeout_at(until, request.send()).await {
            Err(_) => return Err(late()),
            Ok(Ok(response)) => return Ok(response),
            // The text of the error may carry the query, and the query a token.
            Ok(Err(error)) => error.without_url(),
        };
        let again = Instant::now() + pause;
        if tries >= TRIES_MAX || again >= until || error.is_builder() || error.is_redirect() {
            return Err(Problem::standard("communication", 503, format!("no answer after {tries} tries: {}", reason(&error))));
        }
        tokio::time::sleep_until(again).await;
        pause *= 2;
    }
}

/// The innermost cause says what a person can mend ("connection refused", "unknown issuer").
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().chars().take(200).collect()
}

fn accepts(response: &Response, redirect: bool) -> bool {
    let status = response.status();
    status.is_success() || (redirect && status.is_redirection())
}

fn refusal(response: &Response) -> Problem {
    let status = response.status();
    let kind = match status.as_u16() {
        401 => "authentication",
        403 => "authorization",
        _ => "communication",
    };
    Problem::standard(kind, i64::from(status.as_u16()), format!("the service answered {status}"))
}

/// With the beginning of what the service said of it, unless that repeats what the caller identified itself with.
async fn refused(response: Response, call: &Call, until: Instant) -> Problem {
    let problem = refusal(&response);
    if !matches!(problem.status, 401 | 403)
        && let Ok(Ok(bytes)) = timeout_at(until, read_body(response, BODY_LEN_MAX)).await
        && let Ok(text) = std::str::from_utf8(&bytes)
        && !call.is_betrayed_by(text)
    {
        let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let said: String = words.collect::<Vec<_>>().join(" ").chars().take(SAID_LEN_MAX).collect();
        if !said.is_empty() {
            let detail = format!("{}: {said}", problem.detail.as_deref().unwrap_or_default());
            return Problem { detail: Some(detail.into()), ..problem };
        }
    }
    problem
}

async fn read_body(mut response: Response, len_max: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > len_max => {
                return Err(Problem::standard("communication", 502, format!("the answer is larger than {len_max} bytes")));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => {
                let detail = format!("the answer broke off: {}", reason(&error.without_url()));
                return Err(Problem::standard("communication", 502, detail));
            }
        }
    }
}

fn content(bytes: &[u8], content_type: &str) -> Result<Value, Problem> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let text = std::str::from_utf8(bytes);
    match text {
        Ok(text) if content_type.contains("json") => Value::from_json(text)
            .map_err(|error| Problem::standard("communication", 502, format!("the answer says it is JSON and is not: {error}"))),
        Ok(text) => Ok(Value::from(text)),
        Err(_) => Ok(Value::from(BASE64.encode(bytes))),
    }
}

/// One that came several times is one list, as HTTP reads it.
fn shown_headers(headers: &HeaderMap) -> Value {
    let shown = headers.keys().filter(|name| **name != AUTHORIZATION && **name != reqwest::header::SET_COOKIE).take(HEADERS_MAX);
    Value::object(shown.filter_map(|name| {
        let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| (name.as_str(), Value::from(values.join(", "))))
    }))
}

async fn authorization(authentication: &HttpAuthentication, secrets: &SecretFolder) -> Result<String, Problem> {
    let secret = async |name: &str| secrets.read(name).await.map_err(|error| Problem::standard("authentication", 401, error.to_string()));
    Ok(match authentication {
        HttpAuthentication::Bearer(token) => format!("Bearer {token}"),
        HttpAuthentication::BearerSecret(name) => {
            let text = secret(name).await?;
            let [token] = fields(&text, ["token"]).unwrap_or([text]);
            format!("Bearer {token}")
        }
        HttpAuthentication::Basic { username, password } => format!("Basic {}", BASE64.encode(format!("{username}:{password}"))),
        HttpAuthentication::BasicSecret(name) => {
            let text = secret(name).await?;
            // The file holds `user:password`, or both by name.
            let pair = fields(&text, ["username", "password"]).map(|[username, password]| format!("{username}:{password}"));
            format!("Basic {}", BASE64.encode(pair.unwrap_or(text)))
        }
    })
}

/// The fields of a secret that is a JSON object with all of them.
fn fields<const N: usize>(text: &str, names: [&str; N]) -> Option<[String; N]> {
    let object = Value::from_json(text).ok()?;
    let found: Vec<String> = names.iter().filter_map(|name| object.get(name)?.as_str().map(str::to_owned)).collect();
    found.try_into().ok()
}

fn url(uri: &str) -> Result<Url, Problem> {
    let url = Url::parse(uri).map_err(|error| configuration(format!("the address cannot be read: {error}")))?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(configuration("the address must be http or https")) }
}

fn header(value: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(value).map_err(|_| configuration("a header value holds characters that HTTP does not allow"))
}

fn configuration(detail: impl AsRef<str>) -> Problem {
    Problem::standard("configuration", 400, detail)
}

fn late() -> Problem {
    Problem::timeout("the service did not answer in time")
}
