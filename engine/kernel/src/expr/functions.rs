//! The functions that an expression may call, beside the operators and the loops.
//!
//! They are CEL's standard ones, and those on strings that cel-go has as an extension. None
//! reads a clock, so an evaluation depends on nothing but its variables.

use std::sync::Arc;

use regex::Regex;

use super::{
    kinds::{Kinds, Type},
    meter::{Meter, Stop, wrong},
    patterns::Patterns,
    value::{Number, Value, clipped},
};

type Outcome = Result<Value, Box<Stop>>;

/// A function of one number of arguments.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// Whether it may be called as `name(a, b)`.
    pub(super) global: bool,
    /// Whether it may be called as `a.name(b)`.
    pub(super) method: bool,
    /// What each argument must be; a method's value is the first.
    pub(super) takes: &'static [Kinds],
    pub(super) gives: Type,
    run: fn(&Tools<'_>, &[Value]) -> Outcome,
}

/// What functions need beside their arguments.
pub(super) struct Tools<'e> {
    pub(super) meter: &'e Meter,
    pub(super) patterns: &'e Patterns,
}

impl Function {
    /// Calls it; arguments of the wrong kind are an error that says which.
    pub(super) fn call(&self, tools: &Tools<'_>, arguments: &[Value]) -> Outcome {
        for (index, (argument, takes)) in arguments.iter().zip(self.takes).enumerate() {
            if !argument.kind().meets(*takes) {
                return wrong(self.misfit(index, argument.kind()));
            }
        }
        (self.run)(tools, arguments)
    }

    /// Says that an argument is of the wrong kind.
    pub(super) fn misfit(&self, index: usize, kinds: Kinds) -> String {
        let (name, takes) = (self.name, self.takes[index]);
        match (index, self.method) {
            (0, true) if !self.global => format!("`.{name}(…)` needs {takes} before it, this is {kinds}"),
            (_, true) if !self.global => format!("`.{name}(…)` takes {takes}, this is {kinds}"),
            _ => format!("{name}(…) takes {takes}, this is {kinds}"),
        }
    }
}

/// The functions of a name.
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
    method("indexOf", &[STRING, STRING], Kinds::INT, index_of),
    method("join", &[Kinds::LIST], STRING, join),
    method("join", &[Kinds::LIST, STRING], STRING, join),
    method("lowerAscii", &[STRING], STRING, |tools, a| {
        made(tools, text(&a[0]), |text| text.to_ascii_lowercase().into())
    }),
    method("replace", &[STRING, STRING, STRING], STRING, replace),
    Function {
        gives: Type::list(STRING),
        ..method("split", &[STRING, STRING], Kinds::LIST, split)
    },
    method("substring", &[STRING, Kinds::WHOLE], STRING, substring),
    method(
        "substring",
        &[STRING, Kinds::WHOLE, Kinds::WHOLE],
        STRING,
        substring,
    ),
    method("trim", &[STRING], STRING, |tools, a| {
        made(tools, text(&a[0]), |text| text.trim().into())
    }),
    method("upperAscii", &[STRING], STRING, |tools, a| {
        made(tools, text(&a[0]), |text| text.to_ascii_uppercase().into())
    }),
];

/// The text of an argument whose kind has been checked.
fn text(value: &Value) -> &str {
    match value {
        Value::String(text) => text,
        _ => "",
    }
}

