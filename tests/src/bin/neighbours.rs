//! Measures how an attack affects other clients: a steady load of W1 (ten nodes in sequence, at a fixed rate, the time of
//! each run counted from the moment it was due), first alone and then during each attack. Prints the latencies of the
//! steady load, their ratio, the number of failed runs, and the server's memory before, at its peak, and after.
//!
//! Starts its own server on a fresh store with full durability. The attacks need the components of `cargo xtask plugins`.
//! Times depend on the machine, so this is not a test; `cargo xtask test` runs each attack as a test without times.
#![allow(clippy::print_stdout)] // it is a report

use std::{
    collections::BTreeMap,
    io::Write,
    net::TcpStream,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Parser;
use heddle_tests::measured::{MeasuredServer, agent, post};
use serde_json::{Value, json};

#[derive(Parser)]
#[command(about = "Measures a steady load during attacks, on its own server")]
struct Arguments {
    /// The heddle binary
    #[arg(long, default_value = "target/release/heddle")]
    heddle: PathBuf,
    /// The folder of the components
    #[arg(long, default_value = "target/plugins")]
    plugins: PathBuf,
    /// The folder of the store, on the disk to measure
    #[arg(long, default_value = "target/neighbours")]
    folder: PathBuf,
    /// Starts of W1 per second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// The duration of each part, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The number of attacking threads
    #[arg(long, default_value_t = 4)]
    attackers: usize,
    /// Additional arguments of `heddle serve`
    #[arg(last = true)]
    serve: Vec<String>,
    /// The attacks to measure [default: all]
    #[arg(long, value_delimiter = ',')]
    attacks: Vec<String>,
}

type Attack = fn(&Target) -> anyhow::Result<()>;

/// Every attack: its name, and the function that each attacking thread repeats.
const ATTACKS: &[(&str, Attack)] = &[
    ("compile-bomb", compile_bomb),
    ("compile-large", compile_large),
    ("instances", instances),
    ("checks", checks),
    ("expressions", expressions),
    ("deep-json", deep_json),
    ("big-state", big_state),
    ("map-10000", map),
    ("endless-loop", endless_loop),
    ("memory", memory),
    ("log-flood", log_flood),
    ("big-results", big_results),
    ("import", import),
    ("slow-headers", slow_headers),
    ("slow-bodies", slow_bodies),
    ("mute-watchers", mute_watchers),
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut serve = vec!["--call-timeout".to_owned(), "5".to_owned()];
    serve.extend(arguments.serve.iter().cloned());
    let server = MeasuredServer::start(
        &arguments.heddle,
        &arguments.plugins,
        &arguments.folder,
        None,
        &serve,
    )?;
    let target = Target::new(&server, &arguments)?;
    println!(
        "{} runs of W1 per second for {} s, {} attacking threads; {} MB resident at the start\n",
        arguments.rate,
        arguments.seconds,
        arguments.attackers,
        server.memory_mb("VmRSS:")?
    );
    println!(
        "{:<14} {:>8} {:>8} {:>9} {:>7} {:>7} {:>9} {:>8} {:>8} {:>8}",
        "attack", "p50 ms", "p99 ms", "worst ms", "p99 x", "failed", "attempts", "MB", "MB peak", "MB after"
    );
    target.steady_load(&arguments, &AtomicBool::new(false))?; // warm-up
    for (name, attack) in ATTACKS {
        if arguments.attacks.is_empty() || arguments.attacks.iter().any(|wanted| wanted == name) {
            measure(name, *attack, &target, &server, &arguments)?;
        }
    }
    Ok(())
}

/// Measures the steady load alone, then during the attack.
fn measure(
    name: &str,
    attack: Attack,
    target: &Target,
    server: &MeasuredServer,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let alone = target.steady_load(arguments, &AtomicBool::new(false))?;
    let before = server.memory_mb("VmRSS:")?;
    server.reset_peak()?;
    let (stop, attempts) = (AtomicBool::new(false), AtomicUsize::new(0));
    let beside = std::thread::scope(|scope| {
        for _ in 0..arguments.attackers {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    attempts.fetch_add(1, Ordering::Relaxed);
                    // The server should refuse the attack or close its connection.
                    if attack(target).is_err() {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            });
        }
        target.steady_load(arguments, &stop)
    })?;
    let peak = server.memory_mb("VmHWM:")?;
    target.cancel_all()?;
    let settled = Instant::now();
    while server.memory_mb("VmRSS:")? > before + 16 && settled.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(200));
    }
    println!(
        "{name:<14} {:>8.2} {:>8.2} {:>9.1} {:>7.1} {:>7} {:>9} {before:>8} {peak:>8} {:>8}",
        beside.at(0.5),
        beside.at(0.99),
        beside.at(1.0),
        beside.at(0.99) / alone.at(0.99),
        beside.failed,
        attempts.into_inner(),
        server.memory_mb("VmRSS:")?
    );
    Ok(())
}

