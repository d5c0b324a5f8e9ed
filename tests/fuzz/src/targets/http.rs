//! HTTP requests to every route of `/openapi.json`.
//!
//! An input is a request as text: a line with method and path, a line per header, an empty line, and the body.
//! `@waiting` and other placeholders mean ids of existing runs and graphs. No request gets status 500 or causes a
//! panic, also later or on another thread. Every response has a described status, type and form, and every error is a
//! problem (RFC 9457).

use std::time::Duration;

use anyhow::{Context, Result};
use axum::{Router, body::Body};
use futures_util::FutureExt;
use heddle_host::Host;
use heddle_server::ServerSettings;
use heddle_tests::{Response, openapi::OpenApi};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tower_service::Service;

use super::{Target, Verdict, served};
use crate::{
    mutate::{bytes, json, text, wasm},
    pool::{MAX_INPUT_BYTES, Pool},
    random::Random,
};

/// The number of requests after which the server restarts, so that a finding does not depend on all requests before.
const CASES_OF_A_WORLD: u32 = 400;
/// The host of the requests.
const HOST: &str = "fuzz.example";
/// The initial requests to every server, besides its graphs and runs.
const SCHEDULE: &str = "POST /v1/schedules\ncontent-type: application/json\n\n\
    {\"name\": \"nightly\", \"graph\": \"@short\", \"when\": {\"cron\": \"0 3 * * *\", \"time_zone\": \"Europe/Berlin\"}}";
/// The time limit of a response.
const PATIENCE: Duration = Duration::from_secs(60);
/// The maximum size of a response body to read.
const MAX_ANSWER: usize = 8 << 20;
/// Responses of the guard, which any route may give before its handler.
const BEFORE_ROUTES: [u16; 4] = [400, 403, 421, 204];

pub(crate) struct Http {
    host: Host,
    openapi: OpenApi,
    served: Served,
}

/// A server with its engine, on its own threads.
struct Served {
    runtime: Runtime,
    world: served::World,
    router: Router,
    cases: u32,
}

impl Http {
    pub(crate) fn new() -> Result<Self> {
        let host = served::host()?;
        let served = Served::new(&host)?;
        let openapi = serde_json::from_str(&heddle_server::openapi())?;
        Ok(Self {
            host,
            openapi: OpenApi::new(openapi),
            served,
        })
    }
}

impl Served {
    fn new(host: &Host) -> Result<Self> {
        let runtime = served::runtime()?;
        let world = runtime.block_on(async {
            if host_is_empty(host) {
                served::register(host, served::guest("fixtures/contract")?, "contract").await?;
                served::register(host, served::guest("fixtures/typed")?, "typed").await?;
            }
            served::World::new(host).await
        })?;
        let settings = ServerSettings {
            // There is no connection that shows that the client is on this machine.
            allowed_hosts: vec![HOST.to_owned()],
            grant_over_http: true,
            max_wait: Duration::from_millis(20),
            ..ServerSettings::default()
        };
        let served = Self {
            router: heddle_server::router(world.engine.clone(), settings),
            runtime,
            world,
            cases: 0,
        };
        let schedule = request(&served.world, SCHEDULE.as_bytes()).context("it is a request")?;
        let answer = served.answer(schedule);
        anyhow::ensure!(answer.status == 201, "{answer:?}");
        Ok(served)
    }

    fn answer(&self, request: Request<Body>) -> Response {
        let mut router = self.router.clone();
        self.runtime.block_on(async {
            let answered = tokio::time::timeout(PATIENCE, async {
                let Ok(response) = router.call(request).await;
                read(response).await
            });
            answered.await.expect("an answer comes in time")
        })
    }
}

fn host_is_empty(host: &Host) -> bool {
    heddle_runtime::ports::Functions::plugins(host).is_empty()
}

impl Target for Http {
    fn seeds(&self) -> Result<Vec<Vec<u8>>> {
        let mut seeds = examples(self.openapi.document())?;
        let mut upload = b"POST /v1/plugins:inspect\ncontent-type: application/wasm\n\n".to_vec();
        upload.extend_from_slice(&served::test_component("elsewhere/adder.wasm")?);
        seeds.push(upload);
        Ok(seeds)
    }

