//! Tests that a page names as `path.rs::test`, and files that the pages in `docs` and at the top name: they must be there.
//!
//! The beginning of a test's path may be left out where the rest is the end of only one file's path.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{is_made, markdown::Markdown};
use crate::repository;

/// The tests of the repository.
pub struct Tests {
    /// The names of each file's tests, by its path in the repository.
    by_file: BTreeMap<PathBuf, Vec<String>>,
}

impl Tests {
    /// Reads every Rust file of the repository.
    pub fn find() -> Self {
        let mut by_file = BTreeMap::new();
        read(repository(), &mut by_file);
        Self { by_file }
    }

    /// The tests and files that a page names and that are not there: each with its line.
    pub fn check_page(&self, path: &str) -> Vec<String> {
        let text = fs::read_to_string(repository().join(path)).expect("the page can be read");
        let page = Markdown::read(&text);
        // A page of a part of the repository names files from there.
        let from_top = path.starts_with("docs/") || !path.contains('/');
        let problems = page.code.iter().filter_map(|(line, code)| {
            let problem = match test(code) {
                Some((file, test)) => self.check(file, test).err()?,
                None if from_top && is_path(code) && !repository().join(code).exists() => {
                    "there is no such file".to_owned()
                }
                None => return None,
            };
            Some(format!("{path}:{line}: `{code}`: {problem}"))
        });
        problems.collect()
    }

    fn check(&self, file: &str, test: &str) -> Result<(), String> {
        let mut found = self.by_file.iter().filter(|(path, _)| path.ends_with(file));
        let (path, tests) = found.next().ok_or("there is no such file")?;
        if let Some((other, _)) = found.next() {
            let (path, other) = (path.display(), other.display());
            return Err(format!("this is {path} and {other}: write more of the path"));
        }
        if !tests.iter().any(|has| has == test) {
            return Err(format!("{} has no such test", path.display()));
        }
        Ok(())
    }
}

/// The file and the test that a piece of inline code names.
fn test(code: &str) -> Option<(&str, &str)> {
    let (file, test) = code.split_once("::")?;
    file.ends_with(".rs").then_some((file, test))
}

/// Whether a piece of inline code is the path of a file or folder of the engine or its tests.
fn is_path(code: &str) -> bool {
    let plain =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "/._-".contains(letter);
    (code.starts_with("engine/") || code.starts_with("tests/")) && code.chars().all(plain)
}

fn read(folder: &Path, by_file: &mut BTreeMap<PathBuf, Vec<String>>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            if !path.is_symlink() && !is_made(&path) {
                read(&path, by_file);
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("the file can be read");
            let below = path.strip_prefix(repository()).expect("it is in the repository");
            by_file.insert(below.to_owned(), tests(&text));
        }
    }
}

/// The names of the functions that have a test's attribute.
fn tests(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((before, rest)) = line.split_once("fn ")
            && matches!(before, "" | "async ")
        {
            let name = rest.split('(').next().unwrap_or_default();
            found.extend(is_test.then(|| name.to_owned()));
            is_test = false;
        }
    }
    found
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn only_functions_with_a_test_attribute_are_tests() {
        let text = "fn a() {}\n#[test]\nfn b() {}\n#[tokio::test(flavor = \"x\")]\n#[cfg(unix)]\nasync fn c() {}\nfn d() {}\n";
        assert_eq!(tests(text), ["b", "c"]);
    }

    #[test]
    fn a_test_is_named_by_its_file_and_an_end_of_a_path_must_fit_one_file_only() {
        let files = ["one/a.rs", "two/a.rs", "two/other_b.rs"];
        let tests = Tests {
            by_file: files.map(|file| (file.into(), vec!["holds".to_owned()])).into(),
        };
        tests.check("one/a.rs", "holds").unwrap();
        tests.check("other_b.rs", "holds").unwrap();
        for (file, test, problem) in [
            (
                "a.rs",
                "holds",
                "this is one/a.rs and two/a.rs: write more of the path",
            ),
            ("b.rs", "holds", "there is no such file"),
            ("one/a.rs", "hold", "one/a.rs has no such test"),
        ] {
            assert_eq!(tests.check(file, test).unwrap_err(), problem);
        }
        assert_eq!(test("a.rs::holds"), Some(("a.rs", "holds")));
        assert_eq!(test("std::fs"), None);
        assert!(is_path("engine/host") && !is_path("engine/…") && !is_path("src/lib.rs"));
    }
}
