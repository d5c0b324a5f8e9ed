//! The settings of the server, with their defaults.

use std::time::Duration;

/// The settings of the server. The defaults fit one machine.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Hosts that requests may name: `name` (any port) or `name:port`. The local address of a connection is always
    /// allowed; on a loopback address, so are `localhost` and all loopback addresses. Default: none.
    pub allowed_hosts: Vec<String>,
    /// Other origins whose pages may call the server, as `scheme://host[:port]`. Responses to them have CORS headers.
    /// Default: none.
    pub allowed_origins: Vec<String>,
    /// Whether every client may read and change plugins' grants over HTTP. Default: no.
    pub grant_over_http: bool,
    /// The largest JSON body, in bytes. Default: 16 MiB.
    pub max_body_bytes: usize,
    /// The largest component that can be uploaded, in bytes. Default: 64 MiB.
    pub max_component_bytes: usize,
    /// The largest export that can be imported, in bytes. Default: 384 MiB, enough for every run whose journal is within
    /// its default limit.
    pub max_import_bytes: usize,
    /// The number of concurrent imports; each holds its export in memory. Others wait up to `body_timeout` and are then
    /// refused. Default: 1.
    pub max_imports: usize,
    /// The number of runs that are read concurrently for responses. Each can be as large as a run in memory. Default: 8.
    pub max_reads_at_once: usize,
    /// The total size of responses over 64 KiB that clients have not read yet, in bytes. Past it, large responses are
    /// refused with 503. Default: 128 MiB.
    pub max_answer_bytes: usize,
    /// The number of open connections. Past it, the connection that has waited longest for a request is closed for a
    /// new one; if none waits, the new one gets 503. Default: 10,000.
    pub max_connections: usize,
    /// The same for each client address: an IPv4 address or the /64 network of an IPv6 address. Default: 5,000.
    pub max_connections_per_address: usize,
    /// The total number of open WebSockets, event streams and `?wait=` requests. Past it, WebSockets and streams get 503
    /// and `?wait=` does not wait. Default: 4,000.
    pub max_watchers: usize,
    /// The total size of request bodies in memory, from their first byte until the response is sent. Past it, requests
    /// are refused with 503. Default: 256 MiB.
    pub max_bodies_bytes: usize,
    /// The largest request head, in bytes, at least 8 KiB; larger ones get 431. Default: 64 KiB.
    pub max_header_bytes: usize,
    /// The number of events in `logs` of `GET /graph/state`, which are the run's newest. Default: 10,000.
    pub max_log_events: usize,
    /// The total size of those events, in bytes; the oldest are left out past it. Default: 32 MiB.
    pub max_log_bytes: usize,
    /// The longest time that `?wait=` waits for the end of a run. Default: 60 s.
    pub max_wait: Duration,
    /// The longest time in which a request head must arrive, and in which a connection's first request must begin.
    /// Default: 10 s.
    pub header_timeout: Duration,
    /// The time after which a connection without a request is closed. Default: 60 s.
    pub idle_timeout: Duration,
    /// The longest time in which a body must arrive. Default: 2 min.
    pub body_timeout: Duration,
    /// The time after which a client that does not read its response is disconnected. Default: 60 s.
    pub write_timeout: Duration,
    /// The interval of pings on quiet WebSockets and of comments on quiet event streams. Default: 20 s.
    pub heartbeat: Duration,
    /// The longest time that active requests may take after the shutdown began. Default: 10 s.
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
