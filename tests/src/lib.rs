//! The harness of the end-to-end tests: a real server process, a real HTTP client and a real
//! WebSocket client. What is missing (the binary, a component) is a failure that says what to run.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

pub mod appends;
pub mod described;
pub mod docs;
pub mod fault;
pub mod functions;
pub mod lot;
pub mod registry;
pub mod stub;

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, OnceLock},
    time::{Duration, Instant},
};

use described::Description;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

/// What the server of this process's tests says of itself: all of them are started from the same binary.
static DESCRIPTION: OnceLock<Description> = OnceLock::new();

/// How long anything in a test may take before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server process with a store of its own; it is killed when it is dropped.
pub struct Server {
    child: Child,
    /// Where it listens: `127.0.0.1:PORT`.
    pub address: String,
    /// What it wrote to stderr.
    pub log: Arc<Mutex<String>>,
    /// Told when there is more in the log.
    logged: Arc<Condvar>,
    place: Place,
}

/// Where a server's things are, and what it is started with.
#[derive(Clone)]
pub struct Place {
    folder: Arc<TempDir>,
    /// The store's file.
    pub store: PathBuf,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further variables of its environment.
    pub environment: Vec<(&'static str, OsString)>,
}

/// An answer: its status, its content type and its body.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: String,
    /// The value of the `location` header.
    pub location: String,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The body, which must be a success.
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The body, which must be an RFC 9457 problem of this status with a detail.
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

/// The folder that everything is built into.
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

/// A file that must be there; else `make` says what makes it.
fn present(path: PathBuf, make: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `{make}` first", path.display());
    path
}

/// The component of a sample or a fixture.
pub fn component(name: &str) -> PathBuf {
    present(
        target().join("plugins").join(format!("{name}.wasm")),
        "cargo xtask plugins",
    )
}

/// The `heddle` binary: HEDDLE_BIN, or the one beside the tests.
pub fn heddle() -> PathBuf {
    match std::env::var_os("HEDDLE_BIN") {
        Some(path) => path.into(),
        None => {
            let test = std::env::current_exe().expect("a test has a path");
            let folder = test
                .ancestors()
                .find(|folder| folder.join("deps").is_dir())
                .expect("tests are in deps");
            present(folder.join("heddle"), "cargo build -p heddle-cli")
        }
    }
}

impl Server {
    /// Starts a server with the samples and the fixtures registered.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut place = Place::default();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        place.arguments.extend(arguments);
        Self::start_at(place)
    }

    /// Starts a server in a place.
    pub fn start_at(place: Place) -> Self {
        Self::launch(Self::command(&place), place)
    }

    /// Starts a server in a place, and waits only until its address is bound: it may not be ready.
    pub fn start_unready(place: Place) -> Self {
        Self::launch_until(Self::command(&place), place, "starting on http://")
    }

