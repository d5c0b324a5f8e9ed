//! The /v1 routes, the documents, and the protection against other origins.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::{Server, component};
use serde_json::{Value, json};

const UNKNOWN: &str = "018f0000-0000-7000-8000-000000000000";

#[test]
fn graphs_are_created_once_found_by_id_and_name_and_paged() {
    let server = Server::start();
    let graph = json!({"name": "words", "nodes": {"extract": {}}});
    let created = server.post("/v1/graphs", &graph);
    assert_eq!(created.status, 201);
    let id = created.json()["graph_id"].as_str().unwrap().to_owned();
    assert_eq!(created.location, format!("/v1/graphs/{id}"));
    let again = server.post("/v1/graphs", &graph);
    assert_eq!(
        (again.status, again.json()["graph_id"].as_str()),
        (200, Some(id.as_str()))
    );
    assert_eq!(
        server.get(&format!("/v1/graphs/{id}")).ok(),
        server.get("/v1/graphs/words").ok()
    );
    server.get("/v1/graphs/nope").problem(404);

    for key in 0..4 {
        server
            .create(&json!({"nodes": {"t": {"uses": "bench/touch", "config": {"key": format!("k{key}")}}}}));
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/v1/graphs?page_size=2{token}")).ok();
        seen.extend(
            page["graphs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|graph| graph["graph_id"].clone()),
        );
        match page["next_page_token"].as_str() {
            Some(next) => token = format!("&page_token={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(seen[4], json!(id), "newest first");
    server.get("/v1/graphs?page_size=0").problem(400);
    server.get("/v1/graphs?page_token=%20").problem(400);
}

#[test]
fn a_graph_is_deleted_once_nothing_uses_it() {
    let server = Server::start();
    let touch =
        |key: &str| json!({"name": "touch", "nodes": {"t": {"uses": "bench/touch", "config": {"key": key}}}});
    let (older, newest) = (server.create(&touch("a")), server.create(&touch("b")));
    let outer = server.create(&json!({"name": "outer", "nodes": {"sub": {"graph": "touch"}}}));
    let path = |graph: &str| format!("/v1/graphs/{graph}");
    let refused = |graph: &str, expected: &str| {
        let problem = server.delete(&path(graph)).problem(409);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{detail}");
    };
    refused(&newest, &outer);
    // The name refers to the newest version.
    assert_eq!(server.delete(&path(&older)).status, 204);
    server.get(&path(&older)).problem(404);
    server.delete(&path(&older)).problem(404);
    server.delete(&path("touch")).problem(404);

    let run = server.start_run(&outer, &json!({}));
    server.wait(&run);
    refused(&outer, &run);
    refused(&newest, &run);
    assert_eq!(server.delete(&format!("/v1/runs/{run}")).status, 204);
    let every = json!({"graph": "outer", "when": {"every": "1h"}});
    let mut named = every.clone();
    named["name"] = json!("hourly");
    server.post("/v1/schedules", &named).ok();
    refused(&outer, "`hourly`");
    assert_eq!(server.delete("/v1/schedules/hourly").status, 204);
    assert_eq!(server.delete(&path(&outer)).status, 204);
    assert_eq!(server.delete(&path(&newest)).status, 204);
    server.post("/v1/runs", &json!({"graph": newest})).problem(404);
    assert_eq!(server.get("/v1/graphs").ok()["graphs"], json!([]));
    assert_eq!(server.create(&touch("b")), newest, "it can be created again");
}

#[test]
fn runs_are_started_waited_for_listed_and_filtered() {
    let server = Server::start();
    let graph = server.create_file("plugins/bench/w1.json");
    let fails = server.create(&json!({"nodes": {"panic": {}}}));
    let started = server.post("/v1/runs", &json!({"graph": graph, "state": {"a": 1}}));
    assert_eq!(started.status, 202);
    let id = started.json()["run_id"].as_str().unwrap().to_owned();
    assert_eq!(started.location, format!("/v1/runs/{id}"));
    server.wait(&id);
    let run = server.get(&format!("/v1/runs/{id}")).ok();
    assert_eq!(
        (&run["status"], &run["steps"], &run["state"]["a"]),
        (&json!("finished"), &json!(10), &json!(1))
    );

    let waited = server.post("/v1/runs?wait=30s", &json!({"graph": fails}));
    assert_eq!(waited.status, 200);
    assert_eq!(waited.json()["status"], "failed");

    for _ in 0..5 {
        assert_eq!(
            server.post("/v1/runs?wait=30s", &json!({"graph": graph})).status,
            200
        );
    }
    let ids = |query: &str| -> Vec<Value> {
        let page = server.get(&format!("/v1/runs?{query}")).ok();
        page["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["run_id"].clone())
            .collect()
    };
    assert_eq!(ids("page_size=100").len(), 7);
    assert_eq!(ids("status=failed").len(), 1);
    assert_eq!(ids(&format!("graph={graph}")).len(), 6);
    assert_eq!(ids("page_size=100")[6], json!(id), "newest first");
    let first = server.get("/v1/runs?page_size=4").ok();
    let rest = ids(&format!(
        "page_size=4&page_token={}",
        first["next_page_token"].as_str().unwrap()
    ));
    assert_eq!(rest.len(), 3);

    server.get(&format!("/v1/runs/{UNKNOWN}")).problem(404);
    server.get("/v1/runs/nonsense").problem(400);
    server.get("/v1/runs?status=odd").problem(400);
    server.post("/v1/runs", &json!({"graph": "nope"})).problem(404);
    server
        .post("/v1/runs?wait=forever", &json!({"graph": graph}))
        .problem(400);
}

#[test]
fn events_come_as_pages_and_as_server_sent_events() {
    let server = Server::start();
    let graph = server.create_file("plugins/bench/w1.json");
    let run = server.start_run(&graph, &json!({}));
    let (all, _) = server.watch(&run, "");
    let path = format!("/v1/runs/{run}/events");
    let page = server.get(&format!("{path}?after=3&limit=5")).ok();
    assert_eq!(page["events"].as_array().unwrap(), &all[3..8]);

    let sse = |headers: &[(&str, &str)]| {
        let mut with = vec![("accept", "text/event-stream")];
        with.extend(headers);
        let answer = server.get_with(&path, &with);
        assert!(answer.content_type.starts_with("text/event-stream"), "{answer:?}");
        let data = answer.text.lines().filter_map(|line| line.strip_prefix("data:"));
        let events: Vec<Value> = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
        let ids = answer
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("id:"))
            .count();
        (
            events
                .into_iter()
                .filter(|event| event.get("seq").is_some())
                .collect::<Vec<_>>(),
            ids,
        )
    };
    assert_eq!(sse(&[]), (all.clone(), all.len()));
    assert_eq!(sse(&[("last-event-id", "9")]).0, all[9..]);
    server.get(&format!("/v1/runs/{UNKNOWN}/events")).problem(404);
}

#[test]
fn plugins_are_shown_with_schemas_and_tools_are_called() {
    let server = Server::start();
    let plugins = server.get("/v1/plugins").ok();
    let names: Vec<&str> = plugins["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| plugin["name"].as_str().unwrap())
        .collect();
    for name in [
        "starter",
        "bench",
        "basics",
        "code-review",
        "data-quality",
        "summarize",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let bench = server.get("/v1/plugins/bench").ok();
    let count = bench.to_string();
    assert!(
        count.contains("\"until\""),
        "the config's schema is shown: {count}"
    );
    server.get("/v1/plugins/nope").problem(404);

    let tools = server.get("/v1/tools").ok();
    assert!(
        tools["tools"]
            .as_array()
            .unwrap()
            .iter()
            .all(|tool| tool["function"]["input"].is_object()),
        "{tools}"
    );
    let echoed = server
        .post("/v1/tools/bench/echo/call", &json!({"hello": [1, 2]}))
        .ok();
    assert_eq!(echoed["output"], json!({"hello": [1, 2]}));
    let problem = server
        .post("/v1/tools/starter/reading_ease/call", &json!({"txt": 1}))
        .problem(422);
    assert!(
        problem["detail"].as_str().unwrap().contains("text"),
        "it names what is missing: {problem}"
    );
    server.post("/v1/tools/bench/nope/call", &json!({})).problem(404);
    assert!(
        server.post("/v1/tools/bench/touch/call", &json!({})).status >= 400,
        "a node function is not a tool"
    );
}

#[test]
fn a_plugin_that_is_uploaded_can_be_used_at_once_and_is_there_after_a_restart() {
    let server = Server::start();
    // A component without a name.
    let bytes = std::fs::read(component("fixtures/raw-tool")).unwrap();
    let upload = |server: &Server, query: &str, bytes: &[u8]| {
        server.post_with(
            &format!("/v1/plugins{query}"),
            bytes,
            &[("content-type", "application/wasm")],
        )
    };
    let inspected = upload(&server, ":inspect?name=echoes", &bytes).ok();
    server.get("/v1/plugins/echoes").problem(404);
    let added = upload(&server, "?name=echoes", &bytes);
    assert_eq!(added.status, 201, "{added:?}");
    assert_eq!(
        added.json(),
        inspected,
        "what was inspected is what is registered"
    );
    assert_eq!(
        upload(&server, "?name=echoes", &bytes).status,
        200,
        "the same again is the same"
    );
    let other = upload(&server, "?name=other", &bytes).problem(422);
    assert!(
        other["detail"].as_str().unwrap().contains("echoes"),
        "a component has only one name: {other}"
    );
    let run = |server: &Server| {
        let graph = server.create(&json!({"nodes": {"t": {"uses": "echoes/as-given"}}}));
        server.run(&graph, &json!({}))["status"].clone()
    };
    assert_eq!(run(&server), "finished");
    let server = server.restart();
    assert_eq!(run(&server), "finished");

    for (what, bytes, word) in [
        ("text", b"hello".to_vec(), "wasm"),
        ("a core module", b"\0asm\x01\0\0\0".to_vec(), "component"),
        (
            "a component without a function",
            b"\0asm\x0d\0\x01\0".to_vec(),
            "it exports nothing",
        ),
    ] {
        let problem = upload(&server, "?name=bad", &bytes).problem(422);
        assert!(
            problem["detail"].as_str().unwrap().contains(word),
            "{what}: {problem}"
        );
    }
    server
        .post_with("/v1/plugins", &bytes, &[("content-type", "application/json")])
        .problem(415);
}

#[test]
fn a_page_of_another_origin_can_neither_start_a_run_nor_open_the_socket() {
    let server = Server::start();
    let graph = server.create_file("plugins/bench/w1.json");
    let body = json!({"graph_id": graph, "initial_state": {}}).to_string();
    let json = ("content-type", "application/json");
    let host = server.address.clone();
    let own = format!("http://{host}");
    let post = |headers: &[(&str, &str)]| server.post_with("/graph/run", body.as_bytes(), headers);
    assert_eq!(post(&[json, ("origin", own.as_str())]).status, 200);
    post(&[json, ("origin", "https://evil.example")]).problem(403);
    post(&[json, ("origin", "null")]).problem(403);
    // Requests that a form of another site can send without a preflight.
    post(&[("content-type", "text/plain")]).problem(415);
    post(&[("content-type", "application/x-www-form-urlencoded")]).problem(415);
    // A host name that an attacker pointed at this machine.
    let rebound = server.get_with("/v1/runs", &[("host", "evil.example")]);
    assert!(rebound.status == 403 || rebound.status == 421, "{rebound:?}");

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest};
        let mut request = format!("ws://{host}/ws/logs/{UNKNOWN}")
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("origin", "https://evil.example".parse().unwrap());
        match tokio_tungstenite::connect_async(request).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 403),
            other => panic!("the socket opened: {other:?}"),
        }
    });
    let allowed = Server::start_with(&["--allow-origin", "https://app.example"]);
    let preflight = allowed.get_with("/v1/runs", &[("origin", "https://app.example")]);
    assert_eq!(preflight.status, 200);
}

#[test]
fn large_or_malformed_requests_are_refused_and_the_server_continues() {
    let server = Server::start();
    let large = format!(
        "{{\"nodes\": {{\"extract\": {{}}}}, \"name\": \"{}\"}}",
        "x".repeat(17 << 20)
    );
    server
        .post_with(
            "/graph/create",
            large.as_bytes(),
            &[("content-type", "application/json")],
        )
        .problem(413);
    server.get("/nowhere").problem(404);
    server.get("/graph/run").problem(405);
    let deep = "[".repeat(100_000);
    let deep = server.post_with(
        "/graph/create",
        deep.as_bytes(),
        &[("content-type", "application/json")],
    );
    assert!((400..500).contains(&deep.status), "{deep:?}");
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn the_documents_and_the_page_need_no_internet() {
    let server = Server::start();
    let openapi = server.get("/openapi.json").ok();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"));
    for path in [
        "/graph/create",
        "/graph/run",
        "/graph/state/{run_id}",
        "/v1/graphs",
        "/v1/runs",
        "/v1/plugins",
        "/v1/tools",
    ] {
        assert!(openapi["paths"].get(path).is_some(), "{path} is described");
    }
    for path in ["/", "/docs/"] {
        let page = server.get(path);
        assert_eq!(page.status, 200, "{path}");
        assert!(page.content_type.starts_with("text/html"), "{page:?}");
        let outside = page.text.split(['"', '\'', '(', ' ']).find(|word| {
            (word.starts_with("http://") || word.starts_with("https://")) && !word.contains("www.w3.org")
        });
        assert_eq!(outside, None, "{path} loads nothing from elsewhere");
    }
}
