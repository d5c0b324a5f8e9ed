//! Values as parts of URLs, and bytes as text.

use std::{collections::BTreeMap, fmt::Write};

use heddle_plugin::prelude::*;

/// A URL with a query added to its own query, and without its fragment.
pub(crate) fn added(url: String, query: &BTreeMap<String, Value>) -> Result<String> {
    if query.is_empty() {
        return Ok(url);
    }
    let mut url = url.split('#').next().unwrap_or_default().to_owned();
    let mut before = if url.contains('?') { '&' } else { '?' };
    for (name, value) in query {
        let items = match value {
            Value::Array(items) => &items[..],
            item => std::slice::from_ref(item),
        };
        for item in items {
            let text = match item {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => item.to_string(),
                Value::Array(_) | Value::Object(_) => {
                    return Err(Error::invalid_input(format!(
                        "`query.{name}` is neither a text, a number, a boolean nor a list of these"
                    )));
                }
            };
            url.push(before);
            before = '&';
            escape(&mut url, name);
            url.push('=');
            escape(&mut url, &text);
        }
    }
    Ok(url)
}

/// Percent-encodes all bytes except the unreserved characters of RFC 3986.
fn escape(url: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            _ => write!(url, "%{byte:02X}").expect("writing to a String does not fail"),
        }
    }
}

/// Bytes in base64, with the alphabet and the padding of RFC 4648, section 4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            match digit <= group.len() {
                true => text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text
}
