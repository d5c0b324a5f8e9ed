//! `heddle serve`: binds the address, opens the store, registers the plugins, takes up the runs, and serves.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use heddle_host::{CacheSettings, Compiler, Host, HostSettings, Policy, Protected};
use heddle_kernel::retention::Retention;
use heddle_runtime::ports::Archive;
use heddle_runtime::{Engine, Ports, RandomIds, Settings, SystemClock};
use heddle_server::ServerSettings;
use heddle_store::{SqliteJournal, SqliteSettings};
use tokio::{net::TcpListener, task::JoinSet};
use url::Url;

use crate::{
    Usage,
    archive::Folder,
    cache_key, log,
    number::{size, whole},
    output,
    watch::{self, PluginsFolder},
};

/// How long steps under way may take to finish after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// How much the cache may have, in MiB.
const CACHE_MIB: u64 = 2048;
/// How long a compiled plugin that is not used is kept, in days.
const CACHE_DAYS: u64 = 30;

#[derive(clap::Args)]
pub(crate) struct Serve {
    /// The address to listen on; an address that is not loopback needs --insecure-no-auth
    #[arg(long, env = "HEDDLE_LISTEN", default_value = "127.0.0.1:8000")]
    listen: String,
    /// Listen on an address that other machines can reach, although Heddle does not authenticate its callers
    #[arg(long, env = "HEDDLE_INSECURE_NO_AUTH")]
    insecure_no_auth: bool,
    /// Where everything is kept: sqlite:PATH, one file, created on first start
    #[arg(
        long,
        env = "HEDDLE_STORE",
        hide_env_values = true,
        default_value = "sqlite:heddle.db"
    )]
    store: String,
    /// The folder whose .wasm files are registered at the start [default: plugins or target/plugins, the first that
    /// has some]
    #[arg(long, env = "HEDDLE_PLUGINS", value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Follow the plugins folder: a file that is changed or added is a new version within a second, for new runs
    #[arg(long, env = "HEDDLE_WATCH")]
    watch: bool,
    /// Where compiled plugins are cached [default: beside the store, PATH.cache]
    #[arg(long, env = "HEDDLE_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// A file with the key that authenticates the cache, made on first start: servers with stores of their own that
    /// share a cache need the same one [default: a key in the store]
    #[arg(long, env = "HEDDLE_CACHE_KEY", value_name = "FILE")]
    cache_key: Option<PathBuf>,
    /// How much the cache may have, in MiB; the least recently used plugins are compiled again when they are needed
    #[arg(long, value_name = "MIB", default_value_t = CACHE_MIB,
        allow_negative_numbers = true, value_parser = whole::<u64>(1..=1_048_576))]
    cache_size: u64,
    /// How many days a compiled plugin that is not used is kept
    #[arg(long, value_name = "DAYS", default_value_t = CACHE_DAYS,
        allow_negative_numbers = true, value_parser = whole::<u64>(1..=36_500))]
    cache_age: u64,
    /// The file that says what plugins are granted, and how many of their calls may be under way at once
    #[arg(long, env = "HEDDLE_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Let everyone who reaches the server change what plugins are granted, by PUT /v1/plugins/NAME/policy;
    /// what the policy file says of a plugin stands
    #[arg(long)]
    grant_over_http: bool,
    /// A Host that requests may name, as in heddle.example.org, besides the address that they arrive on and, where that
    /// is loopback, localhost; repeatable
    #[arg(long = "allow-host", value_name = "HOST")]
    allow_hosts: Vec<String>,
    /// An Origin whose pages may use the server, as in https://app.example.org; repeatable
    #[arg(long = "allow-origin", value_name = "ORIGIN", value_parser = origin)]
    allow_origins: Vec<String>,
    /// How many connections may be open; for a further one, the one that has waited longest for a request is closed
    #[arg(long, value_name = "N", default_value_t = ServerSettings::default().max_connections,
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=1_000_000))]
    max_connections: usize,
    /// The same for the connections from one address
    #[arg(long, value_name = "N", default_value_t = ServerSettings::default().max_connections_per_address,
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=1_000_000))]
    max_connections_per_address: usize,
    /// How many clients may watch runs, or wait for their ends, at once; a further one is answered with 503
    #[arg(long, value_name = "N", default_value_t = ServerSettings::default().max_watchers,
        allow_negative_numbers = true, value_parser = whole::<usize>(0..=1_000_000))]
    max_watchers: usize,
    /// How many runs may be under way at once; a further one is queued
    #[arg(long, value_name = "N", default_value_t = Settings::default().max_runs_in_flight,
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=1_000_000))]
    max_runs: usize,
    /// How many runs may be queued; a further start is refused
    #[arg(long, value_name = "N", default_value_t = Settings::default().max_queued,
        allow_negative_numbers = true, value_parser = whole::<usize>(0..=1_000_000_000))]
    max_queued: usize,
    /// How many bytes the events of one run may take in its journal, as in 512MiB; a graph can lower it
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    max_journal: u64,
    /// How many bytes all runs under way may hold in memory, as in 2GiB; past that a further run is queued
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = size)]
    max_run_memory: u64,
    /// How many bytes the export of a run may have that is imported, as in 1GiB; it is in memory meanwhile
    #[arg(long, value_name = "SIZE", default_value = "384MiB", value_parser = size)]
    max_import: u64,
    /// How long runs are kept after their end, as in 7d, failed=30d, graph:NAME=1d, graph:NAME/failed=90d,
    /// finished=forever; the most particular one stands; repeatable [default: 7d]
    #[arg(long = "keep", value_name = "RULE")]
    keep: Vec<String>,
    /// A folder that gets the export of every run, as RUN.ndjson, before it is forgotten
    #[arg(long, value_name = "DIR")]
    export_before_forgetting: Option<PathBuf>,
    /// How many seconds one call of a function may take
    #[arg(long, value_name = "SECONDS", default_value_t = HostSettings::default().call_timeout.as_secs(),
        allow_negative_numbers = true, value_parser = whole::<u64>(1..=86_400))]
    call_timeout: u64,
    /// How much memory one call of a function may use, in MiB
    #[arg(long, value_name = "MIB", default_value_t = HostSettings::default().max_memory_bytes >> 20,
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=4096))]
    call_memory: usize,
    /// How much memory all calls together may use, in MiB [default: three eighths of what the system has for this process]
    #[arg(long, value_name = "MIB", allow_negative_numbers = true, value_parser = whole::<usize>(16..=16_777_216))]
    total_call_memory: Option<usize>,
    /// How many seconds compiling one plugin may take
    #[arg(long, value_name = "SECONDS", default_value_t = HostSettings::default().compile_timeout.as_secs(),
        allow_negative_numbers = true, value_parser = whole::<u64>(1..=86_400))]
    compile_timeout: u64,
    /// How much memory compiling one plugin may use, in MiB
    #[arg(long, value_name = "MIB", default_value_t = HostSettings::default().compile_memory_bytes >> 20,
        allow_negative_numbers = true, value_parser = whole::<usize>(64..=1_048_576))]
    compile_memory: usize,
    /// How many plugins may be compiled at once; more wait
    #[arg(long, value_name = "N", default_value_t = HostSettings::default().compile_at_once,
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=64))]
    compile_at_once: usize,
    /// How many requests with a plugin may wait until it is compiled; a further one is refused
    #[arg(long, value_name = "N", default_value_t = HostSettings::default().compile_queue,
        allow_negative_numbers = true, value_parser = whole::<usize>(0..=10_000))]
    compile_queue: usize,
}

