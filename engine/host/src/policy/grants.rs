//! Everything that a plugin may do outside of its sandbox.

use super::{
    dirs::DirGrant,
    http::{HttpGrant, Origin, RequestTarget},
    node_grants::NodeGrants,
    secrets::Secret,
};

/// The grants of the plugins of one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants {
    /// HTTP requests that they may make.
    pub(crate) http: Vec<HttpGrant>,
    /// The variables of their environment.
    pub(crate) env: Vec<(String, String)>,
    /// Secrets that they may put into the headers of requests.
    pub(crate) secrets: Vec<Secret>,
    /// Their folders.
    pub(crate) dirs: Vec<DirGrant>,
    /// Whether they have the real clocks.
    pub(crate) clock: bool,
    /// Whether they have real randomness.
    pub(crate) random: bool,
    /// The `grants` of a node, if it has any. Requests and secrets must be granted there as well; the fields above are
    /// narrowed already.
    pub(super) node_grants: Option<NodeGrants>,
}

/// Why a request or a secret is refused.
pub(crate) enum NotGranted {
    /// The policy does not grant it.
    InPolicy,
    /// The node's `grants` do not include it.
    InNode,
}

impl Grants {
    /// Whether nothing is granted.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            http,
            env,
            secrets,
            dirs,
            clock,
            random,
            node_grants: _,
        } = self;
        http.is_empty() && env.is_empty() && secrets.is_empty() && dirs.is_empty() && !clock && !random
    }

    /// A line for each grant, without the values of secrets and variables.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.http.iter().map(|grant| format!("http: {grant}")).collect();
        lines.extend(self.env.iter().map(|(name, _)| format!("env: {name}")));
        lines.extend(self.secrets.iter().map(|secret| format!("secret: {secret}")));
        lines.extend(self.dirs.iter().map(|dir| format!("dir: {dir}")));
        lines.extend(self.clock.then(|| "clock: the real one".to_owned()));
        lines.extend(self.random.then(|| "random: the real one".to_owned()));
        lines
    }

    /// The grants that a node's `grants` leave.
    pub(crate) fn narrowed_to(&self, to: &NodeGrants) -> Self {
        let dirs = self.dirs.iter().filter_map(|dir| {
            let may_write = to.allows_dir(&dir.at)?;
            Some(DirGrant {
                write: dir.write && may_write,
                ..dir.clone()
            })
        });
        let env = self.env.iter().filter(|(name, _)| to.env.contains(name));
        Self {
            http: self.http.clone(),
            env: env.cloned().collect(),
            secrets: self.secrets.clone(),
            dirs: dirs.collect(),
            clock: self.clock && to.clock,
            random: self.random && to.random,
            node_grants: Some(to.clone()),
        }
    }

    /// Checks whether the request is granted.
    pub(crate) fn covers(&self, target: &RequestTarget) -> Result<(), NotGranted> {
        let covered = |grants: &[HttpGrant]| grants.iter().any(|grant| grant.covers(target));
        match &self.node_grants {
            _ if !covered(&self.http) => Err(NotGranted::InPolicy),
            Some(to) if !covered(&to.http) => Err(NotGranted::InNode),
            _ => Ok(()),
        }
    }

    /// Whether only grants for some methods or paths cover the request, here or in the node's `grants`.
    pub(crate) fn is_limited(&self, target: &RequestTarget) -> bool {
        let is_free = |grant: &HttpGrant| grant.covers(target) && !grant.is_limited();
        let limited = |grants: &[HttpGrant]| !grants.iter().any(is_free);
        limited(&self.http) || self.node_grants.as_ref().is_some_and(|to| limited(&to.http))
    }

    /// The secrets that may be sent to this host: its responses may contain them.
    pub(crate) fn secrets_of(&self, origin: &Origin) -> Vec<Secret> {
        let mut secrets = self.secrets.clone();
        secrets.retain(|secret| secret.may_go_to(origin));
        secrets
    }

    /// The secret with this name.
    pub(crate) fn secret(&self, name: &str) -> Result<&Secret, NotGranted> {
        let found = self.secrets.iter().find(|secret| secret.name == name);
        match (found, &self.node_grants) {
            (None, _) => Err(NotGranted::InPolicy),
            (Some(_), Some(to)) if !to.secrets.iter().any(|named| named == name) => Err(NotGranted::InNode),
            (Some(secret), _) => Ok(secret),
        }
    }

    /// Whether a node's `grants` narrow these grants.
    pub(crate) fn is_narrowed(&self) -> bool {
        self.node_grants.is_some()
    }
}
