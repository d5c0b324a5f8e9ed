//! The functions on strings. Positions and lengths count code points.

use super::{
    functions::{Tools, int, text},
    meter::{Stop, wrong},
    value::{Number, Outcome, Value},
};

/// The byte offset of the character at a position, or the end of the text.
fn byte_at(text: &str, place: &Value) -> Result<usize, Box<Stop>> {
    let place = whole(place);
    let at = usize::try_from(place).ok().and_then(|place| {
        let starts = text.char_indices().map(|(at, _)| at);
        starts.chain([text.len()]).nth(place)
    });
    match at {
        Some(at) => Ok(at),
        None => wrong(format!(
            "a string of {} characters has none at {place}",
            text.chars().count()
        )),
    }
}

/// A whole number whose type was checked.
fn whole(value: &Value) -> i128 {
    match value.number() {
        Some(Number::Whole(whole)) => whole,
        _ => 0,
    }
}

/// The limit in an argument; `None` for a negative number, which means no limit.
fn limit(argument: Option<&Value>) -> Option<usize> {
    argument.and_then(|value| usize::try_from(whole(value)).ok())
}

/// The character at a position, or an empty string at the end.
pub(super) fn char_at(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let text = text(&a[0]);
    tools.meter.charge_bytes(text.len())?;
    let at = byte_at(text, &a[1])?;
    let found = text[at..].chars().next();
    Ok(Value::string(found.map_or("", |c| &text[at..at + c.len_utf8()])))
}

/// The first position of the part at or after a position; -1 if there is none.
pub(super) fn index_of(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let (text, part) = (text(&a[0]), text(&a[1]));
    tools.meter.charge_bytes(text.len() + part.len())?;
    let from = a.get(2).map_or(Ok(0), |place| byte_at(text, place))?;
    let found = text[from..].find(part).map(|at| from + at);
    Ok(place_of(text, found))
}

/// The last position of the part at or before a position; -1 if there is none.
pub(super) fn last_index_of(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let (text, part) = (text(&a[0]), text(&a[1]));
    tools.meter.charge_bytes(text.len() + part.len())?;
    let from = a.get(2).map_or(Ok(text.len()), |place| byte_at(text, place))?;
    // A part that starts there ends at a character boundary, so no match is lost.
    let end = text.floor_char_boundary(from.saturating_add(part.len()));
    Ok(place_of(text, text[..end].rfind(part)))
}

fn place_of(text: &str, found: Option<usize>) -> Value {
    match found {
        Some(at) => int(text[..at].chars().count()),
        None => Value::Int(-1),
    }
}

pub(super) fn join(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let Value::List(items) = &a[0] else {
        return wrong("`.join(…)` needs a list before it");
    };
    let between = a.get(1).map_or("", text);
    let mut joined = String::new();
    for (index, item) in items.iter().enumerate() {
        let Value::String(item) = item else {
            return wrong(format!(
                "`.join(…)` needs a list of strings, item {index} is {}; .map(x, string(x)) makes strings",
                item.kind()
            ));
        };
        tools.meter.charge_bytes(item.len() + between.len())?;
        if index > 0 {
            joined.push_str(between);
        }
        joined.push_str(item);
    }
    Ok(Value::String(joined.into()))
}

/// Replaces the first occurrences up to a limit, or all.
pub(super) fn replace(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let (text, from, to) = (text(&a[0]), text(&a[1]), text(&a[2]));
    tools.meter.charge_bytes(text.len() + from.len())?;
    let most = limit(a.get(3)).unwrap_or(usize::MAX);
    let count = text.matches(from).take(most).count();
    tools.meter.charge_bytes(count.saturating_mul(to.len()))?;
    Ok(Value::String(text.replacen(from, to, count).into()))
}

/// The parts between separators, up to a limit; the last part has the rest.
pub(super) fn split(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let (text, at) = (text(&a[0]), text(&a[1]));
    tools.meter.charge_bytes(text.len() + at.len())?;
    let most = limit(a.get(2)).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut part = |part: &str| {
        tools.meter.charge_bytes(part.len())?;
        parts.push(Value::string(part));
        Ok::<(), Box<Stop>>(())
    };
    if at.is_empty() {
        // An empty separator splits into characters, without the empty ends that Rust gives.
        let mut rest = text;
        for _ in 1..most {
            let Some(first) = rest.chars().next() else { break };
            let (head, tail) = rest.split_at(first.len_utf8());
            part(head)?;
            rest = tail;
        }
        if most > 0 && !rest.is_empty() {
            part(rest)?;
        }
    } else {
        for piece in text.splitn(most, at) {
            part(piece)?;
        }
    }
    Ok(Value::list(parts))
}

/// The characters from one position up to another, the latter excluded.
pub(super) fn substring(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let text = text(&a[0]);
    tools.meter.charge_bytes(text.len())?;
    let (start, end) = (whole(&a[1]), a.get(2).map(whole));
    if end.is_some_and(|end| end < start) {
        return wrong(format!(
            "a string of {} characters has no part from {start} to {}",
            text.chars().count(),
            end.unwrap_or_default()
        ));
    }
    let from = byte_at(text, &a[1])?;
    let to = a.get(2).map_or(Ok(text.len()), |place| byte_at(text, place))?;
    Ok(Value::string(&text[from..to]))
}

/// The text as a literal of CEL: in quotes, with its control characters escaped.
pub(super) fn quote(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let text = text(&a[0]);
    tools.meter.charge_bytes(text.len().saturating_mul(2) + 2)?;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(Value::String(quoted.into()))
}
