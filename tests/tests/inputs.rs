//! Every route treats unknown parameters, optional bodies and null fields in the same way. The routes come from
//! `/openapi.json`, so new routes are checked automatically.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::{Response, Server};
use serde_json::{Value, json};

const UNKNOWN: &str = "018f0000-0000-7000-8000-000000000000";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// An operation of the OpenAPI description.
struct Route {
    id: String,
    method: String,
    /// Its path with values for the variables.
    address: String,
    operation: Value,
}

impl Route {
    fn send(&self, server: &Server, query: &str, body: &[u8], headers: &[(&str, &str)]) -> Response {
        let address = format!("{}{query}", self.address);
        match &*self.method {
            "get" => server.get(&address),
            "post" => server.post_with(&address, body, headers),
            "put" => server.put(&address, &json!({})),
            "delete" => server.delete(&address),
            other => panic!("the test cannot send {other}"),
        }
    }

    fn parameters(&self) -> impl Iterator<Item = &str> {
        let all = self.operation["parameters"].as_array().into_iter().flatten();
        all.filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str())
    }

    /// The schema of its JSON body, and whether the body may be null.
    fn body<'d>(&self, document: &'d Value) -> Option<(&'d Value, bool)> {
        let schema = &self.operation["requestBody"]["content"]["application/json"]["schema"];
        let nullable = schema["oneOf"]
            .as_array()
            .and_then(|all| all.iter().find_map(|one| one["$ref"].as_str()));
        let name = schema["$ref"].as_str().or(nullable)?;
        Some((document.pointer(&name[1..])?, nullable.is_some()))
    }
}

fn routes(server: &Server) -> Vec<Route> {
    let paths = server.openapi().document()["paths"].as_object().unwrap();
    let mut routes = Vec::new();
    for (path, operations) in paths.iter().filter(|(path, _)| path.starts_with("/v1/")) {
        for (method, operation) in operations.as_object().unwrap() {
            let mut address = path.clone();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                let value = match (name, &parameter["schema"]["type"]) {
                    ("run_id", _) => UNKNOWN,
                    (_, Value::String(kind)) if kind == "integer" => "1",
                    _ => "none",
                };
                address = address.replace(&format!("{{{name}}}"), value);
            }
            routes.push(Route {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.clone(),
                address,
                operation: operation.clone(),
            });
        }
    }
    assert!(routes.len() > 35, "{}", routes.len());
    routes
}

#[test]
fn every_route_refuses_a_parameter_that_it_does_not_have_and_a_query_that_is_not_encoded() {
    let server = Server::start();
    for route in routes(&server) {
        let known: Vec<&str> = route.parameters().collect();
        let problem = |query: &str| {
            let problem = route.send(&server, query, b"{}", &JSON).problem(400);
            assert!(
                problem["type"].as_str().unwrap().ends_with("bad-query"),
                "{problem}"
            );
            problem["detail"].as_str().unwrap().to_owned()
        };
        let expected = match &known[..] {
            [] => "this route has no parameters".to_owned(),
            known => format!("known parameters: {}", known.join(", ")),
        };
        for unknown in ["no_such", "Wait", "no_such=1", "page_size%20=1", "=1"] {
            let (name, _) = unknown.split_once('=').unwrap_or((unknown, ""));
            let name = name.replace("%20", " ");
            let detail = problem(&format!("?{unknown}"));
            assert_eq!(
                detail,
                format!("`{name}`: unknown parameter; {expected}"),
                "{}",
                route.id
            );
        }
        for wrong in ["no_such=%zz", "no_such=%", "no_such=%ff", "%c3=1"] {
            let detail = problem(&format!("?{wrong}"));
            assert!(detail.contains("percent-encoding"), "{}: {detail}", route.id);
        }
        if let Some(name) = known.first() {
            let twice = format!("?{name}=1&{name}=1&no_such=1");
            assert!(problem(&twice).contains("no_such"), "{}", route.id);
        }
    }
}

