//! Checks the repository's own `cargo` commands without running them: the tasks, packages and tests must exist.

use std::{fs, path::Path};

use crate::repository;

/// Checks the words after `cargo`.
///
/// # Errors
/// What is not there.
pub fn check(call: &str) -> Result<(), String> {
    let mut words = call.split_whitespace();
    let command = words.next().unwrap_or_default();
    let words: Vec<&str> = words.collect();
    match command {
        "xtask" => task(words.first().copied().unwrap_or_default()),
        "install" => {
            let path = value(&words, &["--path"]).unwrap_or_default();
            present(&repository().join(path).join("Cargo.toml"))
        }
        "test" | "bench" | "run" => tests(&words),
        _ => Err(format!("there is no check for `cargo {call}`")),
    }
}

/// A task of `cargo xtask` is a variant of its command.
fn task(name: &str) -> Result<(), String> {
    let source = fs::read_to_string(repository().join("engine/xtask/src/main.rs")).unwrap_or_default();
    let mut variant = name.to_owned();
    if let Some(first) = variant.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    if source.contains(&format!("Command::{variant}")) {
        return Ok(());
    }
    Err(format!("`cargo xtask` has no task `{name}`"))
}

/// Checks the package, the test file and the test names of a filter.
fn tests(words: &[&str]) -> Result<(), String> {
    let package = value(words, &["-p", "--package"]).ok_or("it names no package")?;
    let short = package.strip_prefix("heddle-").unwrap_or(package);
    let folder = match short {
        "tests" => repository().join("tests"),
        "fuzz" => repository().join("tests/fuzz"),
        _ => repository().join("engine").join(short),
    };
    present(&folder.join("Cargo.toml"))?;
    let Some(test) = value(words, &["--test"]) else {
        return Ok(());
    };
    let single = folder.join("tests").join(format!("{test}.rs"));
    let several = folder.join("tests").join(test);
    let sources = if single.exists() { single } else { several };
    present(&sources)?;
    // A free argument filters the tests by name.
    let filters = words.iter().enumerate().filter(|(at, word)| {
        let flags = *at > 0 && words[at - 1].starts_with('-') && words[at - 1] != "--";
        !word.starts_with('-') && !flags
    });
    for (_, filter) in filters {
        let name = filter.rsplit("::").next().unwrap_or(filter);
        if !names(&sources, name) {
            return Err(format!(
                "no test in {} has `{name}` in its name",
                sources.display()
            ));
        }
    }
    Ok(())
}

/// Whether a file, or a file below a folder, has a test or is a module with this text in its name.
fn names(path: &Path, name: &str) -> bool {
    if path.is_dir() {
        let mut below = fs::read_dir(path).into_iter().flatten().flatten();
        return below.any(|entry| names(&entry.path(), name));
    }
    let module = path
        .file_stem()
        .is_some_and(|stem| stem.to_string_lossy().contains(name));
    let text = fs::read_to_string(path).unwrap_or_default();
    let functions = text.split("fn ").skip(1);
    module
        || functions
            .map(|rest| rest.split('(').next().unwrap_or_default())
            .any(|function| function.contains(name))
}

fn value<'w>(words: &[&'w str], flags: &[&str]) -> Option<&'w str> {
    let at = words.iter().position(|word| flags.contains(word))?;
    words.get(at + 1).copied()
}

fn present(path: &Path) -> Result<(), String> {
    if path.exists() {
        return Ok(());
    }
    Err(format!("there is no {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_task_a_package_and_a_test_must_be_there() {
        check("xtask demo").unwrap();
        check("test -p heddle-tests --test durability").unwrap();
        check("test -p heddle-tests --test crash sweep -- --nocapture").unwrap();
        for wrong in [
            "xtask dance",
            "test -p heddle-loom",
            "test -p heddle-tests --test loom",
            "test -p heddle-tests --test crash no_such_test",
            "fly",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
