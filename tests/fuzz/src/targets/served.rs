//! An engine over an in-memory store and the real host, for the targets that need one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::future::BoxFuture;
use heddle_host::{Host, HostSettings};
use heddle_json::{Object, object};
use heddle_kernel::{RunId, Timestamp};
use heddle_runtime::{
    Engine, Ports, RandomIds, Settings, Start, SystemClock,
    ports::{Clock, Functions, NewPlugin},
};
use heddle_store::MemoryJournal;
use tokio::runtime::Runtime;

/// A clock that always shows the same time, so that repeated imports have the same bytes.
pub(crate) struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000)
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// A host with a compilation cache that persists between campaigns.
pub(crate) fn host() -> Result<Host> {
    let cache = target_folder().join("fuzz/compiled");
    Ok(Host::new(HostSettings {
        cache: Some(heddle_host::CacheSettings::new(
            cache,
            heddle_host::CacheKey::from_text(&"5a".repeat(32)).context("a key has 64 digits")?,
        )),
        calls_at_once: 16,
        call_timeout: Duration::from_secs(2),
        ..HostSettings::default()
    })?)
}

/// The target folder of the workspace.
fn target_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

/// The bytes of a guest of this workspace.
pub(crate) fn guest(name: &str) -> Result<Arc<[u8]>> {
    let path = target_folder().join("plugins").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path);
    let bytes = bytes.with_context(|| format!("{}: run `cargo xtask plugins`", path.display()))?;
    Ok(bytes.into())
}

/// The bytes of a component from the tests of the host.
pub(crate) fn test_component(name: &str) -> Result<Arc<[u8]>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engine/host/tests/guests");
    Ok(std::fs::read(folder.join(name))?.into())
}

/// Registers a component with a host.
pub(crate) async fn register(host: &Host, component: Arc<[u8]>, name: &str) -> Result<()> {
    let plugin = NewPlugin {
        fallback_name: Some(name.to_owned()),
        ..NewPlugin::of(component)
    };
    host.register(plugin).await?;
    Ok(())
}

/// A runtime like the server's, with few threads.
pub(crate) fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

/// An engine without graphs or runs.
pub(crate) fn engine(host: &Host, clock: Arc<dyn Clock>) -> Engine {
    let ports = Ports {
        store: Arc::new(MemoryJournal::new()),
        functions: Arc::new(host.clone()),
        clock,
        ids: Arc::new(RandomIds),
    };
    Engine::new(ports, Settings::default())
}

/// An engine with a graph and runs, which inputs refer to by placeholders.
pub(crate) struct World {
    pub(crate) engine: Engine,
    /// The placeholders with their values.
    names: Vec<(&'static str, String)>,
    /// A run that waits for a signal.
    pub(crate) waiting: RunId,
}

/// A graph whose runs end immediately.
const SHORT: &str = r#"{"name": "short", "nodes": {"route": {"uses": "contract/route", "config": "end"}}}"#;
/// A graph whose runs wait.
const LONG: &str = r#"{"name": "long", "nodes": {
    "ask": {"wait": {"signal": "go", "schema": {"type": "object"}}},
    "rest": {"sleep": "1h"}}, "edges": {"ask": "rest"}}"#;
/// A graph whose runs fail.
const BAD: &str = r#"{"name": "bad", "nodes": {"fail": {"uses": "contract/fail", "config": "permanent"}}}"#;

impl World {
    /// A world whose host has the plugins `contract`, `adder` and `typed`.
    pub(crate) async fn new(host: &Host) -> Result<Self> {
        let engine = engine(host, Arc::new(SystemClock));
        engine.recover().await?;
        let mut names = Vec::new();
        let mut runs = Vec::new();
        for (text, graph, run) in [
            (SHORT, "@short", "@finished"),
            (LONG, "@long", "@waiting"),
            (BAD, "@bad", "@failed"),
            (LONG, "@long", "@paused"),
        ] {
            let created = engine.create_graph(text).await?;
            let state = Object::parse(r#"{"a": 1, "text": "some text"}"#)?;
            let started = engine
                .start_run(Start::of(created.graph.id.to_string(), state))
                .await?;
            if !text.contains("sleep") {
                started.id.finished(&engine).await?;
            }
            names.push((graph, created.graph.id.to_string()));
            names.push((run, started.id.to_string()));
            runs.push(started.id);
        }
        engine.pause(runs[3], "for the test").await?;
        Ok(Self {
            engine,
            names,
            waiting: runs[1],
        })
    }

    /// Replaces the placeholders in a text.
    pub(crate) fn filled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if text.contains('@') {
            for (name, id) in &self.names {
                text = text.replace(name, id);
            }
        }
        text
    }
}

/// Waits for the end of a run.
trait Finished {
    async fn finished(&self, engine: &Engine) -> Result<()>;
}

impl Finished for RunId {
    async fn finished(&self, engine: &Engine) -> Result<()> {
        let watch = engine.watch(*self, 0).await?;
        let mut watch = watch.context("the run was started")?;
        while let Some(next) = watch.next().await {
            next?;
        }
        Ok(())
    }
}

/// Whether a text is JSON that the engine accepts.
pub(crate) fn is_json(text: &str) -> bool {
    object::admit(text).is_ok()
}
