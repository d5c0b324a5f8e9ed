//! Who one is to a registry: the environment says, else Docker's own file of credentials.

use std::{env::VarError, fmt, path::PathBuf};

use anyhow::{Context, bail};
use oci_client::secrets::RegistryAuth;
use serde_json::Value;

use crate::output;

/// The variables that name a user, for whatever registry a command talks to.
pub(crate) const USER: &str = "HEDDLE_OCI_USER";
pub(crate) const PASSWORD: &str = "HEDDLE_OCI_PASSWORD";

/// Who one is to a registry, and where that was found.
pub(crate) struct Credentials {
    auth: RegistryAuth,
    found: Found,
}

enum Found {
    Nowhere,
    InEnvironment,
    InFile(PathBuf),
}

impl Credentials {
    /// Finds who one is to a registry: nobody, where nothing says otherwise.
    ///
    /// # Errors
    /// Where half of it is missing, or a file cannot be read.
    pub(crate) fn of(registry: &str) -> anyhow::Result<Self> {
        match (variable(USER)?, variable(PASSWORD)?) {
            (Some(user), Some(password)) => {
                let auth = RegistryAuth::Basic(user, password);
                let found = Found::InEnvironment;
                return Ok(Self { auth, found });
            }
            (None, None) => {}
            _ => bail!("of {USER} and {PASSWORD}, one is set: set both, or none"),
        }
        let (auth, found) = match docker_file() {
            Some(file) => {
                let text = match std::fs::read_to_string(&file) {
                    Ok(text) => text,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => "{}".to_owned(),
                    Err(error) => {
                        return Err(error).with_context(|| format!("cannot read {}", output::path(&file)));
                    }
                };
                let auth = in_docker_file(&text, registry)
                    .with_context(|| format!("the credentials in {} cannot be read", output::path(&file)))?;
                (auth, Found::InFile(file))
            }
            None => (None, Found::Nowhere),
        };
        Ok(match auth {
            Some(auth) => Self { auth, found },
            None => Self {
                auth: RegistryAuth::Anonymous,
                found: Found::Nowhere,
            },
        })
    }

    pub(crate) fn auth(&self) -> &RegistryAuth {
        &self.auth
    }

    /// What to do where they are not enough.
    pub(crate) fn advice(&self) -> String {
        match &self.found {
            Found::Nowhere => format!(
                "sign in by {USER} and {PASSWORD}, or by `docker login` (its credential helpers are not asked)"
            ),
            Found::InEnvironment => format!("are {USER} and {PASSWORD} right, and is the user allowed to?"),
            Found::InFile(file) => format!(
                "are the credentials in {} right, and is the user allowed to?",
                output::path(file)
            ),
        }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.auth {
            RegistryAuth::Basic(user, _) => write!(f, "the user `{user}`"),
            RegistryAuth::Anonymous | RegistryAuth::Bearer(_) => f.write_str("just anybody"),
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
fn in_docker_file(text: &str, registry: &str) -> anyhow::Result<Option<RegistryAuth>> {
    let config: Value = serde_json::from_str(text)?;
    let auths = config["auths"].as_object().into_iter().flatten();
    let mut of_registry = auths.filter(|(name, _)| host(name) == host(registry));
    let Some(encoded) = of_registry.find_map(|(_, entry)| entry["auth"].as_str()) else {
        return Ok(None);
    };
    let decoded = base64(encoded).and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.with_context(|| format!("the `auth` of {registry} is no text in base64"))?;
    let pair = decoded.split_once(':');
    let (user, password) =
        pair.with_context(|| format!("the `auth` of {registry} is not of the form user:password"))?;
    Ok(Some(RegistryAuth::Basic(user.to_owned(), password.to_owned())))
}

/// The host and port of a registry, which Docker writes as an address with a path at times, and its own under two names.
fn host(name: &str) -> &str {
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
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
        let of = |registry: &str| in_docker_file(text, registry);
        let basic =
            |user: &str, password: &str| Some(RegistryAuth::Basic(user.to_owned(), password.to_owned()));
        assert_eq!(of("ghcr.io").unwrap(), basic("a", "b"));
        assert_eq!(of("index.docker.io").unwrap(), basic("c", "d:e"));
        assert_eq!(of("localhost:5000").unwrap(), None);
        assert_eq!(of("quay.io").unwrap(), None);
        assert!(of("odd.example").is_err());
        assert!(in_docker_file("{", "ghcr.io").is_err());
    }
}
