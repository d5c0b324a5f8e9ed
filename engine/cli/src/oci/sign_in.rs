//! Signs in at a registry without disclosing credentials to other hosts.
//!
//! A user and password are sent over TLS to their registry, and to the token server that the registry names if that is the
//! same host and port, in the same domain, or listed by the user. They are not sent along redirects, to another host of an
//! upload, or over plain HTTP.

use anyhow::{Context, anyhow, bail};
use heddle_display as display;
use heddle_json::object::clip;
use oci_client::{RegistryOperation, secrets::RegistryAuth};
use reqwest::{Client, Response, StatusCode, Url, header};

use super::credentials::{Credentials, REGISTRY, Site};

/// The largest answer with a token, in bytes.
const TOKEN_BYTES: usize = 256 << 10;

/// The authentication that a registry requires.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// A sign-in at one registry.
pub(crate) struct SignIn<'a> {
    /// A client that follows no redirects.
    pub(crate) client: &'a Client,
    /// The registry, `HOST[:PORT]`, used over TLS.
    pub(crate) registry: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) credentials: &'a Credentials,
}

impl SignIn<'_> {
    /// The authentication for each request to the registry.
    ///
    /// # Errors
    /// If the registry refuses the credentials, or names a token server that must not get them.
    pub(crate) async fn auth(&self, operation: &RegistryOperation) -> anyhow::Result<RegistryAuth> {
        let Some((user, password)) = self.credentials.user_and_password() else {
            return Ok(RegistryAuth::Anonymous);
        };
        let url = format!("https://{}/v2/", self.registry);
        let answer = self.client.get(url).send().await;
        let answer = answer.with_context(|| format!("no answer from {}", self.registry))?;
        match challenge(&answer) {
            // The registry requires no authentication.
            None => Ok(RegistryAuth::Anonymous),
            Some(Challenge::Basic) => Ok(RegistryAuth::Basic(user.to_owned(), password.to_owned())),
            Some(Challenge::Bearer { realm, service }) => {
                let token = self.token(&realm, service.as_deref(), operation).await?;
                Ok(RegistryAuth::Bearer(token))
            }
        }
    }

    /// Gets a token from the server that the registry names.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        operation: &RegistryOperation,
    ) -> anyhow::Result<String> {
        let shown = display::line(clip(realm, 200)).into_owned();
        let url = Url::parse(realm);
        let mut url = url.with_context(|| format!("{} names {shown} for tokens", self.registry))?;
        let Some(site) = Site::of_url(&url) else {
            bail!(
                "{} requests the credentials at {shown}, which does not use TLS: they were not sent",
                self.registry
            );
        };
        if !self.credentials.may_be_sent_to(&site) {
            bail!(
                "{} requests the credentials at {shown}, which is another host: they were not sent. If that is right, add \
                 {site} to {REGISTRY}, as in {REGISTRY}={},{site}",
                self.registry,
                self.registry
            );
        }
        let actions = match operation {
            RegistryOperation::Pull => "pull",
            RegistryOperation::Push => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", self.repository);
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let (user, password) = self
            .credentials
            .user_and_password()
            .context("there are credentials")?;
        let answer = self.client.get(url).basic_auth(user, Some(password)).send().await;
        let answer = answer.with_context(|| format!("no answer from {site}"))?;
        match answer.status() {
            StatusCode::OK => token_in(answer).await,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(anyhow!(
                "{} does not let {} sign in: {}",
                self.registry,
                self.credentials,
                self.credentials.advice()
            )),
            status => bail!("{site} did not return a token: it answered {status}"),
        }
    }
}

async fn token_in(mut answer: Response) -> anyhow::Result<String> {
    #[derive(serde::Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    let mut text = Vec::new();
    while let Some(part) = answer.chunk().await? {
        text.extend_from_slice(&part);
        if text.len() > TOKEN_BYTES {
            bail!("the answer with a token has more than {TOKEN_BYTES} bytes");
        }
    }
    // The answer may contain a secret, so it is not shown.
    let read: Result<Token, _> = serde_json::from_slice(&text);
    let token = read.ok().and_then(|token| token.token.or(token.access_token));
    token.context("the answer has no token in it")
}

/// The first known challenge of an answer.
fn challenge(answer: &Response) -> Option<Challenge> {
    let all = answer.headers().get_all(header::WWW_AUTHENTICATE).into_iter();
    let texts: Vec<&str> = all.filter_map(|value| value.to_str().ok()).collect();
    let read: Vec<Challenge> = texts.into_iter().filter_map(read_challenge).collect();
    let mut read = read.into_iter();
    read.next()
}

/// Parses a challenge (RFC 9110, 11.6.1): a scheme, and parameters whose values may be quoted.
fn read_challenge(text: &str) -> Option<Challenge> {
    let (scheme, parameters) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = parameters.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            _ => {}
        }
        rest = after.trim_start_matches([',', ' ']);
    }
    Some(Challenge::Bearer {
        realm: realm?,
        service,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
            })
        };
        for (text, read) in [
            ("Basic realm=\"tests\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\", scope=\"a:b,c\"",
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (
                "bearer service=a, realm=https://b",
                bearer("https://b", Some("a")),
            ),
            ("Bearer scope=\"x\"", None),
            ("Bearer realm=\"x", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(read_challenge(text), read, "{text}");
        }
    }
}
