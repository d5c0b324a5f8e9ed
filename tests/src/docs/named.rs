//! Checks names of the repository's own parts in pages: tests as `path.rs::test`, and files in the pages of `docs` and at
//! the top, also in diagrams. Pages in [`ABOUT_THE_CODE`] also name types and functions as `Type` and `Type::function`,
//! and tables of the store as `table` or `table.column`.
//!
//! The beginning of a test's path may be left out if the rest is the end of only one file's path.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{is_made, markdown::Markdown};
use crate::repository;

/// The pages that name types of the engine and tables of the store.
const ABOUT_THE_CODE: [&str; 2] = ["CONTRIBUTING.md", "docs/architecture.md"];

/// The names of tests, types and functions in the repository, to check the names in a page.
#[derive(Default)]
pub struct Tests {
    /// The names of each file's tests, by its path in the repository.
    by_file: BTreeMap<PathBuf, Vec<String>>,
    /// The types of the engine.
    types: BTreeSet<String>,
    /// The functions of the engine.
    functions: BTreeSet<String>,
    /// The text of the store's migrations.
    migrations: String,
}

impl Tests {
    /// Reads every Rust file and every migration of the repository.
    pub fn find() -> Self {
        let mut found = Self::default();
        read(repository(), &mut found);
        let migrations = repository().join("engine/store/migrations");
        for entry in fs::read_dir(migrations).into_iter().flatten().flatten() {
            found.migrations += &fs::read_to_string(entry.path()).expect("a migration can be read");
        }
        found
    }

    /// The names in a page that do not exist: each with its line.
    pub fn check_page(&self, path: &str) -> Vec<String> {
        let text = fs::read_to_string(repository().join(path)).expect("the page can be read");
        let page = Markdown::read(&text);
        // A page of a part of the repository names files from there.
        let from_top = path.starts_with("docs/") || !path.contains('/');
        let inline = page.code.iter().map(|(line, code)| (*line, code.as_str()));
        let drawn = page.blocks.iter().filter(|block| block.language == "mermaid");
        let drawn = drawn.flat_map(|block| paths(&block.text).map(|path| (block.line, path)));
        let problems = inline.chain(drawn).filter_map(|(line, code)| {
            let problem = match test(code) {
                Some((file, test)) => self.check(file, test).err()?,
                None if from_top && is_path(code) && !repository().join(code).exists() => {
                    "there is no such file".to_owned()
                }
                None if ABOUT_THE_CODE.contains(&path) => self.check_name(code).err()?,
                None => return None,
            };
            Some(format!("{path}:{line}: `{code}`: {problem}"))
        });
        problems.collect()
    }

    /// Checks a type, a function of a type, and a column of a table.
    fn check_name(&self, code: &str) -> Result<(), String> {
        let (name, member) = code.split_once("::").unwrap_or((code, ""));
        let word = |text: &str| {
            text.chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        };
        if is_type(name) && word(member) {
            if !self.types.contains(name) {
                return Err("the engine has no such type".to_owned());
            }
            if !member.is_empty() && !self.functions.contains(member) {
                return Err("the engine has no such function".to_owned());
            }
        } else if let Some((table, column)) = code.split_once('.')
            && self.migrations.contains(&format!("CREATE TABLE {table} ("))
            && !self.migrations.contains(&format!(" {column} "))
        {
            return Err(format!("the table `{table}` has no such column"));
        }
        Ok(())
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

/// The file and the test in a piece of inline code.
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

/// The paths of the engine in the text of a diagram.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "/._-".contains(letter)));
    words.filter(|word| word.starts_with("engine/"))
}

/// Whether a name is written as a type is: a capital letter, and small ones.
fn is_type(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_uppercase())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric())
        && name.contains(|letter: char| letter.is_ascii_lowercase())
}

fn read(folder: &Path, found: &mut Tests) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            if !path.is_symlink() && !is_made(&path) {
                read(&path, found);
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("the file can be read");
            let below = path.strip_prefix(repository()).expect("it is in the repository");
            if below.starts_with("engine") {
                found
                    .types
                    .extend(defined(&text, &["struct", "enum", "trait", "type"]));
                found.functions.extend(defined(&text, &["fn"]));
            }
            found.by_file.insert(below.to_owned(), tests(&text));
        }
    }
}

/// The names that a Rust file defines with one of these keywords.
fn defined(text: &str, keywords: &[&str]) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let words = lines.flat_map(|line| line.split_whitespace().zip(line.split_whitespace().skip(1)));
    let named = words.filter(|(keyword, _)| keywords.contains(keyword));
    let end = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_');
    named
        .map(|(_, name)| name.split(end).next().unwrap_or_default().to_owned())
        .collect()
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
            ..Tests::default()
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

    #[test]
    fn a_type_a_function_and_a_column_must_exist() {
        let text =
            "pub struct Loom<T>(T);\n// struct Warp\nimpl Loom<u8> {\n    async fn weave(&self) {}\n}\n";
        let names = Tests {
            types: defined(text, &["struct"]).into_iter().collect(),
            functions: defined(text, &["fn"]).into_iter().collect(),
            migrations: "CREATE TABLE runs (\n    id BLOB,\n".to_owned(),
            ..Tests::default()
        };
        for right in [
            "Loom",
            "Loom::weave",
            "runs.id",
            "runs",
            "heddle.db",
            "PATH",
            "any text",
        ] {
            names.check_name(right).unwrap();
        }
        for wrong in ["Warp", "Loom::warp", "runs.weft"] {
            assert!(names.check_name(wrong).is_err(), "{wrong}");
        }
        let drawn: Vec<&str> = paths("a[\"engine/host/src/call.rs: calls\"] --> b").collect();
        assert_eq!(drawn, ["engine/host/src/call.rs"]);
    }
}
