//! Reads the metadata of a component from its bytes, without compiling anything.

use std::sync::Arc;

use wasmparser::{ComponentName, Encoding, KnownCustom, Parser, Payload};

use crate::{contract::types::PACKAGE, plain::docs, scan::limits, units::Bytes};

/// The custom section in which a plugin carries `name@version`.
const NAME_SECTION: &str = "heddle-plugin";

/// The longest name of a plugin or a function, in bytes.
pub(crate) const NAME_LEN: usize = 100;

/// The longest version, in bytes.
const VERSION_LEN: usize = 200;

/// The metadata of a component.
#[derive(Debug, Default)]
pub(crate) struct ComponentMetadata {
    /// The name that the component carries.
    pub(crate) name: Option<String>,
    /// The version that the component carries.
    pub(crate) version: Option<String>,
    /// The names of its imports.
    pub(crate) imports: Vec<String>,
    /// The names of its exports.
    pub(crate) exports: Vec<String>,
    /// The sections with documentation, up to [`docs::DOCS_LEN`] bytes.
    pub(crate) docs: Vec<Box<[u8]>>,
}

impl ComponentMetadata {
    /// Whether the component was built against some version of the contract.
    pub(crate) fn is_of_contract(&self) -> bool {
        self.exports.iter().any(|export| export.starts_with(PACKAGE))
    }
}

/// Reads a component.
///
/// # Errors
/// What the bytes are instead of a component, and what to do.
pub(crate) fn inspect(bytes: &[u8], max_bytes: usize) -> Result<ComponentMetadata, String> {
    if bytes.len() > max_bytes {
        let (size, limit) = (bytes.len(), Bytes(max_bytes));
        return Err(format!(
            "the component has {size} bytes, more than the limit of {limit} (max_component_bytes)"
        ));
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(not_wasm(bytes));
    }
    let mut reader = Reader::default();
    for payload in Parser::new(0).parse_all(bytes) {
        payload
            .map_err(damaged)
            .and_then(|payload| reader.read(&payload))?;
        if reader.is_module {
            return Err("this is a core WebAssembly module, not a component: build it with `--target wasm32-wasip2`, \
                        or wrap it with wit-component (`wasm-tools component new`)"
                .to_owned());
        }
    }
    Ok(reader.found)
}

fn damaged(error: wasmparser::Error) -> String {
    format!("the component is damaged: {error}")
}

fn not_wasm(bytes: &[u8]) -> String {
    let is = match bytes {
        [] => "the file is empty",
        [b'(', ..] => "this is WebAssembly text, not a component: assemble it first (`wasm-tools parse`)",
        [0x1f, 0x8b, ..] => "this is a gzip file, not a component: unpack it first",
        [b'{' | b'[', ..] => "this looks like JSON, not a component",
        _ => "this is not WebAssembly: it does not begin with `\\0asm`",
    };
    format!("{is}. A plugin is a WebAssembly component, as `cargo build --target wasm32-wasip2` makes it")
}

#[derive(Default)]
struct Reader {
    found: ComponentMetadata,
    /// The reader's depth: 1 in the component, more in modules and components nested in it.
    depth: usize,
    is_module: bool,
    component_name: Option<String>,
    version_section: Option<String>,
    docs_len: usize,
    names: u64,
    name_bytes: u64,
}

impl Reader {
    /// Counts an import or export of the component itself: the registry keeps these names in memory.
    fn name(&mut self, name: &str) -> Result<String, String> {
        self.names += 1;
        self.name_bytes += name.len() as u64;
        let place = || "the component".to_owned();
        limits::COMPONENT_NAMES
            .check(self.names, place)
            .and_then(|()| limits::COMPONENT_NAME_BYTES.check(self.name_bytes, place))
            .map_err(|exceeded| exceeded.to_string())?;
        Ok(name.to_owned())
    }

