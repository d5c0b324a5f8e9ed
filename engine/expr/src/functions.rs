//! The functions of expressions, besides operators and loops: those of the CEL standard, and those on strings
//! of cel-go's extension. None reads a clock, so an evaluation depends only on its variables.

use std::sync::Arc;

use regex::Regex;

use super::{
    format,
    kinds::{Kinds, Type},
    meter::{Meter, Stop, wrong},
    patterns::Patterns,
    strings,
    value::{Number, Outcome, Value, clipped, double_text},
};

/// A function with a fixed number of arguments.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// Whether it may be called as `name(a, b)`.
    pub(super) global: bool,
    /// Whether it may be called as `a.name(b)`.
    pub(super) method: bool,
    /// The types of the arguments; the first one is the value of a method.
    pub(super) takes: &'static [Kinds],
    pub(super) gives: Type,
    run: fn(&Tools<'_>, &[Value]) -> Outcome,
}

/// The context of functions: the budget and compiled patterns.
pub(super) struct Tools<'e> {
    pub(super) meter: &'e Meter,
    pub(super) patterns: &'e Patterns,
}

impl Function {
    /// Calls the function. Arguments of the wrong type are an error.
    pub(super) fn call(&self, tools: &Tools<'_>, arguments: &[Value]) -> Outcome {
        for (index, (argument, takes)) in arguments.iter().zip(self.takes).enumerate() {
            if !argument.kind().meets(*takes) {
                return wrong(self.misfit(index, argument.kind()));
            }
        }
        (self.run)(tools, arguments)
    }

    /// The error that an argument has the wrong type.
    pub(super) fn misfit(&self, index: usize, kinds: Kinds) -> String {
        let (name, takes) = (self.name, self.takes[index]);
        match (index, self.method) {
            (0, true) if !self.global => format!("`.{name}(…)` needs {takes} before it, this is {kinds}"),
            (_, true) if !self.global => format!("`.{name}(…)` takes {takes}, this is {kinds}"),
            _ => format!("{name}(…) takes {takes}, this is {kinds}"),
        }
    }
}

/// The functions with this name.
pub(super) fn named(name: &str) -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter().filter(move |function| function.name == name)
}

/// The names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}

