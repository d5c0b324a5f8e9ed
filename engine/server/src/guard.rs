//! Checks the host and the origin of each request, WebSocket upgrades included, before anything else.
//!
//! A loopback port can be reached by every page that a browser on the same machine shows. The host check stops DNS
//! rebinding: names that an attacker points at this machine. The origin check stops pages of other sites. Together
//! with the content types that bodies must have, no page of another origin can start or read anything.
//!
//! Loopback names (`localhost`, `127.0.0.1`, `::1`) are allowed only on connections to a loopback address. Other
//! connections must name their own local address, or a host that the operator allowed.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use utoipa::openapi::{OpenApi, PathItem};

use crate::{
    response::problem::{self, Problem, ProblemKind},
    settings::ServerSettings,
};

/// The content security policy of API responses: a browser that displays one runs and loads nothing.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The local address of a request's connection, as a request extension. Without it, only the allowed hosts are accepted.
#[derive(Clone, Copy, Debug)]
pub struct LocalAddress(pub SocketAddr);

/// The state of the guard.
#[derive(Clone)]
pub(crate) struct Guard {
    settings: Arc<ServerSettings>,
    /// All methods that some route supports, for responses to preflight requests.
    methods: HeaderValue,
}

impl Guard {
    /// Creates the guard for the routes of the OpenAPI document.
    pub(crate) fn new(settings: Arc<ServerSettings>, api: &OpenApi) -> Self {
        let of_route = |item: &PathItem| {
            let supported = [
                (Method::GET, item.get.is_some()),
                (Method::POST, item.post.is_some()),
                (Method::PUT, item.put.is_some()),
                (Method::PATCH, item.patch.is_some()),
                (Method::DELETE, item.delete.is_some()),
            ];
            supported
                .into_iter()
                .filter_map(|(method, is_supported)| is_supported.then_some(method))
        };
        let methods: BTreeSet<String> = api
            .paths
            .paths
            .values()
            .flat_map(of_route)
            .map(|method| method.to_string())
            .collect();
        let methods = methods.into_iter().collect::<Vec<_>>().join(", ");
        Self {
            settings,
            methods: HeaderValue::from_str(&methods).expect("names of methods are ASCII"),
        }
    }
}

/// Checks a request, passes it on, and adds the default headers to the response.
pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let Guard { settings, methods } = guard;
    let local = request.extensions().get().map(|LocalAddress(local)| local.ip());
    let (mut response, origin) = match check(&settings, local, request.uri(), request.headers()) {
        Err(problem) => (problem.into_response(), None),
        Ok(Some(origin)) if is_preflight(request.method(), request.headers()) => {
            (preflight(methods), Some(origin))
        }
        Ok(origin) => (next.run(request).await, origin),
    };
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("idempotency-replayed, location, retry-after"),
        );
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    let mut response = as_problem(response);
    add_default_headers(response.headers_mut());
    response
}

/// Adds the headers that all responses have, unless the handler has set them.
fn add_default_headers(headers: &mut HeaderMap) {
    let defaults = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (header::CONTENT_SECURITY_POLICY, API_POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Replaces an error response of a library with a problem.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !(status.is_client_error() || status.is_server_error())
        || kind.is_some_and(|kind| kind == problem::MEDIA_TYPE)
    {
        return response;
    }
    let reason = status.canonical_reason().unwrap_or("the request failed");
    let mut problem = Problem::of_status(status, reason.to_owned()).into_response();
    for name in [header::ALLOW, header::UPGRADE, header::SEC_WEBSOCKET_VERSION] {
        if let Some(value) = response.headers().get(&name) {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    problem
}

fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(methods: HeaderValue) -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type, idempotency-key, last-event-id"),
        ),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Checks whether a request may pass. Returns its origin if that is another origin, which the operator allowed.
fn check(
    settings: &ServerSettings,
    local: Option<IpAddr>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, Problem> {
    let host = host(uri, headers)?;
    if !host_is_allowed(&host, local, &settings.allowed_hosts) {
        let name = &host.name;
        let why = match host.is_loopback() {
            true => "which is allowed only on connections to a loopback address",
            false => "which is not allowed",
        };
        return Err(Problem::new(
            ProblemKind::WRONG_HOST,
            format!(
                "the request is for host `{name}`, {why}: to allow it, start the server with `--allow-host {name}`"
            ),
        ));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(None);
    };
    let text = origin.to_str().unwrap_or("(not text)");
    if origins.next().is_none() {
        if is_same_origin(text, &host) {
            return Ok(None);
        }
        if settings
            .allowed_origins
            .iter()
            .any(|allowed| is_equal_origin(allowed, text))
        {
            return Ok(Some(origin.clone()));
        }
    }
    Err(Problem::new(
        ProblemKind::WRONG_ORIGIN,
        format!(
            "pages of origin `{text}` may not call this server: to allow it, start the server with `--allow-origin {text}`"
        ),
    ))
}

/// A host with an optional port, as in the `Host` header.
#[derive(Debug, PartialEq, Eq)]
struct Authority {
    /// In lower case; an IPv6 address without its brackets.
    name: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']')?;
                name.parse::<std::net::Ipv6Addr>().ok()?;
                (name, port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, port) = text.split_at(end);
                let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
                if name.is_empty() || !name.chars().all(is_allowed) {
                    return None;
                }
                (name.strip_suffix('.').unwrap_or(name), port)
            }
        };
        let port = match port {
            "" => None,
            port => Some(port.strip_prefix(':')?.parse().ok()?),
        };
        Some(Self {
            name: name.to_ascii_lowercase(),
            port,
        })
    }

    /// Returns the name as an IP address, if it is one. An IPv4-mapped IPv6 address becomes the IPv4 address.
    fn ip(&self) -> Option<IpAddr> {
        self.name.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
    }

    fn is_loopback(&self) -> bool {
        self.name == "localhost" || self.ip().is_some_and(|ip| ip.is_loopback())
    }
}

