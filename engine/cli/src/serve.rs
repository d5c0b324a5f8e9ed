//! `heddle serve`: listens on the address, opens the store, registers the plugins, loads the unfinished runs, and serves
//! requests until it is stopped.
//!
//! [`StartPlan`] checks all arguments before the address is bound. The server answers `/readyz` while the rest starts.

mod archive;
mod cache_key;
mod log;
mod plugins_folder;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use heddle_display as display;
use heddle_host::{CacheSettings, Compiler, Host, HostSettings, Policy, Protected};
use heddle_kernel::retention::Retention;
use heddle_runtime::ports::{Archive, Store};
use heddle_runtime::{Engine, Ports, RandomIds, Settings, SystemClock};
use heddle_server::ServerSettings;
use heddle_store::{PostgresStore, SqliteJournal, SqliteSettings, maintenance::StoreLocation};
use tokio::{net::TcpListener, task::JoinSet};
use url::Url;

use self::{
    archive::ExportFolder,
    plugins_folder::{PluginsFolder, default_folder},
};
use crate::{
    Usage,
    number::{size, whole},
    output,
    store::StoreOption,
};

/// How long active steps may continue after a stop was requested.
const DRAIN: Duration = Duration::from_secs(10);

/// The default size limit of the cache, in MiB.
const CACHE_MIB: u64 = 2048;
/// The default time after which an unused compiled plugin is deleted, in days.
const CACHE_DAYS: u64 = 30;

