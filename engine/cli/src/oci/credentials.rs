//! Finds the credentials for a registry: in environment variables, otherwise in Docker's configuration file.
//!
//! Credentials belong to one registry, identified by host and port, and are used for no other. They are never sent over
//! plain HTTP.

use std::{env::VarError, fmt, net::IpAddr, path::PathBuf};

use anyhow::{Context, bail};
use heddle_display as display;
use reqwest::Url;
use serde_json::Value;

use crate::output;

/// The variables with the user and the password.
pub(crate) const USER: &str = "HEDDLE_OCI_USER";
pub(crate) const PASSWORD: &str = "HEDDLE_OCI_PASSWORD";
/// The variable with the registries that the user is for, and further token servers that may get the credentials:
/// `HOST[:PORT]`, separated by commas.
pub(crate) const REGISTRY: &str = "HEDDLE_OCI_REGISTRY";

/// The credentials for a registry, and where they were found.
pub(crate) struct Credentials {
    /// The user and the password.
    user_and_password: Option<(String, String)>,
    source: Source,
    /// The registry that they are for.
    registry: Site,
    /// Further hosts that may get them.
    also_for: Vec<Site>,
}

enum Source {
    None,
    Environment,
    File(PathBuf),
    /// There are credentials, but they are not used over plain HTTP.
    Withheld,
}

impl Credentials {
    /// Finds the credentials for a registry, if there are any. With `plain_http`, they are not used.
    ///
    /// # Errors
    /// If the user or the password is missing, or a file cannot be read.
    pub(crate) fn of(registry: &str, plain_http: bool) -> anyhow::Result<Self> {
        let registry = Site::named(registry);
        let listed = variable(REGISTRY)?.unwrap_or_default();
        let also_for: Vec<Site> = listed
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(Site::named)
            .collect();
        let (user_and_password, source) = match Self::find(&registry, &also_for)? {
            Some(_) if plain_http => (None, Source::Withheld),
            Some((user_and_password, source)) => (Some(user_and_password), source),
            None => (None, Source::None),
        };
        Ok(Self {
            user_and_password,
            source,
            registry,
            also_for,
        })
    }

    fn find(registry: &Site, also_for: &[Site]) -> anyhow::Result<Option<((String, String), Source)>> {
        match (variable(USER)?, variable(PASSWORD)?) {
            (Some(_), Some(_)) if also_for.is_empty() => bail!(
                "{USER} and {PASSWORD} are set, but {REGISTRY} is not: it names the registry that they are for, as in \
                 {REGISTRY}={registry}"
            ),
            (Some(user), Some(password)) if also_for.contains(registry) => {
                return Ok(Some(((user, password), Source::Environment)));
            }
            (None, None) | (Some(_), Some(_)) => {}
            _ => bail!("only one of {USER} and {PASSWORD} is set: set both or neither"),
        }
        let Some(file) = docker_file() else {
            return Ok(None);
        };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", output::path(&file)));
            }
        };
        let user_and_password = read_docker_file(&text, registry)
            .with_context(|| format!("the credentials in {} cannot be read", output::path(&file)))?;
        Ok(user_and_password.map(|user_and_password| (user_and_password, Source::File(file))))
    }

    /// The user and the password.
    pub(crate) fn user_and_password(&self) -> Option<(&str, &str)> {
        let (user, password) = self.user_and_password.as_ref()?;
        Some((user, password))
    }

    /// Whether the credentials may be sent to a host: the registry, a host of its domain, or one that [`REGISTRY`] lists.
    pub(crate) fn may_be_sent_to(&self, site: &Site) -> bool {
        *site == self.registry || site.is_of_domain(&self.registry) || self.also_for.contains(site)
    }

    /// Advice for a registry that refuses these credentials.
    pub(crate) fn advice(&self) -> String {
        match &self.source {
            Source::None => format!(
                "sign in with {USER}, {PASSWORD} and {REGISTRY}, or with `docker login` (credential helpers are not used)"
            ),
            Source::Environment => format!("check {USER} and {PASSWORD}, and the permissions of the user"),
            Source::File(file) => format!(
                "check the credentials in {}, and the permissions of the user",
                output::path(file)
            ),
            Source::Withheld => {
                "there are credentials for it, but they are sent over TLS only: omit --plain-http".to_owned()
            }
        }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user_and_password {
            Some((user, _)) => write!(f, "the user `{}`", display::line(user)),
            None => f.write_str("anonymous users"),
        }
    }
}

/// A host and port that is used over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    host: String,
    port: u16,
}

/// The port of HTTPS.
const TLS_PORT: u16 = 443;

