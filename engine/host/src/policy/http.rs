//! Grants of outgoing HTTP requests, and whether one covers a request.

use std::{fmt, net::IpAddr};

use http::{HeaderValue, Method, Uri, uri::Authority};
use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use heddle_kernel::display;

use super::address::{Network, not_public};

/// Requests to one host that a plugin may make.
#[derive(Clone, Debug)]
pub(crate) struct HttpGrant {
    origin: Origin,
    /// None: every method.
    methods: Option<Vec<Method>>,
    /// These paths and what is under them. Where there are neither these nor `exact` ones: every path.
    paths: Option<Vec<String>>,
    /// These paths alone, as they are written.
    exact: Option<Vec<String>>,
    /// The addresses that are not public and that the host's name may lead to.
    private: Vec<Network>,
}

/// The scheme, host and port that a request goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) is_https: bool,
    /// In lower case, an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A request as far as grants look at it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) origin: Origin,
    /// Without the query.
    pub(crate) path: String,
}

/// An entry of a policy that is written out; otherwise it is the host alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    host: Origin,
    #[serde(default)]
    methods: Option<Vec<MethodName>>,
    #[serde(default)]
    paths: Option<Vec<PathStart>>,
    #[serde(default)]
    exact: Option<Vec<ExactPath>>,
    #[serde(default)]
    private: Vec<Network>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct MethodName(Method);

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct PathStart(String);

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct ExactPath(String);

impl HttpGrant {
    /// Whether it covers the request, but for the address that the host's name leads to.
    pub(crate) fn covers(&self, asked: &Asked) -> bool {
        let method = |methods: &Vec<Method>| methods.contains(&asked.method);
        self.is_for(&asked.origin)
            && asked.method != Method::CONNECT
            && self.methods.as_ref().is_none_or(method)
            && self.covers_path(&asked.path)
    }

    fn covers_path(&self, path: &str) -> bool {
        if self.paths.is_none() && self.exact.is_none() {
            return true;
        }
        let starts = self.paths.iter().flatten();
        let exact = self.exact.iter().flatten();
        is_plain(path)
            && (starts.into_iter().any(|start| begins(path, start))
                || exact.into_iter().any(|exact| path == exact))
    }

    /// Whether it is for this host.
    pub(crate) fn is_for(&self, origin: &Origin) -> bool {
        self.origin == *origin
    }

    /// Whether a connection may be made to this address, which the host's name led to. The error says
    /// what the address is.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), &'static str> {
        match not_public(address) {
            Some(what) if !self.names(address) => Err(what),
            _ => Ok(()),
        }
    }

    fn names(&self, address: IpAddr) -> bool {
        self.origin.address() == Some(address.to_canonical())
            || self.private.iter().any(|network| network.contains(address))
    }
}

/// Whether a path is at or under another.
fn begins(path: &str, start: &str) -> bool {
    path.strip_prefix(start)
        .is_some_and(|rest| rest.is_empty() || start.ends_with('/') || rest.starts_with('/'))
}

/// Whether every server reads a path as it is written: nothing in it leads up, or is written so that
/// some take it for a `/` or a `.`.
fn is_plain(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let hidden = ["%2e", "%2f", "%5c", "%25", "\\"];
    let leads_up = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
    !hidden.iter().any(|text| path.contains(text)) && !path.split('/').any(leads_up)
}

impl Origin {
    /// The address, where the host is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The host and, where it is not the usual one, the port, as the `host` header has them.
    pub(crate) fn header(&self) -> HeaderValue {
        let text = self.to_string();
        let (_, host) = text.split_once("://").expect("an origin has a scheme");
        HeaderValue::try_from(host).expect("a host has no character that a header has not")
    }

    fn new(is_https: bool, authority: &str) -> Result<Self, &'static str> {
        let read: Authority = authority.parse().map_err(|_| "is no host")?;
        let name = read.host();
        if authority.contains('@') {
            return Err("has a user in it, which no grant covers");
        }
        // Whatever stands behind the name is its port, so a text that is no port is not lost here.
        let port = match authority.strip_prefix(name) {
            Some("") => {
                if is_https {
                    443
                } else {
                    80
                }
            }
            Some(port) => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .unwrap_or(0),
            None => 0,
        };
        if port == 0 {
            return Err("has no port from 1 to 65535");
        }
        let name = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        let host = match name.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => name.to_ascii_lowercase(),
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        match !host.is_empty() && host.bytes().all(fits) {
            true => Ok(Self { is_https, host, port }),
            false => Err("is no host"),
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", &text));
        // A password in it is in no error.
        let url = format!("{scheme}://{rest}");
        let shown = display::redact(&url);
        let shown = if text.contains("://") {
            &*shown
        } else {
            &shown["https://".len()..]
        };
        let is_https = match scheme {
            "https" => true,
            "http" => false,
            _ => {
                return Err(format!(
                    "`{shown}`: a host is granted for http or https, as in https://api.example.org"
                ));
            }
        };
        if rest.contains('*') {
            return Err(format!("`{shown}`: a grant is for one host: name each"));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(format!(
                "`{shown}` has more than a host in it: write {{host: \"{scheme}://{}\", paths: [\"/…\"]}}",
                authority
                    .split(['/', '?', '#'])
                    .next()
                    .unwrap_or_default()
                    .rsplit('@')
                    .next()
                    .unwrap_or_default()
            ));
        }
        Self::new(is_https, authority).map_err(|problem| {
            format!("`{shown}` {problem}: write it like https://api.example.org or http://10.1.2.3:8080")
        })
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(input)?).map_err(D::Error::custom)
    }
}