#[derive(clap::Args)]
pub(crate) struct Serve {
    /// The address to listen on; any other address than loopback needs --insecure-no-auth
    #[arg(long, env = "HEDDLE_LISTEN", default_value = "127.0.0.1:8000")]
    listen: String,
    /// Allow an address that other machines can reach, although Heddle does not authenticate its callers
    #[arg(long, env = "HEDDLE_INSECURE_NO_AUTH")]
    insecure_no_auth: bool,
    #[command(flatten)]
    store: StoreOption,
    /// The folder whose .wasm files are registered at the start [default: the first of plugins and target/plugins that
    /// has a .wasm file]
    #[arg(long, env = "HEDDLE_PLUGINS", value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Watch the plugins folder: register changed and added files within a second, for new runs
    #[arg(long, env = "HEDDLE_WATCH")]
    watch: bool,
    /// The folder for compiled plugins [default: the path of the store with .cache appended, or heddle.cache]
    #[arg(long, env = "HEDDLE_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// A file with the key that authenticates the cache, created on first start; servers with different stores that
    /// share a cache need the same file [default: a key in the store]
    #[arg(long, env = "HEDDLE_CACHE_KEY", value_name = "FILE")]
    cache_key: Option<PathBuf>,
    /// The size limit of the cache, in MiB; the least recently used plugins are removed and compiled again when needed
    #[arg(long, value_name = "MIB", default_value_t = CACHE_MIB,
        allow_negative_numbers = true, value_parser = whole::<u64>(1..=1_048_576))]
    cache_size: u64,
    /// The number of days after which an unused compiled plugin is deleted
    #[arg(long, value_name = "DAYS", default_value_t = CACHE_DAYS,
        allow_negative_numbers = true, value_parser = whole::<u64>(1..=36_500))]
    cache_age: u64,
    /// The policy file, with the grants and limits of plugins
    #[arg(long, env = "HEDDLE_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Let everyone who can reach the server change the grants of plugins with PUT /v1/plugins/NAME/policy; the policy
    /// file takes precedence
    #[arg(long)]
    grant_over_http: bool,
    /// A Host name that requests may use, as in heddle.example.org, besides the server's address (and localhost on
    /// loopback); repeatable
    #[arg(long = "allow-host", value_name = "HOST")]
    allow_hosts: Vec<String>,
    /// An Origin whose pages may use the server, as in https://app.example.org; repeatable
    #[arg(long = "allow-origin", value_name = "ORIGIN", value_parser = origin)]
    allow_origins: Vec<String>,
    /// The maximum number of open connections; a further one closes the connection that has been idle longest
    #[arg(long, value_name = "N", default_value_t = ServerSettings::default().max_connections,
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=1_000_000))]
    max_connections: usize,
    /// The maximum number of open connections from one address
    #[arg(long, value_name = "N", default_value_t = ServerSettings::default().max_connections_per_address,
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=1_000_000))]
    max_connections_per_address: usize,
    /// The maximum number of clients that watch runs or wait for them to end; a further one gets 503
    #[arg(long, value_name = "N", default_value_t = ServerSettings::default().max_watchers,
        allow_negative_numbers = true, value_parser = whole::<usize>(0..=1_000_000))]
    max_watchers: usize,
    /// The maximum number of active runs; a further run is queued
    #[arg(long, value_name = "N", default_value_t = Settings::default().max_runs_in_flight,
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=1_000_000))]
    max_runs: usize,
    /// The maximum number of queued runs; a further start is refused
    #[arg(long, value_name = "N", default_value_t = Settings::default().max_queued,
        allow_negative_numbers = true, value_parser = whole::<usize>(0..=1_000_000_000))]
    max_queued: usize,
    /// The maximum size of one run's journal, as in 512MiB; a graph can set a lower limit
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    max_journal: u64,
    /// The maximum memory of all active runs together, as in 2GiB; beyond it, further runs are queued
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = size)]
    max_run_memory: u64,
    /// The maximum size of an imported run, as in 1GiB; it is held in memory during the import
    #[arg(long, value_name = "SIZE", default_value = "384MiB", value_parser = size)]
    max_import: u64,
    /// How long runs are kept after their end: 7d, failed=30d, graph:NAME=1d, graph:NAME/failed=90d or
    /// finished=forever; the most specific rule wins; repeatable [default: 7d]
    #[arg(long = "keep", value_name = "RULE")]
    keep: Vec<String>,
    /// The folder to which every run is exported, as RUN.ndjson, before it is deleted
    #[arg(long, value_name = "DIR")]
    export_before_forgetting: Option<PathBuf>,
    /// The time limit of one function call, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = HostSettings::default().call_timeout.as_secs(),
        allow_negative_numbers = true, value_parser = whole::<u64>(1..=86_400))]
    call_timeout: u64,
    /// The memory limit of one function call, in MiB
    #[arg(long, value_name = "MIB", default_value_t = HostSettings::default().max_memory_bytes >> 20,
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=4096))]
    call_memory: usize,
    /// The memory limit of all calls together, in MiB [default: 3/8 of the memory that this process may use]
    #[arg(long, value_name = "MIB", allow_negative_numbers = true, value_parser = whole::<usize>(16..=16_777_216))]
    total_call_memory: Option<usize>,
    /// The time limit for compiling one plugin, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = HostSettings::default().compile_timeout.as_secs(),
        allow_negative_numbers = true, value_parser = whole::<u64>(1..=86_400))]
    compile_timeout: u64,
    /// The memory limit for compiling one plugin, in MiB
    #[arg(long, value_name = "MIB", default_value_t = HostSettings::default().compile_memory_bytes >> 20,
        allow_negative_numbers = true, value_parser = whole::<usize>(64..=1_048_576))]
    compile_memory: usize,
    /// The maximum number of plugins that are compiled at the same time; further ones wait
    #[arg(long, value_name = "N", default_value_t = HostSettings::default().compile_at_once,
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=64))]
    compile_at_once: usize,
    /// The maximum number of requests that wait for a compilation; a further one is refused
    #[arg(long, value_name = "N", default_value_t = HostSettings::default().compile_queue,
        allow_negative_numbers = true, value_parser = whole::<usize>(0..=10_000))]
    compile_queue: usize,
}

/// Parses an origin: a scheme, a host, and a port unless it is the default of the scheme.
fn origin(given: &str) -> Result<String, String> {
    let wrong =
        |problem: &str| format!("{problem}: give a scheme and a host, as in https://app.example.org:8443");
    let url = Url::parse(given).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("an origin begins with http:// or https://"));
    }
    // The URL parser drops an empty user, so this looks at the text.
    if given.contains('@') {
        return Err(wrong("an origin has no user or password"));
    }
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_bare || url.host().is_none() {
        return Err(wrong("an origin has no path, query or fragment"));
    }
    Ok(url.origin().ascii_serialization())
}

