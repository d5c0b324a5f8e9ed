//! Converts the JSON input of a typed function to values.
//!
//! The first problems of an input are reported with their JSON pointers. Numbers are exact: they are parsed from their
//! digits, never through another number type. A value is parsed from its text once its shape is known, so no
//! intermediate form is stored.

use std::{collections::BTreeMap, fmt};

use heddle_json::object::{clip, kind_of};
use heddle_schema::Misfit;
use serde_json::value::RawValue;
use wasmtime::component::Val;

use super::shape::{Fields, Integer, Payload, Shape};
use crate::units::Bytes;

/// How many problems of an input are reported.
const MAX_PROBLEMS: usize = 5;

/// The longest pointer, and the longest description of a problem, in bytes.
const PROBLEM_LEN: usize = 200;

/// How many bytes of a wrong value are shown.
const SHOWN_LEN: usize = 40;

/// Below this, floating-point numbers represent integers exactly.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// Reads the parameters of a function, in their order, from an object with their names.
///
/// With `among_others` other keys are ignored: the object is a state. The values may take `limit` bytes; the size that
/// they take is returned with them.
pub(super) fn params(
    params: &Fields,
    input: &str,
    among_others: bool,
    limit: usize,
) -> Result<(Vec<Val>, usize), Misfit> {
    let refused = |message: String| Misfit {
        message,
        problems: Vec::new(),
    };
    // Checks the syntax of the whole text once: all texts below are valid JSON.
    let text: &RawValue =
        serde_json::from_str(input).map_err(|error| refused(format!("is not JSON: {error}")))?;
    let mut reader = InputReader {
        left: limit,
        ..InputReader::default()
    };
    match reader.fields(params, text.get(), "parameter", among_others) {
        Err(ReadStop::TooMany) => {
            let limit = Bytes(limit);
            Err(refused(format!(
                "has more values than its limit of {limit} allows (value_bytes)"
            )))
        }
        Ok(values) if reader.problems.is_empty() => {
            let values = values.into_iter().map(|(_, value)| value).collect();
            Ok((values, limit.saturating_sub(reader.left)))
        }
        Ok(_) | Err(ReadStop::NoValue) => Err(reader.misfit()),
    }
}

/// Why a value is not read.
enum ReadStop {
    /// Its problem was recorded; reading continues with the next value.
    NoValue,
    /// The values would exceed their memory limit.
    TooMany,
}

type Read<T> = Result<T, ReadStop>;

/// The state of reading an input.
#[derive(Default)]
struct InputReader {
    /// The JSON pointer of the current value.
    at: String,
    problems: Vec<(String, String)>,
    more: usize,
    /// How many more bytes the values may take.
    left: usize,
}

impl InputReader {
    fn value(&mut self, shape: &Shape, text: &str) -> Read<Val> {
        match shape {
            Shape::List(of) => {
                let items = self.array(shape, text)?;
                self.spend(items.len())?;
                let items = items.iter().enumerate();
                let values = self.all(items.map(|(at, item)| (at, &**of, item.get())))?;
                Ok(Val::List(values))
            }
            Shape::Tuple(shapes) => {
                let items = self.array(shape, text)?;
                if items.len() != shapes.len() {
                    let (wanted, got) = (shapes.len(), items.len());
                    return Err(self.problem(format_args!("expected an array of {wanted}, got one of {got}")));
                }
                self.spend(items.len())?;
                let items = shapes.iter().zip(&items).enumerate();
                let values = self.all(items.map(|(at, (shape, item))| (at, shape, item.get())))?;
                Ok(Val::Tuple(values))
            }
            Shape::Record(fields) => Ok(Val::Record(self.fields(fields, text, "field", false)?)),
            Shape::Variant(cases) => self.variant(cases, text),
            Shape::Option(_) if text == "null" => Ok(Val::Option(None)),
            Shape::Option(inner) => {
                self.spend(1)?;
                let value = match **inner {
                    // The inner option has its own null.
                    Shape::Option(_) => {
                        let (_, carried) = self.case(text, &["some"])?;
                        self.within("some", |reader| reader.value(inner, carried))?
                    }
                    _ => self.value(inner, text)?,
                };
                Ok(Val::Option(Some(Box::new(value))))
            }
            Shape::Result(ok, error) => match self.case(text, &["ok", "error"])? {
                ("ok", carried) => Ok(Val::Result(Ok(self.payload("ok", ok, carried)?))),
                (_, carried) => Ok(Val::Result(Err(self.payload("error", error, carried)?))),
            },
            Shape::Flags(names) => self.flags(names, shape, text),
            _ => {
                self.take(text.len())?;
                scalar(shape, text).ok_or_else(|| self.unfit(shape, text))
            }
        }
    }