/// Returns the host of a request: from its target if that has one, else from `Host`.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let text = match (uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => {
            return Err(Problem::new(
                ProblemKind::BAD_REQUEST,
                "the request has several `Host` headers",
            ));
        }
        (Some(authority), _, None) => authority.as_str(),
        (None, Some(host), None) => host.to_str().unwrap_or_default(),
        (None, None, None) => {
            return Err(Problem::new(
                ProblemKind::BAD_REQUEST,
                "the request has no `Host` header",
            ));
        }
    };
    Authority::parse(text).ok_or_else(|| {
        Problem::new(
            ProblemKind::BAD_REQUEST,
            format!("`{}` is not a valid host", text.escape_debug()),
        )
    })
}

/// Returns whether a request on a connection to the address `local` may name this host.
fn host_is_allowed(host: &Authority, local: Option<IpAddr>, allowed: &[String]) -> bool {
    let ip = host.ip();
    if let Some(local) = local.map(|local| local.to_canonical())
        && (ip == Some(local) || local.is_loopback() && host.is_loopback())
    {
        return true;
    }
    let matches = |allowed: Authority| {
        let same = match (allowed.ip(), ip) {
            (Some(allowed), Some(ip)) => allowed == ip,
            _ => allowed.name == host.name,
        };
        same && (allowed.port.is_none() || allowed.port == host.port)
    };
    allowed.iter().any(|allowed| {
        // An allowed IPv6 address may be written without brackets.
        let bare = allowed.parse::<IpAddr>().ok().map(|ip| Authority {
            name: ip.to_string(),
            port: None,
        });
        bare.or_else(|| Authority::parse(allowed)).is_some_and(matches)
    })
}

/// Returns whether a page of this origin was served by this host. The scheme is not compared, because a proxy may
/// terminate TLS.
fn is_same_origin(origin: &str, host: &Authority) -> bool {
    let Some((default_port, authority)) = split_origin(origin) else {
        return false;
    };
    authority.name == host.name && authority.port.unwrap_or(default_port) == host.port.unwrap_or(default_port)
}

fn is_equal_origin(allowed: &str, origin: &str) -> bool {
    let scheme = |origin: &str| {
        origin
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase())
    };
    match (split_origin(allowed.trim_end_matches('/')), split_origin(origin)) {
        (Some((port, a)), Some((_, b))) => {
            scheme(allowed) == scheme(origin)
                && a.name == b.name
                && a.port.unwrap_or(port) == b.port.unwrap_or(port)
        }
        _ => false,
    }
}