pub(crate) fn run(serve: Serve) -> anyhow::Result<()> {
    log::to_stderr()?;
    heddle_host::give_large_blocks_back();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(serve.run());
    // A guest that ignores its deadline must not delay the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

impl Serve {
    /// Binds the address first and then starts the engine, so that clients can ask for its state while it starts.
    async fn run(self) -> anyhow::Result<()> {
        // Listens for signals first, so that a stop during the start is not lost.
        let stop = stop_requested()?;
        let addresses = self.addresses().await?;
        let plan = StartPlan::new(&self)?;
        let listener = self.bind(&addresses).await?;
        let address = listener.local_addr()?;
        tracing::info!("starting on http://{address}: /readyz reports when the server is ready");
        if !is_loopback(&address) {
            tracing::warn!(
                "--insecure-no-auth: other machines can reach {address} and callers are not authenticated, so every \
                 caller can run plugins and read and change every run; put a proxy that authenticates in front"
            );
        }
        let settings = ServerSettings {
            grant_over_http: self.grant_over_http,
            allowed_hosts: self.allow_hosts,
            allowed_origins: self.allow_origins,
            max_import_bytes: usize::try_from(self.max_import).unwrap_or(usize::MAX),
            max_connections: self.max_connections,
            max_connections_per_address: self.max_connections_per_address,
            max_watchers: self.max_watchers,
            ..ServerSettings::default()
        };
        let store = match &plan.store {
            StoreLocation::Sqlite(path) => output::path(path).to_string(),
            StoreLocation::Postgres(settings) => display::line(&settings.target().to_string()).to_string(),
        };
        let ready =
            move || tracing::info!("listening on http://{address} (page /, docs /docs), store {store}");
        let stop = async move {
            stop.await;
            tracing::info!("stopping: active steps have {} s to finish", DRAIN.as_secs());
        };
        let running = Arc::new(Running::default());
        let start = plan.start(running.clone());
        heddle_server::serve_from_start(listener, settings, start, ready, stop).await?;
        running.stop().await;
        tracing::info!("stopped; unfinished runs continue at the next start");
        Ok(())
    }

    /// The files and folders that no policy can grant to a plugin.
    fn protected(&self, store: &StoreLocation, cache: &Path) -> Vec<Protected> {
        let plugins = default_folder(self.plugins.as_deref());
        let mut protected = vec![
            Protected::new("the cache of compiled plugins", cache),
            Protected::new("the plugins folder", plugins),
        ];
        if let StoreLocation::Sqlite(path) = store {
            protected.insert(0, Protected::new("the store", path));
        }
        for (what, path) in [
            ("the key of the cache", &self.cache_key),
            ("the policy file", &self.policy),
            ("the folder of exported runs", &self.export_before_forgetting),
        ] {
            protected.extend(path.as_ref().map(|path| Protected::new(what, path)));
        }
        let program = std::env::current_exe()
            .ok()
            .map(|path| ("the program itself", path));
        let authorities = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
        let authorities = authorities.map(|path| ("the trusted certificate authorities", path.into()));
        let readable = program.into_iter().chain(authorities);
        protected.extend(readable.map(|(what, path)| Protected::new(what, path).readable()));
        protected
    }

    fn host_settings(&self, store: &StoreLocation, cache: &Path) -> anyhow::Result<HostSettings> {
        Ok(HostSettings {
            policy: self.policy()?,
            protected: self.protected(store, cache),
            call_timeout: Duration::from_secs(self.call_timeout),
            max_memory_bytes: self.call_memory << 20,
            total_memory_bytes: self.total_call_memory.map(|mib| mib << 20),
            compiler: Compiler::of_this_program(crate::COMPILER)?,
            compile_timeout: Duration::from_secs(self.compile_timeout),
            compile_memory_bytes: self.compile_memory << 20,
            compile_at_once: self.compile_at_once,
            compile_queue: self.compile_queue,
            ..HostSettings::default()
        })
    }

    /// The policy of the policy file; empty without a file.
    fn policy(&self) -> anyhow::Result<Policy> {
        let Some(file) = &self.policy else {
            return Ok(Policy::default());
        };
        let shown = output::path(file);
        let option = || format!("--policy {shown}");
        // Reading from a pipe might wait forever.
        if !std::fs::metadata(file).with_context(option)?.is_file() {
            bail!("--policy {shown}: expected a regular file, but this is a folder, a pipe or a device");
        }
        let text = std::fs::read_to_string(file).with_context(option)?;
        Policy::parse(&text).map_err(|error| {
            anyhow!("--policy {shown}: {error}; docs/permissions.md describes the policy file")
        })
    }

    /// The addresses that `--listen` names. The first free one is used.
    async fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let listen = &self.listen;
        let found = tokio::net::lookup_host(listen).await;
        let found = found
            .with_context(|| format!("--listen {listen}: expected ADDRESS:PORT, as in 127.0.0.1:8000"))?;
        let addresses: Vec<SocketAddr> = found.collect();
        match addresses.iter().find(|address| !is_loopback(address)) {
            Some(address) if !self.insecure_no_auth => bail!(
                "--listen {listen}: other machines can reach {}, and Heddle does not authenticate its callers: every \
                 caller could run plugins and read and change every run. Listen on loopback, as in --listen \
                 127.0.0.1:{}, behind a proxy that authenticates, or add --insecure-no-auth",
                address.ip(),
                address.port()
            ),
            _ => Ok(addresses),
        }
    }

    async fn bind(&self, addresses: &[SocketAddr]) -> anyhow::Result<TcpListener> {
        TcpListener::bind(addresses).await.with_context(|| {
            format!(
                "cannot listen on {}: if another server uses that port, choose another one with --listen",
                self.listen
            )
        })
    }
}

