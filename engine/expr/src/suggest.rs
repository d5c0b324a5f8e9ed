//! Suggestions of similar names for unknown ones, by edit distance.

use std::cell::Cell;

/// The number of suggestions that one check makes.
pub const MAX_SUGGESTIONS: usize = 20;

/// The length up to which names are compared, in characters.
const MAX_COMPARED_LEN: usize = 64;
/// The number of names of similar length with which a name is compared.
const MAX_COMPARED: usize = 1_000;

/// The most similar name, if at most a third of its characters differ.
pub fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let len = length(name)?;
    let near = |other: &'n str| {
        let other_len = length(other)?;
        let most = len.max(other_len) / 3;
        (len.abs_diff(other_len) <= most).then_some((other, most))
    };
    names
        .filter_map(near)
        .take(MAX_COMPARED)
        .map(|(other, most)| (strsim::levenshtein(name, other), most, other))
        .filter(|(distance, most, _)| distance <= most)
        .min_by_key(|(distance, _, other)| (*distance, *other))
        .map(|(_, _, other)| other)
}

/// The end of a message with a suggestion, or an empty text.
pub fn did_you_mean<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> String {
    nearest(name, names)
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default()
}

/// The length of a name in characters, if it is short enough to be compared.
fn length(name: &str) -> Option<usize> {
    // A character has at most four bytes.
    let short = name.len() <= 4 * MAX_COMPARED_LEN;
    short
        .then(|| name.chars().count())
        .filter(|len| *len <= MAX_COMPARED_LEN)
}

/// The number of suggestions that a check may still make.
pub struct Suggestions(Cell<usize>);

impl Default for Suggestions {
    fn default() -> Self {
        Self(Cell::new(MAX_SUGGESTIONS))
    }
}

impl Suggestions {
    /// The most similar name, if one is similar enough and the limit is not reached.
    pub fn nearest<'n>(&self, name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
        self.take().then(|| nearest(name, names)).flatten()
    }

    /// The end of a message with a suggestion, or an empty text.
    pub fn did_you_mean<'n>(&self, name: &str, names: impl Iterator<Item = &'n str>) -> String {
        match self.take() {
            true => did_you_mean(name, names),
            false => String::new(),
        }
    }

    fn take(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_near_if_a_third_of_it_differs_at_most() {
        let names = ["extract", "analyze", "end"];
        let near = |name| nearest(name, names.into_iter());
        assert_eq!(near("analyse"), Some("analyze"));
        assert_eq!(near("extarct"), Some("extract"));
        assert_eq!(near("abc"), None);
        assert_eq!(near("ende"), Some("end"));
        assert_eq!(near(""), None);
    }

    #[test]
    fn long_names_are_not_compared() {
        let name = "ü".repeat(MAX_COMPARED_LEN);
        let longer = "ü".repeat(MAX_COMPARED_LEN + 1);
        assert_eq!(nearest(&name, [&*name].into_iter()), Some(&*name));
        assert_eq!(nearest(&longer, [&*longer].into_iter()), None);
        assert_eq!(nearest(&name, [&*longer].into_iter()), None);
    }

    #[test]
    fn a_name_is_compared_with_so_many_others() {
        let others = vec!["abcdefgh"; MAX_COMPARED];
        let with = |others: usize| {
            nearest(
                "12345678",
                ["abcdefgh"].repeat(others).into_iter().chain(["12345679"]),
            )
        };
        assert_eq!(with(others.len() - 1), Some("12345679"));
        assert_eq!(with(others.len()), None);
    }

    #[test]
    fn few_names_are_suggested() {
        let suggestions = Suggestions::default();
        let near = |_| suggestions.nearest("analyse", ["analyze"].into_iter());
        assert_eq!((0..100).filter_map(near).count(), MAX_SUGGESTIONS);
        assert_eq!(suggestions.did_you_mean("analyse", ["analyze"].into_iter()), "");
    }
}
