//! What an operator grants to plugins and how much of each may be under way: nothing and any number,
//! unless the policy says so.
//!
//! What is said of a plugin belongs to its name, and so to every version of it. The policy is read
//! once, at the start; each registered plugin then holds what is said of it.

mod address;
mod dirs;
mod env;
mod grants;
mod http;
mod limits;
mod narrowed;
mod node_grants;
mod pins;
mod protected;
mod secrets;
mod set;

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, object};
use heddle_kernel::Digest;
use heddle_runtime::ports::RegisterError;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::protected::Protected;
pub(crate) use self::{
    dirs::{DirGrant, to_add as dir_to_add},
    grants::{Grants, Missing},
    http::{Asked, HttpGrant},
    limits::{By, CallLimits, Limit, Limits},
    narrowed::{Narrowed, Narrowing},
    node_grants::NodeGrants,
    secrets::{Secret, names_one as names_secret, put_in as put_secrets_in, to_add as secret_to_add},
    set::{SetPolicies, may_be_set, rules as rules_of},
};
use self::{env::EnvEntries, pins::Pins, protected::Guard, secrets::SecretEntries};
use crate::shares::Shares;

/// The largest policy that is read, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// What an operator grants and limits, by the name of the plugin. The default grants nothing and
/// limits nothing.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    plugins: BTreeMap<String, PluginPolicy>,
    /// The same as it was written.
    written: BTreeMap<String, Json>,
}

/// A policy, with something read of each plugin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole<T> {
    plugins: BTreeMap<String, T>,
}

/// What is said of one plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginPolicy {
    /// The components that it is for. Default: every one of this name.
    #[serde(default)]
    digest: Pins,
    /// The outgoing HTTP requests that it may make.
    #[serde(default)]
    http: Vec<HttpGrant>,
    /// The environment that it has.
    #[serde(default)]
    env: EnvEntries,
    /// The secrets that it may put into the headers of requests.
    #[serde(default)]
    secrets: SecretEntries,
    /// The folders that it has.
    #[serde(default)]
    dirs: Vec<DirGrant>,
    /// Whether it has the real clocks.
    #[serde(default)]
    clock: bool,
    /// Whether it has real randomness.
    #[serde(default)]
    random: bool,
    /// What its calls may use up. Default: the host's own limits.
    #[serde(default)]
    limits: Limits,
}

/// Why a policy cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", place(.line, .column))]
pub struct PolicyError {
    /// The line of what is wrong, from 1; 0 where it is the whole.
    pub line: u64,
    /// The column of what is wrong, from 1; 0 where it is the whole.
    pub column: u64,
    /// What is wrong there, and what to do.
    pub message: String,
}

