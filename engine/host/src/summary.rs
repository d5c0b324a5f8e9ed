//! What a component says of itself, for those who handle components without running them.

use crate::{
    component::{identity, inspect},
    settings::HostSettings,
};

/// A component's name, version and edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentSummary {
    /// The name that it would be registered under.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it imports, as it names it.
    pub imports: Vec<String>,
    /// What it exports, as it names it.
    pub exports: Vec<String>,
}

impl ComponentSummary {
    /// Reads a component; `stem` names it where it carries no name.
    ///
    /// # Errors
    /// Where the bytes are no component, or one that cannot be registered as it is named; says what they are instead.
    pub fn of(component: &[u8], stem: Option<&str>) -> Result<Self, String> {
        let found = inspect(component, HostSettings::default().max_component_bytes)?;
        let (name, version) = identity(&found, None, None, stem)?;
        Ok(Self {
            name: name.to_string(),
            version: version.to_string(),
            imports: found.imports,
            exports: found.exports,
        })
    }
}
