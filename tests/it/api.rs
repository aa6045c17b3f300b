//! The public door: what it says to those who hold it wrong, over HTTP and on the command line.

use crate::{NOTE_FLOW, PROGRAM};
use serde_json::{Value, json};
use spalla_tests::{Answer, Mesh, Node, until};

#[tokio::test]
async fn mistakes_get_a_clear_answer_and_change_nothing() {
    let mesh = Mesh::start(PROGRAM, &["hq"]).await;
    let node = &mesh.nodes[0];
    assert_eq!(node.api.apply(NOTE_FLOW).await.status, 200);
    // What the gateway does by itself when it is new is done.
    until("the newest semantics are in force", async || {
        let trail = node.api.try_get("/audit?limit=100").await?;
        trail.data().as_array()?.iter().any(|link| link["action"] == "semantics.enabled").then_some(())
    })
    .await;
    let before = node.api.get("/state/digest").await.data()["audit_seq"].clone();
    over_http(node).await;
    openapi_names_every_route(node).await;
    on_the_command_line(&mesh);
    assert_eq!(node.api.get("/state/digest").await.data()["audit_seq"], before, "a mistake changed something");
}

async fn over_http(node: &Node) {
    let api = &node.api;
    let send = async |request| api.send(request).await.expect("an answer");
    let refused = |answer: &Answer, status: u16, code: &str, names: &str| {
        assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.text);
        assert!(answer.message().contains(names), "`{names}` is not in: {}", answer.text);
    };
    refused(&send(api.anonymous("GET", "/api/v1/status")).await, 401, "unauthorized", "Bearer");
    let wrong = format!("Bearer {}", "0".repeat(64));
    refused(&send(api.anonymous("GET", "/api/v1/status").header("authorization", wrong)).await, 401, "unauthorized", "token");
    refused(&send(api.request("GET", "/api/v1/nowhere")).await, 404, "not-found", "/api/v1/nowhere");
    refused(&send(api.request("GET", "/nowhere")).await, 404, "not-found", "/nowhere");
    refused(&send(api.request("DELETE", "/api/v1/flows")).await, 405, "method-not-allowed", "");
    let json_body = |body: &str| api.request("POST", "/api/v1/instances").header("content-type", "application/json").body(body.to_owned());
    refused(&send(json_body("{\"flow\": ")).await, 400, "invalid", "JSON");
    refused(&send(json_body("{\"flow\": 7}")).await, 400, "invalid", "flow");
    refused(&send(json_body("{\"flow\": \"it/note\", \"inptu\": 1}")).await, 400, "invalid", "inptu");
    refused(&send(api.request("GET", "/api/v1/audit?limit=many")).await, 400, "invalid", "limit");
    refused(&send(api.request("POST", "/api/v1/apply").body(vec![b' '; 5 * 1024 * 1024])).await, 413, "too-large", "");
    refused(&send(api.request("POST", "/api/v1/apply").body(vec![0xff, 0xfe])).await, 400, "invalid", "UTF-8");

    refused(&api.post("/instances", &json!({ "flow": "it/nothing" })).await, 404, "not-found", "it/nothing");
    refused(&api.post("/instances", &json!({ "flow": "note" })).await, 400, "invalid", "NAMESPACE/NAME");
    refused(&api.get("/instances/none").await, 404, "not-found", "none");
    refused(&api.post("/tasks/none/complete", &json!({ "choice": "approve" })).await, 404, "not-found", "none");
    refused(&api.post("/devices", &json!({ "id": "hq", "profile": "qr-reader" })).await, 400, "invalid", "SITE/NAME");

    // All that is wrong with a flow is said at once, each with its place.
    let bad = "document: { dsl: '1.0.3', namespace: it, name: bad, version: one }\ndo:\n  - first:\n      cal: audit.note:1.0.0@default\n  - second:\n      set: '${ .a + }'\n";
    for path in ["/flows/check", "/apply"] {
        let answer = send(api.request("POST", &format!("/api/v1{path}")).body(bad)).await;
        let list = if path == "/apply" { &answer.body["error"]["details"] } else { &answer.data()["diagnostics"] };
        let lines: Vec<u64> = list.as_array().expect("a list").iter().filter_map(|one| one["line"].as_u64()).collect();
        assert!([1, 3, 6].iter().all(|line| lines.contains(line)), "{path}: {}", answer.text);
        assert!(list.as_array().expect("a list").iter().all(|one| one["column"].as_u64() > Some(0)), "{}", answer.text);
    }
}

