//! A limit on how deep a JSON text is nested: most parsers refuse what is deeper, and then
//! whoever reads a state could not.

/// How deep a function's schema may be nested.
pub(crate) const SCHEMA_DEPTH: usize = 100;

/// Checks how deep a text is nested. It need not be JSON: that is for a parser to find out.
pub(crate) fn check_depth(text: &str, limit: usize) -> Result<(), String> {
    // A text that is too short to be too deep is most texts.
    if text.len() <= limit {
        return Ok(());
    }
    let mut depth = 0usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return Err(format!("is nested deeper than {limit}"));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_outside_of_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_depth(&nested(100), 100).is_ok());
        assert_eq!(
            check_depth(&nested(101), 100).unwrap_err(),
            "is nested deeper than 100"
        );
        assert!(check_depth(&format!(r#"["\"{}"]"#, "{".repeat(500)), 100).is_ok());
        assert!(check_depth(&"[]".repeat(500), 100).is_ok());
    }
}
