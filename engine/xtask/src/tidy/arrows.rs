//! The dependency rule: which part of the engine may name which, and who alone may name what the parts are built on.
//!
//! It holds for dependencies of every kind, those of tests and build scripts included. The end-to-end tests and the fuzz targets are free.

use serde_json::Value;

/// Each part, and the parts that it may name. An arrow that is not here does not exist.
const ARROWS: [(&str, &[&str]); 12] = [
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

/// The pure parts: they have no async, no I/O, no clock and no randomness.
const PURE: [&str; 5] = [
    "heddle-json",
    "heddle-display",
    "heddle-expr",
    "heddle-schema",
    "heddle-kernel",
];

/// The parts that may name any.
const FREE: [&str; 2] = ["heddle-tests", "heddle-fuzz"];

/// What only one part may name, by the beginnings of the crates' names, and what it is.
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

/// The crates that no pure part may name. The kernel names jiff to read and write times; its clippy.toml
/// forbids the functions of jiff that read the clock.
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

/// Every breach of the rule in the answer of `cargo metadata --no-deps`, a sentence each.
pub(crate) fn violations(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.flat_map(of_package).collect()
}

fn of_package(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    if FREE.contains(&name) {
        return Vec::new();
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(part, _)| *part == name) else {
        return vec![format!(
            "{name} is not in the dependency rule: say in engine/xtask/src/tidy/arrows.rs what it may name"
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
                "{name} names {other}{kind}, but {}",
                forbidden(name, allowed, other)?
            ))
        })
        .collect()
}

/// Why a part may not name a crate, if it may not.
fn forbidden(part: &str, allowed: &[&str], other: &str) -> Option<String> {
    if other.starts_with("heddle-") && !allowed.contains(&other) {
        return Some(match allowed {
            [] => "it may name no other part".to_string(),
            allowed => format!("of the parts it may name only {}", allowed.join(", ")),
        });
    }
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| is_of(other, beginning));
    if let Some((owner, what, _)) = OWNERS
        .iter()
        .find(|(owner, _, names)| *owner != part && begins(names))
    {
        return Some(format!("only {owner} names {what}"));
    }
    let impure = PURE.contains(&part) && begins(&NOT_IN_PURE);
    impure.then(|| format!("{part} has no async, no I/O, no clock and no randomness"))
}

/// Whether a crate is the one of that name or of its family, as `wasmtime-wasi` is of `wasmtime`.
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

    /// Metadata of packages, each with its dependencies; `dev:` before a name makes it one of tests.
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
    fn the_intended_arrows_are_allowed() {
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
    fn an_arrow_that_runs_the_wrong_way_is_a_violation() {
        let violation = only_violation(&[
            ("heddle-json", &["heddle-kernel"]),
            ("heddle-kernel", &["heddle-json"]),
        ]);
        assert_eq!(
            violation,
            "heddle-json names heddle-kernel, but it may name no other part"
        );
        let violation = only_violation(&[("heddle-runtime", &["heddle-kernel", "heddle-store"])]);
        assert_eq!(
            violation,
            "heddle-runtime names heddle-store, but of the parts it may name only heddle-kernel, heddle-json"
        );
        only_violation(&[("heddle-runtime", &["heddle-cli"])]);
    }

    #[test]
    fn host_store_and_server_never_name_each_other() {
        let three = ["heddle-host", "heddle-store", "heddle-server"];
        for from in three {
            for to in three.into_iter().filter(|to| *to != from) {
                let violation = only_violation(&[(from, &[to])]);
                assert!(
                    violation.starts_with(&format!("{from} names {to}, but ")),
                    "{violation}"
                );
            }
        }
    }

    #[test]
    fn a_dependency_of_tests_counts_too() {
        let violation = only_violation(&[("heddle-server", &["dev:heddle-store"])]);
        assert!(
            violation.starts_with("heddle-server names heddle-store (dev), but "),
            "{violation}"
        );
    }

    #[test]
    fn each_foundation_has_one_owner() {
        for (part, other, why) in [
            ("heddle-server", "wasmtime", "only heddle-host names wasmtime"),
            ("heddle-cli", "wasmtime-wasi", "only heddle-host names wasmtime"),
            ("heddle-runtime", "rusqlite", "only heddle-store names a database"),
            (
                "heddle-host",
                "dev:refinery-core",
                "only heddle-store names a database",
            ),
            ("heddle-cli", "axum", "only heddle-server names axum"),
            ("heddle-xtask", "axum-core", "only heddle-server names axum"),
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
    fn only_whole_families_are_meant() {
        let unrelated = workspace(&[
            ("heddle-kernel", &["randomize", "timely"]),
            ("heddle-cli", &["axumite"]),
        ]);
        assert_eq!(violations(&unrelated), Vec::<String>::new());
    }

    #[test]
    fn xtask_names_no_part_of_the_engine() {
        only_violation(&[("heddle-xtask", &["heddle-kernel"])]);
    }

    #[test]
    fn a_package_that_the_rule_does_not_know_is_a_violation() {
        let violation = only_violation(&[("heddle-cloud", &[])]);
        assert!(
            violation.starts_with("heddle-cloud is not in the dependency rule"),
            "{violation}"
        );
    }
}
