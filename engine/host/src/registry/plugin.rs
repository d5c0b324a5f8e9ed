//! A registered plugin.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use heddle_kernel::event::FunctionRef;
use heddle_runtime::ports::{FunctionInfo, PluginInfo, RegisterError};
use heddle_schema::Schema;
use semver::Version;

use super::description;
use crate::{component::version_of, contract::Contract, metered::MeteredContract, policy::Rules};

/// How much of its digest a component gets as build metadata, where its version is taken.
const BUILD_LEN: usize = 12;

/// A registered plugin, ready to be called.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) info: Arc<PluginInfo>,
    pub(crate) contract: Arc<Contract>,
    /// The same, compiled so that what it computes is counted.
    pub(crate) metered: Arc<MeteredContract>,
    /// What each function's input is checked against, in the order of `info.functions`.
    inputs: Arc<[Schema]>,
    /// Where each function is in `info.functions`.
    functions: Arc<HashMap<Arc<str>, usize>>,
    /// What holds for all that have its name.
    pub(crate) rules: Arc<Rules>,
    pub(super) hidden: bool,
    /// As in `info`.
    pub(super) version: Version,
    /// Of two builds of one version, the one with the higher number was registered later, and is newer.
    pub(super) order: u64,
    /// How many bytes its description takes.
    pub(super) bytes: usize,
}

impl Plugin {
    /// `inputs` has a schema for each of the functions, in their order.
    pub(crate) fn new(
        info: PluginInfo,
        inputs: Vec<Schema>,
        contract: Contract,
        metered: MeteredContract,
        rules: Arc<Rules>,
        hidden: bool,
    ) -> Self {
        let functions = info
            .functions
            .iter()
            .enumerate()
            .map(|(at, function)| (function.name.clone(), at));
        Self {
            functions: Arc::new(functions.collect()),
            // Every version was checked before its component was compiled.
            version: version_of(&info.version).unwrap_or(Version::new(0, 0, 0)),
            bytes: description::bytes(&info),
            info: Arc::new(info),
            contract: Arc::new(contract),
            metered: Arc::new(metered),
            inputs: inputs.into(),
            rules,
            hidden,
            order: 0,
        }
    }

    /// The same component in sight of everyone, under the name that it has from now on.
    pub(super) fn visible_as(&self, name: Arc<str>, version: Arc<str>) -> Self {
        Self {
            version: version_of(&version).unwrap_or(Version::new(0, 0, 0)),
            info: Arc::new(PluginInfo {
                name,
                version,
                ..(*self.info).clone()
            }),
            hidden: false,
            ..self.clone()
        }
    }

    /// The same with these rules, which are of its name.
    pub(super) fn with_rules(mut self, rules: Arc<Rules>) -> Self {
        if Arc::ptr_eq(&self.rules, &rules) {
            return self;
        }
        self.info = Arc::new(PluginInfo {
            grants: rules.grant_lines(),
            limits: rules.limit_lines(),
            ..(*self.info).clone()
        });
        self.rules = rules;
        self
    }

    /// The same component as a version of its own, where the version that it carries is another's.
    pub(super) fn with_build_metadata(mut self) -> Self {
        let digest = &self.info.digest.0;
        let build = semver::BuildMetadata::new(&digest[..digest.len().min(BUILD_LEN)]);
        self.version.build = build.unwrap_or(semver::BuildMetadata::EMPTY);
        let version = self.version.to_string().into();
        self.info = Arc::new(PluginInfo {
            version,
            ..(*self.info).clone()
        });
        self
    }

    /// The newest version comes first, and of one version the build that was registered last.
    /// Pre-releases stand behind the rest, since nobody gets one who did not ask for it.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let Version {
            major,
            minor,
            patch,
            pre,
            ..
        } = &self.version;
        Reverse((pre.is_empty(), (*major, *minor, *patch), pre.clone(), self.order))
    }

    /// A component has one name: a run is pinned to its digest, and its errors must name it.
    pub(super) fn check_name(&self, name: &str, version: &str) -> Result<Arc<PluginInfo>, RegisterError> {
        if *self.info.name == *name && *self.info.version == *version {
            return Ok(self.info.clone());
        }
        Err(RegisterError::Refused(format!(
            "this component is registered as {}@{}, and a component has one name: leave the other name out",
            self.info.name, self.info.version
        )))
    }

    /// The function with this name.
    pub(crate) fn function(&self, name: &str) -> Option<&FunctionInfo> {
        self.functions.get(name).map(|&at| &self.info.functions[at])
    }

    /// What the input of the function with this name is checked against.
    pub(crate) fn input(&self, name: &str) -> Option<&Schema> {
        self.functions.get(name).map(|&at| &self.inputs[at])
    }

    /// How a function of this plugin is recorded.
    pub(crate) fn reference(&self, function: &FunctionInfo) -> FunctionRef {
        FunctionRef {
            digest: self.info.digest.clone(),
            plugin: self.info.name.clone(),
            version: self.info.version.clone(),
            function: function.name.clone(),
            routes: function
                .routes
                .iter()
                .map(|route| route.as_str().into())
                .collect(),
            granted: self.rules.is_granted(),
        }
    }
}
