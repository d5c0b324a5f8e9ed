//! The dependency rule: which crate of the engine may depend on which, and which third-party crates belong to one crate
//! alone.
//!
//! The rule covers normal, test and build dependencies. The end-to-end tests and the fuzz targets are exempt.

use serde_json::Value;

/// Each crate with the crates that it may depend on.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("heddle-json", &[]),
    ("heddle-display", &[]),
    ("heddle-expr", &["heddle-json"]),
    ("heddle-schema", &["heddle-json"]),
    ("heddle-kernel", &["heddle-expr", "heddle-schema", "heddle-json"]),
    ("heddle-diagram", &["heddle-kernel"]),
    ("heddle-runtime", &["heddle-kernel", "heddle-json"]),
    (
        "heddle-host",
        &[
            "heddle-runtime",
            "heddle-kernel",
            "heddle-schema",
            "heddle-json",
            "heddle-display",
        ],
    ),
    (
        "heddle-store",
        &["heddle-runtime", "heddle-kernel", "heddle-json"],
    ),
    (
        "heddle-server",
        &[
            "heddle-runtime",
            "heddle-diagram",
            "heddle-kernel",
            "heddle-json",
            "heddle-display",
        ],
    ),
    (
        "heddle-cli",
        &[
            "heddle-server",
            "heddle-host",
            "heddle-store",
            "heddle-runtime",
            "heddle-diagram",
            "heddle-kernel",
            "heddle-json",
            "heddle-display",
        ],
    ),
    ("heddle-xtask", &[]),
];

/// The pure crates: they have no async, no I/O, no clock and no randomness.
const PURE: [&str; 6] = [
    "heddle-json",
    "heddle-display",
    "heddle-expr",
    "heddle-schema",
    "heddle-kernel",
    "heddle-diagram",
];

/// The crates that may depend on all others.
const EXEMPT: [&str; 2] = ["heddle-tests", "heddle-fuzz"];

/// Third-party crates that only one crate may use: the owner, a description and the families of crate names.
const OWNERS: [(&str, &str, &[&str]); 3] = [
    ("heddle-host", "wasmtime", &["wasmtime"]),
    (
        "heddle-store",
        "a database",
        &[
            "rusqlite",
            "refinery",
            "libsqlite3",
            "tokio-postgres",
            "postgres",
            "deadpool",
            "sqlx",
            "redb",
        ],
    ),
    ("heddle-server", "axum", &["axum", "utoipa-axum"]),
];

/// The crates that no pure crate may use. The kernel uses jiff to parse and format times; its clippy.toml forbids the
/// functions of jiff that read the clock.
const NOT_IN_PURE: [&str; 14] = [
    "tokio",
    "futures",
    "async",
    "smol",
    "rand",
    "getrandom",
    "fastrand",
    "time",
    "chrono",
    "web-time",
    "quanta",
    "ureq",
    "reqwest",
    "hyper",
];

/// Returns every violation in the output of `cargo metadata --no-deps`, one sentence each.
pub(crate) fn violations(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.flat_map(violations_of).collect()
}

fn violations_of(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    if EXEMPT.contains(&name) {
        return Vec::new();
    }
    let Some((_, allowed)) = ALLOWED.iter().find(|(from, _)| *from == name) else {
        return vec![format!(
            "{name} is not in the dependency rule: add it to engine/xtask/src/tidy/dependency_rule.rs"
        )];
    };
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        .filter_map(|dependency| {
            let other = dependency["name"].as_str()?;
            let kind = dependency["kind"]
                .as_str()
                .map_or(String::new(), |kind| format!(" ({kind})"));
            Some(format!(
                "{name} depends on {other}{kind}, but {}",
                violation(name, allowed, other)?
            ))
        })
        .collect()
}

/// Why a crate may not depend on another. None if it may.
fn violation(part: &str, allowed: &[&str], other: &str) -> Option<String> {
    if other.starts_with("heddle-") && !allowed.contains(&other) {
        return Some(match allowed {
            [] => "it may depend on no other crate of the engine".to_string(),
            allowed => format!(
                "of the engine's crates it may depend only on {}",
                allowed.join(", ")
            ),
        });
    }
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| is_of(other, beginning));
    if let Some((owner, what, _)) = OWNERS
        .iter()
        .find(|(owner, _, names)| *owner != part && begins(names))
    {
        return Some(format!("only {owner} may use {what}"));
    }
    let impure = PURE.contains(&part) && begins(&NOT_IN_PURE);
    impure.then(|| format!("{part} has no async, no I/O, no clock and no randomness"))
}

