//! The options of a server and the connection to it: the URL, the token, the headers and the trusted certificates.
//!
//! Neither errors nor help texts contain the token, the value of a header or the password of a URL.

use std::{cell::OnceCell, net::Ipv6Addr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use clap::Args;
use heddle_display as display;
use percent_encoding::percent_decode_str;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use ureq::{
    Agent, RequestBuilder,
    http::{HeaderName, HeaderValue, Uri, header},
    tls::{Certificate, RootCerts, TlsConfig},
    typestate::{WithBody, WithoutBody},
};
use url::{Host, Url};

use crate::{Usage, output};

/// The default of `--server`.
const DEFAULT_URL: &str = "http://127.0.0.1:8000";
/// The time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers that the command itself sets.
const OWN_HEADERS: [HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
];
/// The environment variables of the options.
const VARIABLES: [(&str, &str); 4] = [
    ("--server", "HEDDLE_SERVER"),
    ("--token", "HEDDLE_TOKEN"),
    ("--header", "HEDDLE_HEADERS"),
    ("--ca-cert", "HEDDLE_CA_CERT"),
];
/// The heading of these options in help texts.
const HEADING: &str = "Server options";

/// The ids of these options and their flags.
pub(crate) const OPTIONS: [(&str, &str); 4] = [
    ("url", "--server"),
    ("token", "--token"),
    ("headers", "--header"),
    ("ca_cert", "--ca-cert"),
];

// The options of every command that connects to a server. They are also accepted before the command. No doc comment,
// because clap would use it as the description of each command.
#[derive(Args, Default)]
pub(crate) struct Server {
    /// The URL of the server, with the path prefix of a proxy if there is one; the default scheme is http://
    #[arg(
        long = "server",
        value_name = "URL",
        env = "HEDDLE_SERVER",
        hide_env_values = true,
        default_value = DEFAULT_URL,
        global = true,
        help_heading = HEADING
    )]
    url: String,
    /// A bearer token to send with every request. Other users of this machine can see arguments: prefer the variable
    #[arg(
        long,
        value_name = "TOKEN",
        env = "HEDDLE_TOKEN",
        hide_env_values = true,
        global = true,
        help_heading = HEADING
    )]
    token: Option<String>,
    /// A header to send with every request, as in 'X-Api-Key: abc', or @FILE with one header per line; repeatable
    #[arg(
        long = "header",
        value_name = "NAME: VALUE",
        env = "HEDDLE_HEADERS",
        hide_env_values = true,
        global = true,
        help_heading = HEADING
    )]
    headers: Vec<String>,
    /// A PEM file with the certificate authorities to trust for https:// [default: those of the machine]
    #[arg(
        long,
        value_name = "FILE",
        env = "HEDDLE_CA_CERT",
        global = true,
        help_heading = HEADING
    )]
    ca_cert: Option<PathBuf>,
    #[arg(skip)]
    connection: OnceCell<Connection>,
}

/// A connection to the server.
pub(crate) struct Connection {
    agent: Agent,
    /// The URL without a user and without a trailing `/`.
    base: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Texts that must not be printed even if the server sends them back.
    secrets: Vec<String>,
}

impl Server {
    /// The connection to the server, which is prepared once.
    ///
    /// # Errors
    /// If one of the options is wrong.
    pub(crate) fn connection(&self) -> anyhow::Result<&Connection> {
        if let Some(connection) = self.connection.get() {
            return Ok(connection);
        }
        let connection = self.connect()?;
        Ok(self.connection.get_or_init(|| connection))
    }