    /// Reads several values. All are read, so that all problems are found.
    fn all<'a>(
        &mut self,
        values: impl ExactSizeIterator<Item = (usize, &'a Shape, &'a str)>,
    ) -> Read<Vec<Val>> {
        let mut read = Vec::with_capacity(values.len());
        let mut fit = true;
        for (at, shape, text) in values {
            match self.within(at, |reader| reader.value(shape, text)) {
                Ok(value) if fit => read.push(value),
                Ok(_) => {}
                Err(ReadStop::NoValue) => fit = false,
                Err(stop) => return Err(stop),
            }
        }
        if fit { Ok(read) } else { Err(ReadStop::NoValue) }
    }

    fn fields(
        &mut self,
        fields: &Fields,
        text: &str,
        what: &str,
        among_others: bool,
    ) -> Read<Vec<(String, Val)>> {
        let known = fields.as_slice();
        let mut given = self.object(format_args!("an object of {what}s"), text)?;
        if !among_others {
            for (key, _) in given.iter().filter(|(key, _)| fields.find(key).is_none()) {
                let _ = self.within(key, |reader| {
                    reader.problem(format_args!(
                        "there is no such {what}: expected {}",
                        Names::of(known)
                    ))
                });
            }
        }
        let mut read = Vec::with_capacity(known.len());
        for (name, shape) in known {
            self.spend(1)?;
            self.take(name.len())?;
            let value = match (given.remove(name), shape) {
                (Some(value), _) => self.within(name, |reader| reader.value(shape, value.get())),
                (None, Shape::Option(_)) => Ok(Val::Option(None)),
                (None, _) => Err(self.problem(format_args!("the {what} `{name}` ({shape}) is missing"))),
            };
            match value {
                Ok(value) => read.push((name.clone(), value)),
                Err(ReadStop::NoValue) => {}
                Err(stop) => return Err(stop),
            }
        }
        if read.len() == known.len() {
            Ok(read)
        } else {
            Err(ReadStop::NoValue)
        }
    }

    fn variant(&mut self, cases: &[(String, Option<Shape>)], text: &str) -> Read<Val> {
        if let Some(name) = string(text) {
            let found = cases.iter().find(|(case, _)| *case == name);
            return match found {
                Some((_, None)) => {
                    self.take(name.len())?;
                    Ok(Val::Variant(name, None))
                }
                Some((_, Some(_))) => Err(self.problem(format_args!(
                    "the case `{name}` has a value: expected {{\"{name}\": …}}"
                ))),
                None => Err(self.problem(format_args!(
                    "there is no case {}: expected {}",
                    Shown(text),
                    Names::of(cases)
                ))),
            };
        }
        let carrying = cases.iter().filter(|(_, carried)| carried.is_some());
        let carrying: Vec<_> = carrying.map(|(name, _)| name.as_str()).collect();
        let (name, carried) = self.case(text, &carrying)?;
        let shape = cases
            .iter()
            .find_map(|(case, shape)| shape.as_ref().filter(|_| case == name));
        let Some(shape) = shape else {
            return Err(ReadStop::NoValue);
        };
        self.spend(1)?;
        self.take(name.len())?;
        let value = self.within(name, |reader| reader.value(shape, carried))?;
        Ok(Val::Variant(name.to_owned(), Some(Box::new(value))))
    }

    /// The case that an object with one key names, and its value.
    fn case<'t, 'n>(&mut self, text: &'t str, names: &[&'n str]) -> Read<(&'n str, &'t str)> {
        let wanted = format!("an object with one key of {}", Names(names));
        let given = self.object(&wanted, text)?;
        let mut given = given.iter();
        let (Some((key, carried)), None) = (given.next(), given.next()) else {
            return Err(self.problem(format_args!("expected {wanted}, got {}", Shown(text))));
        };
        match names.iter().find(|name| *name == key) {
            Some(name) => Ok((name, carried.get())),
            None => {
                let names = Names(names);
                let unknown = |reader: &mut Self| {
                    reader.problem(format_args!("there is no such case: expected {names}"))
                };
                Err(self.within(key, unknown))
            }
        }
    }

    fn payload(&mut self, name: &str, shape: &Payload, text: &str) -> Read<Option<Box<Val>>> {
        self.within(name, |reader| match shape {
            Some(shape) => {
                reader.spend(1)?;
                Ok(Some(Box::new(reader.value(shape, text)?)))
            }
            None if text == "null" => Ok(None),
            None => Err(reader.problem(format_args!(
                "the case has no value: expected null, got {}",
                Shown(text)
            ))),
        })
    }

    fn flags(&mut self, names: &[String], shape: &Shape, text: &str) -> Read<Val> {
        let items = self.array(shape, text)?;
        let mut set: Vec<String> = Vec::new();
        let mut fit = true;
        for (at, item) in items.iter().enumerate() {
            let name = string(item.get()).filter(|name| names.contains(name));
            let problem = match name {
                Some(name) if !set.contains(&name) => {
                    self.spend(1)?;
                    set.push(name);
                    continue;
                }
                Some(name) => format!("the flag `{name}` is given twice"),
                None => {
                    let got = Shown(item.get());
                    format!("there is no flag {got}: expected {}", Names(names))
                }
            };
            fit = false;
            let _ = self.within(at, |reader| reader.problem(problem));
        }
        if fit {
            Ok(Val::Flags(set))
        } else {
            Err(ReadStop::NoValue)
        }
    }

    fn array<'t>(&mut self, shape: &Shape, text: &'t str) -> Read<Vec<&'t RawValue>> {
        // The text is valid JSON, so it can only be of another type.
        serde_json::from_str(text).map_err(|_| self.unfit(shape, text))
    }

    /// If a key occurs twice, its last value counts.
    fn object<'t>(
        &mut self,
        wanted: impl fmt::Display,
        text: &'t str,
    ) -> Read<BTreeMap<String, &'t RawValue>> {
        serde_json::from_str(text)
            .map_err(|_| self.problem(format_args!("expected {wanted}, got {}", Shown(text))))
    }

    /// Runs `reader` with the pointer extended by one step.
    fn within<T>(&mut self, step: impl fmt::Display, reader: impl FnOnce(&mut Self) -> T) -> T {
        let len = self.at.len();
        let step = step.to_string();
        self.at.push('/');
        match step.contains(['~', '/']) {
            true => self.at.push_str(&heddle_json::pointer::escape(&step)),
            false => self.at.push_str(&step),
        }
        let result = reader(self);
        self.at.truncate(len);
        result
    }

    fn unfit(&mut self, shape: &Shape, text: &str) -> ReadStop {
        self.problem(format_args!("expected {}, got {}", Wanted(shape), Shown(text)))
    }

    fn problem(&mut self, problem: impl fmt::Display) -> ReadStop {
        if self.problems.len() == MAX_PROBLEMS {
            self.more += 1;
        } else {
            let at = clip(&self.at, PROBLEM_LEN).to_owned();
            let problem = clip(&problem.to_string(), PROBLEM_LEN).to_owned();
            self.problems.push((at, problem));
        }
        ReadStop::NoValue
    }

    /// Counts the memory of this many values.
    fn spend(&mut self, values: usize) -> Read<()> {
        self.take(values.saturating_mul(size_of::<Val>()))
    }

    fn take(&mut self, bytes: usize) -> Read<()> {
        self.left = self.left.checked_sub(bytes).ok_or(ReadStop::TooMany)?;
        Ok(())
    }

    fn misfit(self) -> Misfit {
        let mut message = "does not fit its schema".to_owned();
        for (nth, (at, problem)) in self.problems.iter().enumerate() {
            message.push_str(if nth == 0 { ": " } else { "; " });
            if !at.is_empty() {
                message.push_str(&format!("at {at}: "));
            }
            message.push_str(problem);
        }
        if self.more > 0 {
            message.push_str(&format!("; and {} more", self.more));
        }
        let problems = self.problems;
        Misfit { message, problems }
    }
}