fn place(line: &u64, column: &u64) -> String {
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
    /// The first thing in it that is not known, or has a value that cannot be.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let Whole { plugins } = parse::<Whole<PluginPolicy>>(text)?;
        let Whole { plugins: written } = parse::<Whole<serde_json::Value>>(text)?;
        let written = written
            .iter()
            .map(|(name, policy)| (name.clone(), object::to_json(policy)));
        Ok(Self {
            plugins,
            written: written.collect(),
        })
    }

    /// What it says of the plugin with this name, as it was written.
    pub(crate) fn written(&self, name: &str) -> Option<&Json> {
        self.written.get(name)
    }

    /// The names of the plugins that it says something of.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.keys().map(String::as_str)
    }

    /// What no folder may overlap: this, and the files of secrets.
    fn guard(&self, protected: &[Protected]) -> Guard {
        let secrets = self.plugins.iter();
        let secrets = secrets.flat_map(|(name, policy)| policy.secrets.protected(name));
        Guard::new(protected.iter().cloned().chain(secrets))
    }

    /// The same with what somebody sets for a plugin of which it says nothing.
    pub(crate) fn with(&self, name: &str, policy: PluginPolicy) -> Self {
        let mut with = self.clone();
        with.plugins.insert(name.to_owned(), policy);
        with
    }

    /// Checks that no folder that is granted overlaps what is protected. It blocks on the file system.
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

    /// What holds for each plugin that it says something of, where these are the host's own limits. Values that
    /// are elsewhere are read.
    ///
    /// # Errors
    /// What cannot be had.
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
    /// Reads what is said of one plugin, which is YAML or JSON like its entry in a policy.
    ///
    /// # Errors
    /// As [`Policy::parse`].
    pub(crate) fn parse(text: &str) -> Result<Self, PolicyError> {
        parse(text)
    }

    /// What holds for a plugin with this name, where these are the host's own limits. Values that are elsewhere
    /// are read.
    ///
    /// # Errors
    /// What cannot be had.
    pub(crate) fn rules(&self, plugin: Arc<str>, own: &CallLimits) -> Result<Arc<Rules>, String> {
        dirs::check(&self.dirs)?;
        let grants = Grants {
            http: self.http.clone(),
            env: self.env.read()?,
            secrets: self.secrets.read()?,
            dirs: dirs::resolved(&self.dirs)?,
            clock: self.clock,
            random: self.random,
            narrowed: None,
        };
        let shares = Arc::<Shares>::default();
        let rules = |grants, pins, others| {
            Arc::new(Rules {
                plugin: plugin.clone(),
                grants,
                limits: Arc::new(own.with_policy(&self.limits)),
                places: self.limits.at_once().map(Semaphore::new),
                said: self.limits.clone(),
                pins,
                others,
                shares: shares.clone(),
            })
        };
        let others = self.digest.are_set();
        let others = others.then(|| rules(Grants::default(), Pins::default(), None));
        Ok(rules(grants, self.digest.clone(), others))
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, PolicyError> {
    if text.len() > MOST_BYTES {
        return Err(PolicyError {
            line: 0,
            column: 0,
            message: format!(
                "this is larger than a policy may be, which is {} MiB",
                MOST_BYTES >> 20
            ),
        });
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location();
        let text = error.to_string();
        let said = text.split(" at line ").next().unwrap_or(&text);
        let said = said.split(", set Duplicate").next().unwrap_or(said);
        PolicyError {
            line: place.map_or(0, |place| place.line()),
            column: place.map_or(0, |place| place.column()),
            message: said.to_owned(),
        }
    })
}

/// What holds for the plugins of one name, while the host runs.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The name.
    pub(crate) plugin: Arc<str>,
    /// What they may do outside of their sandboxes.
    pub(crate) grants: Grants,
    /// What one of their calls may use up.
    pub(crate) limits: Arc<CallLimits>,
    /// What the policy says of that.
    said: Limits,
    /// How many of their calls may still begin, where that is limited.
    places: Option<Semaphore>,
    /// What they hold of everything that plugins share.
    pub(crate) shares: Arc<Shares>,
    /// The components that the policy grants this to.
    pins: Pins,
    /// What holds for the other components of this name, where the policy lists some: the limits alone.
    others: Option<Arc<Self>>,
}

