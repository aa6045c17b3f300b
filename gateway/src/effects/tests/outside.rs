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
    for (expected, deadline_ms) in [(503, 10_000), (408, 1_000), (302, 10_000)] {
        let request = HttpRequest { authentication: None, ..http("get", address.clone(), HttpOutput::Content) };
        let id = group.open(EffectClass::Neutral, deadline_ms, Request::Http(request));
        let Outcome::Failed { problem } = outcome_of(&group, id).await else { panic!() };
        // The second body never comes: the deadline ends it.
        assert!(problem.status == expected || (expected == 408 && problem.status == 502), "{problem:?}");
    }
    // No secret folder: said as such, and nothing is sent.
    let id = group.open(EffectClass::Neutral, 10_000, Request::Http(http("get", address, HttpOutput::Content)));
    assert_eq!(status(&outcome_of(&group, id).await), "authentication");
    drop(gateway);
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"ok\":true}";

fn leaked(text: &'static str, to: &str, status: &str) -> &'static str {
    format!("HTTP/1.1 {status}\r\nlocation: {to}{text}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").leak()
}

#[tokio::test]
async fn credentials_stay_with_their_host_when_a_redirect_leads_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("erp"), r#"{"token": "s3cret"}"#).unwrap();
    let (elsewhere, mut at_elsewhere) = serve(vec![OK, OK]).await;
    let (address, mut at_home) = serve(vec![
        leaked("/moved", "", "307 Temporary Redirect"),
        leaked("/there", &elsewhere, "307 Temporary Redirect"),
        leaked("/there", &elsewhere, "303 See Other"),
    ])
    .await;
    let group = LocalGroup::new(1, &[]);
    let _gateway = Gateway::start_with(&group, 1, SecretFolder::new(Some(folder.path().into())), None);
    let request = |redirect| HttpRequest { redirect, ..http("post", format!("{address}/orders"), HttpOutput::Content) };
    let id = group.open(EffectClass::Neutral, 10_000, Request::Http(request(true)));
    assert_eq!(status(&outcome_of(&group, id).await), "done without status");
    let (first, second, third) = (at_home.recv().await.unwrap(), at_home.recv().await.unwrap(), at_elsewhere.recv().await.unwrap());
    assert!(first.contains("authorization: Bearer s3cret") && first.contains("x-site: hq"), "{first}");
    assert!(second.starts_with("POST /moved") && second.contains("authorization: Bearer s3cret"), "the same host: {second}");
    assert!(third.starts_with("POST /there") && third.ends_with("{\"n\":1}"), "307 keeps method and body: {third}");
    assert!(!third.contains("authorization") && !third.contains("s3cret") && !third.contains("x-site"), "{third}");
    assert!(third.contains(&format!("idempotency-key: mesh.{id}")), "{third}");
    // 303: the answer is fetched.
    let id = group.open(EffectClass::Neutral, 10_000, Request::Http(request(true)));
    assert_eq!(status(&outcome_of(&group, id).await), "done without status");
    let fetched = at_elsewhere.recv().await.unwrap();
    assert!(fetched.starts_with("GET /there") && fetched.ends_with("\r\n\r\n"), "{fetched}");
}

