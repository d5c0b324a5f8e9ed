//! Checks that commands and routes mentioned in a text exist.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

use super::markdown::Markdown;
use crate::{heddle, repository};

/// The commands and routes that a page may mention.
pub struct Known {
    /// The help of each command by its words, such as `plugin add`; that of `heddle` itself has no words.
    help: BTreeMap<String, String>,
    /// Each route as `METHOD /path`.
    routes: Vec<String>,
}

impl Known {
    /// Reads the help of all commands and the server's `/openapi.json`.
    pub fn find(openapi: &Value) -> Self {
        let mut help = BTreeMap::new();
        ask(&[], &mut help);
        let paths = openapi["paths"].as_object().into_iter().flatten();
        let routes = paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            methods.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
        });
        Self {
            help,
            routes: routes.collect(),
        }
    }

    /// The unknown commands and routes of a page, each with its line.
    pub fn check_page(&self, path: &str) -> Vec<String> {
        let text = std::fs::read_to_string(repository().join(path)).expect("the page can be read");
        let page = Markdown::read(&text);
        let problems = page.code.iter().filter_map(|(line, code)| {
            let problem = self.check(code)?;
            Some(format!("{path}:{line}: `{code}`: {problem}"))
        });
        problems.collect()
    }

    /// The unknown commands and routes in the help of the commands.
    pub fn check_help(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (command, help) in &self.help {
            // Every second part is between backticks.
            for code in help.split('`').skip(1).step_by(2) {
                let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
                wrong.extend(
                    self.check(&code)
                        .map(|problem| format!("heddle {command} --help: `{code}`: {problem}")),
                );
            }
        }
        wrong
    }

    fn check(&self, code: &str) -> Option<String> {
        if let Some(words) = code.strip_prefix("heddle ") {
            return self.check_command(words);
        }
        let (method, path) = code.split_once(' ')?;
        let is_route = ["GET", "POST", "PUT", "DELETE"].contains(&method) && path.starts_with("/v1/");
        (is_route && !self.has_route(method, path)).then(|| "there is no such route".to_owned())
    }

    fn check_command(&self, words: &str) -> Option<String> {
        let (mut command, mut first) = (String::new(), true);
        for word in words.split_whitespace() {
            let longer = format!("{command} {word}").trim().to_owned();
            if self.help.contains_key(&longer) {
                command = longer;
            } else if first && word.starts_with(|letter: char| letter.is_ascii_lowercase()) {
                return Some(format!("there is no command `heddle {word}`"));
            } else if let Some(flag) = word.strip_prefix("--") {
                let name = flag.split(['=', ']', ',']).next().unwrap_or_default();
                let has = |help: &str| {
                    help.split([' ', '\n', ',', '[', '='])
                        .any(|word| word == format!("--{name}"))
                };
                if !self.help.get(&command).is_some_and(|help| has(help)) {
                    return Some(format!("`heddle {command}` has no option `--{name}`"));
                }
            }
            first = false;
        }
        None
    }

    fn has_route(&self, method: &str, path: &str) -> bool {
        let path = path.split(['?', ' ']).next().unwrap_or_default();
        let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let wanted = parts(path);
        let fits = |route: &String| {
            let Some(has) = route.strip_prefix(&format!("{method} ")).map(parts) else {
                return false;
            };
            let same = |(a, b): (&String, &String)| a == b || (a.starts_with('{') && b.starts_with('{'));
            has.len() == wanted.len() && has.iter().zip(&wanted).all(same)
        };
        // `GET /v1/…` is not a specific route.
        path.contains('…') || self.routes.iter().any(fits)
    }
}

/// Reads the help of a command and of its subcommands.
fn ask(words: &[String], found: &mut BTreeMap<String, String>) {
    let asked = Command::new(heddle())
        .args(words)
        .arg("--help")
        .env("NO_COLOR", "1")
        .env("COLUMNS", "200")
        .output()
        .expect("heddle can be started");
    assert!(asked.status.success(), "heddle {words:?} --help: {asked:?}");
    let help = String::from_utf8_lossy(&asked.stdout).into_owned();
    // The commands follow a heading with this end, each on a line indented by two spaces.
    let mut below = false;
    for line in help.lines() {
        if !line.starts_with(' ') && !line.is_empty() {
            below =
                line.ends_with("ommands:") || (words.is_empty() && line.ends_with(':') && line != "Options:");
        }
        let name = line
            .strip_prefix("  ")
            .filter(|line| !line.starts_with([' ', '-']));
        let name = name.and_then(|line| line.split_whitespace().next());
        if let Some(name) = name.filter(|name| below && *name != "help") {
            let mut longer = words.to_vec();
            longer.push(name.to_owned());
            ask(&longer, found);
        }
    }
    found.insert(words.join(" "), help);
}