    fn read(&mut self, payload: &Payload<'_>) -> Result<(), String> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.depth += 1;
                self.is_module = self.depth == 1 && *encoding == Encoding::Module;
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.found.name = self.found.name.take().or(self.component_name.take());
                    self.found.version = self.found.version.take().or(self.version_section.take());
                }
            }
            Payload::ComponentImportSection(imports) if self.depth == 1 => {
                for import in imports.clone() {
                    let name = self.name(import.map_err(damaged)?.name.name)?;
                    self.found.imports.push(name);
                }
            }
            Payload::ComponentExportSection(exports) if self.depth == 1 => {
                for export in exports.clone() {
                    let name = self.name(export.map_err(damaged)?.name.name)?;
                    self.found.exports.push(name);
                }
            }
            Payload::CustomSection(section)
                if section.name() == NAME_SECTION && self.found.name.is_none() =>
            {
                let text = String::from_utf8_lossy(section.data());
                let line = text
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .trim_matches(['\0', ' ', '\r']);
                let (name, version) = line.split_once('@').unwrap_or((line, ""));
                self.found.name = Some(name.to_owned()).filter(|name| !name.is_empty());
                self.found.version = Some(version.to_owned()).filter(|version| !version.is_empty());
            }
            Payload::CustomSection(section) if section.name() == "version" && self.depth == 1 => {
                let version = String::from_utf8_lossy(section.data()).into_owned();
                let fits = |version: &String| version.len() <= VERSION_LEN && version_of(version).is_ok();
                self.version_section = Some(version).filter(fits);
            }
            Payload::CustomSection(section) if section.name() == docs::SECTION && self.depth == 1 => {
                self.docs_len += section.data().len();
                if self.docs_len <= docs::DOCS_LEN {
                    self.found.docs.push(section.data().into());
                }
            }
            Payload::CustomSection(section) if self.depth == 1 => {
                if let KnownCustom::ComponentName(names) = section.as_known() {
                    // The names serve debugging only, so damaged ones are ignored.
                    let name = names.into_iter().find_map(|name| match name {
                        Ok(ComponentName::Component { name, .. }) => Some(name.to_owned()),
                        _ => None,
                    });
                    self.component_name = name.filter(|name| check_plugin_name(name).is_ok());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The name and version of a plugin: those that the caller gives, else those that the component carries, else the
/// name of its file.
pub(crate) fn identity(
    found: &ComponentMetadata,
    asked: Option<&str>,
    asked_version: Option<&str>,
    fallback: Option<&str>,
) -> Result<(Arc<str>, Arc<str>), String> {
    let name = asked.or(found.name.as_deref()).or(fallback).ok_or_else(|| {
        format!(
            "the component carries no name: give it one, or build it with a custom section `{NAME_SECTION}` \
                 (`name@version`)"
        )
    })?;
    check_plugin_name(name)?;
    let version = asked_version.or(found.version.as_deref()).unwrap_or("0.0.0");
    if version.len() > VERSION_LEN {
        return Err(format!(
            "the version of plugin `{name}` has {} bytes; the limit is {VERSION_LEN}",
            version.len()
        ));
    }
    version_of(version).map_err(|error| {
        format!("the version {version:?} of plugin `{name}` is not a semantic version (like 1.2.0): {error}")
    })?;
    Ok((name.into(), version.into()))
}

/// Parses a version.
pub(crate) fn version_of(version: &str) -> Result<semver::Version, semver::Error> {
    semver::Version::parse(version)
}

pub(crate) fn check_plugin_name(name: &str) -> Result<(), String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let fits = name.len() <= NAME_LEN
        && name.bytes().all(inner)
        && name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    match fits {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is not a valid name for a plugin: use lower-case letters, digits, `.`, `_` and `-`, \
             a letter or digit first, at most {NAME_LEN}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        inspect(bytes, 1000).unwrap_err()
    }

    #[test]
    fn other_kinds_of_files_are_named() {
        assert!(refusal(b"").contains("empty"));
        assert!(refusal(b"(component)").contains("WebAssembly text"));
        assert!(refusal(b"\x1f\x8b\x08").contains("gzip"));
        assert!(refusal(b"\x7fELF").contains("not WebAssembly"));
        assert!(refusal(b"\0asm\x01\0\0\0").contains("core WebAssembly module"));
        assert!(refusal(b"\0asm\x0d\0\x01\0\xff\xff").contains("damaged"));
        assert!(refusal(&[0; 1001]).contains("1000 bytes (max_component_bytes)"));
    }

    #[test]
    fn a_name_is_found_in_a_nested_module() {
        let bytes = wat::parse_str(
            r#"(component
                (import "a:b/c" (instance))
                (core module (@custom "heddle-plugin" "code-review@1.2.3\nmore"))
                (@custom "version" "9.9.9"))"#,
        )
        .unwrap();
        let found = inspect(&bytes, 1000).unwrap();
        assert_eq!(found.imports, ["a:b/c"]);
        let (name, version) = identity(&found, None, None, Some("file")).unwrap();
        assert_eq!((&*name, &*version), ("code-review", "1.2.3"));
        let (name, _) = identity(&found, Some("other"), None, None).unwrap();
        assert_eq!(&*name, "other");
    }

    #[test]
    fn imports_exports_and_versions_of_a_component_are_limited() {
        let refused = |name: &str, count: usize| {
            let imports: String = (0..count)
                .map(|n| format!("(import \"{name}{n}\" (func))"))
                .collect();
            inspect(
                &wat::parse_str(format!("(component {imports})")).unwrap(),
                usize::MAX,
            )
            .err()
        };
        assert_eq!(refused("a", 10_000), None);
        assert_eq!(
            refused("a", 10_001).unwrap(),
            "the component has 10001 imports and exports of its own, more than the limit of 10000 (component_names)"
        );
        let refused = refused(&"a".repeat(90_000), 12).unwrap();
        assert!(
            refused.contains("more than the limit of 1048576 (component_name_bytes)"),
            "{refused}"
        );
        let exports = "(export \"a\" (func 0))".repeat(3);
        let exports = wat::parse_str(format!("(component (import \"f\" (func)) {exports})"));
        assert!(exports.is_ok_and(|bytes| inspect(&bytes, usize::MAX).unwrap().exports.len() == 3));
        let odd = ComponentMetadata {
            version: Some(format!("1.0.0-{}", "a".repeat(200))),
            ..ComponentMetadata::default()
        };
        let refused = identity(&odd, Some("a"), None, None).unwrap_err();
        assert!(refused.contains("has 206 bytes; the limit is 200"), "{refused}");
    }

    #[test]
    fn a_component_without_a_name_is_named_by_its_file() {
        let found = inspect(
            &wat::parse_str(r#"(component (@custom "version" "2.0.0"))"#).unwrap(),
            1000,
        )
        .unwrap();
        let (name, version) = identity(&found, None, None, Some("file")).unwrap();
        assert_eq!((&*name, &*version), ("file", "2.0.0"));
        assert!(
            identity(&found, None, None, None)
                .unwrap_err()
                .contains("carries no name")
        );
        assert!(
            identity(&found, Some("A b"), None, None)
                .unwrap_err()
                .contains("lower-case")
        );
        let odd = ComponentMetadata {
            version: Some("two".to_owned()),
            ..ComponentMetadata::default()
        };
        assert!(
            identity(&odd, Some("a"), None, None)
                .unwrap_err()
                .contains("semantic version")
        );
    }
}
