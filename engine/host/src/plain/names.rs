//! The names of a plain component's tools: `function` or `interface.function`.

use std::collections::{BTreeMap, BTreeSet};

/// The names of exported interfaces in tools.
///
/// An interface is named by the last part of its export: `store` for `acme:shop/store@1.2.0`. If several have the same
/// last part, each name also has the package (`shop-store`), or the namespace and package (`acme-shop-store`). If only
/// their versions differ, the newest gets the name, and the others get none.
pub(super) fn of_interfaces<'a>(exports: &[&'a str]) -> BTreeMap<&'a str, Option<String>> {
    let mut all: BTreeMap<_, _> = exports.iter().map(|export| (*export, None)).collect();
    let mut newest: BTreeMap<_, Parts<'a>> = BTreeMap::new();
    for parts in exports.iter().map(|export| Parts::of(export)) {
        let known = newest.entry(parts.path()).or_insert(parts);
        if parts.version() > known.version() {
            *known = parts;
        }
    }
    let mut named: Vec<_> = newest.into_values().map(|parts| (parts, 0)).collect();
    for _ in 0..Parts::LEVELS {
        let names: Vec<_> = named.iter().map(|(parts, level)| parts.name(*level)).collect();
        for (at, (_, level)) in named.iter_mut().enumerate() {
            let shared = names.iter().filter(|name| **name == names[at]).count() > 1;
            *level += usize::from(shared && *level < Parts::LEVELS);
        }
    }
    let mut taken = BTreeSet::new();
    for (parts, level) in named {
        let name = parts.name(level);
        if taken.insert(name.clone()) {
            all.insert(parts.export, Some(name));
        }
    }
    all
}

/// The name of a function. A resource's static function is exported as `[static]resource.function`.
pub(super) fn of_function(export: &str) -> &str {
    export.strip_prefix("[static]").unwrap_or(export)
}

/// The parts of `namespace:package/interface@version`, or of a plain name.
#[derive(Clone, Copy)]
struct Parts<'a> {
    export: &'a str,
    namespace: &'a str,
    package: &'a str,
    interface: &'a str,
    version: &'a str,
}

impl<'a> Parts<'a> {
    /// How many parts a name can be extended by.
    const LEVELS: usize = 2;

    fn of(export: &'a str) -> Self {
        let (name, version) = export.split_once('@').unwrap_or((export, ""));
        let (path, interface) = name.rsplit_once('/').unwrap_or(("", name));
        let (namespace, package) = path.split_once(':').unwrap_or(("", path));
        Self {
            export,
            namespace,
            package,
            interface,
            version,
        }
    }

    /// All parts but the version.
    fn path(&self) -> [&'a str; 3] {
        [self.namespace, self.package, self.interface]
    }

    fn name(&self, level: usize) -> String {
        let all = self.path();
        let parts = all[Self::LEVELS - level..].iter();
        let parts: Vec<_> = parts.copied().filter(|part| !part.is_empty()).collect();
        parts.join("-")
    }

    /// The version; none counts as older than any version.
    fn version(&self) -> Option<semver::Version> {
        semver::Version::parse(self.version).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(exports: &[&str]) -> Vec<String> {
        let named = of_interfaces(exports);
        let name = |export: &&str| named[*export].clone().unwrap_or_else(|| "-".to_owned());
        exports.iter().map(name).collect()
    }

    #[test]
    fn an_interface_has_the_last_part_of_its_name() {
        assert_eq!(
            names(&["acme:shop/store@1.2.0", "wasi:cli/run@0.2.0", "api"]),
            ["store", "run", "api"]
        );
    }

    #[test]
    fn interfaces_with_the_same_last_part_get_longer_names() {
        assert_eq!(
            names(&["acme:shop/store", "acme:bank/store", "acme:bank/teller"]),
            ["shop-store", "bank-store", "teller"]
        );
        assert_eq!(
            names(&["acme:shop/store", "other:shop/store", "store"]),
            ["acme-shop-store", "other-shop-store", "store"]
        );
    }

    #[test]
    fn of_several_versions_the_newest_has_the_name() {
        assert_eq!(
            names(&["a:b/c@0.9.0", "a:b/c@0.10.0", "a:b/c@0.10.0-rc.1"]),
            ["-", "c", "-"]
        );
    }
}