/// The latencies of a steady load, in milliseconds, sorted.
struct Latencies {
    ms: Vec<f64>,
    failed: usize,
}

impl Latencies {
    fn at(&self, share: f64) -> f64 {
        self.ms[((self.ms.len() - 1) as f64 * share) as usize]
    }
}

/// The attacked server with the graphs that the attacks run.
struct Target {
    address: String,
    agent: ureq::Agent,
    graphs: BTreeMap<&'static str, String>,
    bodies: Bodies,
}

/// Request bodies that are expensive to build.
struct Bodies {
    bomb: Vec<u8>,
    large: Vec<u8>,
    instances: Vec<u8>,
    checks: String,
    expressions: String,
    deep: String,
    state: String,
    items: String,
    export: String,
}

impl Target {
    fn new(server: &MeasuredServer, arguments: &Arguments) -> anyhow::Result<Self> {
        let hostile = |name: &str| arguments.plugins.join(format!("fixtures/{name}.wasm"));
        let mut target = Self {
            address: server.url.clone(),
            agent: agent(),
            graphs: BTreeMap::new(),
            bodies: Bodies {
                bomb: component(&bomb_module()),
                large: std::fs::read(arguments.plugins.join("languages/python.wasm"))
                    .or_else(|_| std::fs::read(hostile("hostile")))?,
                instances: many_instances(512),
                checks: long_names(),
                expressions: long_expressions(),
                deep: format!("{}1{}", "[".repeat(900_000), "]".repeat(900_000)),
                state: String::new(),
                items: String::new(),
                export: String::new(),
            },
        };
        let plugin = std::fs::read(hostile("hostile")).context("run `cargo xtask plugins` first")?;
        target.post_bytes("/v1/plugins?name=hostile", &plugin)?;
        for (name, definition) in [
            ("w1", std::fs::read_to_string("plugins/bench/w1.json")?),
            ("spin", node("spin", &json!({}))),
            ("hog", node("hog", &json!({}))),
            ("flood", node("flood", &json!({"bytes": 900_000}))),
            ("big", node("big", &json!({"bytes": 8_000_000}))),
            (
                "map",
                json!({"nodes": {"each": {"map": {"over": "state.items", "as": "item", "uses": "basics/echo",
                    "at_once": 64, "into": "out"}}}})
                .to_string(),
            ),
        ] {
            let graph = target.post("/v1/graphs", &definition)?;
            let id = graph["graph_id"].as_str().context("a graph has an id")?;
            target.graphs.insert(name, id.to_owned());
        }
        let w1 = &target.graphs["w1"];
        target.bodies.state = json!({"graph": w1, "state": {"filler": "x".repeat(1_800_000)}}).to_string();
        target.bodies.items =
            json!({"graph": target.graphs["map"], "state": {"items": vec![0; 10_000]}}).to_string();
        let run = target.post(
            "/v1/runs?wait=30s",
            &json!({"graph": w1, "state": {"a": "x".repeat(500_000)}}).to_string(),
        )?;
        let run = run["run_id"].as_str().context("a run has an id")?;
        target.bodies.export = target.get(&format!("/v1/runs/{run}/export"))?;
        Ok(target)
    }

