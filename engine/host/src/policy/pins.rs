//! The components that a policy entry is for: all components of the plugin's name, or those with the listed digests.

use std::fmt;

use heddle_kernel::Digest;
use serde::{
    Deserialize,
    de::{Deserializer, Error, SeqAccess, Visitor},
};

/// The most digests of an entry.
const MAX: usize = 100;

/// The listed digests; none if the entry is for every component of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins(Vec<Digest>);

impl Pins {
    /// Whether digests are listed.
    pub(crate) fn are_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the entry is for this component.
    pub(crate) fn allow(&self, digest: &Digest) -> bool {
        self.0.is_empty() || self.0.contains(digest)
    }
}

impl<'de> Deserialize<'de> for Pins {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Pins;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the digest of a component, as in sha256:…, or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Pins, E> {
                Ok(Pins(vec![digest(text).map_err(E::custom)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pins, A::Error> {
                let mut digests = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    digests.push(digest(&text).map_err(A::Error::custom)?);
                    if digests.len() > MAX {
                        return Err(A::Error::custom(format!("an entry may list {MAX} digests")));
                    }
                }
                match digests.is_empty() {
                    true => Err(A::Error::custom(
                        "an empty list allows no component: leave `digest` out to allow every one of this name",
                    )),
                    false => Ok(Pins(digests)),
                }
            }
        }

        input.deserialize_any(Reader)
    }
}

fn digest(text: &str) -> Result<Digest, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_digest = hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    match is_digest {
        true => Ok(Digest(hex.to_ascii_lowercase().into())),
        false => Err(format!(
            "`{}` is not a digest: write sha256: and 64 hexadecimal digits, as `heddle plugin inspect` prints them",
            heddle_json::object::clip(text, 100)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Pins, String> {
        crate::policy::yaml::read(yaml)
            .map(|(read, _)| read)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_entry_is_for_the_components_that_it_lists() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let one = read(&format!("sha256:{a}")).unwrap();
        assert!(one.are_set() && one.allow(&a) && !one.allow(&b));
        let both = read(&format!("[{}, \"sha256:{b}\"]", a.0.to_uppercase())).unwrap();
        assert!(both.allow(&a) && both.allow(&b));
        let any = Pins::default();
        assert!(!any.are_set() && any.allow(&a));
        for (yaml, expected) in [
            ("[]", "allows no component"),
            ("sha256:abc", "is not a digest"),
            ("[sha512:aa]", "is not a digest"),
            ("{}", "the digest of a component"),
        ] {
            let refusal = read(yaml).unwrap_err();
            assert!(refusal.contains(expected), "{yaml}: {refusal}");
        }
    }
}
