//! Pulls components from OCI registries and pushes them: `oci://REGISTRY/REPOSITORY:TAG`.
//!
//! The format is the CNCF's Wasm OCI artifact layout
//! (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>), see [`manifest`]. Every component is checked
//! against its digest, so a pinned component is authentic even if the registry is not trusted.

mod credentials;
mod manifest;
mod sign_in;

use std::{fmt, time::Duration};

use anyhow::{Context, anyhow, bail};
use futures_util::StreamExt;
use heddle_display as display;
use heddle_host::{ComponentSummary, HostSettings};
use heddle_json::object::clip;
use oci_client::{
    Client, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::{DigestError, OciDistributionError, OciErrorCode},
    manifest::{OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor},
    secrets::RegistryAuth as Auth,
};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use tokio::runtime::Runtime;

use self::{
    credentials::{Credentials, PASSWORD, USER},
    manifest::{config_of, digest_of, layer_of, manifest_of},
    sign_in::SignIn,
};
use crate::Usage;

/// The types of manifests to accept. An index is not supported, but is recognized for a clear error.
const MANIFEST_TYPES: [&str; 2] = [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE];
/// The time limit for connecting to a registry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a registry may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The time limit for one pull or push.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(600);

/// The scheme of a reference to a registry.
pub(crate) const SCHEME: &str = "oci://";

/// A reference to an artifact in a registry, by tag, digest or both.
#[derive(Clone, Debug)]
pub(crate) struct Reference(oci_client::Reference);