/// Reads an origin: a scheme and a host, with a port where it is not the scheme's own.
fn origin(given: &str) -> Result<String, String> {
    let wrong =
        |problem: &str| format!("{problem}: give a scheme and a host, as in https://app.example.org:8443");
    let url = Url::parse(given).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("an origin begins with http:// or https://"));
    }
    // An empty user is one, too, which a parser of URLs leaves out.
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
    // A guest that ignores its deadline must not hold the exit up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

impl Serve {
    /// Binds the address, and then starts the engine, so that its state can be asked for meanwhile.
    async fn run(self) -> anyhow::Result<()> {
        // First: a stop that is asked for while the engine starts is honoured too.
        let stop = stop_asked()?;
        let addresses = self.addresses().await?;
        let plan = Plan::of(&self)?;
        let listener = self.bind(&addresses).await?;
        let address = listener.local_addr()?;
        tracing::info!("starting on http://{address}: /readyz says when the server is ready");
        if !is_loopback(&address) {
            tracing::warn!(
                "--insecure-no-auth: other machines can reach {address} and callers are not authenticated, so whoever \
                 reaches it can run plugins and read and change every run; put a proxy that authenticates in front"
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
        let store = output::path(&plan.store).to_string();
        let ready =
            move || tracing::info!("listening on http://{address} (page /, docs /docs), store {store}");
        let stop = async move {
            stop.await;
            tracing::info!("stopping: steps under way get {} s", DRAIN.as_secs());
        };
        let running = Arc::new(Running::default());
        let start = plan.start(running.clone());
        heddle_server::serve_from_start(listener, settings, start, ready, stop).await?;
        running.end().await;
        tracing::info!("stopped; runs that are not over go on at the next start");
        Ok(())
    }

    /// What no plugin may be granted, whatever the policy says.
    fn protected(&self, store: &Path, cache: &Path) -> Vec<Protected> {
        let plugins = watch::folder(self.plugins.as_deref());
        let mut protected = vec![
            Protected::new("the store", store),
            Protected::new("the cache of compiled plugins", cache),
            Protected::new("the plugins folder", plugins),
        ];
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

    fn host_settings(&self, store: &Path, cache: &Path) -> anyhow::Result<HostSettings> {
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

    /// What the policy file grants; nothing without one.
    fn policy(&self) -> anyhow::Result<Policy> {
        let Some(file) = &self.policy else {
            return Ok(Policy::default());
        };
        let shown = output::path(file);
        let option = || format!("--policy {shown}");
        // Reading from a pipe would wait for its writer, perhaps for ever.
        if !std::fs::metadata(file).with_context(option)?.is_file() {
            bail!("--policy {shown}: expected a regular file, and this is a folder, a pipe or a device");
        }
        let text = std::fs::read_to_string(file).with_context(option)?;
        Policy::parse(&text).map_err(|error| {
            anyhow!("--policy {shown}: {error}; docs/permissions.md says what a policy may have")
        })
    }

    /// The addresses that `--listen` names, of which the first free one is used.
    async fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let listen = &self.listen;
        let found = tokio::net::lookup_host(listen).await;
        let found = found
            .with_context(|| format!("--listen {listen}: expected ADDRESS:PORT, as in 127.0.0.1:8000"))?;
        let addresses: Vec<SocketAddr> = found.collect();
        match addresses.iter().find(|address| !is_loopback(address)) {
            Some(address) if !self.insecure_no_auth => bail!(
                "--listen {listen}: other machines can reach {}, and Heddle does not authenticate its callers: whoever \
                 reaches it can run plugins and read and change every run. Listen on loopback, as in --listen \
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
                "cannot listen on {}: is another server on that port? --listen takes another",
                self.listen
            )
        })
    }
}

/// What is started once the address is bound. Making it finds what is wrong with the arguments.
struct Plan {
    store: PathBuf,
    /// Without its cache, whose key is in the store.
    host: HostSettings,
    cache: CachePlan,
    engine: Settings,
    plugins: PluginsFolder,
    follow: bool,
    grant_over_http: bool,
    retention: Retention,
    archive: Option<Folder>,
}

/// The cache of compiled plugins.
struct CachePlan {
    folder: PathBuf,
    /// The file of its key; without one the key is in the store.
    key: Option<PathBuf>,
    max_bytes: u64,
    max_age: Duration,
}

impl CachePlan {
    async fn settings(self, journal: &SqliteJournal) -> anyhow::Result<CacheSettings> {
        let key = match &self.key {
            Some(file) => {
                cache_key::in_file(file).with_context(|| format!("--cache-key {}", output::path(file)))?
            }
            None => cache_key::in_store(journal).await?,
        };
        Ok(CacheSettings {
            max_bytes: self.max_bytes,
            max_age: self.max_age,
            ..CacheSettings::new(self.folder, key)
        })
    }
}

/// What was started.
#[derive(Default)]
struct Running {
    engine: OnceLock<Engine>,
    /// What goes on beside the engine, and ends before it.
    beside: Mutex<JoinSet<()>>,
}

impl Plan {
    fn of(serve: &Serve) -> anyhow::Result<Self> {
        let retention = Retention::read(serve.keep.iter().map(String::as_str))
            .map_err(|error| Usage::error(format!("--keep {error}")))?;
        let archive = serve.export_before_forgetting.as_deref().map(Folder::open);
        let store = crate::store::path(&serve.store)?;
        let cache = serve.cache.clone().unwrap_or_else(|| {
            let mut beside = store.clone().into_os_string();
            beside.push(".cache");
            beside.into()
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
            follow: serve.watch,
            grant_over_http: serve.grant_over_http,
            archive: archive.transpose()?,
            retention,
            store,
        })
    }

    /// Opens the store, registers the plugins and takes up the runs.
    async fn start(mut self, running: Arc<Running>) -> anyhow::Result<Engine> {
        let named: Vec<String> = self.host.policy.names().map(str::to_owned).collect();
        // A store of an earlier version is migrated, which takes a while.
        let journal =
            tokio::task::spawn_blocking(move || SqliteJournal::open(SqliteSettings::new(&self.store)));
        let journal = journal.await??;
        self.host.cache = Some(self.cache.settings(&journal).await?);
        let host = tokio::task::spawn_blocking(move || Host::new(self.host));
        let ports = Ports {
            journal: Arc::new(journal),
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
        engine.forget_old(
            self.retention,
            self.archive.map(|folder| Arc::new(folder) as Arc<dyn Archive>),
        );
        let mut beside = running.beside.lock().unwrap_or_else(PoisonError::into_inner);
        beside.spawn(heddle_host::return_freed_memory());
        if self.follow {
            beside.spawn(self.plugins.follow(engine.clone()));
        }
        drop(beside);
        Ok(engine)
    }
}

impl Running {
    /// Ends everything, also where not all of it has started.
    async fn end(&self) {
        let beside = std::mem::take(&mut *self.beside.lock().unwrap_or_else(PoisonError::into_inner));
        { beside }.shutdown().await;
        if let Some(engine) = self.engine.get() {
            engine.drain(DRAIN).await;
        }
    }
}

/// Whether only this machine can reach an address. An unspecified one (`0.0.0.0`, `::`) means all of its addresses.
fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// A name in the policy that no plugin has may be misspelt.
fn warn_of_unknown(named: &[String], engine: &Engine) {
    let plugins = engine.plugins();
    for name in named {
        if !plugins.iter().any(|plugin| *plugin.name == **name) {
            tracing::warn!("the policy names `{name}`, and no plugin has that name yet");
        }
    }
}

/// What was set over HTTP stands as long as that is allowed, so that without it the policy file is all that
/// grants.
async fn recover_policies(engine: &Engine, allowed: bool) -> anyhow::Result<()> {
    let unread = "cannot read the policies of the store";
    if !allowed {
        let kept = engine.kept_policies().await.context(unread)?;
        if kept > 0 {
            tracing::warn!(
                "what was set over HTTP for {kept} plugins does not hold: --grant-over-http brings it back"
            );
        }
        return Ok(());
    }
    for (name, error) in engine.recover_policies().await.context(unread)? {
        tracing::error!("what plugin {name} was granted over HTTP does not hold: {error}");
    }
    Ok(())
}

async fn recover(engine: &Engine) -> anyhow::Result<()> {
    let recovered = engine
        .recover()
        .await
        .context("cannot take up the runs of the store")?;
    for (name, error) in &recovered.plugins {
        tracing::error!("plugin {name}, which was added before, is left out: {error}");
    }
    for (run, error) in &recovered.damaged {
        tracing::error!("run {run} cannot go on: {error}");
    }
    if recovered.queued > 0 {
        tracing::info!("{} runs are queued", recovered.queued);
    }
    if recovered.runs > 0 {
        tracing::info!("going on with {} runs that were under way", recovered.runs);
    }
    Ok(())
}

/// Ends when a stop is asked for: Ctrl-C, or SIGTERM where there is one.
#[cfg(unix)]
fn stop_asked() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    // Both are listened for from here on, not from when the future is first asked.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ends when a stop is asked for: Ctrl-C.
#[cfg(not(unix))]
fn stop_asked() -> anyhow::Result<impl Future<Output = ()>> {
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
            let told = origin(given).expect_err("it is refused");
            assert!(told.contains(problem) && !told.contains("secret"), "{told}");
        }
    }
}