/// Whether a crate belongs to a family of crates, as `wasmtime-wasi` belongs to `wasmtime`.
fn is_of(name: &str, family: &str) -> bool {
    let rest = name.strip_prefix(family);
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(['-', '_']) || rest.starts_with(|c: char| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Builds metadata of packages with their dependencies; the prefix `dev:` marks a dependency of tests.
    fn workspace(packages: &[(&str, &[&str])]) -> Value {
        let dependency = |name: &&str| match name.strip_prefix("dev:") {
            Some(name) => json!({"name": name, "kind": "dev"}),
            None => json!({"name": name, "kind": null}),
        };
        let package = |(name, dependencies): &(&str, &[&str])| json!({"name": name, "dependencies": dependencies.iter().map(dependency).collect::<Vec<_>>()});
        json!({"packages": packages.iter().map(package).collect::<Vec<_>>()})
    }

    #[track_caller]
    fn only_violation(packages: &[(&str, &[&str])]) -> String {
        let violations = violations(&workspace(packages));
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations[0].clone()
    }

    #[test]
    fn the_intended_dependencies_are_allowed() {
        let violations = violations(&workspace(&[
            ("heddle-json", &["serde"]),
            ("heddle-expr", &["heddle-json", "cel"]),
            ("heddle-schema", &["heddle-json", "jsonschema"]),
            (
                "heddle-kernel",
                &[
                    "heddle-expr",
                    "heddle-schema",
                    "heddle-json",
                    "serde",
                    "sha2",
                    "uuid",
                    "dev:proptest",
                ],
            ),
            (
                "heddle-runtime",
                &["heddle-kernel", "heddle-json", "tokio", "futures-util"],
            ),
            (
                "heddle-host",
                &[
                    "heddle-kernel",
                    "heddle-runtime",
                    "wasmtime",
                    "wasmtime-wasi",
                    "tokio",
                ],
            ),
            (
                "heddle-store",
                &[
                    "heddle-kernel",
                    "heddle-runtime",
                    "rusqlite",
                    "refinery",
                    "dev:tempfile",
                ],
            ),
            ("heddle-diagram", &["heddle-kernel", "dev:proptest"]),
            (
                "heddle-server",
                &[
                    "heddle-kernel",
                    "heddle-diagram",
                    "heddle-runtime",
                    "axum",
                    "utoipa-axum",
                    "hyper",
                ],
            ),
            (
                "heddle-cli",
                &[
                    "heddle-kernel",
                    "heddle-diagram",
                    "heddle-runtime",
                    "heddle-host",
                    "heddle-store",
                    "heddle-server",
                ],
            ),
            ("heddle-xtask", &["anyhow", "clap"]),
            ("heddle-tests", &["heddle-store", "rusqlite", "axum", "wasmtime"]),
            ("heddle-fuzz", &["heddle-host", "heddle-tests", "axum"]),
        ]));
        assert_eq!(violations, Vec::<String>::new());
    }

    #[test]
    fn a_dependency_in_the_wrong_direction_is_a_violation() {
        let violation = only_violation(&[
            ("heddle-json", &["heddle-kernel"]),
            ("heddle-kernel", &["heddle-json"]),
        ]);
        assert_eq!(
            violation,
            "heddle-json depends on heddle-kernel, but it may depend on no other crate of the engine"
        );
        let violation = only_violation(&[("heddle-runtime", &["heddle-kernel", "heddle-store"])]);
        assert_eq!(
            violation,
            "heddle-runtime depends on heddle-store, but of the engine's crates it may depend only on heddle-kernel, heddle-json"
        );
        only_violation(&[("heddle-runtime", &["heddle-cli"])]);
    }

    #[test]
    fn host_store_and_server_never_depend_on_each_other() {
        let three = ["heddle-host", "heddle-store", "heddle-server"];
        for from in three {
            for to in three.into_iter().filter(|to| *to != from) {
                let violation = only_violation(&[(from, &[to])]);
                assert!(
                    violation.starts_with(&format!("{from} depends on {to}, but ")),
                    "{violation}"
                );
            }
        }
    }

    #[test]
    fn test_dependencies_are_checked() {
        let violation = only_violation(&[("heddle-server", &["dev:heddle-store"])]);
        assert!(
            violation.starts_with("heddle-server depends on heddle-store (dev), but "),
            "{violation}"
        );
    }

    #[test]
    fn third_party_crates_have_one_owner() {
        for (part, other, why) in [
            ("heddle-server", "wasmtime", "only heddle-host may use wasmtime"),
            ("heddle-cli", "wasmtime-wasi", "only heddle-host may use wasmtime"),
            (
                "heddle-runtime",
                "rusqlite",
                "only heddle-store may use a database",
            ),
            (
                "heddle-host",
                "dev:refinery-core",
                "only heddle-store may use a database",
            ),
            ("heddle-cli", "axum", "only heddle-server may use axum"),
            ("heddle-xtask", "axum-core", "only heddle-server may use axum"),
        ] {
            let violation = only_violation(&[(part, &[other])]);
            assert!(violation.ends_with(why), "{violation}");
        }
    }

    #[test]
    fn the_pure_parts_have_neither_async_nor_clock_nor_randomness() {
        for other in [
            "tokio",
            "futures-util",
            "async-trait",
            "rand",
            "rand_core",
            "getrandom",
            "chrono",
        ] {
            for part in PURE {
                only_violation(&[(part, &[other])]);
            }
            assert_eq!(
                violations(&workspace(&[("heddle-runtime", &[other])])),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn unrelated_names_with_the_same_prefix_are_allowed() {
        let unrelated = workspace(&[
            ("heddle-kernel", &["randomize", "timely"]),
            ("heddle-cli", &["axumite"]),
        ]);
        assert_eq!(violations(&unrelated), Vec::<String>::new());
    }

    #[test]
    fn xtask_depends_on_no_crate_of_the_engine() {
        only_violation(&[("heddle-xtask", &["heddle-kernel"])]);
    }

    #[test]
    fn an_unknown_package_is_a_violation() {
        let violation = only_violation(&[("heddle-cloud", &[])]);
        assert!(
            violation.starts_with("heddle-cloud is not in the dependency rule"),
            "{violation}"
        );
    }
}
