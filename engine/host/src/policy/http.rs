//! Grants of HTTP requests.

use std::{fmt, net::IpAddr};

use http::{HeaderValue, Method, Uri, uri::Authority};
use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use heddle_display as display;

use super::address::{Network, not_public};

/// Requests to one host that a plugin may make.
#[derive(Clone, Debug)]
pub(crate) struct HttpGrant {
    origin: Origin,
    /// None: every method.
    methods: Option<Vec<Method>>,
    /// These paths and everything below them. Without these and `exact`: every path.
    paths: Option<Vec<String>>,
    /// Exactly these paths.
    exact: Option<Vec<String>>,
    /// Addresses that are not public and that the host's name may resolve to.
    private: Vec<Network>,
}

/// The scheme, host and port of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) is_https: bool,
    /// In lower case, an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The parts of a request that grants cover.
#[derive(Clone, Debug)]
pub(crate) struct RequestTarget {
    pub(crate) method: Method,
    pub(crate) origin: Origin,
    /// Without the query.
    pub(crate) path: String,
}

/// A grant in its long form; the short form is the host only.
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
    /// Whether the grant covers the request, apart from the address of the host.
    pub(crate) fn covers(&self, target: &RequestTarget) -> bool {
        let method = |methods: &Vec<Method>| methods.contains(&target.method);
        self.is_for(&target.origin)
            && target.method != Method::CONNECT
            && self.methods.as_ref().is_none_or(method)
            && self.covers_path(&target.path)
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

    /// Whether the grant is for some methods or paths only.
    pub(crate) fn is_limited(&self) -> bool {
        self.methods.is_some() || self.paths.is_some() || self.exact.is_some()
    }

    /// Whether the grant is for this host.
    pub(crate) fn is_for(&self, origin: &Origin) -> bool {
        self.origin == *origin
    }

    /// Checks whether a connection to this address of the host is allowed.
    ///
    /// # Errors
    /// The kind of the address.
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

/// Whether a path is at or below another path.
fn begins(path: &str, start: &str) -> bool {
    path.strip_prefix(start)
        .is_some_and(|rest| rest.is_empty() || start.ends_with('/') || rest.starts_with('/'))
}

/// Characters that some servers treat as `.`, `/`, `\\` or `%`: compatibility forms and lookalikes.
const LOOKALIKES: [char; 15] = [
    '\u{2024}', '\u{2025}', '\u{2026}', '\u{fe52}', '\u{ff0e}', // dots
    '\u{2044}', '\u{2215}', '\u{29f8}', '\u{ff0f}', // slashes
    '\u{2216}', '\u{29f5}', '\u{fe68}', '\u{ff3c}', // backslashes
    '\u{fe6a}', '\u{ff05}', // percent signs
];

/// Whether every server reads a path as it is written: it has no parts that lead up, no characters that some servers
/// treat as `/` or `.`, no early end, and no escapes that another decoding changes.
fn is_plain(path: &str) -> bool {
    let Some(decoded) = decoded(path) else {
        return false;
    };
    let is_odd = |c: char| c.is_control() || c == '\\' || LOOKALIKES.contains(&c);
    // A part that consists of dots leads up, even with parameters or spaces behind it.
    let leads_up = |part: &str| {
        let name = part.split(';').next().unwrap_or_default().trim();
        !name.is_empty() && name.bytes().all(|byte| byte == b'.')
    };
    !decoded.contains(is_odd) && !path.contains("//") && !decoded.split('/').any(leads_up)
}

/// A path with its escapes decoded; none if an escape is invalid, stands for `/`, `\\`, `.` or `%`, or if the result
/// is not UTF-8, which includes overlong encodings.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let byte = u8::try_from(digit()? * 16 + digit()?).ok()?;
        if b"/\\.%".contains(&byte) {
            return None;
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

impl Origin {
    /// The host as an address, if it is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The value of the `host` header: the host, and the port unless it is the default.
    pub(crate) fn header(&self) -> HeaderValue {
        let text = self.to_string();
        let (_, host) = text.split_once("://").expect("an origin has a scheme");
        HeaderValue::try_from(host).expect("every character of a host is valid in a header")
    }

    fn new(is_https: bool, authority: &str) -> Result<Self, &'static str> {
        let read: Authority = authority.parse().map_err(|_| "is not a valid host")?;
        let name = read.host();
        if authority.contains('@') {
            return Err("has a user name, which no grant covers");
        }
        // Everything after the name is the port, so an invalid port is not ignored.
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
            false => Err("is not a valid host"),
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", &text));
        // Errors must not show a password.
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
                "`{shown}` has more than a host: write {{host: \"{scheme}://{}\", paths: [\"/…\"]}}",
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

impl RequestTarget {
    /// The target of a request.
    ///
    /// # Errors
    /// What is wrong with the request.
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

    /// What to add to the policy so that the plugin may make this request.
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
                "{before}a grant with paths covers no path that servers may read in two ways: with `.`, `..` or \
                 nothing for a \
                 part, with `\\` in it, or with an escape of `.`, `/`, `\\`, `%`, a control character or what is not UTF-8. \
                 Ask for the path as the server reads it"
            ),
        }
    }

    /// The narrowest grant that covers this request, as a policy entry.
    pub(crate) fn narrowest(&self) -> String {
        let Self { method, origin, path } = self;
        // JSON strings are valid YAML.
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
            _ => Err(format!(
                "`{text}` is not a valid method: write it in capitals, as in GET"
            )),
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
                "`{text}` is not a valid path: write how it begins, as in /v1/, with nothing like `..`, `*` or `?` \
                 in it"
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
                "`{text}` is not a valid path: write all of it, as in /v1/status, with nothing like `..` or `?` in it"
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

impl fmt::Display for RequestTarget {
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
mod tests;
