//! A registered plugin.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use heddle_kernel::event::FunctionRef;
use heddle_runtime::ports::{FunctionInfo, PluginInfo, RegisterError};
use heddle_schema::Schema;
use semver::Version;

use super::description;
use crate::{component::version_of, contract::Contract, metered_contract::MeteredContract, policy::Rules};

/// How many digits of its digest a component gets as build metadata if its version is taken.
const BUILD_LEN: usize = 12;

/// A registered plugin, ready to be called.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) info: Arc<PluginInfo>,
    pub(crate) contract: Arc<Contract>,
    /// For calls with a fuel limit.
    pub(crate) metered: Arc<MeteredContract>,
    /// The input schemas, in the order of `info.functions`.
    inputs: Arc<[Schema]>,
    /// The index of each function in `info.functions`.
    functions: Arc<HashMap<Arc<str>, usize>>,
    /// The rules of its name.
    pub(crate) rules: Arc<Rules>,
    pub(super) hidden: bool,
    /// Parsed from `info`.
    pub(super) version: Version,
    /// Of two builds of one version, the one with the higher number was registered later and is newer.
    pub(super) order: u64,
    /// The size of its description.
    pub(super) bytes: usize,
}

impl Plugin {
    /// `inputs` has the schema of each function, in their order.
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
            // The version was checked before the component was compiled.
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

    /// The same plugin, to be registered again: visible under this name and version, or hidden if there is none.
    pub(crate) fn again(&self, identity: Option<(Arc<str>, Arc<str>)>) -> Self {
        let Some((name, version)) = identity else {
            return Self {
                hidden: true,
                ..self.clone()
            };
        };
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

    /// The same plugin with other rules of its name.
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

    /// The same plugin with its digest as build metadata, since another component has its version.
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

    /// Sorts the newest version first, and of one version the build that was registered last. Pre-releases come after
    /// all releases: they are used only if requested.
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

    /// Checks the name of a component that is registered again. A component has one name: runs are pinned to its
    /// digest, and their errors name it.
    pub(super) fn check_name(&self, name: &str, version: &str) -> Result<Arc<PluginInfo>, RegisterError> {
        if *self.info.name == *name && *self.info.version == *version {
            return Ok(self.info.clone());
        }
        Err(RegisterError::Refused(format!(
            "this component is registered as {}@{}, and a component has only one name: omit the other name",
            self.info.name, self.info.version
        )))
    }

    /// The function with this name.
    pub(crate) fn function(&self, name: &str) -> Option<&FunctionInfo> {
        self.functions.get(name).map(|&at| &self.info.functions[at])
    }

    /// The input schema of the function with this name.
    pub(crate) fn input(&self, name: &str) -> Option<&Schema> {
        self.functions.get(name).map(|&at| &self.inputs[at])
    }

    /// A function of this plugin as runs record it.
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