    fn command(place: &Place) -> Command {
        let mut serve = Command::new(heddle());
        serve
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(format!("sqlite:{}", place.store.display()))
            .arg("--plugins")
            .arg(place.folder.path().join("plugins"))
            .args(&place.arguments)
            .envs(place.environment.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1");
        serve
    }

    /// Starts a command that serves, and waits until it is ready.
    pub fn launch(serve: Command, place: Place) -> Self {
        Self::launch_until(serve, place, "listening on http://")
    }

    /// Starts a command that serves, and waits until it logs this text with its address.
    fn launch_until(mut serve: Command, place: Place, text: &'static str) -> Self {
        let mut child = serve
            .stderr(Stdio::piped())
            .spawn()
            .expect("the heddle binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (told, address) = std::sync::mpsc::channel();
        let logged = Arc::new(Condvar::new());
        let (kept, tell) = (log.clone(), logged.clone());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once(text) {
                    let _ = told.send(
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
                tell.notify_all();
            }
        });
        let address = address.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the server did not come up:\n{}", log.lock().unwrap())
        });
        Self {
            child,
            address,
            log,
            logged,
            place,
        }
    }

    /// Waits until the log has a text.
    pub fn until_logged(&self, text: &str) {
        let log = self.log.lock().unwrap();
        let not_yet = |log: &mut String| !log.contains(text);
        let (log, waited) = self.logged.wait_timeout_while(log, PATIENCE, not_yet).unwrap();
        // Dropping the server shows the log.
        drop(log);
        assert!(!waited.timed_out(), "`{text}` is not in the log");
    }

    /// The folder with the store and the plugins.
    pub fn folder(&self) -> &Path {
        self.place.folder.path()
    }

    /// Where it was started.
    pub fn place(&self) -> &Place {
        &self.place
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

    /// Starts the server again on the same store; it must have ended.
    pub fn restart(self) -> Self {
        let place = self.place.clone();
        self.restart_at(place)
    }

    /// Starts the server again in another place; it must have ended.
    pub fn restart_at(mut self, place: Place) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        Self::start_at(place)
    }

    /// Sends a signal (`TERM`, `INT`) and waits for the end: the exit code, and how long it took.
    pub fn stop(&mut self, signal: &str) -> (Option<i32>, Duration) {
        let began = Instant::now();
        let sent = Command::new("kill")
            .args([format!("-{signal}"), self.pid().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
        while began.elapsed() < PATIENCE {
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
    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    /// GETs a path with headers.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = agent().get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.described("get", path, read(request.call()))
    }

    /// POSTs JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(
            path,
            body.to_string().as_bytes(),
            &[("content-type", "application/json")],
        )
    }

    /// POSTs bytes with headers.
    pub fn post_with(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Answer {
        let mut request = agent().post(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.described("post", path, read(request.send(body)))
    }

    /// PUTs JSON.
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        let request = agent()
            .put(self.url(path))
            .header("content-type", "application/json");
        self.described("put", path, read(request.send(body.to_string())))
    }

    /// DELETEs a path.
    pub fn delete(&self, path: &str) -> Answer {
        self.described("delete", path, read(agent().delete(self.url(path)).call()))
    }

    /// The answer, once it was found to be as the server's description says.
    fn described(&self, method: &str, path: &str, answer: Answer) -> Answer {
        self.description().check(method, path, &answer);
        answer
    }

    /// What the server says of itself, and what was seen of it in this process.
    pub fn description(&self) -> &'static Description {
        DESCRIPTION.get_or_init(|| {
            let described = read(agent().get(self.url("/openapi.json")).call());
            Description::new(described.ok())
        })
    }

    /// Creates a graph and gives its id.
    pub fn create(&self, graph: &Value) -> String {
        let answer = self.post("/graph/create", graph).ok();
        answer["graph_id"].as_str().expect("a graph has an id").to_owned()
    }

    /// Creates the graph of a file of the repository and gives its id.
    pub fn create_file(&self, path: &str) -> String {
        let text = std::fs::read_to_string(repository().join(path)).expect("a graph file");
        self.create(&serde_json::from_str(&text).expect("a graph file is JSON"))
    }

    /// Starts a run and gives its id.
    pub fn start_run(&self, graph: &str, state: &Value) -> String {
        let answer = self
            .post("/graph/run", &json!({"graph_id": graph, "initial_state": state}))
            .ok();
        answer["run_id"].as_str().expect("a run has an id").to_owned()
    }

    /// Runs a graph to its end and gives what `/graph/state` tells.
    pub fn run(&self, graph: &str, state: &Value) -> Value {
        let run = self.start_run(graph, state);
        self.wait(&run)
    }

    /// Waits for a run's end on its event stream and gives what `/graph/state` tells.
    pub fn wait(&self, run: &str) -> Value {
        let (_, close) = self.watch(run, "");
        assert_eq!(close.0, 1000, "run {run}: {close:?}");
        self.get(&format!("/graph/state/{run}")).ok()
    }

    /// Everything that the WebSocket of a run sends, and the code and reason of its close.
    pub fn watch(&self, run: &str, query: &str) -> (Vec<Value>, (u16, String)) {
        let url = format!("ws://{}/ws/logs/{run}{query}", self.address);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (events, close) = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, watch(&url))
                .await
                .unwrap_or_else(|_| panic!("{url} hung"))
        });
        events
            .iter()
            .for_each(|event| self.description().check_event(event));
        (events, close)
    }
}

