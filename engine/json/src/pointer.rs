//! JSON pointers (RFC 6901).

use std::borrow::Cow;

/// Escapes a key as one part of a JSON pointer: `~` becomes `~0` and `/` becomes `~1`.
pub fn escape(key: &str) -> Cow<'_, str> {
    match key.contains(['~', '/']) {
        true => Cow::Owned(key.replace('~', "~0").replace('/', "~1")),
        false => Cow::Borrowed(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_tildes_and_slashes_is_one_part() {
        assert_eq!(escape("plain"), "plain");
        assert_eq!(escape("a~/b"), "a~0~1b");
        assert_eq!(escape("~1"), "~01");
    }
}