impl Rules {
    /// Nothing is granted, and these limits hold.
    pub(crate) fn none(plugin: Arc<str>, limits: Arc<CallLimits>) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            grants: Grants::default(),
            limits,
            said: Limits::default(),
            places: None,
            shares: Arc::default(),
            pins: Pins::default(),
            others: None,
        })
    }

    /// What holds for one component of this name.
    pub(crate) fn of_component(self: &Arc<Self>, digest: &Digest) -> Arc<Self> {
        match &self.others {
            Some(others) if !self.pins.allow(digest) => others.clone(),
            _ => self.clone(),
        }
    }

    /// Whether a component may be registered under this name by somebody who is not the operator: with `replace_granted`,
    /// they say that it shall have what the name is granted. The components that the policy lists need no such word, and
    /// others are refused whoever registers them.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn admit(&self, digest: &Digest, replace_granted: bool) -> Result<(), RegisterError> {
        let name = self.plugin.to_string();
        match self.pins.are_set() {
            true if !self.pins.allow(digest) => Err(RegisterError::NotPinned {
                name,
                digest: digest.clone(),
            }),
            false if self.is_granted() && !replace_granted => Err(RegisterError::Granted {
                name,
                grants: self.lines(),
            }),
            _ => Ok(()),
        }
    }

    /// What holds for the calls of a node that leaves only some of the grants.
    pub(crate) fn narrowed(&self, to: &NodeGrants) -> Arc<Self> {
        Arc::new(Self {
            plugin: self.plugin.clone(),
            grants: self.grants.narrowed(to),
            limits: self.limits.clone(),
            said: self.said.clone(),
            places: None,
            shares: self.shares.clone(),
            pins: Pins::default(),
            others: None,
        })
    }

    /// Whether anything is granted, so that a call may have an effect outside.
    pub(crate) fn is_granted(&self) -> bool {
        !self.grants.is_empty()
    }

    /// What is granted, a line for each grant.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.grants.lines()
    }

    /// What the policy limits, a line for each limit.
    pub(crate) fn limited(&self) -> Vec<String> {
        self.said.lines()
    }

    /// Waits until one more call may begin, in the order of arrival. The call's place is free again
    /// when what is returned is dropped.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let places = self.places.as_ref()?;
        Some(places.acquire().await.expect("these places are never closed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::HostSettings;

    fn refusal(text: &str) -> String {
        Policy::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_policy_is_read_from_yaml_and_from_json() {
        let yaml = "plugins:\n  a:\n    limits: {at_once: 4}\n    http: [https://api.example.org]\n  b: {}\n";
        let json = r#"{"plugins": {"a": {"limits": {"at_once": 4}, "http": [{"host": "api.example.org"}]}, "b": {}}}"#;
        for text in [yaml, json] {
            let own = CallLimits::of(&HostSettings::default());
            let rules: Vec<_> = Policy::parse(text).unwrap().rules(&own, &[]).unwrap();
            assert_eq!(
                (&*rules[0].plugin, rules[0].limited()),
                ("a", vec!["at_once: 4".to_owned()])
            );
            assert_eq!(rules[0].lines(), ["http: https://api.example.org"]);
            assert!(rules[0].is_granted() && !rules[1].is_granted());
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_place() {
        let cases = [
            (
                "plugin: {}",
                "line 1, column 1: unknown field `plugin`, expected one of plugins",
            ),
            (
                "plugins:\n  a:\n    htp: []",
                "line 3, column 5: unknown field `htp`, expected one of digest, http, env",
            ),
            (
                "plugins:\n  a:\n    limits: {at_once: 0}",
                "line 3, column 23: expected a whole number from 1",
            ),
            (
                "plugins:\n  a:\n    limits: {memory: many}",
                "line 3, column 22: expected a number of bytes of at most 4096 MiB",
            ),
            (
                "plugins:\n  a: {}\n  a: {}",
                "line 3, column 3: duplicate mapping key: a",
            ),
            (
                "plugins:\n  a:\n    http:\n      - host: a.org\n        method: [GET]",
                "line 5, column 9: unknown field `method`, expected one of host, methods, paths, exact, private",
            ),
            (
                "plugins:\n  a:\n    http:\n      - https://a.org/v1",
                "line 4, column 9: `https://a.org/v1` has more than a host in it",
            ),
            (
                "plugins:\n  a:\n    http: [{methods: [GET]}]",
                "line 3, column 13: missing field `host`",
            ),
        ];
        for (text, expected) in cases {
            let refusal = refusal(text);
            assert!(refusal.starts_with(expected), "{text:?}: {refusal}");
        }
        assert!(refusal(&" ".repeat(MOST_BYTES + 1)).contains("1 MiB"));
    }
}
