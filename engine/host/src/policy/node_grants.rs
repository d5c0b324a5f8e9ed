//! A node's `grants`: the part of its plugin's grants that the node's calls have. They never add a grant.

use std::collections::BTreeSet;

use heddle_json::Json;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{dirs::GuestPath, http::HttpGrant, secrets::SecretName};

/// The grants that the node's calls keep; none by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeGrants {
    pub(super) http: Vec<HttpGrant>,
    /// The names of variables.
    pub(super) env: BTreeSet<String>,
    /// The names of secrets.
    pub(super) secrets: BTreeSet<String>,
    dirs: Vec<AllowedDir>,
    pub(super) clock: bool,
    pub(super) random: bool,
}

/// A folder that the node's calls keep, by its guest path.
#[derive(Clone, Debug)]
struct AllowedDir {
    at: String,
    write: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DirEntry {
    at: GuestPath,
    #[serde(default)]
    write: bool,
}

/// The keys of a node's `grants`.
const KEYS: &str = "`http`, `env`, `secrets`, `dirs`, `clock` and `random`";

impl NodeGrants {
    /// Reads the `grants` of a node.
    ///
    /// # Errors
    /// Everything that is invalid, each with its JSON pointer within the node.
    pub(crate) fn of_node(json: &Json) -> Result<Self, Vec<(String, String)>> {
        let within = |(pointer, problem)| (format!("/grants{pointer}"), problem);
        Self::read(json.get()).map_err(|problems| problems.into_iter().map(within).collect())
    }

    fn read(json: &str) -> Result<Self, Vec<(String, String)>> {
        let at = |pointer: &str, error: String| vec![(pointer.to_owned(), error)];
        let value: Value = serde_json::from_str(json).map_err(|error| at("", error.to_string()))?;
        let Value::Object(keys) = value else {
            return Err(at(
                "",
                format!("`grants` is an object with {KEYS}; `{{}}` grants nothing"),
            ));
        };
        let mut allowed = Self::default();
        let mut problems = Vec::new();
        for (key, value) in keys {
            let pointer = format!("/{}", heddle_json::pointer::escape(&key));
            let problems = &mut problems;
            match key.as_str() {
                "http" => allowed.http = list(&pointer, value, problems),
                "env" => allowed.env = list(&pointer, value, problems).into_iter().collect(),
                "secrets" => {
                    let names: Vec<SecretName> = list(&pointer, value, problems);
                    allowed.secrets = names.into_iter().map(|SecretName(name)| name).collect();
                }
                "dirs" => allowed.dirs = dirs(&pointer, value, problems),
                "clock" => allowed.clock = one(&pointer, value, problems).unwrap_or_default(),
                "random" => allowed.random = one(&pointer, value, problems).unwrap_or_default(),
                _ => problems.push((pointer, format!("`grants` has no `{key}`: it may have {KEYS}"))),
            }
        }
        match problems.is_empty() {
            true => Ok(allowed),
            false => Err(problems),
        }
    }

    /// Whether the folder is kept, and then whether it may be written, provided that the plugin may.
    pub(super) fn allows_dir(&self, at: &str) -> Option<bool> {
        let mut allowed = self.dirs.iter().filter(|dir| dir.at == at).peekable();
        allowed.peek()?;
        Some(allowed.any(|dir| dir.write))
    }
}

fn dirs(pointer: &str, value: Value, problems: &mut Vec<(String, String)>) -> Vec<AllowedDir> {
    each(pointer, value, problems, |value| match value {
        Value::String(at) => {
            let GuestPath(at) = GuestPath::try_from(at)?;
            Ok(AllowedDir { at, write: true })
        }
        value => {
            let DirEntry {
                at: GuestPath(at),
                write,
            } = read(value)?;
            Ok(AllowedDir { at, write })
        }
    })
}

fn list<T: DeserializeOwned>(pointer: &str, value: Value, problems: &mut Vec<(String, String)>) -> Vec<T> {
    each(pointer, value, problems, read)
}

fn one<T: DeserializeOwned>(pointer: &str, value: Value, problems: &mut Vec<(String, String)>) -> Option<T> {
    read(value)
        .map_err(|problem| problems.push((pointer.to_owned(), problem)))
        .ok()
}

fn each<T>(
    pointer: &str,
    value: Value,
    problems: &mut Vec<(String, String)>,
    read: impl Fn(Value) -> Result<T, String>,
) -> Vec<T> {
    let Value::Array(items) = value else {
        problems.push((pointer.to_owned(), "expected a list, as in `[]`".to_owned()));
        return Vec::new();
    };
    let mut all = Vec::with_capacity(items.len());
    for (n, item) in items.into_iter().enumerate() {
        match read(item) {
            Ok(item) => all.push(item),
            Err(problem) => problems.push((format!("{pointer}/{n}"), problem)),
        }
    }
    all
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_invalid_is_reported_with_its_pointer() {
        let problems = NodeGrants::read(
            r#"{"http": ["ftp://a.org", "https://a.org"], "env": "A", "dirs": ["data", {"at": "/d", "path": "/"}],
                "clock": 1, "sockets": true, "secrets": ["a b"]}"#,
        )
        .unwrap_err();
        let found: Vec<_> = problems.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(
            found,
            [
                "/http/0",
                "/env",
                "/dirs/0",
                "/dirs/1",
                "/clock",
                "/sockets",
                "/secrets/0"
            ]
        );
        assert!(
            problems[5].1.contains("it may have `http`, `env`"),
            "{problems:?}"
        );
        assert!(NodeGrants::read("[]").is_err());
    }

    #[test]
    fn a_folder_is_left_as_it_is_or_read_only() {
        let allowed = NodeGrants::read(r#"{"dirs": ["/a/", {"at": "/b"}]}"#).unwrap();
        assert_eq!(
            ["/a", "/b", "/c"].map(|at| allowed.allows_dir(at)),
            [Some(true), Some(false), None]
        );
    }
}