/// Every documented path answers as one that exists, and every route in the source is documented.
async fn openapi_names_every_route(node: &Node) {
    let document = node.api.send(node.api.anonymous("GET", "/api/v1/openapi.json")).await.expect("an answer");
    let paths = document.body["paths"].as_object().expect("paths");
    let mut documented = Vec::new();
    for (path, methods) in paths {
        for method in methods.as_object().expect("methods").keys() {
            documented.push((method.to_uppercase(), path.clone()));
            let concrete = path.replace("{id}", "none").replace("{action}", "none");
            let answer = node.api.send(node.api.anonymous(&method.to_uppercase(), &concrete)).await.expect("an answer");
            let open = ["/healthz", "/readyz", "/metrics"].contains(&path.as_str());
            assert_eq!(answer.status, if open { 200 } else { 401 }, "{method} {path}: {}", answer.text);
        }
    }
    let source = include_str!("../../gateway/src/api/mod.rs");
    for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, handlers) = line.split_once('"').expect("a path");
        for method in ["get", "post", "put", "delete", "patch"].into_iter().filter(|method| handlers.contains(&format!("{method}("))) {
            let is = |(m, p): &&(String, String)| *m == method.to_uppercase() && (p == path || *p == format!("/api/v1{path}"));
            assert!(path.ends_with("openapi.json") || documented.iter().any(|one| is(&one)), "{method} {path} is not documented");
        }
    }
}

fn on_the_command_line(mesh: &Mesh) {
    let node = &mesh.nodes[0];
    let wrong = |arguments: &[&str], names: &[&str]| {
        let output = node.cli(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert_eq!(told.lines().count(), 1, "{arguments:?}: {told}");
        assert!(names.iter().all(|name| told.contains(name)), "{arguments:?}: {told}");
        let json = node.cli(&[arguments, &["--json"]].concat());
        let body: Value = serde_json::from_slice(&json.stdout).unwrap_or_else(|error| panic!("{arguments:?} --json: {error}"));
        assert!(body["error"]["message"].is_string() && body["error"]["code"].is_string(), "{body}");
    };
    wrong(&["instance", "start", "it/nothing"], &["it/nothing"]);
    wrong(&["instance", "start", "it/note", "--input", "{"], &["--input", "JSON"]);
    wrong(&["instance", "start", "it/note", "--input", "@/no/such.json"], &["/no/such.json"]);
    wrong(&["apply", "-f", "/no/such.yaml"], &["/no/such.yaml"]);
    wrong(&["task", "complete", "none", "--choice", "approve"], &["none"]);
    wrong(&["device", "add", "hq/x", "--profile", "no-such-profile"], &["no-such-profile"]);
    wrong(&["instance", "list", "--status", "walking"], &["walking", "running"]);
    wrong(&["status", "--api", "http://127.0.0.1:1"], &["http://127.0.0.1:1", "running?"]);
    wrong(&["status", "--token-file", "/no/token"], &["/no/token"]);

    // A bad file is named with its place, and nothing of the whole call is applied.
    let folder = mesh.folder.path().join("bad");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("good.yaml"), NOTE_FLOW.replace("name: note", "name: other")).expect("a file");
    std::fs::write(folder.join("typo.yaml"), "kind: pool\nname: p\nunist: []\n").expect("a file");
    let output = node.cli(&["apply", "-f", &folder.display().to_string()]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("typo.yaml:3:1"), "{told}");
    assert!(!String::from_utf8_lossy(&node.cli(&["flow", "list"]).stdout).contains("it/other"));
}