    fn connect(&self) -> anyhow::Result<Connection> {
        let mut address = Address::parse(&self.url)?;
        let mut secrets: Vec<String> = address.password.take().into_iter().collect();
        let mut headers = Vec::new();
        for given in &self.headers {
            for line in header_lines(given)? {
                headers.push(parse_header(source("--header", Some(given)), &line)?);
            }
        }
        let mut authorization = headers
            .iter()
            .any(|(name, _)| name == header::AUTHORIZATION)
            .then(|| source("--header", self.headers.first().map(String::as_str)));
        let token = self
            .token
            .as_deref()
            .map(str::trim)
            .filter(|token| !token.is_empty());
        let ways = [
            (
                source("--token", self.token.as_deref()),
                token.map(|token| format!("Bearer {token}")),
            ),
            (
                match source("--server", Some(&self.url)) {
                    "--server" => "the user in --server",
                    _ => "the user in HEDDLE_SERVER",
                },
                address.basic.take(),
            ),
        ];
        for (way, value) in ways {
            let Some(value) = value else { continue };
            if let Some(other) = authorization.replace(way) {
                return Err(Usage::error(format!(
                    "{other} and {way} both contain credentials: give one of them"
                )));
            }
            let value = HeaderValue::from_str(&value).map_err(|_| {
                Usage::error(format!("{way} has a character that is not allowed in a header"))
            })?;
            headers.push((header::AUTHORIZATION, value));
        }
        for value in headers.iter().filter_map(|(_, value)| value.to_str().ok()) {
            // Both `Bearer abc` and `abc` are secrets.
            let last = value.rsplit(' ').next().unwrap_or_default();
            secrets.extend([value.to_owned(), last.to_owned()]);
        }
        for (_, value) in &mut headers {
            value.set_sensitive(true);
        }
        if authorization.is_some() && !address.is_https && !address.is_loopback {
            output::warning(format_args!(
                "the connection to {} is not encrypted, so others may read the credentials: prefer https://",
                address.base
            ));
        }
        // A short value would match unrelated text.
        secrets.retain(|secret| secret.len() >= 6);
        Ok(Connection {
            agent: self.agent(&address)?,
            base: address.base,
            headers,
            secrets,
        })
    }

    fn agent(&self, address: &Address) -> anyhow::Result<Agent> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect may lead to another server, which must not get the headers.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("heddle/", env!("CARGO_PKG_VERSION")));
        if address.is_loopback {
            config = config.proxy(None);
        }
        if address.is_https {
            let tls = TlsConfig::builder()
                .root_certs(self.authorities()?)
                .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
            config = config.tls_config(tls.build());
        }
        Ok(config.build().into())
    }

    /// The certificate authorities to trust.
    fn authorities(&self) -> anyhow::Result<RootCerts> {
        let certificates: Vec<CertificateDer<'static>> = match &self.ca_cert {
            Some(file) => {
                let way = source("--ca-cert", file.to_str());
                let failed = || format!("cannot read the certificates in {} ({way})", output::path(file));
                let found = CertificateDer::pem_file_iter(file).with_context(failed)?;
                found.collect::<Result<_, _>>().with_context(failed)?
            }
            None => rustls_native_certs::load_native_certs().certs,
        };
        match (&self.ca_cert, certificates.is_empty()) {
            (Some(file), true) => {
                let file = output::path(file);
                return Err(Usage::error(format!(
                    "{file} contains no certificate: --ca-cert expects a PEM file"
                )));
            }
            (None, true) => {
                bail!("this machine has no trusted certificate authorities: name a PEM file with --ca-cert")
            }
            (_, false) => {}
        }
        let owned = |certificate: CertificateDer<'static>| Certificate::from_der(&certificate).to_owned();
        Ok(certificates.into_iter().map(owned).collect::<Vec<_>>().into())
    }
}

impl Connection {
    /// The URL of the server, without user and password.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// Whether the URL of the server has a path.
    pub(crate) fn has_path(&self) -> bool {
        let rest = self.base.split_once("://").map_or(&*self.base, |(_, rest)| rest);
        rest.contains('/')
    }

