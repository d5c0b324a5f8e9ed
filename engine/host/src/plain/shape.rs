//! The shapes of a typed function's values: WIT types, read once when the component is registered, so that a call
//! needs no lookup.
//!
//! A shape is a tree, while a component's types are a graph: a few types that refer to each other can expand to a tree
//! of any size. So the number of types and their depth are limited.

use std::{collections::HashMap, fmt};

use wasmtime::component::{Type, Val};

/// The most types of one function, each counted as often as it is used.
const MAX_TYPES: usize = 5_000;

/// The deepest nesting of types: each level takes two levels of a JSON Schema, and one or two of a JSON text.
const MAX_NESTED: usize = 40;

/// The shape of a value.
#[derive(Debug, PartialEq)]
pub(super) enum Shape {
    Bool,
    Integer(Integer),
    Float32,
    Float64,
    Char,
    String,
    List(Box<Shape>),
    Record(Fields),
    Tuple(Vec<Shape>),
    /// Each case with the shape of its value.
    Variant(Vec<(String, Option<Shape>)>),
    Enum(Vec<String>),
    Option(Box<Shape>),
    Result(Payload, Payload),
    Flags(Vec<String>),
}

/// The value of a case of `result`.
pub(super) type Payload = Option<Box<Shape>>;

/// The integer types of WIT: signed and unsigned, with 8 to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Integer {
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
}

/// Named values: a record's fields, or a function's parameters.
#[derive(Debug, PartialEq)]
pub(super) struct Fields {
    fields: Vec<(String, Shape)>,
    at: HashMap<String, usize>,
}

/// The shape of a function's result.
#[derive(Debug, PartialEq)]
pub(super) enum ResultShape {
    Nothing,
    Value(Shape),
    /// The result's value, or the error that becomes a failure.
    Result(Payload, Payload),
}

impl Integer {
    /// The smallest and the largest value.
    pub(super) fn range(self) -> (i128, i128) {
        match self {
            Self::S8 => (i8::MIN.into(), i8::MAX.into()),
            Self::U8 => (0, u8::MAX.into()),
            Self::S16 => (i16::MIN.into(), i16::MAX.into()),
            Self::U16 => (0, u16::MAX.into()),
            Self::S32 => (i32::MIN.into(), i32::MAX.into()),
            Self::U32 => (0, u32::MAX.into()),
            Self::S64 => (i64::MIN.into(), i64::MAX.into()),
            Self::U64 => (0, u64::MAX.into()),
        }
    }

    /// Converts a number to a value of this type; none if it is out of range.
    pub(super) fn value(self, number: i128) -> Option<Val> {
        Some(match self {
            Self::S8 => Val::S8(number.try_into().ok()?),
            Self::U8 => Val::U8(number.try_into().ok()?),
            Self::S16 => Val::S16(number.try_into().ok()?),
            Self::U16 => Val::U16(number.try_into().ok()?),
            Self::S32 => Val::S32(number.try_into().ok()?),
            Self::U32 => Val::U32(number.try_into().ok()?),
            Self::S64 => Val::S64(number.try_into().ok()?),
            Self::U64 => Val::U64(number.try_into().ok()?),
        })
    }
}

impl Fields {
    pub(super) fn new(fields: Vec<(String, Shape)>) -> Self {
        let at = fields.iter().enumerate();
        let at = at.map(|(at, (name, _))| (name.clone(), at)).collect();
        Self { fields, at }
    }

    /// The index of the field with this name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.at.get(name).copied()
    }

    pub(super) fn as_slice(&self) -> &[(String, Shape)] {
        &self.fields
    }
}

/// A short form of WIT's syntax, for messages.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Integer(integer) => return write!(f, "{integer}"),
            Self::Float32 => "f32",
            Self::Float64 => "f64",
            Self::Char => "char",
            Self::String => "string",
            Self::List(of) => return write!(f, "list<{of}>"),
            Self::Record(_) => "record",
            Self::Tuple(_) => "tuple",
            Self::Variant(_) => "variant",
            Self::Enum(_) => "enum",
            Self::Option(of) => return write!(f, "option<{of}>"),
            Self::Result(..) => "result",
            Self::Flags(_) => "flags",
        })
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S8 => "s8",
            Self::U8 => "u8",
            Self::S16 => "s16",
            Self::U16 => "u16",
            Self::S32 => "s32",
            Self::U32 => "u32",
            Self::S64 => "s64",
            Self::U64 => "u64",
        })
    }
}

/// Reads the types of one function.
#[derive(Default)]
pub(super) struct Reader {
    read: usize,
    depth: usize,
}

impl Reader {
    /// Reads the parameters.
    ///
    /// # Errors
    /// Why a function with such parameters cannot be a tool.
    pub(super) fn params<'a>(
        &mut self,
        params: impl Iterator<Item = (&'a str, Type)>,
    ) -> Result<Fields, String> {
        let fields = params.map(|(name, ty)| {
            let shape = self.shape(&ty).map_err(|reason| format!("it takes {reason}"))?;
            Ok((name.to_owned(), shape))
        });
        Ok(Fields::new(fields.collect::<Result<_, String>>()?))
    }

