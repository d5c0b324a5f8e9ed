//! Lists the functions of a file.

use quote::ToTokens;

use crate::model::{Function, cut};
use crate::rules::is_test_path;
use crate::source::Source;
use crate::walk;

/// How much of a signature is kept.
const MAX_SIGNATURE: usize = 160;

/// The functions of a file in the order of its lines; none of one that does not parse.
pub fn list(path: &str, text: &str) -> Vec<Function> {
    let Ok(source) = Source::parse(text) else {
        return Vec::new();
    };
    walk::functions(&source.tree)
        .into_iter()
        .map(|found| {
            let (line, end_line) = found.lines();
            let written = source.slice(found.span());
            // A signature that goes over several lines is joined to one.
            let words: Vec<_> = written.split_whitespace().collect();
            let signature = if words.is_empty() {
                found.signature.to_token_stream().to_string()
            } else {
                words.join(" ").replace("( ", "(").replace(", )", ")")
            };
            Function {
                file: path.to_string(),
                name: found.name,
                signature: cut(&signature, MAX_SIGNATURE),
                line,
                end_line,
                test: found.test || is_test_path(path),
                metrics: None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_one_line_and_the_span_is_the_functions() {
        let text = "\n/// Docs.\n#[inline]\npub async unsafe fn f<'a>(\n    a: &'a str,\n    b: u8,\n) -> u8 {\n    b\n}\n";
        let list = list("src/a.rs", text);
        assert_eq!(list.len(), 1);
        assert_eq!(
            list[0].signature,
            "async unsafe fn f<'a>(a: &'a str, b: u8) -> u8"
        );
        assert_eq!((list[0].line, list[0].end_line), (4, 9));
        assert!(!list[0].test);
    }

    #[test]
    fn everything_under_a_tests_folder_is_test_code() {
        assert!(list("engine/tests/a.rs", "fn f() {}")[0].test);
        assert!(!list("engine/src/tests.rs", "fn f() {}")[0].test);
    }
}