    /// The proxy for requests to the server, without user and password.
    pub(crate) fn proxy(&self) -> Option<String> {
        let proxy = self.agent.config().proxy()?;
        let is_passed_by = self.base.parse::<Uri>().is_ok_and(|url| proxy.is_no_proxy(&url));
        (!is_passed_by).then(|| format!("{}:{}", proxy.host(), proxy.port()))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder<WithoutBody> {
        self.with_headers(self.agent.get(format!("{}{path}", self.base)))
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder<WithoutBody> {
        self.with_headers(self.agent.delete(format!("{}{path}", self.base)))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder<WithBody> {
        self.with_headers(self.agent.post(format!("{}{path}", self.base)))
    }

    fn with_headers<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        let headers = self.headers.iter();
        headers.fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Masks the token, passwords and headers in a text that the server sent.
    pub(crate) fn masked(&self, text: &str) -> String {
        let masked = |text: String, secret: &String| text.replace(secret, "***");
        self.secrets.iter().fold(text.to_owned(), masked)
    }
}

/// The parsed value of `--server`.
struct Address {
    /// The URL without a user and without a trailing `/`.
    base: String,
    is_https: bool,
    is_loopback: bool,
    /// The value of `Authorization` for the user and password of the URL.
    basic: Option<String>,
    password: Option<String>,
}

impl Address {
    /// Parses `http://HOST:PORT/BASE`, `https://…` or `HOST:PORT`.
    fn parse(given: &str) -> anyhow::Result<Self> {
        let way = source("--server", Some(given));
        let text = match given.trim() {
            "" => DEFAULT_URL,
            text => text,
        };
        let with_scheme = match text.parse::<Ipv6Addr>() {
            Ok(address) => format!("http://[{address}]"),
            Err(_) if text.contains("://") => text.to_owned(),
            Err(_) => format!("http://{text}"),
        };
        // Invalid text is shown only if it cannot contain a password.
        let shown = match text.contains('@') {
            true => String::new(),
            false => format!(" {}", display::line(&display::redact(text))),
        };
        let wrong = |problem: &str| {
            Usage::error(format!(
                "{way}{shown}: {problem}; expected a URL, as in https://heddle.example.org or 127.0.0.1:8000"
            ))
        };
        let url = Url::parse(&with_scheme).map_err(|error| wrong(&error.to_string()))?;
        let is_https = match url.scheme() {
            "http" => false,
            "https" => true,
            scheme => return Err(wrong(&format!("the scheme {scheme} is neither http nor https"))),
        };
        let Some(host) = url.host() else {
            return Err(wrong("it has no host"));
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it has a query or a fragment"));
        }
        let is_loopback = match host {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.to_canonical().is_loopback(),
        };
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let base = format!("{}://{host}{port}{}", url.scheme(), url.path());
        let decoded = |text| match percent_decode_str(text).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(wrong("its user is not valid UTF-8")),
        };
        let password = url.password().map(decoded).transpose()?;
        let user = decoded(url.username())?;
        let basic = match (&*user, &password) {
            ("", None) => None,
            (user, password) => {
                let pair = format!("{user}:{}", password.as_deref().unwrap_or_default());
                Some(format!("Basic {}", BASE64.encode(pair)))
            }
        };
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            is_https,
            is_loopback,
            basic,
            password: password.or((!user.is_empty()).then_some(user)),
        })
    }
}

