//! A system that flows call over HTTP. What it answers depends on the request alone, however often that is repeated: the first calls of
//! `flaky` fail, counted by idempotency key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Calls of `flaky` that fail per path, before one does not.
const FAILURES: usize = 2;
const REQUEST_LEN_MAX: usize = 64 * 1024;

pub struct Erp {
    port: u16,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    /// Idempotency keys by path, in the order in which they came first.
    keys: BTreeMap<String, Vec<String>>,
    /// Whole requests, as they came.
    requests: Vec<String>,
}

impl Erp {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let all = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, all.clone()));
            }
        });
        Self { port, heard }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a call came whose path begins so.
    pub fn has_heard(&self, path: &str) -> bool {
        self.heard.lock().expect("unpoisoned").keys.keys().any(|known| known.starts_with(path))
    }

    /// Every request, whole.
    pub fn requests(&self) -> Vec<String> {
        self.heard.lock().expect("unpoisoned").requests.clone()
    }
}

async fn serve(mut stream: TcpStream, heard: Arc<Mutex<Heard>>) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n")
            && rest.len() >= header(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
        {
            let answer = answer(&text, head, &heard);
            stream.write_all(answer.as_bytes()).await.ok()?;
            return stream.shutdown().await.ok();
        }
        let mut more = [0; 4096];
        let read = stream.read(&mut more).await.ok().filter(|read| *read > 0 && bytes.len() < REQUEST_LEN_MAX)?;
        bytes.extend_from_slice(&more[..read]);
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(':')).find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn answer(text: &str, head: &str, heard: &Mutex<Heard>) -> String {
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let key = header(head, "idempotency-key").unwrap_or_default().to_owned();
    let place = {
        let mut heard = heard.lock().expect("unpoisoned");
        heard.requests.push(text.to_owned());
        let keys = heard.keys.entry(path.clone()).or_default();
        keys.iter().position(|known| *known == key).unwrap_or_else(|| {
            keys.push(key);
            keys.len() - 1
        })
    };
    let (status, body) = match path.ends_with("/flaky") && place < FAILURES {
        true => ("503 Not Yet", r#"{"answer":"later"}"#.to_owned()),
        false => ("200 OK", format!(r#"{{"answer":"{path}"}}"#)),
    };
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