    fn mutate(&self, random: &mut Random, pool: &Pool) -> Vec<u8> {
        let (own, donor) = (pool.any(random).to_vec(), pool.any(random));
        let (head, body) = split(&own);
        let (donor_head, donor_body) = split(donor);
        let (mut head, mut body) = (head.to_vec(), body.to_vec());
        match random.below(0..8) {
            0 => head = text_of(random, &head, donor_head),
            1 => {
                // The same body to another path.
                head = donor_head.to_vec();
            }
            2 => {
                head = text_of(random, &head, donor_head);
                body = changed_body(random, &body, donor_body);
            }
            _ => body = changed_body(random, &body, donor_body),
        }
        head.extend_from_slice(b"\n\n");
        head.extend_from_slice(&body);
        head
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        self.served.cases += 1;
        if self.served.cases > CASES_OF_A_WORLD {
            let begun = Served::new(&self.host).expect("the server begins anew");
            std::mem::replace(&mut self.served, begun)
                .runtime
                .shutdown_background();
        }
        let Some(request) = request(&self.served.world, input) else {
            return Verdict::refused("no request");
        };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let answer = self.served.answer(request);
        let id = check(&self.openapi, &method, &uri, &answer);
        let kind = match answer.status {
            400.. => problem_of(&answer),
            _ => String::new(),
        };
        let verdict = format!("{id} {} {kind}", answer.status);
        match answer.status {
            ..400 => Verdict::accepted(verdict),
            _ => Verdict::refused(verdict),
        }
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(20)
    }
}

fn text_of(random: &mut Random, text: &[u8], donor: &[u8]) -> Vec<u8> {
    let (text, donor) = (String::from_utf8_lossy(text), String::from_utf8_lossy(donor));
    text::mutate(random, &text, &donor, 4_000).into_bytes()
}

fn changed_body(random: &mut Random, body: &[u8], donor: &[u8]) -> Vec<u8> {
    match (str::from_utf8(body), str::from_utf8(donor)) {
        (Ok(body), Ok(donor)) if body.trim_start().starts_with(['{', '[']) => {
            json::mutate(random, body, donor, MAX_INPUT_BYTES).into_bytes()
        }
        (Ok(body), Ok(donor)) => text::mutate(random, body, donor, MAX_INPUT_BYTES).into_bytes(),
        _ => wasm::mutate(random, body, donor, MAX_INPUT_BYTES).unwrap_or_else(|| {
            let mut changed = body.to_vec();
            bytes::mutate(random, &mut changed, donor, MAX_INPUT_BYTES);
            changed
        }),
    }
}

/// The head of an input, and its body.
fn split(input: &[u8]) -> (&[u8], &[u8]) {
    match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, b""),
    }
}

/// The request of an input. None if HTTP has no such request.
fn request(world: &served::World, input: &[u8]) -> Option<Request<Body>> {
    let (head, body) = split(input);
    let head = world.filled(str::from_utf8(head).ok()?);
    let mut lines = head.lines();
    let (method, address) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).ok()?)
        .uri(address.parse::<Uri>().ok()?);
    let mut has_host = false;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.trim().parse().ok()?;
        has_host |= name == http::header::HOST;
        request = request.header(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    if !has_host {
        request = request.header(http::header::HOST, HOST);
    }
    let body = match str::from_utf8(body) {
        Ok(text) => world.filled(text).into_bytes(),
        Err(_) => body.to_vec(),
    };
    request.body(Body::from(body)).ok()
}