impl Asked {
    /// What a request asks for. The error says what is wrong with the request.
    pub(crate) fn new(method: &Method, uri: &Uri) -> Result<Self, String> {
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("its scheme is neither http nor https".to_owned()),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let origin = Origin::new(is_https, authority).map_err(|problem| {
            let url = format!("http://{authority}");
            let shown = display::redact(&url);
            format!("`{}` {problem}", &shown["http://".len()..])
        })?;
        Ok(Self {
            method: method.clone(),
            origin,
            path: uri.path().to_owned(),
        })
    }

    /// What would have to be added to the policy so that the plugin may make this request.
    pub(crate) fn to_add(&self, plugin: &str, grants: &[HttpGrant]) -> String {
        let Self { method, origin, path } = self;
        if *method == Method::CONNECT {
            return "No grant covers CONNECT".to_owned();
        }
        if let Err(problem) = MethodName::try_from(method.to_string()) {
            return format!("No grant covers this method: {problem}");
        }
        let has: Vec<_> = grants.iter().filter(|grant| grant.is_for(origin)).collect();
        let has: Vec<_> = has.iter().map(ToString::to_string).collect();
        let (before, allow) = match has.is_empty() {
            true => (String::new(), "To allow it"),
            false => (format!("It has {}; ", has.join(", ")), "to allow this as well"),
        };
        match is_plain(path) {
            true => format!(
                "{before}{allow}, add to the policy: plugins: {{\"{plugin}\": {{http: [{}]}}}}",
                self.narrowest()
            ),
            false => format!(
                "{before}a grant with paths covers no path that has `.` or `..` for a part, or `\\`, `%2e`, `%2f`, `%5c` \
                 or `%25` in it: ask for the path as the server reads it"
            ),
        }
    }

    /// The grant that covers this request and no request with another method or path, as a policy has it.
    pub(crate) fn narrowest(&self) -> String {
        let Self { method, origin, path } = self;
        // A text of JSON is one of YAML, whatever is in it.
        let path = Value::from(path.as_str());
        let method = match method.as_str() {
            name if name.bytes().all(|byte| byte.is_ascii_uppercase()) => name.to_owned(),
            name => Value::from(name).to_string(),
        };
        format!("{{host: \"{origin}\", methods: [{method}], exact: [{path}]}}")
    }
}

impl TryFrom<String> for MethodName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_upper = !text.bytes().any(|byte| byte.is_ascii_lowercase());
        match Method::from_bytes(text.as_bytes()) {
            Ok(Method::CONNECT) => Err("`CONNECT` makes a tunnel, which cannot be granted".to_owned()),
            Ok(method) if is_upper => Ok(Self(method)),
            _ => Err(format!("`{text}` is no method: write it in capitals, as in GET")),
        }
    }
}

impl TryFrom<String> for PathStart {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_path = text.starts_with('/') && !text.contains(['?', '#', '*']) && is_plain(&text);
        match is_path {
            true => Ok(Self(text)),
            false => Err(format!(
                "`{text}` is no path: write how it begins, as in /v1/, with nothing like `..`, `*` or `?` in it"
            )),
        }
    }
}

