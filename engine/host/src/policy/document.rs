//! The policy file: what an operator grants and limits, by the name of the plugin.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{
    Json,
    deserialize::{FieldError, read_without_null},
};
use serde::{Deserialize, de::Error};
use serde_json::value::RawValue;

use super::{
    concurrency::Concurrency,
    dirs::{self, DirGrant},
    env::EnvEntries,
    grants::Grants,
    http::HttpGrant,
    limits::{CallLimits, Limits},
    pins::Pins,
    protected::{Protected, ProtectedPaths},
    rules::Rules,
    secrets::SecretEntries,
    yaml,
};
use crate::fair_pool::PluginUsage;

/// The largest policy, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// The grants and limits of plugins, by name. The default grants nothing and limits nothing.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    plugins: BTreeMap<String, PluginPolicy>,
    /// The entries as they were written.
    written: BTreeMap<String, Json>,
}

/// A policy file with its entries parsed as `T`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyDocument<T> {
    plugins: BTreeMap<String, T>,
}

/// The entry of one plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginPolicy {
    /// The components that the entry is for. Default: every component of this name.
    #[serde(default)]
    digest: Pins,
    /// HTTP requests that the plugin may make.
    #[serde(default)]
    http: Vec<HttpGrant>,
    /// Variables of the plugin's environment.
    #[serde(default)]
    env: EnvEntries,
    /// Secrets that the plugin may put into the headers of requests.
    #[serde(default)]
    secrets: SecretEntries,
    /// Folders that the plugin has.
    #[serde(default)]
    dirs: Vec<DirGrant>,
    /// Whether the plugin has the real clocks.
    #[serde(default)]
    clock: bool,
    /// Whether the plugin has real randomness.
    #[serde(default)]
    random: bool,
    /// Limits of the plugin's calls. Default: the host's own limits.
    #[serde(default)]
    limits: Limits,
}

/// Why a policy cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", position_text(.line, .column))]
pub struct PolicyError {
    /// The line of the problem, from 1; 0 for the whole text.
    pub line: u64,
    /// The column of the problem, from 1; 0 for the whole text.
    pub column: u64,
    /// The problem, and what to do.
    pub message: String,
}

fn position_text(line: &u64, column: &u64) -> String {
    match line {
        0 => String::new(),
        _ => format!("line {line}, column {column}: "),
    }
}

impl Policy {
    /// Reads a policy, which is YAML or JSON:
    ///
    /// ```
    /// # use heddle_host::Policy;
    /// let policy = Policy::parse(r#"
    /// plugins:
    ///   http:
    ///     limits: {at_once: 4, memory: 128MiB}
    ///     http:
    ///       - https://api.example.org
    ///       - {host: "http://10.0.0.7:8080", methods: [GET, POST], paths: [/v1/]}
    /// "#)?;
    /// assert_eq!(policy.names().collect::<Vec<_>>(), ["http"]);
    /// # Ok::<(), heddle_host::PolicyError>(())
    /// ```
    ///
    /// # Errors
    /// The first unknown key or invalid value.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let (PolicyDocument { plugins }, json) = yaml::read::<PolicyDocument<PluginPolicy>>(text)?;
        let written = serde_json::from_str::<PolicyDocument<Box<RawValue>>>(json.get());
        let written = written.expect("the document was read before").plugins.into_iter();
        Ok(Self {
            plugins,
            written: written.map(|(name, policy)| (name, policy.into())).collect(),
        })
    }

    /// The entry of the plugin with this name, exactly as written.
    pub(crate) fn written(&self, name: &str) -> Option<&Json> {
        self.written.get(name)
    }

    /// The names of the plugins that have entries.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.keys().map(String::as_str)
    }

    /// The files and folders that no granted folder may overlap: `protected`, and the files of secrets.
    fn guard(&self, protected: &[Protected]) -> ProtectedPaths {
        let secrets = self.plugins.iter();
        let secrets = secrets.flat_map(|(name, policy)| policy.secrets.protected(name));
        ProtectedPaths::new(protected.iter().cloned().chain(secrets))
    }

    /// The same policy with one more entry.
    pub(crate) fn with(&self, name: &str, policy: PluginPolicy) -> Self {
        let mut with = self.clone();
        with.plugins.insert(name.to_owned(), policy);
        with
    }

    /// Checks that no granted folder overlaps a protected path. Blocks on the file system.
    ///
    /// # Errors
    /// The first folder that does, with its plugin.
    pub(crate) fn check_dirs(&self, protected: &[Protected]) -> Result<(), String> {
        let guard = self.guard(protected);
        for (name, policy) in &self.plugins {
            let checked = guard.check(&policy.dirs);
            checked.map_err(|problem| format!("the policy of plugin `{name}`: {problem}"))?;
        }
        Ok(())
    }

    /// The rules of each plugin with an entry; `own` are the host's own limits. Reads the values that entries refer
    /// to.
    ///
    /// # Errors
    /// The first value that is not available.
    pub(crate) fn rules(&self, own: &CallLimits, protected: &[Protected]) -> Result<Vec<Arc<Rules>>, String> {
        self.check_dirs(protected)?;
        let rules = |(name, policy): (&String, &PluginPolicy)| {
            let rules = policy.rules(name.as_str().into(), own);
            rules.map_err(|problem| format!("the policy of plugin `{name}`: {problem}"))
        };
        self.plugins.iter().map(rules).collect()
    }
}

impl PluginPolicy {
    /// Reads the entry of one plugin.
    ///
    /// # Errors
    /// The first unknown key or invalid value.
    pub(crate) fn of(body: &Json) -> Result<Self, FieldError> {
        match body.get().len() <= MAX_BYTES {
            true => read_without_null(body),
            false => Err(FieldError::custom(yaml::too_large())),
        }
    }

    /// The rules of a plugin with this name; `own` are the host's own limits. Reads the values that the entry refers
    /// to.
    ///
    /// # Errors
    /// The first value that is not available.
    pub(crate) fn rules(&self, plugin: Arc<str>, own: &CallLimits) -> Result<Arc<Rules>, String> {
        dirs::check(&self.dirs)?;
        let grants = Grants {
            http: self.http.clone(),
            env: self.env.read()?,
            secrets: self.secrets.read()?,
            dirs: dirs::resolved(&self.dirs)?,
            clock: self.clock,
            random: self.random,
            node_grants: None,
        };
        let usage = Arc::<PluginUsage>::default();
        let rules = |grants, pins, others| {
            Arc::new(Rules {
                plugin: plugin.clone(),
                grants,
                limits: Arc::new(own.with_policy(&self.limits)),
                concurrency: Concurrency::new(self.limits.at_once()),
                policy_limits: self.limits.clone(),
                pins,
                others,
                usage: usage.clone(),
            })
        };
        let others = self.digest.are_set();
        let others = others.then(|| rules(Grants::default(), Pins::default(), None));
        Ok(rules(grants, self.digest.clone(), others))
    }
}