    /// Reads the result.
    ///
    /// # Errors
    /// Why a function with such a result cannot be a tool.
    pub(super) fn returned(
        &mut self,
        mut results: impl ExactSizeIterator<Item = Type>,
    ) -> Result<ResultShape, String> {
        let Some(result) = results.next() else {
            return Ok(ResultShape::Nothing);
        };
        if results.len() > 0 {
            return Err("it returns several results".to_owned());
        }
        let shape = self
            .shape(&result)
            .map_err(|reason| format!("it returns {reason}"))?;
        Ok(match shape {
            Shape::Result(ok, error) => ResultShape::Result(ok, error),
            shape => ResultShape::Value(shape),
        })
    }

    fn shape(&mut self, ty: &Type) -> Result<Shape, String> {
        self.read += 1;
        if self.read > MAX_TYPES {
            return Err(format!("values that are made of more than {MAX_TYPES} types"));
        }
        self.depth += 1;
        if self.depth > MAX_NESTED {
            return Err(format!("values whose types are nested deeper than {MAX_NESTED}"));
        }
        let shape = self.inner(ty)?;
        self.depth -= 1;
        Ok(shape)
    }

    fn inner(&mut self, ty: &Type) -> Result<Shape, String> {
        let names = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
        Ok(match ty {
            Type::Bool => Shape::Bool,
            Type::S8 => Shape::Integer(Integer::S8),
            Type::U8 => Shape::Integer(Integer::U8),
            Type::S16 => Shape::Integer(Integer::S16),
            Type::U16 => Shape::Integer(Integer::U16),
            Type::S32 => Shape::Integer(Integer::S32),
            Type::U32 => Shape::Integer(Integer::U32),
            Type::S64 => Shape::Integer(Integer::S64),
            Type::U64 => Shape::Integer(Integer::U64),
            Type::Float32 => Shape::Float32,
            Type::Float64 => Shape::Float64,
            Type::Char => Shape::Char,
            Type::String => Shape::String,
            Type::List(list) => Shape::List(Box::new(self.shape(&list.ty())?)),
            Type::Record(record) => {
                let fields = record
                    .fields()
                    .map(|field| Ok((field.name.to_owned(), self.shape(&field.ty)?)));
                Shape::Record(Fields::new(fields.collect::<Result<_, String>>()?))
            }
            Type::Tuple(tuple) => {
                let types = tuple.types().map(|ty| self.shape(&ty));
                Shape::Tuple(types.collect::<Result<_, _>>()?)
            }
            Type::Variant(variant) => {
                let cases = variant.cases().map(|case| {
                    let carried = case.ty.as_ref().map(|ty| self.shape(ty)).transpose()?;
                    Ok((case.name.to_owned(), carried))
                });
                Shape::Variant(cases.collect::<Result<_, String>>()?)
            }
            Type::Enum(cases) => Shape::Enum(names(&mut cases.names())),
            Type::Flags(flags) => Shape::Flags(names(&mut flags.names())),
            Type::Option(option) => Shape::Option(Box::new(self.shape(&option.ty())?)),
            Type::Result(result) => {
                let mut payload = |ty: Option<Type>| {
                    let shape = ty.as_ref().map(|ty| self.shape(ty)).transpose();
                    shape.map(|shape| shape.map(Box::new))
                };
                Shape::Result(payload(result.ok())?, payload(result.err())?)
            }
            Type::Own(_) | Type::Borrow(_) => {
                return Err(
                    "a resource, which is a handle into one instance: it has no JSON form".to_owned(),
                );
            }
            Type::Stream(_) => return Err("a stream, which has no JSON form".to_owned()),
            Type::Future(_) => return Err("a future, which has no JSON form".to_owned()),
            Type::ErrorContext => return Err("an error-context, which has no JSON form".to_owned()),
            Type::Map(_) | Type::FixedLengthList(_) => {
                return Err("a type that is not part of WASI 0.2's component model".to_owned());
            }
        })
    }
}

impl ResultShape {
    /// How many values wasmtime returns.
    pub(super) fn count(&self) -> usize {
        usize::from(*self != Self::Nothing)
    }

    /// Whether a success has no value.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Nothing | Self::Result(None, _))
    }

    /// How many times more memory a result may take than wasmtime counts, at most. wasmtime counts the values
    /// themselves and the bytes of names; each flag that is set also takes one string.
    pub(super) fn uncounted(&self) -> usize {
        match self {
            Self::Nothing => 1,
            Self::Value(shape) => shape.uncounted(),
            Self::Result(ok, error) => uncounted([ok, error].into_iter().flatten().map(|shape| &**shape)),
        }
    }
}

/// The size of a string, and the smallest allocation for its text.
const TEXT: usize = size_of::<String>() + 32;

impl Shape {
    fn uncounted(&self) -> usize {
        match self {
            Self::List(of) | Self::Option(of) => of.uncounted(),
            Self::Record(fields) => uncounted(fields.fields.iter().map(|(_, shape)| shape)),
            Self::Tuple(shapes) => uncounted(shapes.iter()),
            Self::Variant(cases) => uncounted(cases.iter().filter_map(|(_, shape)| shape.as_ref())),
            Self::Result(ok, error) => uncounted([ok, error].into_iter().flatten().map(|shape| &**shape)),
            Self::Flags(names) => {
                let bytes: usize = names.iter().map(String::len).sum();
                let (counted, taken) = (size_of::<Val>() + bytes, names.len() * TEXT);
                taken.div_ceil(counted).max(1)
            }
            _ => 1,
        }
    }
}

fn uncounted<'a>(shapes: impl Iterator<Item = &'a Shape>) -> usize {
    shapes.map(Shape::uncounted).max().unwrap_or(1)
}
