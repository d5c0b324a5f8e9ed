//! Secrets that a guest can refer to and never sees: `${secret.NAME}` in a request header is replaced by the value
//! just before the request is sent, and only to hosts that the secret is bound to.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{env::variable, http::Origin, protected::Protected};

/// The syntax of a reference.
const OPENS: &str = "${secret.";
const CLOSES: char = '}';

/// The longest name, in bytes.
const NAME_LEN: usize = 64;

/// The shortest value, in bytes: a shorter one would be found in responses by chance.
const MIN_LEN: usize = 8;

/// The longest value, in bytes.
const MAX_LEN: usize = 16 << 10;

/// Secrets, each with the source of its value and its hosts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct SecretEntries(BTreeMap<SecretName, Entry>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct SecretName(pub(super) String);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    from_env: Option<String>,
    #[serde(default)]
    file: Option<PathBuf>,
    hosts: Vec<Origin>,
}

/// A value that may be sent to some hosts and is never shown.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    pub(crate) name: String,
    value: SecretString,
    hosts: Vec<Origin>,
}

impl SecretEntries {
    /// The files with values, which no granted folder may overlap.
    pub(super) fn protected(&self, plugin: &str) -> Vec<Protected> {
        let file = |(SecretName(name), entry): (&SecretName, &Entry)| {
            let what = format!("the file of the secret `{name}` of plugin `{plugin}`");
            Some(Protected::new(what, entry.file.clone()?))
        };
        self.0.iter().filter_map(file).collect()
    }

    /// Reads the values.
    ///
    /// # Errors
    /// The first secret whose value is not available.
    pub(crate) fn read(&self) -> Result<Vec<Secret>, String> {
        let read = |(SecretName(name), entry): (&SecretName, &Entry)| {
            let secret = entry.value().map(|value| Secret {
                name: name.clone(),
                value,
                hosts: entry.hosts.clone(),
            });
            secret.map_err(|problem| format!("secrets: {name}: {problem}"))
        };
        self.0.iter().map(read).collect()
    }
}

impl Entry {
    fn value(&self) -> Result<SecretString, String> {
        if self.hosts.is_empty() {
            return Err("`hosts` must list at least one host".to_owned());
        }
        let text = match (&self.from_env, &self.file) {
            (Some(name), None) => variable(name)?,
            (None, Some(file)) => read_file(file)
                .map_err(|error| format!("the file {} cannot be read: {error}", file.display()))?,
            _ => return Err("set either `from_env`, the name of a variable, or `file`, a path".to_owned()),
        };
        // Editors and `echo` end a file with a newline, which is not part of the value.
        let value = text.strip_suffix('\n').unwrap_or(&text);
        let value = value.strip_suffix('\r').unwrap_or(value);
        match value.len() {
            len if len < MIN_LEN => Err(format!("its value is shorter than {MIN_LEN} characters")),
            len if len > MAX_LEN => Err(format!("its value is longer than {} KiB", MAX_LEN >> 10)),
            _ if HeaderValue::from_str(value).is_err() => {
                Err("its value has a character that is not valid in a header, such as a newline".to_owned())
            }
            _ => Ok(value.to_owned().into()),
        }
    }
}

fn read_file(file: &Path) -> io::Result<String> {
    // A pipe or a device might never end.
    let is = std::fs::metadata(file)?;
    if !is.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if is_open_to_others(&is) {
        tracing::warn!(
            "every user of this machine may read or change {}, which has a secret: chmod 600 it",
            file.display()
        );
    }
    let mut text = String::new();
    let most = MAX_LEN as u64 + 2;
    File::open(file)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

/// Whether users other than the owner and the group may read or write a file.
#[cfg(unix)]
fn is_open_to_others(is: &Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&is.permissions()) & 0o006 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Metadata) -> bool {
    false
}

impl Secret {
    /// Whether the secret may be sent to this host.
    pub(crate) fn may_go_to(&self, origin: &Origin) -> bool {
        self.hosts.contains(origin)
    }

    /// A secret with this value and without hosts.
    #[cfg(test)]
    pub(crate) fn of_test(value: &str) -> Self {
        Self {
            name: "test".to_owned(),
            value: value.to_owned().into(),
            hosts: Vec::new(),
        }
    }

    /// The value, for finding it in responses.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.value.expose_secret().as_bytes()
    }
}

impl fmt::Display for Secret {
    /// `openai for https://api.openai.com`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        write!(f, "{} for {}", self.name, hosts.join(", "))
    }
}

/// Whether a header refers to a secret.
pub(crate) fn refers_to_one(header: &[u8]) -> bool {
    header.windows(OPENS.len()).any(|part| part == OPENS.as_bytes())
}

