//! Reads the documentation of a component's functions from its WIT.
//!
//! WIT tools store doc comments in a custom section, `package-docs`: a version byte and a JSON text with the comments
//! of one package, by interface and function (wit-parser's `metadata` module defines the form). Only the comments of
//! functions are read. A section that cannot be read is ignored.

use std::collections::HashMap;

use serde::Deserialize;

/// The custom section with a package's documentation.
pub(crate) const SECTION: &str = "package-docs";

/// How many bytes of all sections of one component are read.
pub(crate) const DOCS_LEN: usize = 1 << 20;

/// The versions of the section's form. The second one adds fields to the first.
const VERSIONS: [u8; 2] = [0, 1];

/// The documentation of a component.
#[derive(Default)]
pub(super) struct Docs(Vec<Package>);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Package {
    worlds: HashMap<String, World>,
    interfaces: HashMap<String, Interface>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct World {
    /// The exports, and in the first version also the imports.
    interfaces: HashMap<String, Interface>,
    funcs: HashMap<String, Function>,
    interface_exports: HashMap<String, Interface>,
    func_exports: HashMap<String, Function>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Interface {
    funcs: HashMap<String, Function>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Function {
    docs: Option<String>,
}

impl Docs {
    /// Reads the sections.
    pub(super) fn read<'a>(sections: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let packages = sections.into_iter().filter_map(|section| {
            let (version, text) = section.split_first()?;
            let text = VERSIONS.contains(version).then_some(text)?;
            serde_json::from_slice(text).ok()
        });
        Self(packages.collect())
    }

    /// The documentation of a function at the top level, or in the interface that is exported under this name.
    pub(super) fn of(&self, interface: Option<&str>, function: &str) -> Option<&str> {
        let found = self.0.iter().find_map(|package| match interface {
            None => {
                let worlds = package.worlds.values();
                let mut functions = worlds.flat_map(|world| [&world.func_exports, &world.funcs]);
                functions.find_map(|functions| functions.get(function))
            }
            Some(interface) => {
                let mut interfaces = package.interfaces(interface);
                interfaces.find_map(|interface| interface.funcs.get(function))
            }
        });
        found?.docs.as_deref()
    }
}

impl Package {
    /// The interfaces that an export's name may refer to. The section does not name its package, so only the last part
    /// of `namespace:package/interface` is compared.
    fn interfaces<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Interface> + use<'a, 'n> {
        let worlds = self.worlds.values();
        let worlds = worlds.flat_map(|world| [&world.interface_exports, &world.interfaces]);
        let own = name.split_once('/').map(|(_, interface)| interface);
        let own = own.map(|interface| interface.split_once('@').map_or(interface, |(name, _)| name));
        let own = own.and_then(|interface| self.interfaces.get(interface));
        own.into_iter()
            .chain(worlds.filter_map(move |interfaces| interfaces.get(name)))
    }
}

/// The first paragraph of a text, in one line of at most `len` bytes.
pub(super) fn summary(docs: &str, len: usize) -> String {
    let lines = docs.trim().lines().map(str::trim);
    let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    heddle_json::object::clip(&lines.join(" "), len).to_owned()
}