impl Reference {
    /// Parses `oci://REGISTRY/REPOSITORY:TAG`, or with `@sha256:…`.
    ///
    /// # Errors
    /// If the text has another form; the error describes the form.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let form = "the form is oci://REGISTRY/REPOSITORY:TAG, or …@sha256:DIGEST";
        let rest = text.strip_prefix(SCHEME).unwrap_or(text);
        // The text before an `@` that is not followed by a digest may contain a password.
        if has_user(rest) {
            return Err(Usage::error(format!(
                "a reference has no user and password: use {USER} and {PASSWORD}; {form}"
            )));
        }
        let text = &*display::line(text);
        let registry = rest.split_once('/').map(|(registry, _)| registry);
        // Without this check, `oci://tools/shout` would mean a repository in Docker Hub.
        if !registry.is_some_and(|host| host == "localhost" || host.contains(['.', ':'])) {
            return Err(Usage::error(format!("{text} has no registry: {form}")));
        }
        let last = rest.rsplit('/').next().unwrap_or_default();
        if !last.contains([':', '@']) {
            return Err(Usage::error(format!(
                "{text} has neither a tag nor a digest: {form}"
            )));
        }
        let reference = rest
            .parse()
            .map_err(|error| Usage::error(format!("{text}: {error}; {form}")))?;
        Ok(Self(reference))
    }

    /// A reference to this digest in the same repository.
    pub(crate) fn with_digest(&self, digest: &str) -> Self {
        Self(self.0.clone_with_digest(digest.to_owned()))
    }

    /// The digest, if the reference has one.
    pub(crate) fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    /// The last part of the repository's name, which usually is the name of the plugin.
    pub(crate) fn last(&self) -> &str {
        let repository = self.0.repository();
        repository.rsplit_once('/').map_or(repository, |(_, last)| last)
    }

    fn registry(&self) -> &str {
        self.0.resolve_registry()
    }

    /// Whether the registry is on this machine, so that plain HTTP is safe.
    fn is_loopback(&self) -> bool {
        let registry = self.registry();
        let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// Whether a reference without its scheme has a user before the registry.
fn has_user(reference: &str) -> bool {
    reference
        .rsplit_once('@')
        .is_some_and(|(_, digest)| !digest.starts_with("sha256:") && !digest.starts_with("sha512:"))
        || reference
            .split('/')
            .next()
            .is_some_and(|registry| registry.contains('@'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0)
    }
}

/// A component that was pulled.
pub(crate) struct Pulled {
    /// The component, whose digest was checked.
    pub(crate) component: Vec<u8>,
    /// The digest of the component, as `sha256:…`.
    pub(crate) digest: String,
    /// The digest of the manifest, as `sha256:…`.
    pub(crate) manifest: String,
}

/// The registry of a reference.
pub(crate) struct Registry {
    client: Client,
    /// A client that does not follow redirects, for requests with credentials.
    no_redirects: reqwest::Client,
    /// Whether plain HTTP is used.
    is_plain: bool,
    reference: Reference,
    credentials: Credentials,
    runtime: Runtime,
}

impl Registry {
    /// Prepares connections to the registry of a reference. Uses plain HTTP with `plain_http`, or if the registry is on this
    /// machine and there are no credentials for it.
    ///
    /// # Errors
    /// If the credentials cannot be read.
    pub(crate) fn of(reference: &Reference, plain_http: bool) -> anyhow::Result<Self> {
        // Two cryptography providers may be linked, so one must be chosen before the first connection. An error means that
        // one is already chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let registry = reference.registry();
        let credentials = Credentials::of(registry, plain_http)?;
        // Credentials are sent over TLS only, even to this machine.
        let is_plain = plain_http || (reference.is_loopback() && credentials.user_and_password().is_none());
        let protocol = match is_plain {
            true => ClientProtocol::Http,
            false => ClientProtocol::Https,
        };
        let client = Client::try_from(ClientConfig {
            protocol,
            // A component is pushed in one request, because it is in memory anyway.
            use_monolithic_push: true,
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("heddle/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
        .context("cannot create an HTTP client for registries")?;
        // Without redirects, credentials reach only the host that they are sent to.
        let no_redirects = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("heddle/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot create an HTTP client for registries")?;
        Ok(Self {
            client,
            no_redirects,
            is_plain,
            reference: reference.clone(),
            credentials,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
        })
    }

    /// The current digest of the reference's tag.
    ///
    /// # Errors
    /// If the registry does not answer with a digest.
    pub(crate) fn digest(&self) -> anyhow::Result<String> {
        let digest = async {
            let auth = self.sign_in(RegistryOperation::Pull).await?;
            let digest = self.client.fetch_manifest_digest(&self.reference.0, &auth).await;
            digest.map_err(|error| self.with_advice(error, "pull"))
        };
        self.block_on(digest)
    }

    /// Pulls the component.
    ///
    /// # Errors
    /// If it does not exist, access is denied, it is not a component, or it does not match its digest.
    pub(crate) fn pull(&self) -> anyhow::Result<Pulled> {
        self.block_on(async {
            let auth = self.sign_in(RegistryOperation::Pull).await?;
            let pulled = self
                .client
                .pull_manifest_raw(&self.reference.0, &auth, &MANIFEST_TYPES)
                .await;
            let (manifest, _) = pulled.map_err(|error| self.with_advice(error, "pull"))?;
            let layer = layer_of(&manifest).with_context(|| format!("{} is not a plugin", self.reference))?;
            Ok(Pulled {
                component: self.component(&layer).await?,
                digest: layer.digest,
                manifest: digest_of(&manifest),
            })
        })
    }

    /// Pushes a component under the reference, and returns the digest of its manifest.
    ///
    /// # Errors
    /// If the registry refuses it.
    pub(crate) fn push(&self, component: Vec<u8>, summary: &ComponentSummary) -> anyhow::Result<String> {
        let config = config_of(&component, summary);
        let manifest = manifest_of(&component, &config, summary);
        self.block_on(async {
            let auth = self.sign_in(RegistryOperation::Push).await?;
            for blob in [component, config] {
                let digest = digest_of(&blob);
                if let Ok(true) = self.client.blob_exists(&self.reference.0, &digest).await {
                    continue;
                }
                self.push_blob(blob, &digest, &auth).await?;
            }
            let digest = digest_of(&manifest);
            let kind = OCI_IMAGE_MEDIA_TYPE.parse().context("a media type is a header")?;
            let sent = self
                .client
                .push_manifest_raw(&self.reference.0, manifest, kind)
                .await;
            sent.map_err(|error| self.with_advice(error, "push to"))?;
            Ok(digest)
        })
    }

    /// Signs in for an operation, if the registry requires it.
    async fn sign_in(&self, operation: RegistryOperation) -> anyhow::Result<Auth> {
        let sign_in = SignIn {
            client: &self.no_redirects,
            registry: self.registry(),
            repository: self.reference.0.repository(),
            credentials: &self.credentials,
        };
        let auth = sign_in.auth(&operation).await?;
        let result = self.client.auth(&self.reference.0, &auth, operation).await;
        result.map_err(|error| self.with_advice(error, "sign in at"))?;
        Ok(auth)
    }

    /// Uploads a blob to the address that the registry names. Sends credentials only if that is the registry itself.
    async fn push_blob(&self, blob: Vec<u8>, digest: &str, auth: &Auth) -> anyhow::Result<()> {
        let scheme = if self.is_plain { "http" } else { "https" };
        let (registry, repository) = (self.registry(), self.reference.0.repository());
        let uploads = format!("{scheme}://{registry}/v2/{repository}/blobs/uploads/");
        let uploads = reqwest::Url::parse(&uploads).context("a registry is a host")?;
        let begun = authorized(self.no_redirects.post(uploads.clone()), auth);
        let begun = begun
            .header(CONTENT_LENGTH, 0)
            .send()
            .await
            .map_err(|error| self.connection_error(error))?;
        let begun = self.check_accepted(begun).await?;
        let location = begun.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let mut to = location
            .and_then(|to| uploads.join(to).ok())
            .with_context(|| format!("{registry} does not name an address for the upload"))?;
        let is_registry = to.origin() == uploads.origin();
        if !self.is_plain && to.scheme() != "https" {
            bail!("{registry} requests an upload over plain HTTP: the component was not sent");
        }
        to.query_pairs_mut().append_pair("digest", digest);
        let sent = self
            .no_redirects
            .put(to)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(blob);
        let sent = match is_registry {
            true => authorized(sent, auth),
            false => sent,
        };
        let sent = sent.send().await.map_err(|error| self.connection_error(error))?;
        self.check_accepted(sent).await.map(drop)
    }

    /// Returns a successful answer, or an error.
    async fn check_accepted(&self, answer: reqwest::Response) -> anyhow::Result<reqwest::Response> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let message = status.canonical_reason().unwrap_or_default().to_owned();
        let (code, url) = (status.as_u16(), String::new());
        Err(self.with_advice(
            OciDistributionError::ServerError { code, url, message },
            "push to",
        ))
    }

    fn connection_error(&self, error: reqwest::Error) -> anyhow::Error {
        // The URL may contain a signature.
        self.with_advice(OciDistributionError::RequestError(error.without_url()), "push to")
    }

    /// Downloads the component of a manifest, at most its declared size, and checks its digest.
    async fn component(&self, layer: &OciDescriptor) -> anyhow::Result<Vec<u8>> {
        let most = HostSettings::default().max_component_bytes;
        let size = usize::try_from(layer.size).unwrap_or(usize::MAX);
        if size > most {
            bail!(
                "the component of {} has {} bytes, more than the limit of {most} (max_component_bytes)",
                self.reference,
                layer.size
            );
        }
        let stream = self
            .client
            .pull_blob_stream(&self.reference.0, layer.digest.as_str())
            .await;
        let mut stream = stream.map_err(|error| self.with_advice(error, "pull"))?.stream;
        let mut component = Vec::with_capacity(size);
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) if error.get_ref().is_some_and(|inner| inner.is::<DigestError>()) => break,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("the download from {} was interrupted", self.registry()));
                }
            };
            if component.len() + chunk.len() > size {
                return Err(self.wrong_content(&layer.digest, &format!("has more than {size} bytes")));
            }
            component.extend_from_slice(&chunk);
        }
        match digest_of(&component) {
            digest if digest == layer.digest => Ok(component),
            digest => Err(self.wrong_content(&layer.digest, &format!("has the digest {digest}"))),
        }
    }

    fn wrong_content(&self, digest: &str, how: &str) -> anyhow::Error {
        anyhow!(
            "the component {digest} of {} {how}, unlike in its manifest: it was changed in the registry {} or on the \
             way, and was not added",
            self.reference,
            self.registry()
        )
    }

    fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// Runs a future to its end, with the time limit of a transfer.
    fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let bounded = async { tokio::time::timeout(TRANSFER_TIMEOUT, work).await };
        self.runtime.block_on(bounded).unwrap_or_else(|_| {
            let limit = TRANSFER_TIMEOUT.as_secs();
            Err(anyhow!(
                "{} took longer than the limit of {limit} s",
                self.registry()
            ))
        })
    }

    /// Converts an error to a message with advice. `doing` is the verb of the operation.
    fn with_advice(&self, error: OciDistributionError, doing: &str) -> anyhow::Error {
        let (registry, reference) = (self.registry(), &self.reference);
        match ErrorCause::of(&error) {
            ErrorCause::Refused => anyhow!(
                "{registry} does not let {} {doing} {reference}: {}",
                self.credentials,
                self.credentials.advice()
            ),
            ErrorCause::Missing => anyhow!("{reference} does not exist in {registry}"),
            ErrorCause::Unreachable(error) => anyhow!(
                "no answer from {registry} ({}): is the name right, and is the registry reachable from here? \
                 A registry that uses plain HTTP needs --plain-http",
                innermost(error)
            ),
            ErrorCause::Changed { expected, actual } => anyhow!(
                "the content of {reference} has the digest {actual} and not {expected}: it was changed in the registry \
                 {registry} or on the way, and was not added"
            ),
            ErrorCause::Answered(code, message) => {
                anyhow!(
                    "cannot {doing} {reference}: {registry} answered {code}: {}",
                    clip(message.trim(), 300)
                )
            }
            ErrorCause::Other => anyhow!(error).context(format!("cannot {doing} {reference}")),
        }
    }
}

