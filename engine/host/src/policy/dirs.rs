//! Grants of folders. A folder is read-only by default.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// The most folders of a plugin.
const MAX: usize = 64;

/// A folder on the machine that a plugin may use, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirGrant {
    /// The folder's path on the machine.
    pub(crate) path: PathBuf,
    /// The path at which the guest finds the folder: absolute, and without a trailing `/`.
    pub(crate) at: String,
    /// Whether the guest may write.
    pub(crate) write: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: PathBuf,
    #[serde(default)]
    at: Option<GuestPath>,
    #[serde(default)]
    write: bool,
}

/// The path at which a guest finds a folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct GuestPath(pub(super) String);

/// Checks that the folders exist, and that their guest paths differ.
pub(crate) fn check(dirs: &[DirGrant]) -> Result<(), String> {
    if dirs.len() > MAX {
        return Err(format!(
            "dirs: there are {} of them; the most is {MAX}",
            dirs.len()
        ));
    }
    for (n, dir) in dirs.iter().enumerate() {
        let path = dir.path.display();
        match std::fs::metadata(&dir.path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(format!("dirs: {path} is not a folder")),
            Err(error) => return Err(format!("dirs: the folder {path} is not available: {error}")),
        }
        if dirs[..n].iter().any(|other| other.at == dir.at) {
            return Err(format!("dirs: two folders have the guest path {}", dir.at));
        }
    }
    Ok(())
}

/// The same folders with links resolved.
pub(crate) fn resolved(dirs: &[DirGrant]) -> Result<Vec<DirGrant>, String> {
    let resolved = |dir: &DirGrant| {
        let path = dir.path.canonicalize();
        let path = path.map_err(|error| {
            format!(
                "dirs: the folder {} is not available: {error}",
                dir.path.display()
            )
        })?;
        Ok(DirGrant { path, ..dir.clone() })
    };
    dirs.iter().map(resolved).collect()
}

/// A policy entry that grants a folder.
pub(crate) fn to_add(plugin: &str) -> String {
    format!("plugins: {{\"{plugin}\": {{dirs: [{{path: /srv/data, at: /data}}]}}}}")
}

impl TryFrom<String> for GuestPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = match text.as_str() {
            "/" => "/",
            text => text.strip_suffix('/').unwrap_or(text),
        };
        let plain = path.strip_prefix('/').is_some_and(|rest| {
            rest.is_empty() || rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
        });
        match plain && !path.contains('\0') {
            true => Ok(Self(path.to_owned())),
            false => Err(format!(
                "`{text}` is not a valid path for a folder: write a path from `/` on, as in /data, without `.` and \
                 `..`"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for DirGrant {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = DirGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a folder's path, as in /srv/data, or {path, at, write}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<DirGrant, E> {
                granted(PathBuf::from(text), None, false).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DirGrant, A::Error> {
                let Entry { path, at, write } = Entry::deserialize(MapAccessDeserializer::new(map))?;
                granted(path, at, write).map_err(A::Error::custom)
            }
        }

        input.deserialize_any(Reader)
    }
}

fn granted(path: PathBuf, at: Option<GuestPath>, write: bool) -> Result<DirGrant, String> {
    let shown = path.display().to_string();
    if !Path::new(&path).is_absolute() {
        return Err(format!("`{shown}` is not an absolute path: begin it with `/`"));
    }
    let GuestPath(at) = match at {
        Some(at) => at,
        None => GuestPath::try_from(shown)?,
    };
    Ok(DirGrant { path, at, write })
}

impl fmt::Display for DirGrant {
    /// `/data is /srv/data, read only`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, at, write } = self;
        let how = if *write { "read and write" } else { "read only" };
        write!(f, "{at} is {}, {how}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Vec<DirGrant>, String> {
        let dirs: Vec<DirGrant> = crate::policy::yaml::read(yaml)
            .map(|(read, _)| read)
            .map_err(|error| error.to_string())?;
        check(&dirs).map(|()| dirs)
    }

    #[test]
    fn a_folder_is_read_only_and_at_its_own_path_by_default() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let dirs = read(&format!(
            "[\"{path}\", {{path: \"{path}\", at: /data/, write: true}}]"
        ))
        .unwrap();
        let shown: Vec<_> = dirs.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                format!("{path} is {path}, read only"),
                format!("/data is {path}, read and write")
            ]
        );
    }

    #[test]
    fn a_plugin_has_at_most_64_folders() {
        let folder = tempfile::tempdir().unwrap();
        let dirs = |count: usize| {
            let dir = |n| DirGrant {
                path: folder.path().to_owned(),
                at: format!("/{n}"),
                write: false,
            };
            check(&(0..count).map(dir).collect::<Vec<_>>())
        };
        dirs(64).unwrap();
        assert!(
            dirs(65)
                .unwrap_err()
                .contains("there are 65 of them; the most is 64")
        );
    }

    #[test]
    fn an_invalid_folder_is_refused() {
        for (yaml, expected) in [
            ("[data]", "`data` is not an absolute path"),
            ("[/no/such/folder]", "the folder /no/such/folder is not available"),
            ("[/dev/null]", "/dev/null is not a folder"),
            ("[{path: /, at: data}]", "`data` is not a valid path for a folder"),
            ("[{path: /, at: /a/../b}]", "is not a valid path for a folder"),
            ("[{path: /, at: /a/./b}]", "is not a valid path for a folder"),
            ("[{path: /, at: /a//b}]", "is not a valid path for a folder"),
            (r#"[{path: /, at: "/a\0b"}]"#, "is not a valid path for a folder"),
            (
                "[{path: /, at: /a}, {path: /, at: /a}]",
                "two folders have the guest path /a",
            ),
            ("[{path: /, writ: true}]", "/0/writ: unknown field"),
            ("[3]", "a folder's path, as in /srv/data"),
        ] {
            let refusal = read(yaml).unwrap_err();
            assert!(refusal.contains(expected), "{yaml}: {refusal}");
        }
    }
}