/// The headers of an argument: the argument itself, or the lines of the file that it names.
fn header_lines(given: &str) -> anyhow::Result<Vec<String>> {
    let text = match given.trim().strip_prefix('@') {
        Some(file) => {
            let way = source("--header", Some(given));
            std::fs::read_to_string(file).with_context(|| format!("cannot read {file} ({way})"))?
        }
        // The variable has one header per line. A line break in an argument is refused as a part of the value.
        None if source("--header", Some(given)) == "--header" => return Ok(vec![given.trim().to_owned()]),
        None => given.to_owned(),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// The name of an option in messages: its environment variable if the value comes from there, otherwise its flag.
fn source(flag: &'static str, given: Option<&str>) -> &'static str {
    let variable = VARIABLES.iter().find(|(known, _)| *known == flag);
    let is_in = |(_, variable): &&(&str, &str)| {
        let value = std::env::var(variable).unwrap_or_default();
        // A variable has several values on separate lines.
        given.is_some_and(|given| value == given || value.split('\n').any(|line| line == given))
    };
    variable.filter(is_in).map_or(flag, |(_, variable)| variable)
}

/// Parses `Name: value`. The error does not contain the value.
fn parse_header(way: &str, text: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let Some((name, value)) = text.split_once(':') else {
        return Err(Usage::error(format!(
            "{way}: expected 'NAME: VALUE', as in 'X-Api-Key: abc'"
        )));
    };
    let Ok(name) = name.trim().parse::<HeaderName>() else {
        return Err(Usage::error(format!(
            "{way}: the text before the `:` is not a valid header name"
        )));
    };
    if OWN_HEADERS.contains(&name) {
        return Err(Usage::error(format!(
            "{way}: `{name}` is set by the command itself and cannot be given"
        )));
    }
    match HeaderValue::from_str(value.trim()) {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(Usage::error(format!(
            "{way}: the value of `{name}` has a character that is not allowed in a header"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(given: &str) -> String {
        Address::parse(given).unwrap().base
    }

    fn server(url: &str, token: Option<&str>, headers: &[&str]) -> Server {
        Server {
            url: url.to_owned(),
            token: token.map(str::to_owned),
            headers: headers.iter().map(|header| (*header).to_owned()).collect(),
            ..Server::default()
        }
    }

    fn refusal(server: &Server) -> String {
        match server.connection() {
            Ok(_) => panic!("it is taken"),
            Err(error) => {
                assert!(error.is::<Usage>(), "{error}");
                format!("{error:#}")
            }
        }
    }

    #[test]
    fn a_server_is_named_in_every_usual_way() {
        for (given, expected) in [
            ("localhost:8000", "http://localhost:8000"),
            ("127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("[::1]:8000", "http://[::1]:8000"),
            ("::1", "http://[::1]"),
            ("heddle.example.org", "http://heddle.example.org"),
            ("HTTP://Heddle.Example.org:80/", "http://heddle.example.org"),
            ("https://heddle.example.org:443", "https://heddle.example.org"),
            ("https://host/heddle", "https://host/heddle"),
            ("https://host/heddle/", "https://host/heddle"),
            ("host:8443/a/b//", "http://host:8443/a/b"),
            ("http://[::1]:8000/", "http://[::1]:8000"),
            (" http://host \n", "http://host"),
            ("https://me:pw@host:1/x/", "https://host:1/x"),
            ("", DEFAULT_URL),
        ] {
            assert_eq!(base(given), expected, "{given:?}");
        }
    }

    #[test]
    fn an_invalid_url_is_wrong_usage_and_shows_no_password() {
        for (given, problem) in [
            ("ftp://host", "neither http nor https"),
            ("http://", "empty host"),
            ("http://host:99999", "invalid port"),
            ("http://host/?a=b", "a query"),
            ("http://me:hunter2@host:port", "invalid port"),
            ("me:hun/ter2@host", "invalid port"),
        ] {
            let refusal = refusal(&server(given, None, &[]));
            assert!(refusal.contains(problem), "{given}: {refusal}");
            assert!(
                !refusal.contains("hunter2") && !refusal.contains("hun/"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn credentials_are_sent_in_one_way() {
        let sent = |server: &Server| {
            let connection = server.connection().unwrap();
            let of_header = connection.headers.iter().map(|(name, value)| {
                assert!(value.is_sensitive());
                format!("{name}: {}", value.to_str().unwrap())
            });
            of_header.collect::<Vec<_>>()
        };
        assert_eq!(
            sent(&server("localhost:1", Some(" abc\n"), &[])),
            ["authorization: Bearer abc"]
        );
        assert_eq!(
            sent(&server("http://me:p%40ss@localhost", None, &["X-Key:  a:b "])),
            ["x-key: a:b", "authorization: Basic bWU6cEBzcw=="]
        );
        assert!(refusal(&server("http://me:pw@localhost", Some("abc"), &[])).contains("give one of them"));
        assert!(
            refusal(&server("localhost", Some("abc"), &["Authorization: Basic x"]))
                .contains("--header and --token")
        );
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_wrong_usage_and_stays_hidden() {
        for (header, problem) in [
            ("hunter2", "expected 'NAME: VALUE'"),
            ("X Key: hunter2", "not a valid header name"),
            ("X-Key: hunter2\u{1}", "the value of `x-key`"),
            ("Content-Type: hunter2", "by the command itself"),
        ] {
            let refusal = refusal(&server("localhost", None, &[header]));
            assert!(
                refusal.contains(problem) && !refusal.contains("hunter2"),
                "{refusal}"
            );
        }
        assert!(!refusal(&server("localhost", Some("hunter2\u{7f}"), &[])).contains("hunter2"));
    }

    #[test]
    fn secrets_that_a_server_sends_back_are_masked() {
        let server = server("http://me:hunter22@localhost", None, &["X-Key: sesame"]);
        let masked = server
            .connection()
            .unwrap()
            .masked("hunter22 and sesame, but not me");
        assert_eq!(masked, "*** and ***, but not me");
    }
}