/// Everything that is needed to start, after the arguments were checked.
struct StartPlan {
    store: StoreLocation,
    /// Without the cache, whose key is in the store.
    host: HostSettings,
    cache: CachePlan,
    engine: Settings,
    plugins: PluginsFolder,
    watch: bool,
    grant_over_http: bool,
    retention: Retention,
    archive: Option<ExportFolder>,
}

/// The settings of the cache of compiled plugins, without its key.
struct CachePlan {
    folder: PathBuf,
    /// The file with the key; if absent, the key is in the store.
    key: Option<PathBuf>,
    max_bytes: u64,
    max_age: Duration,
}

impl CachePlan {
    async fn settings(self, store: &dyn Store) -> anyhow::Result<CacheSettings> {
        let key = match &self.key {
            Some(file) => {
                cache_key::in_file(file).with_context(|| format!("--cache-key {}", output::path(file)))?
            }
            None => cache_key::in_store(store).await?,
        };
        Ok(CacheSettings {
            max_bytes: self.max_bytes,
            max_age: self.max_age,
            ..CacheSettings::new(self.folder, key)
        })
    }
}

/// The parts that have been started.
#[derive(Default)]
struct Running {
    engine: OnceLock<Engine>,
    /// Tasks that use the engine, and are stopped before it.
    background: Mutex<JoinSet<()>>,
}

impl StartPlan {
    fn new(serve: &Serve) -> anyhow::Result<Self> {
        let retention = Retention::read(serve.keep.iter().map(String::as_str))
            .map_err(|error| Usage::error(format!("--keep {error}")))?;
        let archive = serve.export_before_forgetting.as_deref().map(ExportFolder::open);
        let store = serve.store.location()?;
        let cache = serve.cache.clone().unwrap_or_else(|| match &store {
            StoreLocation::Sqlite(path) => {
                let mut folder = path.clone().into_os_string();
                folder.push(".cache");
                folder.into()
            }
            StoreLocation::Postgres(_) => PathBuf::from("heddle.cache"),
        });
        Ok(Self {
            host: serve.host_settings(&store, &cache)?,
            cache: CachePlan {
                folder: cache,
                key: serve.cache_key.clone(),
                max_bytes: serve.cache_size << 20,
                max_age: Duration::from_secs(serve.cache_age * 24 * 60 * 60),
            },
            engine: Settings {
                max_runs_in_flight: serve.max_runs,
                max_queued: serve.max_queued,
                max_journal_bytes: serve.max_journal,
                max_memory_bytes: usize::try_from(serve.max_run_memory).unwrap_or(usize::MAX),
                follow_plugins: serve.watch,
                ..Settings::default()
            },
            plugins: PluginsFolder::new(serve.plugins.as_deref()),
            watch: serve.watch,
            grant_over_http: serve.grant_over_http,
            archive: archive.transpose()?,
            retention,
            store,
        })
    }