/// Reads a response; of an event stream the available part.
async fn read(response: http::Response<Body>) -> Response {
    let (parts, mut body) = response.into_parts();
    let header = |name: HeaderName| {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let content_type = header(http::header::CONTENT_TYPE);
    let stream = content_type.starts_with("text/event-stream");
    let mut bytes = Vec::new();
    loop {
        let frame = match stream {
            true => body.frame().now_or_never().flatten(),
            false => body.frame().await,
        };
        let Some(frame) = frame else { break };
        if let Ok(data) = frame.expect("an answer is read whole").into_data() {
            bytes.extend_from_slice(&data);
        }
        assert!(
            bytes.len() <= MAX_ANSWER,
            "an answer of more than {MAX_ANSWER} bytes"
        );
    }
    Response {
        status: parts.status.as_u16(),
        content_type,
        location: header(http::header::LOCATION),
        text: String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// Checks the rules for every response. Returns the operation if it is described.
fn check(openapi: &OpenApi, method: &Method, uri: &Uri, answer: &Response) -> String {
    assert_ne!(answer.status, 500, "{method} {uri}: {answer:?}");
    if answer.status >= 400 && method != Method::HEAD {
        check_problem(answer);
    }
    let described = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    if !described.contains(method) || BEFORE_ROUTES.contains(&answer.status) {
        return String::new();
    }
    openapi.check_response(&method.as_str().to_lowercase(), uri.path(), answer);
    let path: Vec<&str> = uri.path().split('/').take(3).collect();
    format!("{method} {}", path.join("/"))
}

/// An error is a problem with a type and a detail.
fn check_problem(answer: &Response) {
    assert_eq!(answer.content_type, "application/problem+json", "{answer:?}");
    let problem = answer.json();
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    assert!(text("type").starts_with("urn:heddle:problem:"), "{answer:?}");
    assert!(
        !text("title").is_empty() && !text("detail").is_empty(),
        "{answer:?}"
    );
    assert_eq!(problem["status"], answer.status, "{answer:?}");
}

/// The message of an error.
fn problem_of(answer: &Response) -> String {
    let problem: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let first = &problem["errors"][0]["message"];
    format!("{} {} {first}", problem["type"], problem["detail"])
}

/// A request for every described operation, with its example body or an empty one.
fn examples(openapi: &Value) -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    let paths = openapi["paths"]
        .as_object()
        .context("the description has paths")?;
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let mut address = path.clone();
            for (parameter, value) in [
                ("{run_id}", "@waiting"),
                ("{run}", "@waiting"),
                ("{graph}", "@long"),
                ("{plugin}", "typed"),
                ("{name}", "typed"),
                ("{function}", "greet"),
                ("{tool}", "greet"),
                ("{version}", "1.2.0"),
                ("{step}", "1"),
            ] {
                address = address.replace(parameter, value);
            }
            let query: Vec<String> = queries(operation).collect();
            if !query.is_empty() {
                address = format!("{address}?{}", query.join("&"));
            }
            let method = method.to_uppercase();
            seeds.push(format!("{method} {address}\n\n").into_bytes());
            let bodies = operation["requestBody"]["content"].as_object();
            for (kind, body) in bodies.into_iter().flatten() {
                for example in bodies_of(openapi, &body["schema"]) {
                    let text = format!("{method} {address}\ncontent-type: {kind}\n\n{example}");
                    seeds.push(text.into_bytes());
                }
            }
        }
    }
    Ok(seeds)
}

/// The query parameters of an operation, each with a value that is probably invalid.
fn queries(operation: &Value) -> impl Iterator<Item = String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let of_query = parameters.filter(|parameter| parameter["in"] == "query");
    of_query.filter_map(|parameter| Some(format!("{}=1", parameter["name"].as_str()?)))
}

/// Bodies for a schema: its example, and an object with all of its properties.
fn bodies_of(openapi: &Value, schema: &Value) -> Vec<Value> {
    let schema = match schema["$ref"].as_str() {
        Some(to) => openapi.pointer(to.trim_start_matches('#')).unwrap_or(schema),
        None => schema,
    };
    let mut bodies = vec![Value::Object(Map::new())];
    bodies.extend(schema.get("example").cloned());
    bodies.extend(schema["examples"].as_array().into_iter().flatten().cloned());
    let properties = schema["properties"].as_object().into_iter().flatten();
    let all = properties.map(|(name, property)| {
        let value = match property["type"].as_str() {
            Some("string") => "@waiting".into(),
            Some("integer" | "number") => 1.into(),
            Some("boolean") => true.into(),
            Some("array") => Value::Array(Vec::new()),
            _ => Value::Object(Map::new()),
        };
        (name.clone(), value)
    });
    let all: Map<String, Value> = all.collect();
    if !all.is_empty() {
        bodies.push(Value::Object(all));
    }
    bodies
}
