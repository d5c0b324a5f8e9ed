//! Tests of the host with real components, good and bad.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod at_once;
mod bounds;
mod cache;
mod calls;
mod compatibility;
mod folders;
mod garbled;
mod grants;
mod greedy;
mod held;
mod inputs;
mod inspection;
mod limits;
mod masked;
mod names;
mod outgoing;
mod overlaps;
mod plain;
mod pools;
mod purity;
mod registration;
mod server;
mod settled;
mod tools;
mod versions;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use heddle_host::{CacheKey, CacheSettings, Host, HostSettings, Policy};
use heddle_json::{Json, Object, object};
use heddle_kernel::{Answer, Failure, Level, Outcome, Route, RunId, Timestamp};
use heddle_runtime::ports::{
    AlreadyDurable, Call, Functions, NewPlugin, PluginInfo, RegisterError, Sink, ToolCall,
};
use uuid::Uuid;

/// The bytes of a component that the workspace's guests were built to.
fn component(name: &str) -> Arc<[u8]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/plugins")
        .join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(bytes) => bytes.into(),
        Err(error) => panic!("{}: {error}: run `cargo xtask plugins`", path.display()),
    }
}

/// Compiled components are shared between the tests, which behave the same with and without the cache. Only the tests
/// of `cache` have separate folders.
fn settings() -> HostSettings {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    // Few calls at once: each host reserves its own pools, and tests run in parallel.
    HostSettings {
        cache: Some(CacheSettings::new(folder, cache_key())),
        calls_at_once: 64,
        ..HostSettings::default()
    }
}

/// The same for all tests, which share compiled components.
fn cache_key() -> CacheKey {
    CacheKey::from_text(&"5a".repeat(32)).unwrap()
}

/// The same with a policy in YAML.
fn granting(policy: &str) -> HostSettings {
    HostSettings {
        policy: Policy::parse(policy).unwrap(),
        ..settings()
    }
}

/// A host with these components.
async fn host_with(settings: HostSettings, names: &[&str]) -> Host {
    let host = Host::new(settings).unwrap();
    for name in names {
        register(&host, component(name), name.rsplit('/').next())
            .await
            .unwrap();
    }
    host
}

async fn register(
    host: &Host,
    component: Arc<[u8]>,
    fallback_name: Option<&str>,
) -> Result<PluginInfo, RegisterError> {
    let fallback_name = fallback_name.map(str::to_owned);
    host.register(NewPlugin {
        fallback_name,
        ..NewPlugin::of(component)
    })
    .await
}

/// Registers the hostile plugin again under another name.
async fn hostile_as(host: &Host, name: &str) {
    // Another digest, since a component has only one name.
    let component = registration::named(&component("fixtures/hostile"), name);
    let plugin = NewPlugin {
        name: Some(name.to_owned()),
        ..NewPlugin::of(component)
    };
    host.register(plugin).await.unwrap();
}

/// The log lines and chunks of a call.
#[derive(Default)]
struct Heard {
    lines: Mutex<Vec<(Level, String)>>,
    chunks: Mutex<Vec<String>>,
}

impl Sink for Heard {
    fn log(&self, level: Level, message: &str) {
        self.lines.lock().unwrap().push((level, message.to_owned()));
    }

    fn emit(&self, chunk: Json) {
        self.chunks.lock().unwrap().push(chunk.get().to_owned());
    }
}

impl Heard {
    fn lines(&self) -> Vec<(Level, String)> {
        self.lines.lock().unwrap().clone()
    }
}

/// Fails the test if the future takes too long.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, what).await.expect("it came")
}

/// A call of a function as the first attempt of step 3 of a run.
fn call(host: &Host, uses: &str, state: &str, config: &str) -> Call {
    Call {
        function: host.resolve(uses).unwrap().function,
        input: Object::parse(state).unwrap(),
        mapped: false,
        config: object::json(config).unwrap(),
        run: RunId(Uuid::from_u128(7)),
        node: "here".into(),
        step: 3,
        attempt: 1,
        timeout: None,
        bounds: None,
        started_at: Timestamp(1_700_000_000_123),
        durable: Arc::new(AlreadyDurable),
        sink: Arc::new(Heard::default()),
    }
}

async fn run(host: &Host, uses: &str, state: &str, config: &str) -> Result<Outcome, Failure> {
    outcome(host, call(host, uses, state, config)).await
}

/// The update of a call, of a node function or of a tool.
async fn outcome(host: &Host, call: Call) -> Result<Outcome, Failure> {
    match host.call(call).await? {
        Answer::Outcome(outcome) => Ok(outcome),
        Answer::Result(result) => Outcome::from_tool_result(&result),
    }
}

/// The failure of a node function without state or config.
async fn failure(host: &Host, uses: &str) -> Failure {
    run(host, uses, "{}", "null").await.unwrap_err()
}

async fn call_tool(host: &Host, uses: &str, input: &str) -> Result<Json, Failure> {
    let call = ToolCall {
        function: host.resolve(uses).unwrap().function,
        input: object::json(input).unwrap(),
        started_at: Timestamp(0),
        sink: Arc::new(Heard::default()),
    };
    host.call_tool(call).await
}