/// Adds credentials to a request.
fn authorized(request: reqwest::RequestBuilder, auth: &Auth) -> reqwest::RequestBuilder {
    match auth {
        Auth::Basic(user, password) => request.basic_auth(user, Some(password)),
        Auth::Bearer(token) => request.bearer_auth(token),
        Auth::Anonymous => request,
    }
}

/// The causes of errors with a registry, by what the user can do about them.
enum ErrorCause<'e> {
    /// The credentials are missing or not sufficient.
    Refused,
    Missing,
    Unreachable(&'e dyn std::error::Error),
    Changed {
        expected: &'e str,
        actual: &'e str,
    },
    Answered(u16, &'e str),
    Other,
}

impl<'e> ErrorCause<'e> {
    fn of(error: &'e OciDistributionError) -> Self {
        match error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => Self::Refused,
            OciDistributionError::ServerError { code, message, .. } => Self::of_status(*code, message),
            OciDistributionError::RegistryError { envelope, .. } => {
                match envelope.errors.first().map(|error| &error.code) {
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => Self::Refused,
                    Some(
                        OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound,
                    ) => Self::Missing,
                    _ => Self::Other,
                }
            }
            OciDistributionError::ImageManifestNotFoundError(_) => Self::Missing,
            OciDistributionError::DigestError(DigestError::VerificationError { expected, actual }) => {
                Self::Changed { expected, actual }
            }
            OciDistributionError::RequestError(error) => match error.status() {
                Some(status) => {
                    Self::of_status(status.as_u16(), status.canonical_reason().unwrap_or_default())
                }
                None if error.is_connect() || error.is_timeout() || error.is_request() => {
                    Self::Unreachable(error)
                }
                None => Self::Other,
            },
            _ => Self::Other,
        }
    }

    fn of_status(code: u16, message: &'e str) -> Self {
        match code {
            401 | 403 => Self::Refused,
            404 => Self::Missing,
            code => Self::Answered(code, message),
        }
    }
}