impl TryFrom<String> for ExactPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.starts_with('/') && !text.contains(['?', '#']) && is_plain(&text) {
            true => Ok(Self(text)),
            false => Err(format!(
                "`{text}` is no path: write all of it, as in /v1/status, with nothing like `..` or `?` in it"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for HttpGrant {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = HttpGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a host, as in https://api.example.org, or {host, methods, paths, exact, private}",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<HttpGrant, E> {
                let origin = Origin::try_from(text.to_owned()).map_err(E::custom)?;
                Ok(HttpGrant {
                    origin,
                    methods: None,
                    paths: None,
                    exact: None,
                    private: Vec::new(),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HttpGrant, A::Error> {
                let entry = Entry::deserialize(MapAccessDeserializer::new(map))?;
                if entry.methods.as_ref().is_some_and(Vec::is_empty)
                    || entry.paths.as_ref().is_some_and(Vec::is_empty)
                    || entry.exact.as_ref().is_some_and(Vec::is_empty)
                {
                    return Err(A::Error::custom(
                        "an empty list allows nothing: leave it out to allow every method or path",
                    ));
                }
                Ok(HttpGrant {
                    origin: entry.host,
                    methods: entry
                        .methods
                        .map(|methods| methods.into_iter().map(|method| method.0).collect()),
                    paths: entry
                        .paths
                        .map(|paths| paths.into_iter().map(|path| path.0).collect()),
                    exact: entry
                        .exact
                        .map(|paths| paths.into_iter().map(|path| path.0).collect()),
                    private: entry.private,
                })
            }
        }

        input.deserialize_any(Reader)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.is_https {
            ("https", 443)
        } else {
            ("http", 80)
        };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]", self.host)?,
            false => write!(f, "{scheme}://{}", self.host)?,
        }
        match self.port == usual {
            true => Ok(()),
            false => write!(f, ":{}", self.port),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.origin, self.path)
    }
}

impl fmt::Display for HttpGrant {
    /// `GET, POST https://api.example.org/v1/ and /v2/ (exactly: /status) (private: 10.0.0.0/8)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |items: Vec<String>, between: &str| items.join(between);
        if let Some(methods) = &self.methods {
            write!(
                f,
                "{} ",
                listed(methods.iter().map(ToString::to_string).collect(), ", ")
            )?;
        }
        write!(f, "{}", self.origin)?;
        if let Some(paths) = &self.paths {
            f.write_str(&paths.join(" and "))?;
        }
        if let Some(exact) = &self.exact {
            write!(f, " (exactly: {})", exact.join(", "))?;
        }
        match self.private.is_empty() {
            true => Ok(()),
            false => write!(
                f,
                " (private: {})",
                listed(self.private.iter().map(ToString::to_string).collect(), ", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::CallLimits;

    fn grant(yaml: &str) -> HttpGrant {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn refusal(yaml: &str) -> String {
        serde_saphyr::from_str::<HttpGrant>(yaml).unwrap_err().to_string()
    }

    fn asked(method: &str, uri: &str) -> Asked {
        Asked::new(&method.parse().unwrap(), &uri.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_host_alone_covers_every_method_and_path_of_it() {
        let grant = grant("https://API.example.org");
        assert!(grant.covers(&asked("GET", "https://api.example.org/")));
        assert!(grant.covers(&asked("PURGE", "https://api.example.org:443/a?b")));
        for other in [
            "http://api.example.org/",
            "https://api.example.org:8443/",
            "https://example.org/",
            "https://api.example.org.evil.org/",
            "https://api.example.org./",
        ] {
            assert!(!grant.covers(&asked("GET", other)), "{other}");
        }
        assert!(!grant.covers(&asked("CONNECT", "https://api.example.org/")));
    }

    #[test]
    fn methods_and_paths_narrow_a_grant() {
        let grant = grant("{host: api.example.org, methods: [GET, HEAD], paths: [/v1/, /status]}");
        let covers = |method, path| grant.covers(&asked(method, &format!("https://api.example.org{path}")));
        for path in [
            "/v1/",
            "/v1/a/b?c=../d",
            "/status",
            "/status/all",
            "/v1/a..b",
            "/v1/a%20b",
        ] {
            assert!(covers("GET", path), "{path}");
        }
        assert!(covers("HEAD", "/v1/a") && !covers("POST", "/v1/a"));
        for path in [
            "/",
            "/v1",
            "/v10/",
            "/statuses",
            "/v1/../admin",
            "/v1/%2E%2e/admin",
            "/v1/..;x/admin",
            "/v1/a%2f..%2fadmin",
            "/v1/a%5c..",
            "/v1/%252e%252e/admin",
            "/v1/./a",
        ] {
            assert!(!covers("GET", path), "{path}");
        }
    }

    #[test]
    fn a_name_leads_to_no_private_address_that_its_grant_does_not_name() {
        let check = |grant: &HttpGrant, address: &str| grant.check(address.parse().unwrap());
        let name = grant("http://localhost:8080");
        assert_eq!(check(&name, "127.0.0.1"), Err("a loopback address"));
        assert_eq!(check(&name, "93.184.216.34"), Ok(()));
        let named = grant("{host: \"http://billing.internal\", private: [10.0.0.0/8, \"::1\"]}");
        assert!(check(&named, "10.9.8.7").is_ok() && check(&named, "::1").is_ok());
        assert_eq!(check(&named, "169.254.169.254"), Err("a link-local address"));
        let literal = grant("http://127.0.0.1:8080");
        assert!(check(&literal, "127.0.0.1").is_ok() && check(&literal, "127.0.0.2").is_err());
        assert!(check(&grant("http://[::1]"), "::1").is_ok());
    }

    #[test]
    fn a_grant_is_shown_in_one_line() {
        let shown = |yaml: &str| grant(yaml).to_string();
        assert_eq!(shown("api.example.org"), "https://api.example.org");
        assert_eq!(
            shown(
                "{host: \"http://[FD00::1]:81\", methods: [GET, POST], paths: [/a, /b/], private: [10.0.0.0/8]}"
            ),
            "GET, POST http://[fd00::1]:81/a and /b/ (private: 10.0.0.0/8)"
        );
    }

    #[test]
    fn what_would_be_wrong_in_a_grant_is_said_with_what_to_write() {
        for (yaml, said) in [
            ("ftp://a.org", "for http or https"),
            ("https://*.a.org", "name each"),
            ("https://a.org/v1?x", "{host: \"https://a.org\", paths: [\"/…\"]}"),
            ("https://me:hunter2@a.org", "`https://***@a.org` has a user in it"),
            ("{host: a.org, exact: [v1]}", "`v1` is no path"),
            ("{host: a.org, exact: []}", "an empty list allows nothing"),
            ("https://a.org:0", "no port from 1 to 65535"),
            ("https://a.org:70000", "no port from 1 to 65535"),
            ("https://", "is no host"),
            ("https://a b", "is no host"),
            ("[a]", "a host, as in https://api.example.org"),
            ("{host: a.org, methods: [get]}", "write it in capitals"),
            ("{host: a.org, methods: [CONNECT]}", "cannot be granted"),
            ("{host: a.org, methods: []}", "an empty list allows nothing"),
            ("{host: a.org, paths: [v1]}", "`v1` is no path"),
            ("{host: a.org, paths: [/a/../b]}", "is no path"),
            (
                "{host: a.org, private: [home]}",
                "`home` is no address or network",
            ),
        ] {
            let refusal = refusal(yaml);
            assert!(refusal.contains(said), "{yaml}: {refusal}");
        }
    }

    #[test]
    fn an_exact_path_covers_itself_alone() {
        let grant = grant("{host: a.org, exact: [/, /status], paths: [/v1/]}");
        let covers = |path: &str| grant.covers(&asked("GET", &format!("https://a.org{path}")));
        assert!(covers("/") && covers("/?a=b") && covers("/status") && covers("/v1/x"));
        assert!(!covers("/a") && !covers("/status/") && !covers("/statuses") && !covers("/v2/"));
        assert_eq!(grant.to_string(), "https://a.org/v1/ (exactly: /, /status)");
    }

    #[test]
    fn the_line_to_add_covers_the_request_and_no_other() {
        let grants = [
            vec![],
            vec![grant("{host: a.org, methods: [GET]}")],
            vec![
                grant("{host: a.org, paths: [/v1/]}"),
                grant("{host: a.org, exact: [/]}"),
            ],
        ];
        for (method, path) in [
            ("GET", "/"),
            ("DELETE", "/v1/x"),
            ("POST", "/v2/"),
            ("M-SEARCH", "/a'b\"c*{d}"),
        ] {
            let wanted = asked(method, &format!("https://a.org{path}?y=z"));
            for has in &grants {
                if has.iter().any(|grant| grant.covers(&wanted)) {
                    continue;
                }
                let line = wanted.to_add("shop", has);
                assert_eq!(line.starts_with("It has "), !has.is_empty(), "{line}");
                let (_, policy) = line.split_once("policy: ").unwrap();
                let policy = crate::Policy::parse(policy).unwrap();
                let own = CallLimits::of(&crate::HostSettings::default());
                let rules = policy.rules(&own).unwrap();
                let [added] = &*rules[0].grants.http else {
                    panic!("{line}")
                };
                assert!(added.covers(&wanted), "{line}");
                for other in ["/", "/v1/x", "/v1/x/", "/v1/x/y", "/v2/", "/v2/a", "/other"] {
                    let is_it = other == path;
                    assert_eq!(
                        added.covers(&asked(method, &format!("https://a.org{other}"))),
                        is_it,
                        "{line}"
                    );
                    assert!(
                        !added.covers(&asked("PUT", &format!("https://a.org{other}"))),
                        "{line}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_line_is_told_for_what_no_narrow_grant_covers() {
        let line = asked("GET", "https://a.org/a/%2e%2e/b").to_add("shop", &[]);
        assert!(
            line.contains("ask for the path as the server reads it") && !line.contains("plugins:"),
            "{line}"
        );
        let line = asked("get", "https://a.org/").to_add("shop", &[]);
        assert!(line.contains("write it in capitals"), "{line}");
    }

    #[test]
    fn a_password_in_a_request_is_not_told() {
        let refused = Asked::new(&Method::GET, &"https://me:hunter2@a.org/".parse().unwrap()).unwrap_err();
        assert_eq!(refused, "`***@a.org` has a user in it, which no grant covers");
    }
}
