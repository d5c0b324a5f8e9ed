//! What an operator may set of the server, with the defaults.

use std::time::Duration;

/// How the server behaves. Every limit has a default that fits one machine.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Hosts that a request may name, besides the address that its connection arrived on and, where that is a loopback
    /// address, `localhost` and all loopback addresses: `name`, which allows every port, or `name:port`. Default: none.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may call the server, besides its own: `scheme://host[:port]`.
    /// They get CORS headers. Default: none.
    pub allowed_origins: Vec<String>,
    /// Whether what plugins are granted can be seen and changed over HTTP, by everyone who reaches the server.
    /// Default: no.
    pub grant_over_http: bool,
    /// The largest JSON body, in bytes. Default: 16 MiB.
    pub max_body_bytes: usize,
    /// The largest component that may be uploaded, in bytes. Default: 64 MiB.
    pub max_component_bytes: usize,
    /// The largest export of a run that may be imported, in bytes. Default: 384 MiB, so that it has room for every run
    /// whose journal is within its default limit.
    pub max_import_bytes: usize,
    /// How many runs may be imported at once: each is in memory until it is kept. A further one waits until its turn
    /// comes, as long as its body may take to arrive, and is then refused. Default: 1.
    pub max_imports: usize,
    /// How many runs are read at once to be shown: each may be as large as a run may be in memory. Default: 8.
    pub max_reads_at_once: usize,
    /// How many bytes the answers of more than 64 KiB may take together that are on their way to clients; a further one is
    /// refused with 503. Default: 128 MiB.
    pub max_answer_bytes: usize,
    /// How many connections may be open. For a further one, the connection is closed that has waited longest for a
    /// request; where none waits, the new one is answered with 503. Default: 10,000.
    pub max_connections: usize,
    /// The same for the connections from one address: an IPv4 address or the /64 of an IPv6 address. Default: 5,000.
    pub max_connections_per_address: usize,
    /// How many WebSockets, event streams and `?wait=` may be open together. Further ones are answered with 503; a start
    /// that waits is answered at once. Default: 4,000.
    pub max_watchers: usize,
    /// How many bytes the bodies of requests may have together, from when they arrive until they are answered; past that
    /// a request is refused with 503. Default: 256 MiB.
    pub max_bodies_bytes: usize,
    /// The largest head of a request, in bytes; a larger one is answered with 431. At least 8 KiB. Default: 64 KiB.
    pub max_header_bytes: usize,
    /// How many of a run's newest events `GET /graph/state` answers as `logs`. Default: 10,000.
    pub max_log_events: usize,
    /// How many bytes those may take; older ones are left out past that. Default: 32 MiB.
    pub max_log_bytes: usize,
    /// The longest that `?wait=` may wait for a run's end. Default: 60 s.
    pub max_wait: Duration,
    /// How long a client may take to send the head of a request, and the first request of a connection to begin.
    /// Default: 10 s.
    pub header_timeout: Duration,
    /// How long a connection is kept that waits for a further request. Default: 60 s.
    pub idle_timeout: Duration,
    /// How long a client may take to send a body. Default: 2 min.
    pub body_timeout: Duration,
    /// How long a client may leave what it was sent unread before it is dropped. Default: 60 s.
    pub write_timeout: Duration,
    /// How often a quiet WebSocket is pinged and a quiet event stream gets a comment. Default: 20 s.
    pub heartbeat: Duration,
    /// How long requests that are under way may take once the server stops. Default: 10 s.
    pub shutdown_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            grant_over_http: false,
            max_body_bytes: 16 << 20,
            max_component_bytes: 64 << 20,
            max_import_bytes: 384 << 20,
            max_imports: 1,
            max_reads_at_once: 8,
            max_answer_bytes: 128 << 20,
            max_connections: 10_000,
            max_connections_per_address: 5_000,
            max_watchers: 4_000,
            max_bodies_bytes: 256 << 20,
            max_header_bytes: 64 << 10,
            max_log_events: 10_000,
            max_log_bytes: 32 << 20,
            max_wait: Duration::from_secs(60),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(60),
            heartbeat: Duration::from_secs(20),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}