/// The innermost cause of an error: usually that of the operating system.
fn innermost(mut error: &dyn std::error::Error) -> &dyn std::error::Error {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Reference::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_reference_names_a_registry_and_a_tag_or_a_digest() {
        let reference = Reference::parse("oci://ghcr.io/acme/shout:1.2").unwrap();
        assert_eq!(reference.to_string(), "oci://ghcr.io/acme/shout:1.2");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            reference.with_digest(&digest).to_string(),
            format!("oci://ghcr.io/acme/shout@{digest}")
        );
        assert!(refusal("oci://acme/shout:1").contains("has no registry"));
        assert!(refusal("oci://ghcr.io/acme/shout").contains("neither a tag nor a digest"));
        assert!(refusal("oci://ghcr.io:443/shout").contains("neither a tag nor a digest"));
        assert!(refusal("oci://ghcr.io/Acme:1").contains("form is oci://"));
        assert!(refusal("oci://ghcr.io/acme@sha256:abc").contains("form is oci://"));
        for with_password in [
            "oci://me:hunter2@ghcr.io/acme/shout:1",
            "me:hunter2@ghcr.io/acme/shout:1",
            "oci://me:hunt/er2@ghcr.io/acme/shout:1",
            "oci://me:hunter2@localhost:5000/shout@sha256:abc",
            "oci://me:hunter2@ghcr.io",
        ] {
            let refusal = refusal(with_password);
            assert!(
                refusal.contains("HEDDLE_OCI_PASSWORD") && !refusal.contains("er2"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        let is_loopback = |registry: &str| {
            Reference::parse(&format!("oci://{registry}/a:1"))
                .unwrap()
                .is_loopback()
        };
        assert!(is_loopback("localhost:5000") && is_loopback("127.0.0.1:5000") && is_loopback("localhost"));
        assert!(
            !is_loopback("ghcr.io") && !is_loopback("10.0.0.1:5000") && !is_loopback("localhost.example")
        );
    }
}
