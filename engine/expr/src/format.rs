//! `format`: a template whose verbs are replaced by the items of a list, as in CEL's strings extension.
//! Unlike there, a whole number is never converted to a double, so it keeps all of its digits.

use std::fmt::Write;

use heddle_json::decimal::Decimal;

use super::{
    functions::{Tools, text},
    kinds::Kinds,
    meter::{Meter, Stop, wrong},
    value::{Key, Number, Outcome, Value, double_text},
};

/// The default number of digits after the point of `%f` and `%e`.
const DEFAULT_PRECISION: usize = 6;

/// The largest number of digits after the point that a template may ask for.
const MAX_PRECISION: usize = 100;

/// The length limit of the text of one number, in bytes.
const MAX_NUMBER_LEN: usize = 10_000;

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// Fixed text.
    Text(&'t str),
    /// A verb, which is replaced by the next item of the list.
    Verb(Verb),
}

/// The format of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Text,
    Decimal,
    Fixed(usize),
    Scientific(usize),
    Binary,
    Octal,
    Hex { upper: bool },
}

impl Verb {
    /// The verb as it is written, without a precision.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Text => "%s",
            Self::Decimal => "%d",
            Self::Fixed(_) => "%f",
            Self::Scientific(_) => "%e",
            Self::Binary => "%b",
            Self::Octal => "%o",
            Self::Hex { upper: false } => "%x",
            Self::Hex { upper: true } => "%X",
        }
    }

    /// The types that an item may have.
    pub(super) fn takes(self) -> Kinds {
        match self {
            Self::Text => Kinds::ANY,
            Self::Decimal | Self::Fixed(_) | Self::Scientific(_) => Kinds::NUMBER,
            Self::Binary => Kinds::WHOLE.or(Kinds::BOOL),
            Self::Octal => Kinds::WHOLE,
            Self::Hex { .. } => Kinds::WHOLE.or(Kinds::TEXT),
        }
    }

    /// The error that an item has the wrong type.
    pub(super) fn misfit(self, kinds: Kinds) -> String {
        format!("`{}` takes {}, this is {kinds}", self.sign(), self.takes())
    }
}

/// The parts of a template, up to the first error.
pub(super) fn pieces(template: &str) -> impl Iterator<Item = Result<Piece<'_>, String>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        let (piece, after) = match rest.find('%') {
            None if rest.is_empty() => return None,
            None => (Ok(Piece::Text(rest)), ""),
            Some(0) if rest[1..].starts_with('%') => (Ok(Piece::Text("%")), &rest[2..]),
            Some(0) => match verb(&rest[1..]) {
                Ok((verb, after)) => (Ok(Piece::Verb(verb)), after),
                Err(problem) => (Err(problem), ""),
            },
            Some(at) => (Ok(Piece::Text(&rest[..at])), &rest[at..]),
        };
        rest = after;
        Some(piece)
    })
}

/// The verb that a text begins with, after its `%`, and the rest of the text.
fn verb(text: &str) -> Result<(Verb, &str), String> {
    let (precision, rest) = match text.strip_prefix('.') {
        None => (None, text),
        Some(digits) => {
            let end = digits
                .bytes()
                .position(|c| !c.is_ascii_digit())
                .unwrap_or(digits.len());
            let precision = digits[..end]
                .parse()
                .ok()
                .filter(|precision| *precision <= MAX_PRECISION);
            if precision.is_none() {
                return Err(format!(
                    "the precision of `%.{}` must be a number from 0 to {MAX_PRECISION}",
                    super::value::clipped(&digits[..end], 10)
                ));
            }
            (precision, &digits[end..])
        }
    };
    let digits = precision.unwrap_or(DEFAULT_PRECISION);
    let mut signs = rest.chars();
    let verb = match signs.next() {
        Some('s') => Verb::Text,
        Some('d') => Verb::Decimal,
        Some('f') => Verb::Fixed(digits),
        Some('e') => Verb::Scientific(digits),
        Some('b') => Verb::Binary,
        Some('o') => Verb::Octal,
        Some('x') => Verb::Hex { upper: false },
        Some('X') => Verb::Hex { upper: true },
        Some(other) => {
            return Err(format!(
                "`%{}` is not a verb; the verbs are %s, %d, %f, %e, %b, %o, %x and %X, and %% for a percent sign",
                other.escape_debug()
            ));
        }
        None => return Err("the template ends after `%`; a percent sign is written %%".into()),
    };
    if precision.is_some() && !matches!(verb, Verb::Fixed(_) | Verb::Scientific(_)) {
        return Err(format!("`{}` takes no precision", verb.sign()));
    }
    Ok((verb, signs.as_str()))
}

/// The error that the list has no item for a verb.
pub(super) fn too_few(verb: Verb, index: usize) -> String {
    format!(
        "`{}` has no item: the list has {index}, and the template needs more",
        verb.sign()
    )
}

/// The template with each verb replaced by its item. Items that are left over are ignored.
pub(super) fn format(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let Value::List(items) = &a[1] else {
        return wrong("`.format(…)` takes a list");
    };
    let template = text(&a[0]);
    tools.meter.charge_bytes(template.len())?;
    let mut out = String::new();
    let mut items = items.iter().enumerate();
    let mut used = 0;
    for piece in pieces(template) {
        tools.meter.charge(1)?;
        match piece {
            Ok(Piece::Text(text)) => push(&mut out, text, tools.meter)?,
            Ok(Piece::Verb(verb)) => {
                let Some((index, item)) = items.next() else {
                    return wrong(too_few(verb, used));
                };
                used = index + 1;
                write(verb, index, item, &mut out, tools.meter)?;
            }
            Err(problem) => return wrong(problem),
        }
    }
    Ok(Value::String(out.into()))
}