    /// Starts W1 at the fixed rate, independent of the responses, and waits for all runs. Sets `stop` at the end.
    fn steady_load(&self, arguments: &Arguments, stop: &AtomicBool) -> anyhow::Result<Latencies> {
        let runs = (u64::from(arguments.rate) * arguments.seconds) as usize;
        let body = json!({"graph": self.graphs["w1"], "state": {"filler": "x".repeat(1000)}}).to_string();
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let began = Instant::now();
        let client = || {
            let agent = agent();
            let mut ms = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= runs {
                    return ms;
                }
                let due = began + Duration::from_secs(1) * at as u32 / arguments.rate;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let answer = post(
                    &agent,
                    &format!("{}/v1/runs?wait=60s", self.address),
                    body.as_bytes(),
                );
                if !answer.is_ok_and(|run| run["status"] == "finished") {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                ms.push(due.elapsed().as_secs_f64() * 1e3);
            }
        };
        let mut ms = std::thread::scope(|scope| {
            // Enough clients for responses that take a second.
            let clients: Vec<_> = (0..arguments.rate.max(8)).map(|_| scope.spawn(client)).collect();
            let all = clients
                .into_iter()
                .map(|client| client.join().expect("a client does not panic"));
            all.flatten().collect::<Vec<f64>>()
        });
        stop.store(true, Ordering::Relaxed);
        ms.sort_unstable_by(f64::total_cmp);
        Ok(Latencies {
            ms,
            failed: failed.into_inner(),
        })
    }

    /// Cancels the remaining runs of an attack.
    fn cancel_all(&self) -> anyhow::Result<()> {
        for status in ["queued", "running"] {
            loop {
                let page: Value =
                    serde_json::from_str(&self.get(&format!("/v1/runs?status={status}&page_size=100"))?)?;
                let runs = page["runs"].as_array().context("a list of runs")?;
                if runs.is_empty() {
                    break;
                }
                for run in runs.iter().filter_map(|run| run["run_id"].as_str()) {
                    let _ = self.post(&format!("/v1/runs/{run}/cancel"), r#"{"grace": "0s"}"#);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    fn start(&self, graph: &str) -> anyhow::Result<()> {
        let body = json!({"graph": self.graphs[graph]}).to_string();
        self.post("/v1/runs?wait=10s", &body).map(drop)
    }

    fn post(&self, path: &str, body: &str) -> anyhow::Result<Value> {
        post(&self.agent, &format!("{}{path}", self.address), body.as_bytes())
    }

    fn post_bytes(&self, path: &str, body: &[u8]) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.address);
        let mut answer = self
            .agent
            .post(&url)
            .header("content-type", "application/wasm")
            .send(body)?;
        Ok(answer.body_mut().read_json()?)
    }

    fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut answer = self.agent.get(format!("{}{path}", self.address)).call()?;
        Ok(answer.body_mut().with_config().limit(1 << 30).read_to_string()?)
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        let address = self.address.trim_start_matches("http://");
        Ok(TcpStream::connect(address)?)
    }
}

fn compile_bomb(target: &Target) -> anyhow::Result<()> {
    target
        .post_bytes("/v1/plugins:inspect", &target.bodies.bomb)
        .map(drop)
}

fn compile_large(target: &Target) -> anyhow::Result<()> {
    target
        .post_bytes("/v1/plugins:inspect", &target.bodies.large)
        .map(drop)
}

fn instances(target: &Target) -> anyhow::Result<()> {
    target
        .post_bytes("/v1/plugins:inspect", &target.bodies.instances)
        .map(drop)
}

fn checks(target: &Target) -> anyhow::Result<()> {
    target.post("/v1/graphs:check", &target.bodies.checks).map(drop)
}

fn expressions(target: &Target) -> anyhow::Result<()> {
    target
        .post("/v1/graphs:check", &target.bodies.expressions)
        .map(drop)
}

fn deep_json(target: &Target) -> anyhow::Result<()> {
    target.post("/v1/runs", &target.bodies.deep).map(drop)
}

fn big_state(target: &Target) -> anyhow::Result<()> {
    target.post("/v1/runs?wait=10s", &target.bodies.state).map(drop)
}

fn map(target: &Target) -> anyhow::Result<()> {
    target.post("/v1/runs?wait=10s", &target.bodies.items).map(drop)
}

fn endless_loop(target: &Target) -> anyhow::Result<()> {
    target.start("spin")
}

fn memory(target: &Target) -> anyhow::Result<()> {
    target.start("hog")
}

fn log_flood(target: &Target) -> anyhow::Result<()> {
    target.start("flood")
}

fn big_results(target: &Target) -> anyhow::Result<()> {
    target.start("big")
}

fn import(target: &Target) -> anyhow::Result<()> {
    let url = format!("{}/v1/runs:import", target.address);
    let answer = target
        .agent
        .post(&url)
        .header("content-type", "application/x-ndjson");
    answer.send(target.bodies.export.as_bytes()).map(drop)?;
    Ok(())
}

/// 500 connections that start a request and send its headers slowly.
fn slow_headers(target: &Target) -> anyhow::Result<()> {
    trickle(target, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
}

/// 500 connections that announce a large body and send it slowly.
fn slow_bodies(target: &Target) -> anyhow::Result<()> {
    trickle(
        target,
        "POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1900000\r\n\r\n{",
    )
}

fn trickle(target: &Target, beginning: &str) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for _ in 0..500 {
        let mut stream = target.connect()?;
        stream.write_all(beginning.as_bytes())?;
        all.push(stream);
    }
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(200));
        all.retain_mut(|stream| stream.write_all(b" ").is_ok());
    }
    Ok(())
}

