//! Converts the result of a typed function to JSON.

use std::io::{self, Write};

use serde::Serialize;
use wasmtime::component::Val;

use super::shape::{Fields, Payload, Shape};
use crate::error::TooLarge;

/// A JSON text of at most `limit` bytes. Longer texts are counted and not stored.
pub(super) struct Text {
    bytes: Vec<u8>,
    len: usize,
    limit: usize,
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.len += bytes.len();
        if self.len <= self.limit {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The JSON text of a value.
///
/// # Errors
/// [`TooLarge`] if the text has more than `limit` bytes.
pub(super) fn json(value: &Val, shape: &Shape, limit: usize) -> wasmtime::Result<String> {
    let mut text = Text {
        bytes: Vec::new(),
        len: 0,
        limit,
    };
    text.value(value, shape)?;
    if text.len > limit {
        return Err(TooLarge(text.len).into());
    }
    Ok(String::from_utf8(text.bytes)?)
}

impl Text {
    /// Writes a value of this shape. wasmtime has checked its type.
    fn value(&mut self, value: &Val, shape: &Shape) -> io::Result<()> {
        match (value, shape) {
            (Val::Bool(value), _) => write!(self, "{value}"),
            (Val::S8(value), _) => write!(self, "{value}"),
            (Val::U8(value), _) => write!(self, "{value}"),
            (Val::S16(value), _) => write!(self, "{value}"),
            (Val::U16(value), _) => write!(self, "{value}"),
            (Val::S32(value), _) => write!(self, "{value}"),
            (Val::U32(value), _) => write!(self, "{value}"),
            (Val::S64(value), _) => write!(self, "{value}"),
            (Val::U64(value), _) => write!(self, "{value}"),
            (Val::Float32(value), _) if value.is_finite() => self.json(value),
            (Val::Float32(value), _) => self.no_number(f64::from(*value)),
            (Val::Float64(value), _) if value.is_finite() => self.json(value),
            (Val::Float64(value), _) => self.no_number(*value),
            (Val::Char(value), _) => self.json(value),
            (Val::String(value) | Val::Enum(value), _) => self.json(value),
            (Val::Flags(names), _) => self.json(names),
            (Val::List(values), Shape::List(of)) => self.array(values.iter().map(|value| (value, &**of))),
            (Val::Tuple(values), Shape::Tuple(shapes)) => self.array(values.iter().zip(shapes)),
            (Val::Record(values), Shape::Record(fields)) => self.record(values, fields),
            (Val::Variant(name, carried), Shape::Variant(cases)) => {
                let shape = cases.iter().find(|(case, _)| case == name);
                match (carried, shape.and_then(|(_, shape)| shape.as_ref())) {
                    (Some(carried), Some(shape)) => self.case(name, |text| text.value(carried, shape)),
                    _ => self.json(name),
                }
            }
            (Val::Option(None), _) => self.write_all(b"null"),
            (Val::Option(Some(value)), Shape::Option(inner)) => match **inner {
                Shape::Option(_) => self.case("some", |text| text.value(value, inner)),
                _ => self.value(value, inner),
            },
            (Val::Result(Ok(carried)), Shape::Result(ok, _)) => {
                self.case("ok", |text| text.payload(carried, ok))
            }
            (Val::Result(Err(carried)), Shape::Result(_, error)) => {
                self.case("error", |text| text.payload(carried, error))
            }
            _ => Err(io::Error::other("a value is of another type than its function's")),
        }
    }

    fn array<'a>(&mut self, values: impl Iterator<Item = (&'a Val, &'a Shape)>) -> io::Result<()> {
        let mut before: &[u8] = b"[";
        let mut any = false;
        for (value, shape) in values {
            self.write_all(before)?;
            self.value(value, shape)?;
            before = b",";
            any = true;
        }
        self.write_all(if any { b"]" } else { b"[]" })
    }

    fn record(&mut self, values: &[(String, Val)], fields: &Fields) -> io::Result<()> {
        let mut before: &[u8] = b"{";
        for ((name, value), (_, shape)) in values.iter().zip(fields.as_slice()) {
            self.write_all(before)?;
            self.json(name)?;
            self.write_all(b":")?;
            self.value(value, shape)?;
            before = b",";
        }
        self.write_all(if values.is_empty() { b"{}" } else { b"}" })
    }

    fn case(&mut self, name: &str, carried: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        self.write_all(b"{")?;
        self.json(name)?;
        self.write_all(b":")?;
        carried(self)?;
        self.write_all(b"}")
    }

    fn payload(&mut self, carried: &Option<Box<Val>>, shape: &Payload) -> io::Result<()> {
        match (carried, shape) {
            (Some(carried), Some(shape)) => self.value(carried, shape),
            _ => self.write_all(b"null"),
        }
    }

    fn json(&mut self, value: impl Serialize) -> io::Result<()> {
        Ok(serde_json::to_writer(self, &value)?)
    }

    /// Writes a number that JSON does not have, in the form of the schema.
    fn no_number(&mut self, number: f64) -> io::Result<()> {
        self.json(match number {
            _ if number.is_nan() => "NaN",
            _ if number > 0.0 => "Infinity",
            _ => "-Infinity",
        })
    }
}