#[tokio::test]
async fn a_redirect_without_leave_and_one_without_end_are_what_the_specification_says() {
    let around: Vec<&'static str> = (0..7).map(|_| leaked("/again", "", "302 Found")).collect();
    let (address, mut requests) = serve(around).await;
    let group = LocalGroup::new(1, &[]);
    let _gateway = Gateway::start(&group, 1);
    let ask = |redirect| {
        let request = HttpRequest { redirect, authentication: None, ..http("get", address.clone(), HttpOutput::Response) };
        group.open(EffectClass::Neutral, 10_000, Request::Http(request))
    };
    let Outcome::Failed { problem } = outcome_of(&group, ask(false)).await else { panic!() };
    assert_eq!((problem.status, &*problem.title), (302, "communication"));
    // Followed a bounded number of times; then the 3xx itself is the answer, which `redirect: true` allows.
    let Outcome::Done { output } = outcome_of(&group, ask(true)).await else { panic!() };
    assert_eq!(output.get("statusCode"), Some(&Value::Int(302)));
    let mut seen = 0;
    while requests.try_recv().is_ok() {
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[tokio::test]
async fn refusals_have_the_types_of_the_specification() {
    let reply = |status: &str| -> &'static str { format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").leak() };
    let cases = [
        ("401 Unauthorized", "authentication"),
        ("403 Forbidden", "authorization"),
        ("404 Not Found", "communication"),
        ("500 No", "communication"),
    ];
    let (address, _requests) = serve(cases.map(|(status, _)| reply(status)).into()).await;
    let group = LocalGroup::new(1, &[]);
    let _gateway = Gateway::start(&group, 1);
    for (said, name) in cases {
        let request = HttpRequest { authentication: None, ..http("get", address.clone(), HttpOutput::Content) };
        let id = group.open(EffectClass::Neutral, 5_000, Request::Http(request));
        let Outcome::Failed { problem } = outcome_of(&group, id).await else { panic!() };
        assert_eq!(&*problem.kind, format!("https://serverlessworkflow.io/spec/1.0.0/errors/{name}"));
        assert_eq!(problem.status.to_string(), said[..3]);
    }
}

#[tokio::test]
async fn a_refusal_says_what_the_service_said_but_never_what_identifies_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("erp"), r#"{"token": "s3cret"}"#).unwrap();
    let reply = |body: &str| -> &'static str {
        format!("HTTP/1.1 422 No\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).leak()
    };
    let (address, _requests) =
        serve(vec![reply("{\"plate\":\n \"is unknown\"}"), reply("who is s3cret?"), reply(&"x".repeat(5_000))]).await;
    let group = LocalGroup::new(1, &[]);
    let _gateway = Gateway::start_with(&group, 1, SecretFolder::new(Some(folder.path().into())), None);
    let said =
        ["the service answered 422 Unprocessable Entity: {\"plate\": \"is unknown\"}", "the service answered 422 Unprocessable Entity"];
    for expected in said.map(str::to_owned).into_iter().chain([format!("{}: {}", said[1], "x".repeat(256))]) {
        let id = group.open(EffectClass::Neutral, 5_000, Request::Http(http("get", address.clone(), HttpOutput::Content)));
        let Outcome::Failed { problem } = outcome_of(&group, id).await else { panic!() };
        assert_eq!(problem.detail.as_deref(), Some(&*expected));
    }
}

#[tokio::test]
async fn each_method_output_and_way_to_say_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plain"), "ada:pw\n").unwrap();
    std::fs::write(folder.path().join("named"), r#"{"username": "ada", "password": "pw"}"#).unwrap();
    let text = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-count: 2\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    let bytes = "HTTP/1.1 201 Created\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    let empty = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nconnection: close\r\n\r\n";
    let (address, mut requests) = serve(vec![text, bytes, empty, head, OK, OK]).await;
    let group = LocalGroup::new(1, &[]);
    let _gateway = Gateway::start_with(&group, 1, SecretFolder::new(Some(folder.path().into())), None);
    let basic = HttpAuthentication::Basic { username: "ada".into(), password: "pw".into() };
    let secret = |name: &str| HttpAuthentication::BasicSecret(name.into());
    for (method, output, authentication, expected, sent) in [
        ("put", HttpOutput::Content, None, r#""hi""#, "PUT /?"),
        ("patch", HttpOutput::Raw, Some(basic), r#""aGk=""#, "authorization: Basic YWRhOnB3"),
        ("delete", HttpOutput::Content, Some(secret("plain")), "null", "authorization: Basic YWRhOnB3"),
        ("head", HttpOutput::Content, Some(secret("named")), "null", "authorization: Basic YWRhOnB3"),
        ("options", HttpOutput::Content, Some(HttpAuthentication::Bearer("t".into())), r#"{"ok":true}"#, "authorization: Bearer t"),
        ("get", HttpOutput::Content, None, r#"{"ok":true}"#, "GET /?plate=AB+1%262"),
    ] {
        let body = Some(Value::Int(1)).filter(|_| matches!(method, "put" | "patch"));
        let request = HttpRequest { authentication, body, ..http(method, address.clone(), output) };
        let id = group.open(EffectClass::Neutral, 5_000, Request::Http(request));
        let outcome = outcome_of(&group, id).await;
        let Outcome::Done { output } = &outcome else { panic!("{method}: {outcome:?}") };
        assert_eq!(output.to_json(), expected, "{method}");
        let request = requests.recv().await.unwrap();
        assert!(request.contains(sent), "{method}: {request}");
    }
}

/// Everything that this process writes while a call with a secret runs, at the most talkative level.
#[derive(Clone, Default)]
struct Written(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_secret_is_in_the_request_and_nowhere_else() {
    const FLOW: &str = "document: { dsl: '1.0.3', namespace: test, name: asks, version: '1.0.0' }
use: { secrets: [ erp ] }
do:
  - ask:
      call: http
      with: { method: get, endpoint: { uri: 'ADDRESS/orders', authentication: { bearer: { use: erp } } }, output: response }
      export: { as: '${ { output: $output, by: $authorization, task: $task } }' }
  - stands: { raise: { error: { type: 'https://x/done', status: 400, detail: '${ $context | tojson }' } } }
";
    let written = Written::default();
    let to = written.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || to.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // With one subscriber alone tracing asks the thread that comes to a line first whether it is wanted, ever: a test beside this one.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("erp"), "Tr0ub4dor-and-3").unwrap();
    // The service gives back what it was told, as careless ones do in headers.
    let (address, mut requests) = serve(vec![OK]).await;
    let group = LocalGroup::new(1, &[]);
    let _gateway = Gateway::start_with(&group, 1, SecretFolder::new(Some(folder.path().into())), None);
    let checked = spalla_shared::flow::check(&FLOW.replace("ADDRESS", &address)).unwrap();
    let flow = spalla_shared::resource::Resource::Flow(spalla_shared::resource::FlowDocument { document: checked.document });
    group.propose(Command::Deploy { resources: vec![flow], by: "user:test".into() }).await.unwrap().reply.unwrap();
    let flow = spalla_shared::engine::command::FlowSelector { namespace: "test".into(), name: "asks".into(), version: None };
    group.propose(Command::Start { flow, input: Value::Null, key: "".into(), by: "user:test".into() }).await.unwrap().reply.unwrap();
    let done = group.logged(|command| matches!(command, Command::EffectDone { .. }).then(|| command.clone())).await;
    assert!(matches!(done, Command::EffectDone { outcome: Outcome::Done { .. }, .. }), "{done:?}");
    assert!(requests.recv().await.unwrap().contains("Bearer Tr0ub4dor-and-3"));
    let state = spalla_shared::codec::encode(&*group.state().read());
    let log = spalla_shared::codec::encode(&*group.log.lock());
    let records = format!("{:?}", group.records.lock());
    assert!(records.contains("secret:erp"), "the flow's end shows the name: {records}");
    let logged = written.0.lock().clone();
    assert!(logged.len() > 200, "nothing was captured");
    for (what, bytes) in [("state", &state), ("log", &log), ("records", &records.into_bytes()), ("output", &logged)] {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("Tr0ub4dor") && !text.contains(&base64("Tr0ub4dor-and-3")), "the secret is in the {what}");
    }
}

fn base64(text: &str) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(text)
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
