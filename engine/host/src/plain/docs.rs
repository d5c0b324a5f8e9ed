//! What a component says of its functions: the documentation of its WIT.
//!
//! WIT tools keep doc comments in a custom section, `package-docs`: a version and a JSON text with
//! the comments of one package, by interface and function (wit-parser's `metadata` module has its
//! form). Of that, only what people read of a function is read here. What is not understood is as
//! if it were not there: a component is no worse for it.

use std::collections::HashMap;

use serde::Deserialize;

/// The custom section that has a package's documentation.
pub(crate) const SECTION: &str = "package-docs";

/// How much of it is read, all sections of one component together.
pub(crate) const DOCS_LEN: usize = 1 << 20;

/// The versions of the section's form: the second added to the first.
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
    /// What is exported, and in the first version of the form also what is imported.
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

    /// What is said of a function that stands at the top of the component, or in the interface that is
    /// exported under this name.
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
    /// The interfaces that an export's name may mean. The section does not say which package it is of,
    /// so of `namespace:package/interface` the last part must do.
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

/// The first paragraph of a text, in one line of at most so many bytes.
pub(super) fn summary(docs: &str, len: usize) -> String {
    let lines = docs.trim().lines().map(str::trim);
    let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    heddle_json::object::clip(&lines.join(" "), len).to_owned()
}