fn made(tools: &Tools<'_>, text: &str, make: fn(&str) -> Arc<str>) -> Outcome {
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
        Value::Double(_) => "double",
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

fn to_double(_: &Tools<'_>, a: &[Value]) -> Outcome {
    match (a[0].number(), text(&a[0]).trim().parse()) {
        (Some(number), _) => Ok(Value::Double(number.double())),
        (None, Ok(value)) => Ok(Value::Double(value)),
        (None, Err(_)) => unreadable(&a[0], "a number"),
    }
}

/// A whole number of what `int()` and `uint()` are given: a double loses its fraction.
fn whole(value: &Value) -> Result<i128, Box<Stop>> {
    let number = match value.number() {
        Some(number) => number,
        None => match text(value).trim().parse() {
            Ok(whole) => Number::Whole(whole),
            Err(_) => return unreadable(value, "a whole number").map(|_| 0),
        },
    };
    match number {
        Number::Whole(whole) => Ok(whole),
        Number::Double(double) if double.is_finite() => Ok(double as i128),
        Number::Double(double) => wrong(format!("{double} has no whole part")),
    }
}

fn to_int(_: &Tools<'_>, a: &[Value]) -> Outcome {
    let whole = whole(&a[0])?;
    match i64::try_from(whole) {
        Ok(value) => Ok(Value::Int(value)),
        Err(_) => wrong(format!("{whole} is too large for an int")),
    }
}

fn to_uint(_: &Tools<'_>, a: &[Value]) -> Outcome {
    let whole = whole(&a[0])?;
    match u64::try_from(whole) {
        Ok(value) => Ok(Value::Uint(value)),
        Err(_) => wrong(format!("{whole} does not fit a uint")),
    }
}

fn to_string(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    Ok(match &a[0] {
        Value::Bool(value) => Value::string(if *value { "true" } else { "false" }),
        Value::Int(value) => Value::string(&value.to_string()),
        Value::Uint(value) => Value::string(&value.to_string()),
        Value::Double(value) => Value::string(&value.to_string()),
        Value::Type(name) => Value::string(name),
        Value::Bytes(bytes) => {
            tools.meter.charge_bytes(bytes.len())?;
            match std::str::from_utf8(bytes) {
                Ok(text) => Value::string(text),
                Err(_) => return wrong("these bytes are not UTF-8, so they are no string"),
            }
        }
        other => other.clone(),
    })
}

fn int(len: usize) -> Value {
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
    is_match(tools.meter, &a[0], &pattern.0, pattern.1)
}

/// Whether a text has a match; `cost` is that of a KiB of text.
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

/// Where the part begins, in characters; -1 where it does not occur.
fn index_of(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let (text, part) = (text(&a[0]), text(&a[1]));
    tools.meter.charge_bytes(text.len() + part.len())?;
    Ok(match text.find(part) {
        Some(at) => int(text[..at].chars().count()),
        None => Value::Int(-1),
    })
}

fn join(tools: &Tools<'_>, a: &[Value]) -> Outcome {
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

fn replace(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let (text, from, to) = (text(&a[0]), text(&a[1]), text(&a[2]));
    tools.meter.charge_bytes(text.len() + from.len())?;
    let made = text.matches(from).count().saturating_mul(to.len());
    tools.meter.charge_bytes(made)?;
    Ok(Value::String(text.replace(from, to).into()))
}

fn split(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let (text, at) = (text(&a[0]), text(&a[1]));
    tools.meter.charge_bytes(text.len() + at.len())?;
    // An empty separator splits into characters, without the empty ends that Rust gives.
    let mut parts = Vec::new();
    let mut part = |part: &str| {
        parts.push(Value::string(part));
        tools.meter.charge_bytes(part.len())
    };
    if at.is_empty() {
        for c in text.chars() {
            part(c.encode_utf8(&mut [0; 4]))?;
        }
    } else {
        for piece in text.split(at) {
            part(piece)?;
        }
    }
    Ok(Value::list(parts))
}

/// From the character at one index up to the one before another.
fn substring(tools: &Tools<'_>, a: &[Value]) -> Outcome {
    let text = text(&a[0]);
    tools.meter.charge_bytes(text.len())?;
    let len = text.chars().count();
    let (start, end) = (whole(&a[1])?, a.get(2).map_or(Ok(len as i128), whole)?);
    if start < 0 || end < start || end > len as i128 {
        return wrong(format!(
            "a string of {len} characters has no part from {start} to {end}"
        ));
    }
    let part: String = text
        .chars()
        .skip(start as usize)
        .take((end - start) as usize)
        .collect();
    Ok(Value::String(part.into()))
}