const fn global(
    name: &'static str,
    takes: &'static [Kinds],
    gives: Kinds,
    run: fn(&Tools<'_>, &[Value]) -> Outcome,
) -> Function {
    Function {
        name,
        global: true,
        method: false,
        takes,
        gives: Type::of(gives),
        run,
    }
}

const fn method(
    name: &'static str,
    takes: &'static [Kinds],
    gives: Kinds,
    run: fn(&Tools<'_>, &[Value]) -> Outcome,
) -> Function {
    Function {
        global: false,
        method: true,
        ..global(name, takes, gives, run)
    }
}

const STRING: Kinds = Kinds::STRING;
const WHOLE: Kinds = Kinds::WHOLE;
const SIZED: Kinds = Kinds::TEXT.or(Kinds::ITEMS);
const PRINTED: Kinds = Kinds::KEY.or(Kinds::BYTES).or(Kinds::TYPE);
const NUMERIC: Kinds = Kinds::NUMBER.or(STRING);

static FUNCTIONS: &[Function] = &[
    global("bool", &[Kinds::BOOL.or(STRING)], Kinds::BOOL, to_bool),
    global("bytes", &[Kinds::TEXT], Kinds::BYTES, to_bytes),
    global("double", &[NUMERIC], Kinds::DOUBLE, to_double),
    global("dyn", &[Kinds::ANY], Kinds::ANY, |_, a| Ok(a[0].clone())),
    global("int", &[NUMERIC], Kinds::INT, to_int),
    global("string", &[PRINTED], STRING, to_string),
    global("type", &[Kinds::ANY], Kinds::TYPE, |_, a| {
        Ok(Value::Type(type_name(&a[0])))
    }),
    global("uint", &[NUMERIC], Kinds::UINT, to_uint),
    Function {
        method: true,
        ..global("size", &[SIZED], Kinds::INT, size)
    },
    Function {
        method: true,
        ..global("matches", &[STRING, STRING], Kinds::BOOL, matches)
    },
    method("contains", &[STRING, STRING], Kinds::BOOL, |tools, a| {
        two_texts(tools, a, |text, part| text.contains(part))
    }),
    method("endsWith", &[STRING, STRING], Kinds::BOOL, |tools, a| {
        two_texts(tools, a, |text, part| text.ends_with(part))
    }),
    method("startsWith", &[STRING, STRING], Kinds::BOOL, |tools, a| {
        two_texts(tools, a, |text, part| text.starts_with(part))
    }),
    method("charAt", &[STRING, WHOLE], STRING, strings::char_at),
    method("format", &[STRING, Kinds::LIST], STRING, format::format),
    method("indexOf", &[STRING, STRING], Kinds::INT, strings::index_of),
    method("indexOf", &[STRING, STRING, WHOLE], Kinds::INT, strings::index_of),
    method("join", &[Kinds::LIST], STRING, strings::join),
    method("join", &[Kinds::LIST, STRING], STRING, strings::join),
    method(
        "lastIndexOf",
        &[STRING, STRING],
        Kinds::INT,
        strings::last_index_of,
    ),
    method(
        "lastIndexOf",
        &[STRING, STRING, WHOLE],
        Kinds::INT,
        strings::last_index_of,
    ),
    method("lowerAscii", &[STRING], STRING, |tools, a| {
        converted(tools, text(&a[0]), |text| text.to_ascii_lowercase().into())
    }),
    method("replace", &[STRING, STRING, STRING], STRING, strings::replace),
    method(
        "replace",
        &[STRING, STRING, STRING, WHOLE],
        STRING,
        strings::replace,
    ),
    method("reverse", &[STRING], STRING, |tools, a| {
        converted(tools, text(&a[0]), |text| {
            text.chars().rev().collect::<String>().into()
        })
    }),
    Function {
        gives: Type::list(STRING),
        ..method("split", &[STRING, STRING], Kinds::LIST, strings::split)
    },
    Function {
        gives: Type::list(STRING),
        ..method("split", &[STRING, STRING, WHOLE], Kinds::LIST, strings::split)
    },
    global("strings.quote", &[STRING], STRING, strings::quote),
    method("substring", &[STRING, WHOLE], STRING, strings::substring),
    method("substring", &[STRING, WHOLE, WHOLE], STRING, strings::substring),
    method("trim", &[STRING], STRING, |tools, a| {
        converted(tools, text(&a[0]), |text| text.trim().into())
    }),
    method("upperAscii", &[STRING], STRING, |tools, a| {
        converted(tools, text(&a[0]), |text| text.to_ascii_uppercase().into())
    }),
];

/// Whether `name` is a namespace of functions.
pub(super) fn is_namespace(name: &str) -> bool {
    names().any(|known| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The text of an argument whose type was checked.
pub(super) fn text(value: &Value) -> &str {
    match value {
        Value::String(text) => text,
        _ => "",
    }
}

fn converted(tools: &Tools<'_>, text: &str, make: fn(&str) -> Arc<str>) -> Outcome {
    tools.meter.charge_bytes(text.len())?;
    Ok(Value::String(make(text)))
}

fn two_texts(tools: &Tools<'_>, a: &[Value], holds: fn(&str, &str) -> bool) -> Outcome {
    let (text, part) = (text(&a[0]), text(&a[1]));
    tools.meter.charge_bytes(text.len() + part.len())?;
    Ok(Value::Bool(holds(text, part)))
}

/// The names of types, as `type(x) == int` compares them.
pub(super) const TYPES: [&str; 10] = [
    "null_type",
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "type",
];

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null_type",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Uint(_) => "uint",
        Value::Double(_) | Value::Written(_) => "double",
        Value::String(_) => "string",
        Value::Bytes(_) => "bytes",
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Type(_) => "type",
    }
}

fn unreadable(value: &Value, what: &str) -> Outcome {
    wrong(format!("`{}` is not {what}", clipped(text(value), 40)))
}

fn to_bool(_: &Tools<'_>, a: &[Value]) -> Outcome {
    match &a[0] {
        Value::String(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            _ => unreadable(&a[0], "true or false"),
        },
        other => Ok(other.clone()),
    }
}

fn to_bytes(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    match &a[0] {
        Value::String(text) => {
            tools.meter.charge_bytes(text.len())?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        other => Ok(other.clone()),
    }
}

fn to_double(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    if let Some(number) = a[0].number() {
        return Ok(Value::Double(number.double()));
    }
    let text = text(&a[0]);
    tools.meter.charge_bytes(text.len())?;
    match text.parse::<f64>() {
        Ok(value) if value.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) => {
            wrong(format!("{} is too large for a double", clipped(text, 40)))
        }
        Ok(value) => Ok(Value::Double(value)),
        Err(_) => unreadable(&a[0], "a number"),
    }
}

/// The whole number for `int()` and `uint()`, as an `i128`; a double loses its fraction.
fn whole(tools: &Tools<'_>, value: &Value, kind: &str) -> Result<i128, Box<Stop>> {
    let too_large = |shown: &str| wrong(format!("{} is too large for {kind}", clipped(shown, 40)));
    match value.number() {
        Some(Number::Whole(whole)) => Ok(whole),
        Some(Number::Double(double)) if double.is_finite() && double.abs() < 1e38 => Ok(double as i128),
        Some(Number::Double(double)) if double.is_finite() => too_large(&double.to_string()),
        Some(Number::Double(double)) => wrong(format!("{double} has no whole part")),
        Some(Number::Long(written)) => {
            tools.meter.charge_bytes(written.text.len())?;
            match written.decimal().truncated() {
                Some(whole) => Ok(whole),
                None => too_large(&written.text),
            }
        }
        None => {
            let text = text(value);
            tools.meter.charge_bytes(text.len())?;
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            match text.parse() {
                Ok(whole) => Ok(whole),
                Err(_) if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()) => too_large(text),
                Err(_) => unreadable(value, "a whole number").map(|_| 0),
            }
        }
    }
}

fn to_int(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let whole = whole(tools, &a[0], "an int")?;
    // Every number just below the smallest int becomes the same double, so that double is not an int.
    let rounded = matches!(a[0].number(), Some(Number::Double(double)) if double <= i64::MIN as f64);
    match i64::try_from(whole) {
        Ok(value) if !rounded => Ok(Value::Int(value)),
        _ if whole < 0 => wrong(format!("{whole} is too small for an int")),
        _ => wrong(format!("{whole} is too large for an int")),
    }
}

fn to_uint(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    if a[0].number().is_some_and(|number| number.double() < 0.0) {
        return wrong(format!("{} does not fit a uint: it is negative", shown(&a[0])));
    }
    let whole = whole(tools, &a[0], "a uint")?;
    match u64::try_from(whole) {
        Ok(value) => Ok(Value::Uint(value)),
        Err(_) => wrong(format!("{whole} does not fit a uint")),
    }
}

/// A number as a message shows it.
fn shown(value: &Value) -> String {
    match value.number() {
        Some(Number::Whole(whole)) => whole.to_string(),
        Some(Number::Double(double)) => double.to_string(),
        Some(Number::Long(written)) => clipped(&written.text, 40),
        None => value.kind().to_string(),
    }
}

fn to_string(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    Ok(match &a[0] {
        Value::Bool(value) => Value::string(if *value { "true" } else { "false" }),
        Value::Int(value) => Value::string(&value.to_string()),
        Value::Uint(value) => Value::string(&value.to_string()),
        Value::Double(value) => Value::string(&double_text(*value)),
        Value::Written(written) => match written.double {
            Some(double) => Value::string(&double_text(double)),
            None => {
                tools.meter.charge_bytes(written.text.len())?;
                Value::string(&written.text)
            }
        },
        Value::Type(name) => Value::string(name),
        Value::Bytes(bytes) => {
            tools.meter.charge_bytes(bytes.len())?;
            match std::str::from_utf8(bytes) {
                Ok(text) => Value::string(text),
                Err(_) => return wrong("these bytes are not UTF-8, so they are not a string"),
            }
        }
        other => other.clone(),
    })
}

/// A length or a position.
pub(super) fn int(len: usize) -> Value {
    Value::Int(i64::try_from(len).unwrap_or(i64::MAX))
}

fn size(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    Ok(int(match &a[0] {
        Value::String(text) => {
            tools.meter.charge_bytes(text.len())?;
            text.chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        _ => 0,
    }))
}

fn matches(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let pattern = tools.patterns.compiled(text(&a[1]), tools.meter)?;
    is_match(tools.meter, &a[0], &pattern.regex, pattern.cost)
}

/// Whether a text matches; `cost` is the cost for a KiB of text.
pub(super) fn is_match(meter: &Meter, value: &Value, pattern: &Regex, cost: usize) -> Outcome {
    let Value::String(text) = value else {
        return wrong(format!(
            "`.matches(…)` needs a string before it, this is {}",
            value.kind()
        ));
    };
    meter.charge(text.len().saturating_mul(cost) / 1024 + 1)?;
    Ok(Value::Bool(pattern.is_match(text)))
}
