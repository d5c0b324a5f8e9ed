//! Components in OCI registries: what `oci://registry/repository:tag` names is pulled, and pushed.
//!
//! They are kept as the CNCF's Wasm OCI artifact layout says
//! (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>): see [`crate::artifact`]. Whatever comes from a
//! registry is checked against the digest by which it was asked for, so a pin holds however little the registry is
//! trusted.

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

use crate::{
    Usage,
    artifact::{config_of, digest_of, layer_of, manifest_of},
    credentials::{Credentials, PASSWORD, USER},
    sign_in::SignIn,
};

/// The manifests that are understood, and those that are told from them for the sake of a clear error.
const MANIFEST_TYPES: [&str; 2] = [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE];
/// How long a connection to a registry may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a registry may send nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one pull or push may take in all.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(600);

/// What begins a reference to a registry.
pub(crate) const SCHEME: &str = "oci://";

/// Names an artifact in a registry by its tag, its digest or both.
#[derive(Clone, Debug)]
pub(crate) struct Reference(oci_client::Reference);

impl Reference {
    /// Reads `oci://registry/repository:tag`, or with `@sha256:…`.
    ///
    /// # Errors
    /// Where it is none, with the form that it must have.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let form = "it must have the form oci://REGISTRY/REPOSITORY:TAG, or …@sha256:DIGEST";
        let rest = text.strip_prefix(SCHEME).unwrap_or(text);
        // Whatever stands before an `@` that no digest follows may be a password.
        if has_user(rest) {
            return Err(Usage::error(format!(
                "a reference names no user and no password: {USER} and {PASSWORD} do; {form}"
            )));
        }
        let text = &*display::line(text);
        let registry = rest.split_once('/').map(|(registry, _)| registry);
        // Without this, `oci://tools/shout` would be looked for in the registry of Docker.
        if !registry.is_some_and(|host| host == "localhost" || host.contains(['.', ':'])) {
            return Err(Usage::error(format!("{text} names no registry: {form}")));
        }
        let last = rest.rsplit('/').next().unwrap_or_default();
        if !last.contains([':', '@']) {
            return Err(Usage::error(format!(
                "{text} names neither a tag nor a digest: {form}"
            )));
        }
        let reference = rest
            .parse()
            .map_err(|error| Usage::error(format!("{text}: {error}; {form}")))?;
        Ok(Self(reference))
    }

    /// The same repository, at a digest.
    pub(crate) fn at(&self, digest: &str) -> Self {
        Self(self.0.clone_with_digest(digest.to_owned()))
    }

    /// The digest that it names.
    pub(crate) fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    /// The last part of the repository's name, by which people know what is in it.
    pub(crate) fn last(&self) -> &str {
        let repository = self.0.repository();
        repository.rsplit_once('/').map_or(repository, |(_, last)| last)
    }

    fn registry(&self) -> &str {
        self.0.resolve_registry()
    }

    /// Whether the registry is on this machine, so that nobody can listen on the way.
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

/// Whether a reference, without its scheme, has a user before its registry.
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

/// What was pulled.
pub(crate) struct Pulled {
    /// The component, whose digest was checked.
    pub(crate) component: Vec<u8>,
    /// Its digest, as `sha256:…`.
    pub(crate) digest: String,
    /// The digest of the manifest that names it, as `sha256:…`.
    pub(crate) manifest: String,
}

/// The registry of a reference.
pub(crate) struct Registry {
    client: Client,
    direct: reqwest::Client,
    /// Whether it is reached over plain HTTP.
    is_plain: bool,
    reference: Reference,
    credentials: Credentials,
    runtime: Runtime,
}

