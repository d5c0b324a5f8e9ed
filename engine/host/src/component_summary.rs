//! The metadata of a component for callers that do not run it.

use crate::{
    component::{identity, inspect},
    settings::HostSettings,
};

/// A component's name, version, imports and exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentSummary {
    /// The name under which it would be registered.
    pub name: String,
    /// The version under which it would be registered (SemVer).
    pub version: String,
    /// The names of its imports.
    pub imports: Vec<String>,
    /// The names of its exports.
    pub exports: Vec<String>,
}

impl ComponentSummary {
    /// Reads a component; `stem` is its name if it carries none.
    ///
    /// # Errors
    /// If the bytes are not a component, or if its name or version is not valid. The message says what the bytes are instead.
    pub fn of(component: &[u8], stem: Option<&str>) -> Result<Self, String> {
        let metadata = inspect(component, HostSettings::default().max_component_bytes)?;
        let (name, version) = identity(&metadata, None, None, stem)?;
        Ok(Self {
            name: name.to_string(),
            version: version.to_string(),
            imports: metadata.imports,
            exports: metadata.exports,
        })
    }
}
