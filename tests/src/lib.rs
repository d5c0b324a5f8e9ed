//! Support for Heddle's tests. The end-to-end tests use [`Server`]: a real server process with an HTTP and a WebSocket
//! client. Tests of the engine without components use [`functions`]. Other modules:
//!
//! - [`openapi`] checks every response against the server's own description
//! - [`fault`] injects faults below a store, and [`appends`] is the workload for them
//! - [`random`] is the seeded generator of the simulation and the crash tests
//! - [`stub`] and [`registry`] are other servers that Heddle calls
//! - [`docs`] runs the code of the documentation
//! - [`measured`] starts a server for the programs `load` and `neighbours`
//!
//! If the binary or a component is missing, a test fails with the command that builds it.
#![allow(clippy::unwrap_used)] // a test may panic

pub mod appends;
pub mod docs;
pub mod fault;
pub mod functions;
pub mod measured;
pub mod openapi;
pub mod random;
pub mod registry;
mod socket;
pub mod stub;

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex, OnceLock},
    time::{Duration, Instant},
};

use openapi::OpenApi;
use serde_json::{Value, json};
pub use socket::{follow, wait_for_event, watch, watch_and};
use tempfile::TempDir;

/// The OpenAPI description. All servers of a test process are started from the same binary and share it.
static OPENAPI: OnceLock<OpenApi> = OnceLock::new();

/// The limit after which an operation of a test counts as hung. It is long: a server that starts without a cache compiles
/// all its plugins first, which takes minutes beside other work.
pub const TIMEOUT: Duration = Duration::from_secs(240);

/// A server process with its own store. It is killed on drop.
pub struct Server {
    child: Child,
    /// The address: `127.0.0.1:PORT`.
    pub address: String,
    /// Its stderr so far.
    pub log: Arc<Mutex<String>>,
    /// Notified when the log grows.
    logged: Arc<Condvar>,
    config: ServerConfig,
}

/// The files, arguments and environment of a server.
#[derive(Clone)]
pub struct ServerConfig {
    folder: Arc<TempDir>,
    /// The path of the store.
    pub store: PathBuf,
    /// The URL of the store, if it is not a file.
    pub store_url: Option<String>,
    /// Arguments of `heddle serve` after the usual ones.
    pub arguments: Vec<String>,
    /// Additional environment variables.
    pub environment: Vec<(&'static str, OsString)>,
}

/// A response of the server, with its body as text.
#[derive(Debug)]
pub struct Response {
    /// The status code, such as 200.
    pub status: u16,
    /// The `content-type` header, empty if absent.
    pub content_type: String,
    /// The `location` header, empty if absent.
    pub location: String,
    /// The whole body, which must be UTF-8.
    pub text: String,
}

impl Response {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The body as JSON. The status must be 2xx.
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The body as JSON. It must be an RFC 9457 problem with this status and a detail.
    pub fn problem(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.content_type, "application/problem+json", "{self:?}");
        let problem = self.json();
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty()),
            "{problem}"
        );
        assert!(
            problem["type"].is_string() && problem["title"].is_string(),
            "{problem}"
        );
        assert_eq!(problem["status"], status);
        problem
    }
}

/// The target folder of the workspace.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test
        .ancestors()
        .find(|folder| folder.join("deps").is_dir())
        .expect("tests are in deps");
    profile.parent().expect("a profile is in target").to_owned()
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the repository")
}

/// Checks that a file exists. `make` is the command that builds it.
fn require(path: PathBuf, make: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `{make}` first", path.display());
    path
}

/// The path of the component of a sample or a fixture.
pub fn component(name: &str) -> PathBuf {
    require(
        target().join("plugins").join(format!("{name}.wasm")),
        "cargo xtask plugins",
    )
}

/// The `heddle` binary: HEDDLE_BIN, or the one next to the tests.
pub fn heddle() -> PathBuf {
    match std::env::var_os("HEDDLE_BIN") {
        Some(path) => path.into(),
        None => {
            let test = std::env::current_exe().expect("a test has a path");
            let folder = test
                .ancestors()
                .find(|folder| folder.join("deps").is_dir())
                .expect("tests are in deps");
            require(folder.join("heddle"), "cargo build -p heddle-cli")
        }
    }
}

