//! `heddle serve`: binds the address, opens the store, registers the plugins, takes up the runs, and serves.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use heddle_host::{Compiler, Host, HostSettings, Policy};
use heddle_kernel::retention::Retention;
use heddle_runtime::ports::Archive;
use heddle_runtime::{Engine, Ports, RandomIds, Settings, SystemClock};
use heddle_server::ServerSettings;
use heddle_store::{SqliteJournal, SqliteSettings};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    archive::Folder,
    log,
    number::{size, whole},
    output,
    watch::PluginsFolder,
};

/// How long steps under way may take to finish after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);

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
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    allow_origins: Vec<String>,
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

    fn host_settings(&self, cache: PathBuf, policy: Policy) -> anyhow::Result<HostSettings> {
        Ok(HostSettings {
            cache_dir: Some(cache),
            policy,
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
    host: HostSettings,
    engine: Settings,
    plugins: PluginsFolder,
    follow: bool,
    grant_over_http: bool,
    retention: Retention,
    archive: Option<Folder>,
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
            .map_err(|error| anyhow!("--keep {error}"))?;
        let archive = serve.export_before_forgetting.as_deref().map(Folder::open);
        let store = crate::store::path(&serve.store)?;
        let cache = serve.cache.clone().unwrap_or_else(|| {
            let mut beside = store.clone().into_os_string();
            beside.push(".cache");
            beside.into()
        });
        Ok(Self {
            host: serve.host_settings(cache, serve.policy()?)?,
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
        let ports = tokio::task::spawn_blocking(move || -> anyhow::Result<Ports> {
            let journal = SqliteJournal::open(SqliteSettings::new(&self.store))?;
            Ok(Ports {
                journal: Arc::new(journal),
                functions: Arc::new(Host::new(self.host)?),
                clock: Arc::new(SystemClock),
                ids: Arc::new(RandomIds),
            })
        });
        let engine = Engine::new(ports.await??, self.engine);
        let _ = running.engine.set(engine.clone());
        recover_policies(&engine, self.grant_over_http).await?;
        self.plugins.register_all(&engine).await?;
        recover(&engine).await?;
        warn_of_unknown(&named, &engine);
        engine.forget_old(
            self.retention,
            self.archive.map(|folder| Arc::new(folder) as Arc<dyn Archive>),
        );
        if self.follow {
            let mut beside = running.beside.lock().unwrap_or_else(PoisonError::into_inner);
            beside.spawn(self.plugins.follow(engine.clone()));
        }
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
