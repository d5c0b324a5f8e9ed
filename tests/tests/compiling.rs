//! Components that are expensive to compile affect only their own registration.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use heddle_tests::{Response, Server, ServerConfig, TIMEOUT};

/// The limit for quick responses, even on a busy machine.
const MOMENT: Duration = Duration::from_secs(20);

/// A component with these functions and one export, without which it would not be compiled.
fn component(functions: &str) -> Vec<u8> {
    let exports = r#"(core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f")))"#;
    wat::parse_str(format!(
        "(component (core module (memory 1) {functions}) {exports})"
    ))
    .unwrap()
}

/// A component that takes many seconds to compile, within the limits.
fn slow() -> Vec<u8> {
    component(&nested_loops(1_000, 99).repeat(12))
}

/// A function with locals that change in nested loops.
fn nested_loops(locals: usize, depth: usize) -> String {
    let changes: String = (1..=locals)
        .map(|local| format!("(local.set {local} (i32.add (local.get {local}) (i32.const 1)))"))
        .collect();
    let mut body = changes;
    for _ in 0..depth {
        body = format!("(loop {body} (br_if 0 (local.get 0)))");
    }
    format!("(func (param i32) (local {}) {body})", "i32 ".repeat(locals))
}

/// A component whose compilation needs a thousand times its size.
fn large() -> Vec<u8> {
    let results = "i32 ".repeat(100);
    let callee = format!("(func $c (result {results}) unreachable)");
    let call = format!("call $c {}", "drop ".repeat(100));
    component(&format!(
        "{callee}{}",
        format!("(func {})", call.repeat(5_000)).repeat(4)
    ))
}

/// A component with types so deeply nested that parsing them overflows the stack.
fn deep() -> Vec<u8> {
    const LEVELS: usize = 1_000_000;
    // A component type with one declaration, which is again a type.
    let mut section = vec![1];
    section.extend([0x41, 1, 1].repeat(LEVELS));
    section.extend([0x41, 0]);
    let mut bytes = b"\0asm\x0d\0\x01\0\x07".to_vec();
    let mut len = section.len();
    while len > 0x7f {
        bytes.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend(section);
    // The export makes the compiler read the type.
    bytes.extend(
        wat::parse_str("(component (component) (export \"c\" (component 0)))")
            .unwrap()
            .split_off(8),
    );
    bytes
}

fn send(server: &Server, route: &str, component: &[u8]) -> Response {
    let headers = [("content-type", "application/wasm")];
    server.post_with(&format!("/v1/{route}?name=bomb"), component, &headers)
}

/// The message of the refusal of a component.
fn refusal(server: &Server, component: &[u8]) -> String {
    let problem = send(server, "plugins:inspect", component).problem(422);
    assert_eq!(problem["type"], "urn:heddle:problem:plugin-refused");
    server.get("/healthz").ok();
    problem["detail"].as_str().unwrap().to_owned()
}

/// A configuration without the usual plugins and with an empty cache.
fn config(arguments: &[&str]) -> ServerConfig {
    let mut config = ServerConfig::default();
    std::fs::remove_dir_all(config.folder().join("plugins")).unwrap();
    std::fs::create_dir(config.folder().join("plugins")).unwrap();
    let cache = config.folder().join("cache").display().to_string();
    config.arguments = vec!["--cache".to_owned(), cache];
    config
        .arguments
        .extend(arguments.iter().map(|&argument| argument.to_owned()));
    config
}

fn server(arguments: &[&str]) -> Server {
    Server::start_with_config(config(arguments))
}

/// The compiler processes of a server.
fn compilers(server: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let ids = processes.filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|&id: &u32| is_compiler(id, server)).collect()
}

/// Whether a process is an active compiler of the server.
fn is_compiler(id: u32, server: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name in parentheses may contain any character.
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return false;
    };
    let fields: Vec<&str> = rest.split(' ').collect();
    fields[0] != "Z" && fields[1] == server.to_string()
}