/// Splits an origin into the default port of its scheme and its host.
fn split_origin(origin: &str) -> Option<(u16, Authority)> {
    let (scheme, rest) = origin.split_once("://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((port, Authority::parse(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ServerSettings {
        ServerSettings {
            allowed_hosts: vec![
                "flows.example".to_owned(),
                "Other.example:8443".to_owned(),
                "fd00::7".to_owned(),
            ],
            allowed_origins: vec!["https://app.example/".to_owned()],
            ..ServerSettings::default()
        }
    }

    const LOOPBACK: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn check(host: &str, origin: Option<&str>) -> Result<bool, u16> {
        check_on("127.0.0.1", host, origin)
    }

    /// Checks a request on a connection to this address. Returns whether it has another, allowed origin, or the status.
    fn check_on(local: &str, host: &str, origin: Option<&str>) -> Result<bool, u16> {
        let local = local.parse().ok();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a header's value"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("a header's value"));
        }
        super::check(&settings(), local, &Uri::from_static("/v1/runs"), &headers)
            .map(|origin| origin.is_some())
            .map_err(|problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn loopback_and_allowed_hosts_pass_and_other_names_do_not() {
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "localhost.:8000",
            "127.0.0.1:8000",
            "127.9.9.9",
            "[::1]:8000",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "flows.example",
            "flows.example:9",
            "FLOWS.example.",
            "other.example:8443",
            "[fd00::7]:8000",
        ] {
            assert_eq!(check(host, None), Ok(false), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.168.1.5:8000",
            "0.0.0.0:8000",
            "other.example",
            "other.example:8000",
            "[fd00::8]",
            "notlocalhost",
        ] {
            assert_eq!(check(host, None), Err(421), "{host}");
        }
        for host in [
            "",
            "a b",
            "user@localhost",
            "localhost:port",
            "localhost:99999",
            "[::1",
            "[localhost]",
            "localhost/",
        ] {
            assert_eq!(check(host, None), Err(400), "{host}");
        }
    }

    #[test]
    fn the_host_of_the_target_takes_precedence_over_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        let uri = Uri::from_static("http://evil.example/v1/runs");
        assert!(super::check(&settings(), LOOPBACK, &uri, &headers).is_err());
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(super::check(&settings(), LOOPBACK, &Uri::from_static("/"), &headers).is_err());
        assert!(super::check(&settings(), LOOPBACK, &Uri::from_static("/"), &HeaderMap::new()).is_err());
    }

    #[test]
    fn loopback_names_are_allowed_only_on_loopback_connections() {
        for local in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
            for host in ["localhost:8000", "127.0.0.1", "[::1]", "[::ffff:7f00:1]:8000"] {
                assert_eq!(check_on(local, host, None), Ok(false), "{host} on {local}");
            }
        }
        for local in ["192.168.1.5", "::ffff:192.168.1.5", "fd00::5", "fe80::1", "none"] {
            for host in [
                "localhost",
                "LocalHost.:8000",
                "127.0.0.1:8000",
                "127.1.2.3",
                "[::1]:8000",
                "[::ffff:127.0.0.1]",
                "0.0.0.0",
                "[::]",
            ] {
                assert_eq!(check_on(local, host, None), Err(421), "{host} on {local}");
            }
            assert_eq!(check_on(local, "flows.example", None), Ok(false), "{local}");
        }
    }

    #[test]
    fn the_local_address_of_a_connection_is_an_allowed_host() {
        for (local, host) in [
            ("192.168.1.5", "192.168.1.5:8000"),
            ("192.168.1.5", "[::ffff:192.168.1.5]"),
            ("::ffff:192.168.1.5", "192.168.1.5"),
            ("fd00::5", "[FD00:0::5]:8000"),
        ] {
            assert_eq!(check_on(local, host, None), Ok(false), "{host} on {local}");
        }
        for (local, host) in [("192.168.1.5", "192.168.1.6"), ("fd00::5", "[fd00::6]")] {
            assert_eq!(check_on(local, host, None), Err(421), "{host} on {local}");
        }
    }

    #[test]
    fn pages_of_other_origins_do_not_pass() {
        assert_eq!(check("localhost:8000", Some("http://localhost:8000")), Ok(false));
        assert_eq!(check("flows.example", Some("https://flows.example")), Ok(false));
        assert_eq!(
            check("flows.example:443", Some("https://flows.example")),
            Ok(false)
        );
        assert_eq!(check("localhost:8000", Some("https://app.example")), Ok(true));
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost",
            "http://localhost:8001",
            "http://127.0.0.1:8000",
            "http://app.example",
            "https://app.example.evil",
            "https://app.example:8443",
            "file://",
            "",
        ] {
            assert_eq!(check("localhost:8000", Some(origin)), Err(403), "{origin}");
        }
    }
}