impl Server {
    /// Starts a server with the samples and the fixtures registered.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with additional arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut config = ServerConfig::default();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        config.arguments.extend(arguments);
        Self::start_with_config(config)
    }

    /// Starts a server with these files, arguments and environment variables.
    pub fn start_with_config(config: ServerConfig) -> Self {
        Self::launch(Self::serve_command(&config), config)
    }

    /// Starts a server and waits only until its address is bound. The server may not be ready.
    pub fn start_unready(config: ServerConfig) -> Self {
        Self::launch_until(Self::serve_command(&config), config, "starting on http://")
    }

    fn serve_command(config: &ServerConfig) -> Command {
        let mut serve = Command::new(heddle());
        serve
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(match &config.store_url {
                Some(url) => url.clone(),
                None => format!("sqlite:{}", config.store.display()),
            })
            .arg("--plugins")
            .arg(config.folder.path().join("plugins"))
            .args(&config.arguments)
            .envs(config.environment.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1");
        serve
    }

    /// Starts a server command and waits until it is ready.
    pub fn launch(serve: Command, config: ServerConfig) -> Self {
        Self::launch_until(serve, config, "listening on http://")
    }

    /// Starts a server command and waits until it logs this text with its address.
    fn launch_until(mut serve: Command, config: ServerConfig, text: &'static str) -> Self {
        let mut child = serve
            .stderr(Stdio::piped())
            .spawn()
            .expect("the heddle binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (address_sender, address) = std::sync::mpsc::channel();
        let logged = Arc::new(Condvar::new());
        let (kept, notify) = (log.clone(), logged.clone());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once(text) {
                    let _ = address_sender.send(
                        rest.split([' ', '/'])
                            .next()
                            .map(|address| address.trim_end_matches(':'))
                            .unwrap_or_default()
                            .to_owned(),
                    );
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
                notify.notify_all();
            }
        });
        let address = address.recv_timeout(TIMEOUT).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the server did not start:\n{}", log.lock().unwrap())
        });
        Self {
            child,
            address,
            log,
            logged,
            config,
        }
    }

    /// Waits until the log has a text.
    pub fn until_logged(&self, text: &str) {
        let log = self.log.lock().unwrap();
        let not_yet = |log: &mut String| !log.contains(text);
        let (log, waited) = self.logged.wait_timeout_while(log, TIMEOUT, not_yet).unwrap();
        // Dropping the server shows the log.
        drop(log);
        assert!(!waited.timed_out(), "`{text}` is not in the log");
    }

    /// The folder with the store and the plugins.
    pub fn folder(&self) -> &Path {
        self.config.folder.path()
    }

    /// The configuration of the server.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// The id of the server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process can be waited for");
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait().expect("the process can be waited for");
        ended.is_some()
    }

    /// Starts the server again on the same store. The process must have ended.
    pub fn restart(self) -> Self {
        let config = self.config.clone();
        self.restart_with_config(config)
    }

    /// Starts the server again with another configuration. The process must have ended.
    pub fn restart_with_config(mut self, config: ServerConfig) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        Self::start_with_config(config)
    }

    /// Sends a signal (`TERM`, `INT`) and waits for the end. Returns the exit code and the time that it took.
    pub fn stop(&mut self, signal: &str) -> (Option<i32>, Duration) {
        let began = Instant::now();
        let sent = Command::new("kill")
            .args([format!("-{signal}"), self.pid().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
        while began.elapsed() < TIMEOUT {
            if let Some(status) = self.child.try_wait().expect("the process can be waited for") {
                return (status.code(), began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server did not stop:\n{}", self.log.lock().unwrap());
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// GETs a path.
    pub fn get(&self, path: &str) -> Response {
        self.get_with(path, &[])
    }

    /// GETs a path with headers.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = agent().get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.checked("get", path, read(request.call()))
    }

    /// POSTs JSON.
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.post_with(
            path,
            body.to_string().as_bytes(),
            &[("content-type", "application/json")],
        )
    }

    /// POSTs bytes with headers.
    pub fn post_with(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Response {
        let mut request = agent().post(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.checked("post", path, read(request.send(body)))
    }

    /// PUTs JSON.
    pub fn put(&self, path: &str, body: &Value) -> Response {
        let request = agent()
            .put(self.url(path))
            .header("content-type", "application/json");
        self.checked("put", path, read(request.send(body.to_string())))
    }

    /// DELETEs a path.
    pub fn delete(&self, path: &str) -> Response {
        self.checked("delete", path, read(agent().delete(self.url(path)).call()))
    }

    /// Checks a response against the server's description.
    fn checked(&self, method: &str, path: &str, response: Response) -> Response {
        self.openapi().check_response(method, path, &response);
        response
    }

    /// The server's OpenAPI description with the responses checked in this process.
    pub fn openapi(&self) -> &'static OpenApi {
        OPENAPI.get_or_init(|| {
            let document = read(agent().get(self.url("/openapi.json")).call());
            OpenApi::new(document.ok())
        })
    }

    /// A `heddle` command that connects to this server, without other settings of the environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(heddle());
        for name in ["HEDDLE_TOKEN", "HEDDLE_HEADERS", "HEDDLE_CA_CERT"] {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .env("HEDDLE_SERVER", format!("http://{}", self.address));
        command
    }

    /// Runs a `heddle` command that connects to this server.
    pub fn run_command(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the command runs")
    }

    /// Creates a graph and returns its id.
    pub fn create(&self, graph: &Value) -> String {
        let response = self.post("/graph/create", graph).ok();
        response["graph_id"]
            .as_str()
            .expect("a graph has an id")
            .to_owned()
    }

    /// Creates the graph of a file of the repository and returns its id.
    pub fn create_file(&self, path: &str) -> String {
        let text = std::fs::read_to_string(repository().join(path)).expect("a graph file");
        self.create(&serde_json::from_str(&text).expect("a graph file is JSON"))
    }

    /// Starts a run and returns its id.
    pub fn start_run(&self, graph: &str, state: &Value) -> String {
        let response = self
            .post("/graph/run", &json!({"graph_id": graph, "initial_state": state}))
            .ok();
        response["run_id"].as_str().expect("a run has an id").to_owned()
    }

    /// Runs a graph to its end and returns `/graph/state`.
    pub fn run(&self, graph: &str, state: &Value) -> Value {
        let run = self.start_run(graph, state);
        self.wait(&run)
    }

    /// Waits for the end of a run on its WebSocket and returns `/graph/state`.
    pub fn wait(&self, run: &str) -> Value {
        let (_, close) = self.watch(run, "");
        assert_eq!(close.0, 1000, "run {run}: {close:?}");
        self.get(&format!("/graph/state/{run}")).ok()
    }

    /// All messages of a run's WebSocket, and the code and reason of its close.
    pub fn watch(&self, run: &str, query: &str) -> (Vec<Value>, (u16, String)) {
        let url = format!("ws://{}/ws/logs/{run}{query}", self.address);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (events, close) = runtime.block_on(async {
            tokio::time::timeout(TIMEOUT, watch(&url))
                .await
                .unwrap_or_else(|_| panic!("{url} hung"))
        });
        events.iter().for_each(|event| self.openapi().check_event(event));
        (events, close)
    }
}

impl ServerConfig {
    /// The default configuration with the store at this URL.
    pub fn with_store(url: String) -> Self {
        Self {
            store_url: Some(url),
            ..Self::default()
        }
    }

    /// The folder with the plugins.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Default for ServerConfig {
    /// A new folder with the samples and the fixtures as plugins, without a store.
    fn default() -> Self {
        let folder = Arc::new(TempDir::new().expect("a folder for the store"));
        let plugins = folder.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        for name in [
            "starter",
            "bench",
            "basics",
            "code-review",
            "data-quality",
            "summarize",
        ] {
            std::fs::copy(component(name), plugins.join(format!("{name}.wasm"))).unwrap();
        }
        for name in ["hostile", "raw", "granted"] {
            std::fs::copy(
                component(&format!("fixtures/{name}")),
                plugins.join(format!("{name}.wasm")),
            )
            .unwrap();
        }
        // The tests share one cache of compiled plugins, like the servers of one machine.
        let shared = |name: &str| target().join(name).display().to_string();
        let cache = [
            "--cache".to_owned(),
            shared("test-cache"),
            "--cache-key".to_owned(),
            shared("test-cache.key"),
            // While many other tests run, compiling an interpreter may take minutes.
            "--compile-timeout".to_owned(),
            "600".to_owned(),
        ];
        Self {
            store: folder.path().join("heddle.db"),
            store_url: None,
            folder,
            arguments: cache.into(),
            environment: Vec::new(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server's log:\n{}", self.log.lock().unwrap());
        }
    }
}

/// The stdout of a command, which must have succeeded.
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("stdout is text")
}

/// POSTs JSON with an idempotency key to a server that may be down. None without a complete response.
pub fn try_post(address: &str, path: &str, body: &Value, key: &str) -> Option<Response> {
    let request = agent()
        .post(format!("http://{address}{path}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    try_read(request.send(body.to_string().as_bytes())).ok()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .build()
        .into()
}

fn read(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Response {
    try_read(result).expect("the server responds")
}

fn try_read(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Response, ureq::Error> {
    let mut response = result?;
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (content_type, location) = (header("content-type"), header("location"));
    let mut text = String::new();
    response.body_mut().as_reader().read_to_string(&mut text)?;
    Ok(Response {
        status: response.status().as_u16(),
        content_type,
        location,
        text,
    })
}