impl Registry {
    /// Gets ready to talk to the registry of a reference: in plain HTTP where it is on this machine, or where it is asked for.
    ///
    /// # Errors
    /// Where the credentials cannot be read.
    pub(crate) fn of(reference: &Reference, plain_http: bool) -> anyhow::Result<Self> {
        // Of the two cryptography providers that may be linked, one must be chosen before the first connection;
        // that it was chosen before is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let registry = reference.registry();
        let credentials = Credentials::of(registry, plain_http)?;
        // Where there are credentials for it, a registry on this machine is asked over TLS as well.
        let is_plain = plain_http || (reference.is_loopback() && credentials.basic().is_none());
        let protocol = match is_plain {
            true => ClientProtocol::Http,
            false => ClientProtocol::Https,
        };
        let client = Client::try_from(ClientConfig {
            protocol,
            // One request for a component: it fits in memory anyway.
            use_monolithic_push: true,
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("heddle/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
        .context("no client for registries can be made")?;
        // One that follows no redirects: credentials stay where they were sent.
        let direct = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("heddle/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("no client for registries can be made")?;
        Ok(Self {
            client,
            direct,
            is_plain,
            reference: reference.clone(),
            credentials,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
        })
    }

    /// The digest that the reference's tag has at present.
    ///
    /// # Errors
    /// Where the registry does not say.
    pub(crate) fn digest(&self) -> anyhow::Result<String> {
        let asked = async {
            let auth = self.authenticated(RegistryOperation::Pull).await?;
            let digest = self.client.fetch_manifest_digest(&self.reference.0, &auth).await;
            digest.map_err(|error| self.explained(error, "pull"))
        };
        self.within(asked)
    }

    /// Pulls the component.
    ///
    /// # Errors
    /// Where it is not there, may not be had, is no component, or is not what its digest says.
    pub(crate) fn pull(&self) -> anyhow::Result<Pulled> {
        self.within(async {
            let auth = self.authenticated(RegistryOperation::Pull).await?;
            let pulled = self
                .client
                .pull_manifest_raw(&self.reference.0, &auth, &MANIFEST_TYPES)
                .await;
            let (manifest, _) = pulled.map_err(|error| self.explained(error, "pull"))?;
            let layer = layer_of(&manifest).with_context(|| format!("{} is no plugin", self.reference))?;
            Ok(Pulled {
                component: self.component(&layer).await?,
                digest: layer.digest,
                manifest: digest_of(&manifest),
            })
        })
    }

    /// Pushes a component under the reference, and gives the digest of its manifest.
    ///
    /// # Errors
    /// Where the registry does not take it.
    pub(crate) fn push(&self, component: Vec<u8>, outline: &ComponentSummary) -> anyhow::Result<String> {
        let config = config_of(&component, outline);
        let manifest = manifest_of(&component, &config, outline);
        self.within(async {
            let auth = self.authenticated(RegistryOperation::Push).await?;
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
            sent.map_err(|error| self.explained(error, "push to"))?;
            Ok(digest)
        })
    }

    /// Signs in for what is to be done, as far as the registry wants that.
    async fn authenticated(&self, operation: RegistryOperation) -> anyhow::Result<Auth> {
        let sign_in = SignIn {
            client: &self.direct,
            registry: self.registry(),
            repository: self.reference.0.repository(),
            credentials: &self.credentials,
        };
        let auth = sign_in.auth(&operation).await?;
        let signed_in = self.client.auth(&self.reference.0, &auth, operation).await;
        signed_in.map_err(|error| self.explained(error, "sign in at"))?;
        Ok(auth)
    }

    /// Sends a blob, where the registry says: with credentials to the registry itself, and without to another host.
    async fn push_blob(&self, blob: Vec<u8>, digest: &str, auth: &Auth) -> anyhow::Result<()> {
        let scheme = if self.is_plain { "http" } else { "https" };
        let (registry, repository) = (self.registry(), self.reference.0.repository());
        let uploads = format!("{scheme}://{registry}/v2/{repository}/blobs/uploads/");
        let uploads = reqwest::Url::parse(&uploads).context("a registry is a host")?;
        let begun = signed(self.direct.post(uploads.clone()), auth);
        let begun = begun
            .header(CONTENT_LENGTH, 0)
            .send()
            .await
            .map_err(|error| self.broken(error))?;
        let begun = self.accepted(begun).await?;
        let location = begun.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let mut to = location
            .and_then(|to| uploads.join(to).ok())
            .with_context(|| format!("{registry} does not say where the component is to be sent"))?;
        let is_registry = to.origin() == uploads.origin();
        if !self.is_plain && to.scheme() != "https" {
            bail!("{registry} wants the component sent over plain HTTP: it was not sent");
        }
        to.query_pairs_mut().append_pair("digest", digest);
        let sent = self
            .direct
            .put(to)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(blob);
        let sent = match is_registry {
            true => signed(sent, auth),
            false => sent,
        };
        let sent = sent.send().await.map_err(|error| self.broken(error))?;
        self.accepted(sent).await.map(drop)
    }

    /// An answer that takes what was sent.
    async fn accepted(&self, answer: reqwest::Response) -> anyhow::Result<reqwest::Response> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let message = status.canonical_reason().unwrap_or_default().to_owned();
        let (code, url) = (status.as_u16(), String::new());
        Err(self.explained(
            OciDistributionError::ServerError { code, url, message },
            "push to",
        ))
    }

    fn broken(&self, error: reqwest::Error) -> anyhow::Error {
        // The address may have a signature in it.
        self.explained(OciDistributionError::RequestError(error.without_url()), "push to")
    }

    /// Reads the component that a manifest names, no further than its size, and checks its digest.
    async fn component(&self, layer: &OciDescriptor) -> anyhow::Result<Vec<u8>> {
        let most = HostSettings::default().max_component_bytes;
        let size = usize::try_from(layer.size).unwrap_or(usize::MAX);
        if size > most {
            bail!(
                "{} has a component of {} bytes, more than the limit of {most} (max_component_bytes)",
                self.reference,
                layer.size
            );
        }
        let stream = self
            .client
            .pull_blob_stream(&self.reference.0, layer.digest.as_str())
            .await;
        let mut stream = stream.map_err(|error| self.explained(error, "pull"))?.stream;
        let mut component = Vec::with_capacity(size);
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) if error.get_ref().is_some_and(|inner| inner.is::<DigestError>()) => break,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("{} broke off in the component", self.registry()));
                }
            };
            if component.len() + chunk.len() > size {
                return Err(self.is_other(&layer.digest, &format!("has more than the {size} bytes")));
            }
            component.extend_from_slice(&chunk);
        }
        match digest_of(&component) {
            digest if digest == layer.digest => Ok(component),
            digest => Err(self.is_other(&layer.digest, &format!("has the digest {digest} and not the one"))),
        }
    }

    fn is_other(&self, digest: &str, how: &str) -> anyhow::Error {
        anyhow!(
            "what {} sent as {digest} {how} that the manifest of {} says: it was changed in the registry or on its way, \
             and nothing of it was taken",
            self.registry(),
            self.reference
        )
    }

    fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// Runs something to its end, in bounded time.
    fn within<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let bounded = async { tokio::time::timeout(TRANSFER_TIMEOUT, work).await };
        self.runtime.block_on(bounded).unwrap_or_else(|_| {
            let limit = TRANSFER_TIMEOUT.as_secs();
            Err(anyhow!(
                "{} took longer than {limit} s: it was given up",
                self.registry()
            ))
        })
    }

    /// What an error means for whoever gave the command.
    fn explained(&self, error: OciDistributionError, doing: &str) -> anyhow::Error {
        let (registry, reference) = (self.registry(), &self.reference);
        match Trouble::of(&error) {
            Trouble::Refused => anyhow!(
                "{registry} does not let {} {doing} {reference}: {}",
                self.credentials,
                self.credentials.advice()
            ),
            Trouble::Missing => anyhow!("there is no {reference}: {registry} does not know it"),
            Trouble::Unreachable(error) => anyhow!(
                "no answer from {registry} ({}): is it the right registry, and can it be reached from here? \
                 One that speaks plain HTTP needs --plain-http",
                innermost(error)
            ),
            Trouble::Changed { expected, actual } => anyhow!(
                "what {registry} sent for {reference} has the digest {actual} and not {expected}: it was changed in \
                 the registry or on its way, and nothing of it was taken"
            ),
            Trouble::Answered(code, message) => {
                anyhow!(
                    "cannot {doing} {reference}: {registry} answered {code}: {}",
                    clip(message.trim(), 300)
                )
            }
            Trouble::Other => anyhow!(error).context(format!("cannot {doing} {reference}")),
        }
    }
}

/// A request with what it takes to be let in.
fn signed(request: reqwest::RequestBuilder, auth: &Auth) -> reqwest::RequestBuilder {
    match auth {
        Auth::Basic(user, password) => request.basic_auth(user, Some(password)),
        Auth::Bearer(token) => request.bearer_auth(token),
        Auth::Anonymous => request,
    }
}

/// The kinds of trouble with a registry, by what one does about them.
enum Trouble<'e> {
    /// Other credentials are needed.
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

impl<'e> Trouble<'e> {
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

/// The cause of causes: what the system said.
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
            reference.at(&digest).to_string(),
            format!("oci://ghcr.io/acme/shout@{digest}")
        );
        assert!(refusal("oci://acme/shout:1").contains("names no registry"));
        assert!(refusal("oci://ghcr.io/acme/shout").contains("neither a tag nor a digest"));
        assert!(refusal("oci://ghcr.io:443/shout").contains("neither a tag nor a digest"));
        assert!(refusal("oci://ghcr.io/Acme:1").contains("form oci://"));
        assert!(refusal("oci://ghcr.io/acme@sha256:abc").contains("form oci://"));
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