impl Site {
    /// Parses `HOST[:PORT]`. Also accepts a URL with a path and the other names of Docker Hub, as Docker writes them.
    fn named(name: &str) -> Self {
        let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
        let site = rest.split('/').next().unwrap_or_default();
        let port = site
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = match port {
            // The last colon of an IPv6 address without brackets does not begin a port.
            Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, port),
            _ => (site, TLS_PORT),
        };
        let host = host.to_ascii_lowercase();
        let host = match host.as_str() {
            "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
            _ => host,
        };
        Self { host, port }
    }

    /// The host of a URL; none if the URL does not use TLS or contains a user.
    pub(crate) fn of_url(url: &Url) -> Option<Self> {
        let is_plain = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
        let site = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        is_plain.then(|| Self::named(&site))
    }

    /// Whether this host is in the registry's domain, as `auth.docker.io` is for `docker.io`, and `gitlab.com` for
    /// `registry.gitlab.com`.
    fn is_of_domain(&self, registry: &Self) -> bool {
        let is_address = |host: &str| host.starts_with('[') || host.parse::<IpAddr>().is_ok();
        if self.port != TLS_PORT || registry.port != TLS_PORT || is_address(&registry.host) {
            return false;
        }
        let parent = registry.host.split_once('.').map_or("", |(_, parent)| parent);
        let domain = match parent.contains('.') {
            true => parent,
            false => &registry.host,
        };
        let within = self.host.strip_suffix(domain);
        within.is_some_and(|name| name.is_empty() || name.ends_with('.')) && domain.contains('.')
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            TLS_PORT => Ok(()),
            port => write!(f, ":{port}"),
        }
    }
}

fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => bail!("{name} is not valid UTF-8"),
    }
}

/// The file in which `docker login` stores credentials.
fn docker_file() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json"))
}

/// Reads the credentials for a registry from Docker's file: `auths` has, by registry, `user:password` in base64 as `auth`.
fn read_docker_file(text: &str, registry: &Site) -> anyhow::Result<Option<(String, String)>> {
    let config: Value = serde_json::from_str(text)?;
    let auths = config["auths"].as_object().into_iter().flatten();
    let mut of_registry = auths.filter(|(name, _)| Site::named(name) == *registry);
    let Some(encoded) = of_registry.find_map(|(_, entry)| entry["auth"].as_str()) else {
        return Ok(None);
    };
    let decoded = base64(encoded).and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.with_context(|| format!("the `auth` of {registry} is not text in base64"))?;
    let pair = decoded.split_once(':');
    let (user, password) =
        pair.with_context(|| format!("the `auth` of {registry} does not have the form user:password"))?;
    Ok(Some((user.to_owned(), password.to_owned())))
}

/// Decodes base64 (RFC 4648, 4), with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        assert_eq!(
            base64("aGVkZGxlOnNlY3JldA==").as_deref(),
            Some(&b"heddle:secret"[..])
        );
        assert_eq!(base64("/+8").as_deref(), Some(&b"\xff\xef"[..]));
        assert_eq!(base64("").as_deref(), Some(&b""[..]));
        assert_eq!(base64("a b"), None);
    }

    #[test]
    fn dockers_file_has_credentials_by_registry() {
        let text = r#"{"auths": {
            "ghcr.io": {"auth": "YTpi"},
            "https://index.docker.io/v1/": {"auth": "YzpkOmU="},
            "localhost:5000": {},
            "odd.example": {"auth": "!"}}}"#;
        let of = |registry: &str| read_docker_file(text, &Site::named(registry));
        let user_and_password = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of("ghcr.io").unwrap(), user_and_password("a", "b"));
        assert_eq!(of("index.docker.io").unwrap(), user_and_password("c", "d:e"));
        assert_eq!(of("localhost:5000").unwrap(), None);
        assert_eq!(of("quay.io").unwrap(), None);
        assert!(of("odd.example").is_err());
        assert_eq!(of("ghcr.io:443").unwrap(), user_and_password("a", "b"));
        assert_eq!(
            of("ghcr.io:5000").unwrap(),
            None,
            "another port is another registry"
        );
        assert!(read_docker_file("{", &Site::named("ghcr.io")).is_err());
    }

    #[test]
    fn credentials_are_sent_to_the_registry_and_its_domain_over_tls_only() {
        let may_go = |registry: &str, url: &str| {
            let credentials = Credentials {
                user_and_password: None,
                source: Source::None,
                registry: Site::named(registry),
                also_for: vec![Site::named("tokens.example.org")],
            };
            let site = Site::of_url(&url.parse().unwrap());
            site.is_some_and(|site| credentials.may_be_sent_to(&site))
        };
        for (registry, url) in [
            ("ghcr.io", "https://ghcr.io/token"),
            ("localhost:5000", "https://localhost:5000/token"),
            ("registry-1.docker.io", "https://auth.docker.io/token"),
            ("registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("acme.azurecr.io", "https://acme.azurecr.io/oauth2/token"),
            ("quay.io", "https://tokens.example.org/token"),
            ("[::1]:5000", "https://[::1]:5000/token"),
        ] {
            assert!(may_go(registry, url), "{registry}: {url}");
        }
        for (registry, url) in [
            ("ghcr.io", "http://ghcr.io/token"),
            ("ghcr.io", "https://ghcr.io:8443/token"),
            ("ghcr.io", "https://evil.org/token"),
            ("ghcr.io", "https://ghcr.io.evil.org/token"),
            ("ghcr.io", "https://evilghcr.io/token"),
            ("ghcr.io", "https://me@ghcr.io/token"),
            ("ghcr.io", "https://io/token"),
            ("localhost:5000", "https://localhost:5001/token"),
            ("localhost:5000", "http://localhost:5000/token"),
            ("127.0.0.1", "https://1.0.0.1/token"),
            ("registry.gitlab.com", "https://evilgitlab.com/token"),
        ] {
            assert!(!may_go(registry, url), "{registry}: {url}");
        }
    }
}