    /// Opens the store, registers the plugins and loads the unfinished runs.
    async fn start(mut self, running: Arc<Running>) -> anyhow::Result<Engine> {
        let named: Vec<String> = self.host.policy.names().map(str::to_owned).collect();
        // On a blocking thread, because migrating an older store can take long.
        let store = tokio::task::spawn_blocking(move || open(self.store)).await??;
        self.host.cache = Some(self.cache.settings(&*store).await?);
        let host = tokio::task::spawn_blocking(move || Host::new(self.host));
        let ports = Ports {
            store,
            functions: Arc::new(host.await??),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
        };
        let engine = Engine::new(ports, self.engine);
        let _ = running.engine.set(engine.clone());
        recover_policies(&engine, self.grant_over_http).await?;
        self.plugins.register_all(&engine).await?;
        recover(&engine).await?;
        warn_of_unknown(&named, &engine);
        engine.start_retention(
            self.retention,
            self.archive.map(|folder| Arc::new(folder) as Arc<dyn Archive>),
        );
        let mut background = running.background.lock().unwrap_or_else(PoisonError::into_inner);
        background.spawn(heddle_host::return_freed_memory());
        if self.watch {
            background.spawn(self.plugins.watch(engine.clone()));
        }
        drop(background);
        Ok(engine)
    }
}

/// Opens the store, or creates it.
fn open(location: StoreLocation) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match location {
        StoreLocation::Sqlite(path) => Arc::new(SqliteJournal::open(SqliteSettings::new(path))?),
        StoreLocation::Postgres(settings) => Arc::new(PostgresStore::open(*settings)?),
    })
}

impl Running {
    /// Stops every part, even if the start was not complete.
    async fn stop(&self) {
        let background = std::mem::take(&mut *self.background.lock().unwrap_or_else(PoisonError::into_inner));
        { background }.shutdown().await;
        if let Some(engine) = self.engine.get() {
            engine.drain(DRAIN).await;
        }
    }
}

/// Whether only this machine can reach an address. An unspecified address (`0.0.0.0`, `::`) stands for all addresses.
fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Warns of names in the policy that no plugin has: they may be misspelt.
fn warn_of_unknown(named: &[String], engine: &Engine) {
    let plugins = engine.plugins();
    for name in named {
        if !plugins.iter().any(|plugin| *plugin.name == **name) {
            tracing::warn!("the policy names `{name}`, but no plugin has that name yet");
        }
    }
}

/// Restores the grants that were set over HTTP, if `--grant-over-http` still allows it. Otherwise only the policy file
/// grants permissions.
async fn recover_policies(engine: &Engine, allowed: bool) -> anyhow::Result<()> {
    let unread = "cannot read the policies of the store";
    if !allowed {
        let kept = engine.stored_policy_count().await.context(unread)?;
        if kept > 0 {
            tracing::warn!(
                "the policies that were set over HTTP for {kept} plugins are ignored: --grant-over-http restores them"
            );
        }
        return Ok(());
    }
    for (name, error) in engine.recover_policies().await.context(unread)? {
        tracing::error!("the policy that was set over HTTP for plugin {name} is ignored: {error}");
    }
    Ok(())
}

async fn recover(engine: &Engine) -> anyhow::Result<()> {
    let recovered = engine
        .recover()
        .await
        .context("cannot load the runs of the store")?;
    for (name, error) in &recovered.plugins {
        tracing::error!("plugin {name} of the store cannot be loaded: {error}");
    }
    for (run, error) in &recovered.damaged {
        tracing::error!("run {run} cannot continue: {error}");
    }
    if recovered.queued > 0 {
        tracing::info!("{} runs are queued", recovered.queued);
    }
    if recovered.runs > 0 {
        tracing::info!("resuming {} active runs", recovered.runs);
    }
    Ok(())
}

/// Completes when a stop is requested: Ctrl-C or SIGTERM.
#[cfg(unix)]
fn stop_requested() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    // Listens from now on, not only from the first poll of the future.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes when a stop is requested: Ctrl-C.
#[cfg(not(unix))]
fn stop_requested() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        assert_eq!(
            origin("https://App.example.org:8443"),
            Ok("https://app.example.org:8443".to_owned())
        );
        assert_eq!(origin("http://localhost:80/"), Ok("http://localhost".to_owned()));
        for (given, problem) in [
            ("https://me:secret@app.example.org", "has no user or password"),
            ("https://@app.example.org", "has no user or password"),
            ("https://app.example.org/path", "has no path"),
            ("https://app.example.org?a", "has no path"),
            ("app.example.org", "give a scheme and a host"),
            ("ftp://app.example.org", "begins with http:// or https://"),
            ("*", "give a scheme and a host"),
        ] {
            let message = origin(given).expect_err("it is refused");
            assert!(
                message.contains(problem) && !message.contains("secret"),
                "{message}"
            );
        }
    }
}