#[test]
fn the_original_routes_take_any_parameter() {
    let server = Server::start();
    let graph = server.create(&json!({"nodes": {"extract": {}}}));
    let run = server
        .post(
            "/graph/run?no_such=%zz",
            &json!({"graph_id": graph, "initial_state": {}}),
        )
        .ok();
    let run = run["run_id"].as_str().unwrap();
    server.get(&format!("/graph/state/{run}?no_such=1")).ok();
    server
        .post("/graph/create?no_such=1", &json!({"nodes": {"extract": {}}}))
        .ok();
}

#[test]
fn a_body_that_may_be_left_out_is_an_object_or_null_or_nothing() {
    let server = Server::start();
    let document = server.openapi().document();
    let mut optional = 0;
    for route in routes(&server) {
        let Some((_, true)) = route.body(document) else {
            continue;
        };
        optional += 1;
        for wrong in [
            "[]",
            r#"["a reason"]"#,
            r#"{"no_such": 1}"#,
            r#"{"no_such": null}"#,
            "1",
            "\"\"",
            "true",
        ] {
            let problem = route.send(&server, "", wrong.as_bytes(), &JSON).problem(422);
            assert!(!problem["errors"].as_array().unwrap().is_empty(), "{problem}");
        }
        // The run and the schedule do not exist, which is checked after the body.
        for fine in ["null", " null\n", "{}", ""] {
            route.send(&server, "", fine.as_bytes(), &JSON).problem(404);
        }
        route.send(&server, "", b"", &[]).problem(404);
        route.send(&server, "", b"{}", &[]).problem(415);
    }
    assert_eq!(optional, 8);
}

#[test]
fn a_field_that_may_be_left_out_may_be_null() {
    let server = Server::start();
    let graph = json!({"name": "starter", "nodes": {"extract": {}}});
    server.create(&graph);
    let document = server.openapi().document();
    let mut fields = 0;
    for route in routes(&server) {
        // The definition of a graph has a separate schema.
        let Some((schema, _)) = route.body(document).filter(|_| !route.id.ends_with("_graph")) else {
            continue;
        };
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let mut body = schema["example"].clone();
            let is_required = required.iter().any(|one| one == name);
            body[name] = Value::Null;
            let answer = route.send(&server, "", body.to_string().as_bytes(), &JSON);
            if is_required {
                let problem = answer.problem(422);
                assert_eq!(
                    problem["errors"][0]["pointer"],
                    format!("/{name}"),
                    "{}",
                    route.id
                );
            } else {
                let text = field.to_string();
                assert!(
                    text.contains("null") || field.get("type").is_none(),
                    "{} {name}: {text}",
                    route.id
                );
                assert!(
                    [200, 201, 202, 404].contains(&answer.status),
                    "{} {name}: {answer:?}",
                    route.id
                );
                fields += 1;
            }
        }
    }
    assert!(fields >= 14, "{fields}");
}

#[test]
fn whitespace_in_json_does_not_change_a_request() {
    let server = Server::start();
    let graph = json!({"name": "ask", "nodes": {"ask": {"wait": {"signal": "go"}}}});
    server.create(&graph);
    let send = |path: &str, body: &str, key: &str| {
        server.post_with(
            path,
            body.as_bytes(),
            &[("content-type", "application/json"), ("idempotency-key", key)],
        )
    };
    let start = send("/v1/runs", r#"{"graph":"ask","state":{"a":[1.50]}}"#, "start").json();
    let again = "\n{ \"graph\" : \"ask\",\r\n\t\"state\": {\"a\": [ 1.50 ]} }\n";
    assert_eq!(send("/v1/runs", again, "start").json()["run_id"], start["run_id"]);
    for other in [
        r#"{"graph":"ask","state":{"a":[1.5]}}"#,
        r#"{"graph":"ask","state":{"a ":[1.50]}}"#,
    ] {
        send("/v1/runs", other, "start").problem(422);
    }
    let signal = format!("/v1/runs/{}/signal", start["run_id"].as_str().unwrap());
    let first = send(&signal, r#"{"name":"go","payload":{"b":1}}"#, "go").json();
    let again = send(&signal, r#"{ "name": "go", "payload": { "b": 1 } }"#, "go");
    assert_eq!((again.status, again.json()), (202, first));
}