#[tokio::test]
async fn no_gateway_comes_in_under_a_name_that_the_gateway_keeps_for_itself() {
    let mesh = Mesh::start(PROGRAM, &["hq"]).await;
    let node = &mesh.nodes[0];
    for name in ["hq~1", "h q", "zürich", "hq.1", ""] {
        let refused = node.api.post("/mesh/invitations", &json!({ "site": name })).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid"), "{}", refused.text);
        assert!(refused.message().contains(&format!("`{name}`")) && refused.message().contains("letters"), "{}", refused.text);
    }
    let told = String::from_utf8_lossy(&node.cli(&["mesh", "invite", "--site", "hq~1"]).stderr).into_owned();
    assert!(told.contains("hq~1") && told.contains("letters"), "{told}");

    // Nor with an invitation for anywhere, and that one is not used up.
    let invited = node.api.post("/mesh/invitations", &json!({})).await;
    let token = invited.data()["token"].as_str().expect("a token").to_owned();
    let ca = std::fs::read_to_string(mesh.authority().join("ca.pem")).expect("an authority");
    let join = async |site: &str| {
        let request = node.api.anonymous("POST", "/api/v1/mesh/join").header("authorization", format!("Bearer {token}"));
        let body = json!({ "site": site, "address": "127.0.0.1:7999", "ca": ca });
        node.api.send(request.json(&body)).await.expect("an answer")
    };
    let refused = join("hq~1").await;
    assert_eq!((refused.status, refused.code()), (400, "invalid"), "{}", refused.text);
    let told = String::from_utf8_lossy(&{
        let (folder, ca) = (mesh.folder.path().join("new"), mesh.authority());
        let (folder, ca) = (folder.display().to_string(), ca.display().to_string());
        node.cli(&["mesh", "join", &folder, "--token", &token, "--site", "hq~1", "--ca", &ca]).stderr
    })
    .into_owned();
    assert!(told.contains("`hq~1`") && told.contains("letters"), "{told}");
    let joined = join("plant").await;
    assert_eq!((joined.status, joined.data()["node"].as_u64()), (200, Some(2)), "{}", joined.text);
}

#[tokio::test]
async fn tls_where_it_is_configured_and_a_config_with_mistakes_opens_nothing() {
    let mut mesh = Mesh::init(PROGRAM, &["hq"]);
    let node = &mut mesh.nodes[0];
    let plain = std::fs::read_to_string(&node.config).expect("a config");

    // Two mistakes: both are told, with the way to mend them, and no port opens.
    let broken = plain.replacen("node = 1\nsite", "node = 9\nsite", 1).replace("token_file = \"api.token\"", "token_file = \"no.token\"");
    assert_ne!(broken, plain);
    std::fs::write(&node.config, &broken).expect("written");
    let output = node.cli(&["run"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("peers.gateways") && told.contains("api.token_file"), "{told}");

    // The mesh's own certificate serves: it carries the host's address.
    let tls = plain.replace(
        "# tls = { certificate = \"tls/api.pem\", key = \"tls/api.key\" }",
        "tls = { certificate = \"tls/node.pem\", key = \"tls/node.key\" }",
    );
    assert_ne!(tls, plain);
    std::fs::write(&node.config, &tls).expect("written");
    node.start();
    let ca = node.config.with_file_name("tls").join("ca.pem").display().to_string();
    let told = until("the API answers over TLS", async || {
        let output = node.cli(&["status", "--json", "--api-ca", &ca]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    })
    .await;
    assert!(told.contains("\"site\": \"hq\""), "{told}");
    assert!(node.api.try_get("/status").await.is_none_or(|answer| answer.status >= 400), "answers without TLS too");
    let stranger = node.cli(&["status"]);
    assert!(!stranger.status.success(), "a certificate that nobody vouches for was taken");
}