fn has_ended(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a component without waiting for the response.
fn begin(server: &Server, component: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = format!(
        "POST /v1/plugins:inspect?name=slow HTTP/1.1\r\nhost: {}\r\ncontent-type: application/wasm\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        server.address,
        component.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(component).unwrap();
    stream
}

#[test]
fn a_bomb_is_refused_before_it_is_compiled() {
    let server = server(&[]);
    let bomb = component(&nested_loops(20_000, 50));
    let began = Instant::now();
    for route in ["plugins:inspect", "plugins"] {
        let problem = send(&server, route, &bomb).problem(422);
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("function 0 of core module 0 has 20001 locals")
                && detail.contains("more than the limit of 10000 (function_locals)"),
            "{detail}"
        );
    }
    assert!(began.elapsed() < MOMENT, "{:?}", began.elapsed());
}

#[test]
fn a_component_that_takes_too_much_memory_or_time_is_refused() {
    let server = server(&["--compile-memory", "4096", "--compile-timeout", "1"]);
    let message = refusal(&server, &slow());
    assert!(
        message.contains("longer than the limit of 1 s (compile_timeout)")
            && message.contains("--compile-timeout"),
        "{message}"
    );
    assert!(compilers(server.pid()).is_empty());
    let server = self::server(&["--compile-memory", "100"]);
    let message = refusal(&server, &large());
    assert!(
        message.contains("more memory than the limit of 100 MiB (compile_memory)")
            && message.contains("--compile-memory"),
        "{message}"
    );
}

#[test]
fn a_component_that_crashes_the_compiler_is_refused() {
    let server = server(&[]);
    let message = refusal(&server, &deep());
    assert!(
        message.contains("the compiler crashed on it") || message.contains("nest"),
        "{message}"
    );
}

#[test]
fn the_compiler_of_a_client_that_disconnects_ends() {
    let server = server(&["--compile-timeout", "600"]);
    let client = begin(&server, &slow());
    until("a compiler is started", || !compilers(server.pid()).is_empty());
    drop(client);
    until("the compiler has ended", || compilers(server.pid()).is_empty());
    server.get("/readyz").ok();
}

#[test]
fn the_compiler_of_a_server_that_is_killed_ends() {
    let mut server = server(&["--compile-timeout", "600"]);
    let _client = begin(&server, &slow());
    until("a compiler is started", || !compilers(server.pid()).is_empty());
    let compiler = compilers(server.pid())[0];
    server.kill();
    until("the compiler has ended", || has_ended(compiler));
}

#[test]
fn two_components_compile_at_once_and_the_next_gets_retry_after() {
    let server = server(&[
        "--compile-at-once",
        "2",
        "--compile-queue",
        "0",
        "--compile-timeout",
        "600",
    ]);
    let clients = [slow(), slow()].map(|slow| begin(&server, &slow));
    until("two compilers are started", || compilers(server.pid()).len() == 2);
    let busy = send(&server, "plugins:inspect", &slow()).problem(503);
    assert_eq!(busy["type"], "urn:heddle:problem:compiler-busy");
    assert!(
        busy["detail"].as_str().unwrap().contains("(compile_queue)"),
        "{busy}"
    );
    let mut third = begin(&server, &slow());
    let mut answer = String::new();
    third.read_to_string(&mut answer).unwrap();
    assert!(
        answer.to_ascii_lowercase().contains("\r\nretry-after: 5\r\n"),
        "{answer}"
    );
    assert_eq!(compilers(server.pid()).len(), 2);
    drop(clients);
    until("nothing is compiled", || compilers(server.pid()).is_empty());
    refusal(&server, &component("(func (result i32))"));
}

#[test]
fn a_queued_component_is_compiled_when_a_slot_is_free() {
    let server = server(&["--compile-timeout", "600"]);
    let first = begin(&server, &slow());
    until("a compiler is started", || !compilers(server.pid()).is_empty());
    let [one] = compilers(server.pid())[..] else {
        panic!("one is compiled at once")
    };
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| send(&server, "plugins", &component("")));
        drop(first);
        assert_eq!(waits.join().unwrap().status, 201);
    });
    assert!(has_ended(one));
}

#[test]
fn a_starting_server_reports_it_and_can_be_stopped() {
    let config = config(&["--compile-timeout", "600"]);
    let plugin = config.folder().join("plugins/slow.wasm");
    std::fs::write(&plugin, slow()).unwrap();
    let mut server = Server::start_unready(config);
    until("a compiler is started", || !compilers(server.pid()).is_empty());
    server.get("/healthz").ok();
    for path in ["/readyz", "/v1/plugins", "/", "/openapi.json"] {
        let answer = ureq::get(format!("http://{}{path}", server.address))
            .config()
            .http_status_as_error(false)
            .build()
            .call()
            .unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        assert_eq!(answer.headers()["retry-after"], "1", "{path}");
        let problem = answer.into_body().read_to_string().unwrap();
        assert!(
            problem.contains("urn:heddle:problem:starting"),
            "{path}: {problem}"
        );
    }
    let compiler = compilers(server.pid())[0];
    let (code, took) = server.stop("TERM");
    assert_eq!(code, Some(0));
    assert!(took < MOMENT, "{took:?}");
    until("the compiler has ended", || has_ended(compiler));
}

#[test]
fn a_plugin_that_cannot_be_compiled_is_left_out_of_a_start_without_a_cache() {
    let config = config(&["--compile-timeout", "1"]);
    let plugins = config.folder().join("plugins");
    std::fs::write(plugins.join("a-bomb.wasm"), component(&nested_loops(20_000, 50))).unwrap();
    std::fs::write(plugins.join("a-slow-one.wasm"), slow()).unwrap();
    let server = Server::start_with_config(config);
    server.until_logged("a-bomb.wasm is not registered: the component cannot be compiled");
    server.until_logged("a-slow-one.wasm is not registered: the component cannot be compiled");
    server.get("/readyz").ok();
}
