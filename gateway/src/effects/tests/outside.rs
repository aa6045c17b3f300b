//! HTTP calls, notifications and credentials, carried out against a real socket.

use super::*;
use spalla_shared::engine::effect::{HttpAuthentication, HttpRequest};
use spalla_shared::flow::plan::HttpOutput;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers each connection with the next reply; hands the requests out.
async fn serve(replies: Vec<&'static str>) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for reply in replies {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            loop {
                let read = socket.read(&mut piece).await.unwrap();
                request.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&request);
                let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                    body.len() >= length.unwrap_or(0)
                });
                if whole || read == 0 {
                    break;
                }
            }
            let _ = sender.send(String::from_utf8_lossy(&request).into_owned());
            socket.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    (address, requests)
}

fn http(method: &str, uri: String, output: HttpOutput) -> HttpRequest {
    HttpRequest {
        method: method.into(),
        uri: uri.into(),
        query: vec![("plate".into(), "AB 1&2".into())],
        headers: vec![("x-site".into(), "hq".into())],
        body: Some(Value::object([("n", Value::Int(1))])),
        authentication: Some(HttpAuthentication::BearerSecret("erp".into())),
        output,
        redirect: false,
    }
}

#[tokio::test]
async fn an_http_call_carries_its_key_and_its_secret_and_tries_again_after_a_broken_connection() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("erp"), "s3cret\n").unwrap();
    // The first connection is closed without an answer.
    let reply = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"ok\":true}";
    let (address, mut requests) = serve(vec!["", reply]).await;
    let group = LocalGroup::new(1, &[]);
    let _gateway = Gateway::start_with(&group, 1, SecretFolder::new(Some(folder.path().into())), None);
    let request = http("post", format!("{address}/orders"), HttpOutput::Response);
    let id = group.open(EffectClass::Neutral, 10_000, Request::Http(request));
    let Outcome::Done { output } = outcome_of(&group, id).await else { panic!() };
    assert_eq!(output.get("content"), Some(&Value::object([("ok", Value::Bool(true))])));
    assert_eq!(output.get("statusCode"), Some(&Value::Int(200)));
    assert!(!output.to_json().contains("s3cret"), "a secret never enters the log");
    let (first, second) = (requests.recv().await.unwrap(), requests.recv().await.unwrap());
    assert_eq!(first, second, "the same call");
    assert!(second.starts_with("POST /orders?plate=AB+1%262 HTTP/1.1"), "{second}");
    assert!(second.contains(&format!("idempotency-key: mesh.{id}")) && second.contains("authorization: Bearer s3cret"), "{second}");
    assert!(second.ends_with("{\"n\":1}"), "{second}");
}

#[tokio::test]
async fn what_the_other_side_does_wrong_is_a_problem_with_its_status() {
    let (address, _requests) = serve(vec![
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 70000\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    ])
    .await;
    let group = LocalGroup::new(1, &[]);
    let gateway = Gateway::start(&group, 1);
    for expected in [503, 408, 302] {
        let request = HttpRequest { authentication: None, ..http("get", address.clone(), HttpOutput::Content) };
        let id = group.open(EffectClass::Neutral, 1_000, Request::Http(request));
        let Outcome::Failed { problem } = outcome_of(&group, id).await else { panic!() };
        // The second body never comes: the deadline ends it.
        assert!(problem.status == expected || (expected == 408 && problem.status == 502), "{problem:?}");
    }
    // No secret folder: said as such, and nothing is sent.
    let id = group.open(EffectClass::Neutral, 1_000, Request::Http(http("get", address, HttpOutput::Content)));
    assert_eq!(status(&outcome_of(&group, id).await), "authentication");
    drop(gateway);
}

#[tokio::test]
async fn a_notification_reaches_the_webhook_and_a_credential_is_signed() {
    let (address, mut requests) = serve(vec!["HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"]).await;
    let group = LocalGroup::new(1, &[]);
    let _gateway = Gateway::start_with(&group, 1, SecretFolder::default(), Some(address));
    let request = Request::Notify { to: "role:reception".into(), template: "visit-ready".into(), data: Value::Int(1) };
    let id = group.open(EffectClass::Neutral, 5_000, request);
    assert_eq!(status(&outcome_of(&group, id).await), "done without status");
    assert!(
        requests
            .recv()
            .await
            .unwrap()
            .ends_with(&format!(r#"{{"data":1,"key":"mesh.{id}","template":"visit-ready","to":"role:reception"}}"#))
    );
    let request = Request::SignCredential {
        credential: "aa".into(),
        holder: "Ada".into(),
        kind: "qr".into(),
        valid_from: Timestamp(0),
        valid_until: Timestamp(9_000),
        claims: Value::Null,
    };
    let id = group.open(EffectClass::Neutral, 5_000, request);
    let Outcome::Done { output } = outcome_of(&group, id).await else { panic!() };
    let key = credential::signing_key(&"07".repeat(32)).unwrap().verifying_key();
    let token = output.get("token").and_then(Value::as_str).unwrap();
    assert_eq!(credential::verify(token, &key, Timestamp(1)).unwrap().credential.as_str(), "aa");
}

#[tokio::test]
async fn an_answer_waits_for_the_quorum_and_is_given_once() {
    let (address, mut requests) = serve(vec!["HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"]).await;
    let group = LocalGroup::new(1, &[]);
    let _gateway = Gateway::start_with(&group, 1, SecretFolder::default(), Some(address));
    *group.failing.lock() = Some(ProposeError::NoQuorum("mesh".into()));
    let id = group.open(EffectClass::Neutral, 20_000, Request::Notify { to: "a".into(), template: "t".into(), data: Value::Null });
    requests.recv().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(150), outcome_of(&group, id)).await.is_err());
    *group.failing.lock() = None;
    assert_eq!(status(&outcome_of(&group, id).await), "done without status");
    assert!(requests.try_recv().is_err(), "it was carried out once, only its answer had to wait");
}
