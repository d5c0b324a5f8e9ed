//! Who one is to a registry: the environment says, else Docker's own file of credentials.
//!
//! Credentials belong to a registry, by its host and port, and are used for no other. Over plain HTTP none are used.

use std::{env::VarError, fmt, net::IpAddr, path::PathBuf};

use anyhow::{Context, bail};
use heddle_display as display;
use reqwest::Url;
use serde_json::Value;

use crate::output;

/// The variables that name a user.
pub(crate) const USER: &str = "HEDDLE_OCI_USER";
pub(crate) const PASSWORD: &str = "HEDDLE_OCI_PASSWORD";
/// The variable with the registries that the user is for, and the servers of tokens that they may name: `HOST[:PORT]`,
/// with commas between them.
pub(crate) const REGISTRY: &str = "HEDDLE_OCI_REGISTRY";

/// Who one is to a registry, and where that was found.
pub(crate) struct Credentials {
    /// The user and the password.
    basic: Option<(String, String)>,
    found: Found,
    /// What they are for.
    registry: Site,
    /// What they may go to besides.
    others: Vec<Site>,
}

enum Found {
    Nowhere,
    InEnvironment,
    InFile(PathBuf),
    /// They are not used, since the registry is reached over plain HTTP.
    Withheld,
}

impl Credentials {
    /// Finds who one is to a registry: nobody, where nothing says otherwise. With `plain_http`, whatever is found is not
    /// used.
    ///
    /// # Errors
    /// Where half of it is missing, or a file cannot be read.
    pub(crate) fn of(registry: &str, plain_http: bool) -> anyhow::Result<Self> {
        let registry = Site::named(registry);
        let listed = variable(REGISTRY)?.unwrap_or_default();
        let others: Vec<Site> = listed
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(Site::named)
            .collect();
        let (basic, found) = match Self::find(&registry, &others)? {
            Some(_) if plain_http => (None, Found::Withheld),
            Some((basic, found)) => (Some(basic), found),
            None => (None, Found::Nowhere),
        };
        Ok(Self {
            basic,
            found,
            registry,
            others,
        })
    }

    fn find(registry: &Site, others: &[Site]) -> anyhow::Result<Option<((String, String), Found)>> {
        match (variable(USER)?, variable(PASSWORD)?) {
            (Some(_), Some(_)) if others.is_empty() => bail!(
                "{USER} and {PASSWORD} are set, and {REGISTRY} does not say which registry they are for: set it, as in \
                 {REGISTRY}={registry}"
            ),
            (Some(user), Some(password)) if others.contains(registry) => {
                return Ok(Some(((user, password), Found::InEnvironment)));
            }
            (None, None) | (Some(_), Some(_)) => {}
            _ => bail!("of {USER} and {PASSWORD}, one is set: set both, or none"),
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
        let basic = in_docker_file(&text, registry)
            .with_context(|| format!("the credentials in {} cannot be read", output::path(&file)))?;
        Ok(basic.map(|basic| (basic, Found::InFile(file))))
    }

    /// The user and the password.
    pub(crate) fn basic(&self) -> Option<(&str, &str)> {
        let (user, password) = self.basic.as_ref()?;
        Some((user, password))
    }

    /// Whether they may be sent there: to the registry, to a host of its domain, or to what [`REGISTRY`] lists.
    pub(crate) fn may_go_to(&self, site: &Site) -> bool {
        *site == self.registry || site.is_of_domain(&self.registry) || self.others.contains(site)
    }

    /// What to do where they are not enough.
    pub(crate) fn advice(&self) -> String {
        match &self.found {
            Found::Nowhere => format!(
                "sign in by {USER}, {PASSWORD} and {REGISTRY}, or by `docker login` (its credential helpers are not asked)"
            ),
            Found::InEnvironment => format!("are {USER} and {PASSWORD} right, and is the user allowed to?"),
            Found::InFile(file) => format!(
                "are the credentials in {} right, and is the user allowed to?",
                output::path(file)
            ),
            Found::Withheld => {
                "there are credentials for it, and they are sent over TLS only: leave --plain-http out"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.basic {
            Some((user, _)) => write!(f, "the user `{}`", display::line(user)),
            None => f.write_str("just anybody"),
        }
    }
}

/// A host and port that is reached over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    host: String,
    port: u16,
}

/// The port of HTTPS.
const TLS_PORT: u16 = 443;

impl Site {
    /// What `HOST[:PORT]` names. Docker writes it as an address with a path at times, and its own under three names.
    fn named(name: &str) -> Self {
        let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
        let site = rest.split('/').next().unwrap_or_default();
        let port = site
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = match port {
            // The last colon of an IPv6 address without brackets begins no port.
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

    /// Where a URL leads; none where that is not over TLS.
    pub(crate) fn of_url(url: &Url) -> Option<Self> {
        let is_plain = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
        let site = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        is_plain.then(|| Self::named(&site))
    }

    /// Whether it is a host of the registry's domain, as `auth.docker.io` and `gitlab.com` are of `docker.io`'s and
    /// `registry.gitlab.com`'s.
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
        Err(VarError::NotUnicode(_)) => bail!("{name} is no text"),
    }
}

/// Where `docker login` and its like keep credentials.
fn docker_file() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json"))
}

/// What Docker's file says of a registry: `auths` has, by registry, `user:password` in base64 as `auth`.
fn in_docker_file(text: &str, registry: &Site) -> anyhow::Result<Option<(String, String)>> {
    let config: Value = serde_json::from_str(text)?;
    let auths = config["auths"].as_object().into_iter().flatten();
    let mut of_registry = auths.filter(|(name, _)| Site::named(name) == *registry);
    let Some(encoded) = of_registry.find_map(|(_, entry)| entry["auth"].as_str()) else {
        return Ok(None);
    };
    let decoded = base64(encoded).and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.with_context(|| format!("the `auth` of {registry} is no text in base64"))?;
    let pair = decoded.split_once(':');
    let (user, password) =
        pair.with_context(|| format!("the `auth` of {registry} is not of the form user:password"))?;
    Ok(Some((user.to_owned(), password.to_owned())))
}

/// Reads base64 (RFC 4648, 4), with or without its padding.
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
    fn docker_s_file_says_who_one_is_to_a_registry() {
        let text = r#"{"auths": {
            "ghcr.io": {"auth": "YTpi"},
            "https://index.docker.io/v1/": {"auth": "YzpkOmU="},
            "localhost:5000": {},
            "odd.example": {"auth": "!"}}}"#;
        let of = |registry: &str| in_docker_file(text, &Site::named(registry));
        let basic = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of("ghcr.io").unwrap(), basic("a", "b"));
        assert_eq!(of("index.docker.io").unwrap(), basic("c", "d:e"));
        assert_eq!(of("localhost:5000").unwrap(), None);
        assert_eq!(of("quay.io").unwrap(), None);
        assert!(of("odd.example").is_err());
        assert_eq!(of("ghcr.io:443").unwrap(), basic("a", "b"));
        assert_eq!(
            of("ghcr.io:5000").unwrap(),
            None,
            "another port is another registry"
        );
        assert!(in_docker_file("{", &Site::named("ghcr.io")).is_err());
    }

    #[test]
    fn credentials_go_to_the_registry_and_its_domain_over_tls_alone() {
        let may_go = |registry: &str, url: &str| {
            let credentials = Credentials {
                basic: None,
                found: Found::Nowhere,
                registry: Site::named(registry),
                others: vec![Site::named("tokens.example.org")],
            };
            let site = Site::of_url(&url.parse().unwrap());
            site.is_some_and(|site| credentials.may_go_to(&site))
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