/// Replaces references by values.
///
/// # Errors
/// An error of `find`, or an invalid reference.
pub(crate) fn put_in<'s>(
    header: &str,
    mut find: impl FnMut(&str) -> Result<&'s Secret, String>,
) -> Result<HeaderValue, String> {
    let mut whole = String::with_capacity(header.len() + 64);
    let mut rest = header;
    while let Some((before, after)) = rest.split_once(OPENS) {
        whole.push_str(before);
        let (name, after) = after
            .split_once(CLOSES)
            .ok_or_else(|| format!("`{OPENS}` is not followed by `{CLOSES}`"))?;
        let SecretName(name) = SecretName::try_from(name.to_owned())?;
        whole.push_str(find(&name)?.value.expose_secret());
        rest = after;
    }
    whole.push_str(rest);
    let mut value = HeaderValue::from_str(&whole).map_err(|_| "it cannot be a header's value".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A policy entry for a missing secret.
pub(crate) fn to_add(plugin: &str, name: &str, origin: &Origin) -> String {
    let variable = name.to_ascii_uppercase().replace(['-', '.'], "_");
    format!(
        "plugins: {{\"{plugin}\": {{secrets: {{\"{name}\": {{from_env: {variable}, hosts: [\"{origin}\"]}}}}}}}}"
    )
}

impl TryFrom<String> for SecretName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match !text.is_empty() && text.len() <= NAME_LEN && text.bytes().all(fits) {
            true => Ok(Self(text)),
            false => Err(format!(
                "{:?} is not a valid name of a secret: use letters, digits, `.`, `_` and `-`, at most {NAME_LEN}",
                heddle_json::object::clip(&text, 100)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Vec<Secret>, String> {
        let entries: SecretEntries = crate::policy::yaml::read(yaml)
            .map(|(read, _)| read)
            .map_err(|error| error.to_string())?;
        entries.read()
    }

    #[test]
    fn a_secret_is_put_where_it_is_named_and_shown_nowhere() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "correct horse\n").unwrap();
        let path = file.path().display();
        let secrets = read(&format!(
            "{{key: {{file: \"{path}\", hosts: [a.org, \"http://b.org\"]}}}}"
        ))
        .unwrap();
        let secret = &secrets[0];
        assert_eq!(secret.to_string(), "key for https://a.org, http://b.org");
        assert!(!format!("{secret:?}").contains("horse"));
        let put = |header: &str| {
            put_in(header, |name| {
                secrets
                    .iter()
                    .find(|one| one.name == name)
                    .ok_or(format!("no {name}"))
            })
        };
        let value = put("Bearer ${secret.key}, ${secret.key}").unwrap();
        assert_eq!(value.as_bytes(), b"Bearer correct horse, correct horse");
        assert!(value.is_sensitive());
        assert_eq!(put("${secret.other}").unwrap_err(), "no other");
        assert!(put("${secret.key").unwrap_err().contains("not followed by `}`"));
        assert!(
            put("${secret.a b}")
                .unwrap_err()
                .contains("not a valid name of a secret")
        );
        assert!(refers_to_one(b"a ${secret.x}") && !refers_to_one(b"${secrets}"));
    }

    #[test]
    fn an_invalid_secret_is_refused() {
        for (yaml, expected) in [
            (
                "{a: {from_env: HEDDLE_NOT_SET_ANYWHERE, hosts: [a.org]}}",
                "secrets: a: the server's environment has no",
            ),
            (
                "{a: {file: /no/such/file, hosts: [a.org]}}",
                "the file /no/such/file cannot be read",
            ),
            (
                "{a: {from_env: CARGO_MANIFEST_DIR, hosts: []}}",
                "at least one host",
            ),
            ("{a: {from_env: CARGO_MANIFEST_DIR}}", "`hosts` is missing"),
            ("{a: {hosts: [a.org]}}", "set either `from_env`"),
            (
                "{a: {from_env: A, file: b, hosts: [a.org]}}",
                "set either `from_env`",
            ),
            (
                "{a: {file: /dev/null, hosts: [a.org]}}",
                "it is not a regular file",
            ),
            (
                "{\"a b\": {from_env: A, hosts: [a.org]}}",
                "is not a valid name of a secret",
            ),
            ("{a: {from_env: A, hosts: [\"https://*.a.org\"]}}", "name each"),
        ] {
            let refusal = read(yaml).unwrap_err();
            assert!(refusal.contains(expected), "{yaml}: {refusal}");
        }
    }

    #[test]
    fn a_value_has_8_bytes_to_16_kib_besides_the_end_of_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of = |value: &str| {
            std::fs::write(file.path(), value).unwrap();
            read(&format!("{{a: {{file: {:?}, hosts: [a.org]}}}}", file.path()))
        };
        let shown = |value: &str| of(value).unwrap()[0].value.expose_secret().to_owned();
        assert_eq!(shown("12345678"), "12345678");
        assert_eq!(shown("12345678\r\n"), "12345678");
        let longest = "x".repeat(16 << 10);
        assert_eq!(shown(&format!("{longest}\r\n")), longest);
        for (value, expected) in [
            ("1234567\n", "shorter than 8 characters"),
            (&*format!("{longest}x"), "longer than 16 KiB"),
            (&*format!("{longest}xyz"), "longer than 16 KiB"),
            ("1234\n5678", "such as a newline"),
        ] {
            let refusal = of(value).unwrap_err();
            assert!(refusal.contains(expected), "{refusal}");
        }
        let name = |len: usize| SecretName::try_from("n".repeat(len));
        assert!(name(64).is_ok() && name(65).is_err() && name(0).is_err());
    }

    #[test]
    fn the_line_to_add_is_a_policy() {
        let line = to_add(
            "llm",
            "open-ai",
            &"https://api.openai.com".to_owned().try_into().unwrap(),
        );
        assert!(
            line.contains("from_env: OPEN_AI, hosts: [\"https://api.openai.com\"]"),
            "{line}"
        );
        crate::Policy::parse(&line).unwrap();
    }
}
