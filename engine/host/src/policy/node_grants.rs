//! A node's `grants`: the part of its plugin's grants that the node's calls have. They never add a grant.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use heddle_json::{
    Json,
    deserialize::{FieldError, NullRule, read, read_with},
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

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
    pub(crate) fn of_node(json: &Json, null: NullRule) -> Result<Self, Vec<(String, String)>> {
        let Ok(keys) = read::<BTreeMap<String, &RawValue>>(json) else {
            let message = format!("`grants` is an object with {KEYS}; `{{}}` grants nothing");
            return Err(vec![("/grants".to_owned(), message)]);
        };
        let mut reader = Reader {
            null,
            problems: Vec::new(),
        };
        let mut grants = Self::default();
        for (key, value) in keys {
            match key.as_str() {
                "http" => grants.http = reader.list(&key, value),
                "env" => grants.env = reader.list(&key, value).into_iter().collect(),
                "secrets" => {
                    let names: Vec<SecretName> = reader.list(&key, value);
                    grants.secrets = names.into_iter().map(|SecretName(name)| name).collect();
                }
                "dirs" => grants.dirs = reader.list(&key, value),
                "clock" => grants.clock = reader.one(&[&key], value).unwrap_or_default(),
                "random" => grants.random = reader.one(&[&key], value).unwrap_or_default(),
                _ => reader.add(
                    &[&key],
                    FieldError::custom(format!("`grants` has no `{key}`: it may have {KEYS}")),
                ),
            }
        }
        match reader.problems.is_empty() {
            true => Ok(grants),
            false => Err(reader.problems),
        }
    }

    /// Whether the folder is kept, and then whether it may be written, provided that the plugin may.
    pub(super) fn allows_dir(&self, at: &str) -> Option<bool> {
        let mut allowed = self.dirs.iter().filter(|dir| dir.at == at).peekable();
        allowed.peek()?;
        Some(allowed.any(|dir| dir.write))
    }
}

/// Reads values and collects the problems.
struct Reader {
    null: NullRule,
    problems: Vec<(String, String)>,
}

impl Reader {
    fn add(&mut self, path: &[&str], error: FieldError) {
        let path = path.iter().rev();
        let error = path.fold(error, |error, key| error.at_key(key)).at_key("grants");
        self.problems.push((error.pointer, error.message));
    }

    fn one<T: DeserializeOwned>(&mut self, path: &[&str], value: &RawValue) -> Option<T> {
        read_with(value, self.null)
            .map_err(|error| self.add(path, error))
            .ok()
    }

    fn list<T: DeserializeOwned>(&mut self, key: &str, value: &RawValue) -> Vec<T> {
        let items: Option<Vec<Box<RawValue>>> = self.one(&[key], value);
        let items = items.unwrap_or_default();
        let items = items.iter().enumerate();
        items
            .filter_map(|(n, item)| self.one(&[key, &n.to_string()], item))
            .collect()
    }
}

impl<'de> Deserialize<'de> for AllowedDir {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = AllowedDir;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path at which the plugin has the folder, as in /data, or {at, write}")
            }

            fn visit_str<E: Error>(self, at: &str) -> Result<AllowedDir, E> {
                let GuestPath(at) = GuestPath::try_from(at.to_owned()).map_err(E::custom)?;
                Ok(AllowedDir { at, write: true })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AllowedDir, A::Error> {
                let DirEntry {
                    at: GuestPath(at),
                    write,
                } = DirEntry::deserialize(MapAccessDeserializer::new(map))?;
                Ok(AllowedDir { at, write })
            }
        }

        input.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<NodeGrants, Vec<(String, String)>> {
        NodeGrants::of_node(&heddle_json::object::json(json).unwrap(), NullRule::Refused)
    }

    #[test]
    fn everything_invalid_is_reported_with_its_pointer() {
        let problems = read(
            r#"{"http": ["ftp://a.org", "https://a.org"], "env": "A", "dirs": ["data", {"at": "/d", "path": "/"}],
                "clock": 1, "sockets": true, "secrets": ["a b"]}"#,
        )
        .unwrap_err();
        let found: Vec<_> = problems.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(
            found,
            [
                "/grants/clock",
                "/grants/dirs/0",
                "/grants/dirs/1/path",
                "/grants/env",
                "/grants/http/0",
                "/grants/secrets/0",
                "/grants/sockets"
            ]
        );
        assert_eq!(problems[0].1, "expected true or false, got a number");
        assert_eq!(problems[3].1, "expected an array, got a string");
        assert!(
            problems[6].1.contains("it may have `http`, `env`"),
            "{problems:?}"
        );
        assert!(read("[]").is_err());
    }

    #[test]
    fn a_folder_is_left_as_it_is_or_read_only() {
        let allowed = read(r#"{"dirs": ["/a/", {"at": "/b"}]}"#).unwrap();
        assert_eq!(
            ["/a", "/b", "/c"].map(|at| allowed.allows_dir(at)),
            [Some(true), Some(false), None]
        );
    }

    #[test]
    fn null_is_refused_in_a_new_node() {
        for (json, at) in [
            (r#"{"clock": null}"#, "/grants/clock"),
            (r#"{"http": null}"#, "/grants/http"),
            (r#"{"http": [null]}"#, "/grants/http/0"),
            (
                r#"{"http": [{"host": "a.org", "methods": null}]}"#,
                "/grants/http/0/methods",
            ),
            (
                r#"{"http": [{"host": "a.org", "paths": "x"}]}"#,
                "/grants/http/0/paths",
            ),
            (
                r#"{"dirs": [{"at": "/a", "write": null}]}"#,
                "/grants/dirs/0/write",
            ),
            (r#"{"env": [null]}"#, "/grants/env/0"),
        ] {
            let problems = read(json).unwrap_err();
            assert_eq!(problems[0].0, at, "{json}: {problems:?}");
        }
    }
}