fn push(out: &mut String, text: &str, meter: &Meter) -> Result<(), Box<Stop>> {
    meter.charge_bytes(text.len())?;
    out.push_str(text);
    Ok(())
}

fn write(verb: Verb, index: usize, item: &Value, out: &mut String, meter: &Meter) -> Result<(), Box<Stop>> {
    if !item.kind().meets(verb.takes()) {
        return wrong(format!("item {index}: {}", verb.misfit(item.kind())));
    }
    let written = match (verb, item) {
        (Verb::Text, _) => return write_text(item, out, meter),
        (Verb::Hex { upper }, Value::String(text)) => return hex(text.as_bytes(), upper, out, meter),
        (Verb::Hex { upper }, Value::Bytes(bytes)) => return hex(bytes, upper, out, meter),
        (_, Value::Bool(value)) => Some(u8::from(*value).to_string()),
        (Verb::Decimal, _) if has_fraction(item) => {
            return wrong(format!(
                "item {index}: `%d` takes a whole number, and this one has a fraction: use %f, %e or %s"
            ));
        }
        (Verb::Decimal, _) => return write_text(item, out, meter),
        _ => match item.number() {
            Some(Number::Whole(whole)) => in_digits(verb, &Decimal::of_whole(whole)).or_else(|| {
                let sign = if whole < 0 { "-" } else { "" };
                let size = whole.unsigned_abs();
                Some(match verb {
                    Verb::Binary => format!("{sign}{size:b}"),
                    Verb::Octal => format!("{sign}{size:o}"),
                    Verb::Hex { upper: false } => format!("{sign}{size:x}"),
                    _ => format!("{sign}{size:X}"),
                })
            }),
            Some(Number::Double(double)) if !double.is_finite() => Some(double_text(double)),
            Some(Number::Double(double)) => Some(match verb {
                Verb::Scientific(places) => scientific(double, places),
                Verb::Fixed(places) => format!("{double:.places$}"),
                _ => double_text(double),
            }),
            Some(Number::Long(written)) => {
                meter.charge_bytes(written.text.len())?;
                in_digits(verb, &written.decimal())
            }
            None => None,
        },
    };
    match written {
        Some(written) => push(out, &written, meter),
        None => wrong(format!(
            "item {index}: `{}` would write more than {MAX_NUMBER_LEN} digits",
            verb.sign()
        )),
    }
}

/// Whether a number has a fraction. Infinite and undefined numbers are written as words.
fn has_fraction(item: &Value) -> bool {
    match item.number() {
        Some(Number::Double(double)) => double.is_finite() && double.fract() != 0.0,
        Some(Number::Long(written)) => !written.decimal().is_whole(),
        Some(Number::Whole(_)) | None => false,
    }
}

/// A number with the digits of a verb; `None` if the text is too long, or the verb does not apply to the
/// number.
fn in_digits(verb: Verb, number: &Decimal) -> Option<String> {
    match verb {
        Verb::Fixed(places) => number.fixed(places, MAX_NUMBER_LEN),
        Verb::Scientific(places) => Some(number.scientific(places)),
        _ => None,
    }
}

/// `d.ddde+dd`, where Rust writes `d.dddedd`.
fn scientific(double: f64, places: usize) -> String {
    let written = format!("{double:.places$e}");
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn hex(bytes: &[u8], upper: bool, out: &mut String, meter: &Meter) -> Result<(), Box<Stop>> {
    meter.charge_bytes(bytes.len().saturating_mul(2))?;
    for byte in bytes {
        let written = match upper {
            true => write!(out, "{byte:02X}"),
            false => write!(out, "{byte:02x}"),
        };
        written.expect("a string takes what is written to it");
    }
    Ok(())
}

/// Any value as text; a list as `[a, b]`, an object as `{key: value}` in the order of its keys' texts.
fn write_text(value: &Value, out: &mut String, meter: &Meter) -> Result<(), Box<Stop>> {
    meter.charge(1)?;
    match value {
        Value::Null => push(out, "null", meter),
        Value::Bool(value) => push(out, if *value { "true" } else { "false" }, meter),
        Value::Int(value) => push(out, &value.to_string(), meter),
        Value::Uint(value) => push(out, &value.to_string(), meter),
        Value::Double(value) => push(out, &double_text(*value), meter),
        Value::Written(written) => match written.double {
            Some(double) => push(out, &double_text(double), meter),
            None => push(out, &written.text, meter),
        },
        Value::String(text) => push(out, text, meter),
        Value::Bytes(bytes) => {
            // A byte that is not UTF-8 may become three bytes.
            meter.charge_bytes(bytes.len().saturating_mul(3))?;
            out.push_str(&String::from_utf8_lossy(bytes));
            Ok(())
        }
        Value::Type(name) => push(out, name, meter),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_text(item, out, meter)?;
            }
            out.push(']');
            Ok(())
        }
        Value::Map(entries) => {
            let mut sorted = Vec::with_capacity(entries.len());
            for (key, value) in entries.iter() {
                let mut text = String::new();
                write_text(&Key::value(key), &mut text, meter)?;
                sorted.push((text, value));
            }
            sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                push(out, &key, meter)?;
                out.push_str(": ");
                write_text(value, out, meter)?;
            }
            out.push('}');
            Ok(())
        }
    }
}
