//! The names of a plain component's tools: `function`, or `interface.function`.

use std::collections::{BTreeMap, BTreeSet};

/// An interface's name in tools, of those that a component exports.
///
/// It is the last part of what the component exports it as: `store` for `acme:shop/store@1.2.0`.
/// Where several end in the same one, each of these has its package too (`shop-store`), or its
/// namespace and package (`acme-shop-store`); where only the version tells them apart, the newest has the
/// name, and the others have none.
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

/// A function's own name. A resource's static function is `[static]resource.function` to a component.
pub(super) fn of_function(export: &str) -> &str {
    export.strip_prefix("[static]").unwrap_or(export)
}

/// The parts of `namespace:package/interface@version`, or a plain name.
#[derive(Clone, Copy)]
struct Parts<'a> {
    export: &'a str,
    namespace: &'a str,
    package: &'a str,
    interface: &'a str,
    version: &'a str,
}

impl<'a> Parts<'a> {
    /// How often more can be said of an interface.
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

    /// All but the version.
    fn path(&self) -> [&'a str; 3] {
        [self.namespace, self.package, self.interface]
    }

    fn name(&self, level: usize) -> String {
        let all = self.path();
        let parts = all[Self::LEVELS - level..].iter();
        let parts: Vec<_> = parts.copied().filter(|part| !part.is_empty()).collect();
        parts.join("-")
    }

    /// Whatever is no version is older than what is.
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
    fn interfaces_that_end_alike_are_told_apart() {
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