/// 100 watchers of a run with megabytes of events; they never read.
fn mute_watchers(target: &Target) -> anyhow::Result<()> {
    let run = target.post(
        "/v1/runs?wait=10s",
        &json!({"graph": target.graphs["flood"]}).to_string(),
    )?;
    let run = run["run_id"].as_str().context("a run has an id")?;
    let mut all = Vec::new();
    for _ in 0..100 {
        let mut stream = target.connect()?;
        let head = "HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream";
        write!(stream, "GET /v1/runs/{run}/events {head}\r\n\r\n")?;
        all.push(stream);
    }
    std::thread::sleep(Duration::from_secs(2));
    Ok(())
}

/// A graph of one node that calls a function of the fixture `hostile`.
fn node(function: &str, config: &Value) -> String {
    json!({"nodes": {"n": {"uses": format!("hostile/{function}"), "config": config}}}).to_string()
}

/// A graph whose edges name unknown nodes, with long names that are similar to those of the nodes.
fn long_names() -> String {
    let name = |at: usize| format!("{}{at}", "n".repeat(800));
    let nodes: serde_json::Map<_, _> = (0..100).map(|at| (name(at), json!({}))).collect();
    let edges: serde_json::Map<_, _> = (0..100)
        .map(|at| (name(at), json!([name(at + 1000), name(at + 2000)])))
        .collect();
    json!({"nodes": nodes, "edges": edges}).to_string()
}

/// A graph with as many conditions as fit into a body.
fn long_expressions() -> String {
    let condition = vec!["state.a + state.b * 2 > size(state.c)"; 40].join(" && ");
    let cases: Vec<Value> = (0..500)
        .map(|_| json!({"when": condition, "to": "end"}))
        .collect();
    json!({"nodes": {"a": {"uses": "bench/touch"}}, "edges": {"a": cases}}).to_string()
}

/// A component around a core module, in the binary format of the component model.
fn component(module: &[u8]) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    section(&mut bytes, 1, module);
    bytes
}

/// A component with `count` core instances of an empty module.
fn many_instances(count: u64) -> Vec<u8> {
    let mut bytes = component(b"\0asm\x01\0\0\0");
    let mut instances = leb(count);
    for _ in 0..count {
        instances.extend([0x00, 0x00, 0x00]); // instantiate module 0 without arguments
    }
    section(&mut bytes, 2, &instances);
    bytes
}

/// A core module with one function: nested loops that set some of 20,000 locals each.
fn bomb_module() -> Vec<u8> {
    const LOCALS: u64 = 20_000;
    const LOOPS: usize = 900;
    let mut code = vec![1]; // one group of locals
    code.extend(leb(LOCALS));
    code.push(0x7f); // i32
    for at in 0..LOOPS as u64 {
        code.extend([0x03, 0x40]); // loop
        for local in 0..40 {
            code.push(0x20); // local.get
            code.extend(leb((at * 37 + local * 499) % LOCALS));
            code.push(0x21); // local.set
            code.extend(leb((at * 41 + local * 503) % LOCALS));
        }
        code.extend([0x20, 0x00, 0x0d, 0x00]); // local.get 0, br_if 0
    }
    code.extend(std::iter::repeat_n(0x0b, LOOPS + 1)); // end
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    section(&mut bytes, 1, &[1, 0x60, 0, 0]); // one type: no parameters, no results
    section(&mut bytes, 3, &[1, 0]); // one function of it
    let mut body = vec![1];
    body.extend(leb(code.len() as u64));
    body.extend(code);
    section(&mut bytes, 10, &body);
    bytes
}

fn section(into: &mut Vec<u8>, id: u8, content: &[u8]) {
    into.push(id);
    into.extend(leb(content.len() as u64));
    into.extend(content);
}

/// A number in LEB128.
fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}