impl Server {
    /// Everything that the WebSocket of a run sends, where `begun` is called once it has sent something. Nothing is
    /// read meanwhile.
    pub fn watch_from(&self, run: &str, begun: impl FnOnce()) -> Vec<Value> {
        let url = format!("ws://{}/ws/logs/{run}", self.address);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut told = Vec::new();
        let mut socket = runtime.block_on(async {
            let (mut socket, _) = tokio_tungstenite::connect_async(&url)
                .await
                .expect("the socket opens");
            let first = tokio::time::timeout(PATIENCE, socket.next()).await;
            if let Ok(Some(Ok(Message::Text(text)))) = first {
                told.push(serde_json::from_str(&text).expect("a message is JSON"));
            }
            socket
        });
        begun();
        runtime.block_on(async {
            let rest = async {
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Text(text) = message {
                        told.push(serde_json::from_str(&text).expect("a message is JSON"));
                    }
                }
            };
            let ended = tokio::time::timeout(PATIENCE, rest).await;
            ended.unwrap_or_else(|_| panic!("{url} hung"));
        });
        told
    }
}

impl Place {
    /// The folder with the plugins.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Default for Place {
    /// A folder with the samples and the fixtures among its plugins, and no store yet.
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
        // The tests share one cache of compiled plugins, as the servers of one machine would.
        let shared = |name: &str| target().join(name).display().to_string();
        let cache = [
            "--cache".to_owned(),
            shared("test-cache"),
            "--cache-key".to_owned(),
            shared("test-cache.key"),
            // Beside many other tests, compiling an interpreter may take minutes.
            "--compile-timeout".to_owned(),
            "600".to_owned(),
        ];
        Self {
            store: folder.path().join("heddle.db"),
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

/// Reads a WebSocket until an event comes that is looked for.
pub fn until(url: &str, wanted: impl Fn(&Value) -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let found = async {
        let (mut socket, _) = tokio_tungstenite::connect_async(url)
            .await
            .expect("the socket opens");
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message
                && wanted(&serde_json::from_str(&text).expect("a message is JSON"))
            {
                return true;
            }
        }
        false
    };
    let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, found).await });
    assert!(
        found.unwrap_or_else(|_| panic!("{url} hung")),
        "{url} closed before it came"
    );
}

/// Reads a WebSocket to its close.
pub async fn watch(url: &str) -> (Vec<Value>, (u16, String)) {
    watch_and(url, |_| {}).await
}

/// Reads a WebSocket to its close, and calls `seen` with each event as it comes.
pub async fn watch_and(url: &str, mut seen: impl FnMut(&Value)) -> (Vec<Value>, (u16, String)) {
    let mut events = Vec::new();
    let close = read_socket(url, |event| {
        seen(&event);
        events.push(event);
    });
    let close = close.await.expect("the socket opens");
    (events, close)
}

/// Reads a WebSocket to its close, and adds to `seen` what it sends. Nothing where it does not open.
pub async fn follow(url: &str, seen: &mut Vec<Value>) -> Option<(u16, String)> {
    read_socket(url, |event| seen.push(event)).await
}

async fn read_socket(url: &str, mut seen: impl FnMut(Value)) -> Option<(u16, String)> {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.ok()?;
    while let Some(message) = socket.next().await {
        match message {
            Ok(Message::Text(text)) => seen(serde_json::from_str(&text).expect("a message is JSON")),
            Ok(Message::Close(Some(frame))) => return Some((frame.code.into(), frame.reason.to_string())),
            Ok(Message::Close(None)) | Err(_) => break,
            Ok(_) => {}
        }
    }
    Some((1006, "the connection broke".to_owned()))
}

/// POSTs JSON to a server that may be gone, with an idempotency key. Nothing where no whole answer came.
pub fn try_post(address: &str, path: &str, body: &Value, key: &str) -> Option<Answer> {
    let request = agent()
        .post(format!("http://{address}{path}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    try_read(request.send(body.to_string().as_bytes())).ok()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

fn read(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    try_read(result).expect("the server answers")
}

fn try_read(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, ureq::Error> {
    let mut response = result?;
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (content_type, location) = (header("content-type"), header("location"));
    let mut text = String::new();
    response.body_mut().as_reader().read_to_string(&mut text)?;
    Ok(Answer {
        status: response.status().as_u16(),
        content_type,
        location,
        text,
    })
}
