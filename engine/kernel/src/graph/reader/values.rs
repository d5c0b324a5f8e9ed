//! Single values: numbers, names, and the names of kinds.

use super::*;

/// The whole number of a value; `3.0` and `3e0` count as whole numbers.
pub(in crate::graph) fn whole_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        // Below this limit a double represents every whole number.
        let number = value.as_f64()?;
        (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
    })
}

/// Whether a name has the form of a graph's id.
pub(super) fn is_id(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The problem of a name, if it has one.
pub(crate) fn name_problem(name: &str) -> Option<String> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | ':' | '/');
    let right = (1..=MAX_NAME_LEN).contains(&name.len()) && name.chars().all(fits);
    (!right).then(|| {
        let (shown, more) = match object::clip(name, 2 * MAX_NAME_LEN) {
            shown if shown.len() < name.len() => (shown, format!("… of {} bytes", name.len())),
            shown => (shown, String::new()),
        };
        format!("has 1 to {MAX_NAME_LEN} bytes of letters, digits, spaces and `_-.:/`, got {shown:?}{more}")
    })
}

pub(in crate::graph) fn kind(value: &Value) -> &'static str {
    object::kind_of(&value.to_string()).unwrap_or("nothing")
}
