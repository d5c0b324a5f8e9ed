//! Parses the names of functions in graphs and requests.
//!
//! `function` or `plugin/function`, optionally followed by `@` and a version: `1.2.0` is that version; `1.2` or `1`
//! any version that begins so; `^1.2`, `~1.2.3`, `>=1, <3` and `*` are ranges as in Cargo; `sha256:2c26b46b` is the
//! component whose digest begins so.

use heddle_runtime::ports::ResolveError;
use semver::{Version, VersionReq};

use super::plugin::Plugin;

/// The fewest digits of a digest.
const DIGEST_LEN: usize = 8;

/// A parsed `uses`: `function` or `plugin/function`, with an optional `@version`.
#[derive(Debug)]
pub(super) struct Uses<'t> {
    pub(super) plugin: Option<&'t str>,
    pub(super) function: &'t str,
    pub(super) requirement: VersionRequirement,
}

/// The requested version. A range includes pre-releases only if it names one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VersionRequirement {
    /// The newest release; the newest pre-release if there is no release.
    Newest,
    /// This version. Without build metadata, any build of it.
    Exactly(Version),
    /// The newest version in a range.
    Range(VersionReq),
    /// The component whose digest begins so, in lower-case hexadecimal digits.
    Digest(String),
}

impl<'t> Uses<'t> {
    /// Parses a name. The part before the `@` is not checked.
    pub(super) fn parse(uses: &'t str) -> Result<Self, ResolveError> {
        let (name, version) = match uses.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (uses, None),
        };
        let requirement = match version {
            None => VersionRequirement::Newest,
            Some(version) => requirement(version).map_err(|problem| ResolveError::Version {
                uses: heddle_json::object::clip(uses, 200).to_owned(),
                problem,
            })?,
        };
        let (plugin, function) = match name.split_once('/') {
            Some((plugin, function)) => (Some(plugin), function),
            None => (None, name),
        };
        Ok(Self {
            plugin,
            function,
            requirement,
        })
    }
}

fn requirement(text: &str) -> Result<VersionRequirement, String> {
    if let Some(digest) = text.strip_prefix("sha256:") {
        let digest = digest.to_ascii_lowercase();
        let is_hex = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        return match is_hex && (DIGEST_LEN..=64).contains(&digest.len()) {
            true => Ok(VersionRequirement::Digest(digest)),
            false => Err(format!(
                "`sha256:` is followed by the first {DIGEST_LEN} to 64 hexadecimal digits of the component's digest"
            )),
        };
    }
    if let Some((version, function)) = text.split_once('/') {
        return Err(format!(
            "the version comes last, as in plugin/{function}@{version}"
        ));
    }
    if let Ok(version) = Version::parse(text) {
        return Ok(VersionRequirement::Exactly(version));
    }
    // Here `1.2` means any 1.2; Cargo would read `^1.2`.
    let begins = text.bytes().next().is_some_and(|first| first.is_ascii_digit());
    let range = match begins {
        true => VersionReq::parse(&format!("~{text}")),
        false => VersionReq::parse(text),
    };
    range.map(VersionRequirement::Range).map_err(|error| {
        format!(
            "`{}` is not a version such as 1.2.0, a range such as ^1.2 or a digest such as sha256:2c26b46b… \
             ({error})",
            heddle_json::object::clip(text, 100)
        )
    })
}

impl VersionRequirement {
    /// Whether a plugin has the requested version.
    pub(super) fn fits(&self, plugin: &Plugin) -> bool {
        match self {
            Self::Newest => true,
            Self::Exactly(version) => {
                let at = &plugin.version;
                (at.major, at.minor, at.patch, &at.pre)
                    == (version.major, version.minor, version.patch, &version.pre)
                    && (version.build.is_empty() || at.build == version.build)
            }
            Self::Range(range) => range.matches(&plugin.version),
            Self::Digest(begin) => plugin.info.digest.0.starts_with(begin.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uses: &str) -> Uses<'_> {
        Uses::parse(uses).unwrap()
    }

    #[test]
    fn a_name_is_read_from_left_to_right() {
        let uses = read("starter/count-words@^1.2");
        assert_eq!((uses.plugin, uses.function), (Some("starter"), "count-words"));
        assert_eq!(
            uses.requirement,
            VersionRequirement::Range(VersionReq::parse("^1.2").unwrap())
        );
        let uses = read("analyze");
        assert_eq!(
            (uses.plugin, uses.function, uses.requirement),
            (None, "analyze", VersionRequirement::Newest)
        );
        let uses = read("shop/orders.list@sha256:2C26B46B");
        assert_eq!(uses.function, "orders.list");
        assert_eq!(
            uses.requirement,
            VersionRequirement::Digest("2c26b46b".to_owned())
        );
    }

    #[test]
    fn a_complete_version_is_exact_and_a_partial_one_a_prefix() {
        assert_eq!(
            read("a@1.2.3").requirement,
            VersionRequirement::Exactly(Version::new(1, 2, 3))
        );
        let VersionRequirement::Range(range) = read("a@1.2").requirement else {
            panic!("it is a range")
        };
        let matches = |version: &str| range.matches(&version.parse().unwrap());
        assert!(matches("1.2.9") && !matches("1.3.0") && !matches("1.2.0-rc.1"));
        let VersionRequirement::Range(range) = read("a@>=1, <3").requirement else {
            panic!("it is a range")
        };
        assert!(range.matches(&Version::new(2, 9, 0)) && !range.matches(&Version::new(3, 0, 0)));
    }

    #[test]
    fn an_invalid_version_is_refused_with_the_valid_forms() {
        let refusal = |uses: &str| Uses::parse(uses).unwrap_err().to_string();
        assert!(refusal("a@").contains("such as ^1.2"));
        assert!(refusal("a@latest").contains("`latest` is not a version"));
        assert!(refusal("a@sha256:12").contains("8 to 64 hexadecimal digits"));
        assert_eq!(
            refusal("shop@1.2/list"),
            "`shop@1.2/list`: the version comes last, as in plugin/list@1.2"
        );
    }
}