/// Reads a value without parts.
fn scalar(shape: &Shape, text: &str) -> Option<Val> {
    let is_number = kind_of(text) == Some("a number");
    Some(match shape {
        Shape::Bool => Val::Bool(text.parse().ok()?),
        Shape::Integer(integer) => whole(*integer, text)?,
        Shape::Float32 if is_number => Val::Float32(text.parse().ok().filter(|n: &f32| n.is_finite())?),
        Shape::Float64 if is_number => Val::Float64(text.parse().ok().filter(|n: &f64| n.is_finite())?),
        Shape::Float32 => match no_number(text)? {
            number if number.is_nan() => Val::Float32(f32::NAN),
            number => Val::Float32(f32::INFINITY.copysign(number.signum() as f32)),
        },
        Shape::Float64 => Val::Float64(no_number(text)?),
        Shape::Char => {
            let text = string(text)?;
            let mut chars = text.chars();
            Val::Char(chars.next().filter(|_| chars.next().is_none())?)
        }
        Shape::String => Val::String(string(text)?),
        Shape::Enum(names) => Val::Enum(string(text).filter(|name| names.contains(name))?),
        _ => return None,
    })
}

/// None for a JSON string that is not valid Unicode: half of a surrogate pair.
fn string(text: &str) -> Option<String> {
    text.starts_with('"')
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

/// Reads a number that JSON does not have, in the form of the schema.
fn no_number(text: &str) -> Option<f64> {
    match text {
        r#""NaN""# => Some(f64::NAN),
        r#""Infinity""# => Some(f64::INFINITY),
        r#""-Infinity""# => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Reads an integer: its digits, or an exact number such as `1e3`.
fn whole(integer: Integer, text: &str) -> Option<Val> {
    let number = text.parse::<i128>().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        // Without a fraction and below this bound the conversion is exact.
        (number.fract() == 0.0 && number.abs() < EXACT_BELOW).then_some(number as i128)
    });
    integer.value(number?)
}

/// What a shape accepts, for messages.
struct Wanted<'a>(&'a Shape);

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Shape::Bool => f.write_str("true or false"),
            Shape::Integer(integer) => {
                let (least, most) = integer.range();
                write!(f, "a whole number from {least} to {most} ({integer})")
            }
            shape @ (Shape::Float32 | Shape::Float64) => {
                write!(f, "a number ({shape}), \"NaN\", \"Infinity\" or \"-Infinity\"")
            }
            Shape::Char => f.write_str("a string of one character"),
            Shape::String => f.write_str("a string"),
            Shape::Enum(names) => Names(names).fmt(f),
            shape => write!(f, "an array ({shape})"),
        }
    }
}

/// The beginning of a value, for messages.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        match kind_of(text) {
            Some(kind @ ("an object" | "an array")) => f.write_str(kind),
            _ if text.len() > SHOWN_LEN => write!(f, "{}…", clip(text, SHOWN_LEN)),
            _ => f.write_str(text),
        }
    }
}

/// A choice of names, for messages. Long messages are cut later.
struct Names<'a, T>(&'a [T]);

impl<'a> Names<'a, &'a str> {
    fn of<T>(named: &'a [(String, T)]) -> String {
        let names: Vec<_> = named.iter().map(|(name, _)| name.as_str()).collect();
        match names[..] {
            [] => "none".to_owned(),
            _ => Names(&names).to_string(),
        }
    }
}

impl<T: AsRef<str>> fmt::Display for Names<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.len().saturating_sub(1);
        for (nth, name) in self.0.iter().enumerate() {
            let before = match nth {
                0 => "",
                _ if nth == last => " or ",
                _ => ", ",
            };
            write!(f, "{before}`{}`", name.as_ref())?;
        }
        Ok(())
    }
}
