//! Properties of the conversion, over random types and values of them. A failure prints the seed.

use heddle_schema::Schema;
use serde_json::{Map, Value, json};
use wasmtime::component::Val;

use super::{
    lift, lower, schema,
    shape::{Fields, Integer, Payload, Shape},
};

/// A pseudo-random number generator (splitmix64).
struct Draw(u64);

impl Draw {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.number() % most as u64).unwrap()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn some<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }

    fn shape(&mut self, depth: usize) -> Shape {
        use Integer::*;
        let names = |draw: &mut Self| (0..=draw.below(4)).map(|at| format!("n{at}")).collect::<Vec<_>>();
        match self.below(if depth == 0 { 8 } else { 14 }) {
            0 => Shape::Bool,
            1 => Shape::Integer(self.one(&[S8, U8, S16, U16, S32, U32, S64, U64])),
            2 => Shape::Float32,
            3 => Shape::Float64,
            4 => Shape::Char,
            5 => Shape::String,
            6 => Shape::Enum(names(self)),
            7 => Shape::Flags(names(self)),
            8 => Shape::List(Box::new(self.shape(depth - 1))),
            9 => Shape::Record(self.fields(depth - 1)),
            10 => Shape::Tuple((0..=self.below(3)).map(|_| self.shape(depth - 1)).collect()),
            11 => {
                let cases = names(self).into_iter();
                let cases = cases.map(|name| (name, self.carried(depth - 1).map(|shape| *shape)));
                Shape::Variant(cases.collect())
            }
            12 => Shape::Option(Box::new(self.shape(depth - 1))),
            _ => Shape::Result(self.carried(depth - 1), self.carried(depth - 1)),
        }
    }

    fn carried(&mut self, depth: usize) -> Payload {
        (self.below(3) > 0).then(|| Box::new(self.shape(depth)))
    }

    fn fields(&mut self, depth: usize) -> Fields {
        let fields = (0..=self.below(3)).map(|at| (format!("f-{at}"), self.shape(depth)));
        Fields::new(fields.collect())
    }

    /// A value in the form in which a function returns it.
    fn value(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Bool => json!(self.below(2) == 0),
            Shape::Integer(integer) => {
                let (least, most) = integer.range();
                let span = u128::try_from(most - least).unwrap();
                let inner = least + i128::try_from(u128::from(self.number()) % (span + 1)).unwrap();
                let number = self.one(&[least, most, 0, 1, inner]);
                u64::try_from(number).map_or_else(|_| json!(i64::try_from(number).unwrap()), Value::from)
            }
            Shape::Float32 => {
                let drawn = f32::from_bits(u32::try_from(self.number() >> 32).unwrap());
                let number = self.one(&[drawn, 0.0, -0.0, f32::MAX, f32::MIN_POSITIVE, f32::INFINITY]);
                // Through its digits, as in JSON.
                match number.is_finite() {
                    true => serde_json::from_str(&serde_json::to_string(&number).unwrap()).unwrap(),
                    false => not_finite(number.into()),
                }
            }
            Shape::Float64 => {
                let drawn = f64::from_bits(self.number());
                let number = self.one(&[drawn, -0.0, f64::MAX, f64::MIN_POSITIVE, 1e21, 0.1, f64::NAN]);
                match number.is_finite() {
                    true => json!(number),
                    false => not_finite(number),
                }
            }
            Shape::Char => json!(self.one(&['a', '"', '\\', '\0', 'ü', '\u{10ffff}'])),
            Shape::String => json!(self.one(&["", "NaN", "n0", "\u{1}\n\"\\/", "日本🧵"])),
            Shape::Enum(names) => json!(self.one(names)),
            Shape::Flags(names) => {
                json!(names.iter().filter(|_| self.below(2) == 0).collect::<Vec<_>>())
            }
            Shape::List(of) => Value::Array(self.some(|draw| draw.value(of))),
            Shape::Record(fields) => self.record(fields),
            Shape::Tuple(shapes) => shapes.iter().map(|shape| self.value(shape)).collect(),
            Shape::Variant(cases) => match self.one(&(0..cases.len()).collect::<Vec<_>>()) {
                at if cases[at].1.is_none() => json!(cases[at].0),
                at => json!({ &cases[at].0: self.value(cases[at].1.as_ref().unwrap()) }),
            },
            Shape::Option(inner) => match (self.below(3), &**inner) {
                (0, _) => Value::Null,
                (_, Shape::Option(_)) => json!({ "some": self.value(inner) }),
                _ => self.value(inner),
            },
            Shape::Result(ok, error) => {
                let (name, carried) = self.one(&[("ok", ok), ("error", error)]);
                let carried = carried.as_ref().map_or(Value::Null, |shape| self.value(shape));
                json!({ name: carried })
            }
        }
    }

    fn record(&mut self, fields: &Fields) -> Value {
        let fields = fields.as_slice().iter();
        let fields = fields.map(|(name, shape)| (name.clone(), self.value(shape)));
        Value::Object(fields.collect::<Map<_, _>>())
    }

    /// Replaces one part of a value.
    fn disturb(&mut self, value: &mut Value) {
        let inner = self.below(4) > 0;
        match value {
            Value::Array(items) if inner && !items.is_empty() => {
                let at = self.below(items.len());
                self.disturb(&mut items[at]);
            }
            Value::Object(entries) if inner && !entries.is_empty() => {
                let at = self.below(entries.len());
                match self.below(6) {
                    0 => {
                        let key = entries.keys().nth(at).unwrap().clone();
                        entries.shift_remove(&key);
                    }
                    1 => drop(entries.insert("extra".to_owned(), Value::Null)),
                    _ => self.disturb(entries.values_mut().nth(at).unwrap()),
                }
            }
            _ => {
                *value = self.one(&[
                    json!(null),
                    json!(true),
                    json!(-1),
                    json!(0.5),
                    json!(2.0),
                    json!(1e39),
                    json!(-1e300),
                    json!(u64::MAX),
                    json!(i64::MIN),
                    json!(1_000),
                    json!(""),
                    json!("n1"),
                    json!("NaN"),
                    json!("nan"),
                    json!("xy"),
                    json!([]),
                    json!([1]),
                    json!(["n0", "n0"]),
                    json!({}),
                    json!({"ok": null}),
                    json!({"some": null}),
                    json!({"n0": 1}),
                    json!({"f-0": true}),
                ]);
            }
        }
    }
}

fn not_finite(number: f64) -> Value {
    json!(match number {
        _ if number.is_nan() => "NaN",
        _ if number > 0.0 => "Infinity",
        _ => "-Infinity",
    })
}

/// The value of a function with one parameter of this shape; none if the input is refused.
fn lowered(fields: &Fields, input: &Value) -> Option<Val> {
    let read = lower::params(fields, &input.to_string(), false, 1 << 20);
    read.ok().map(|values| values.0.into_iter().next().unwrap())
}

fn parameter(shape: Shape) -> Fields {
    Fields::new(vec![("it".to_owned(), shape)])
}

fn drawn(seed: u64) -> (Draw, Fields, Schema) {
    let mut draw = Draw(seed);
    let fields = parameter(draw.shape(4));
    let schema = Schema::compile(&schema::of_params(&fields).to_string()).unwrap();
    (draw, fields, schema)
}

#[test]
fn values_survive_the_round_trip() {
    for seed in 0..3_000 {
        let (mut draw, fields, schema) = drawn(seed);
        let shape = &fields.as_slice()[0].1;
        let value = draw.value(shape);
        let input = json!({ "it": value });
        schema
            .check(&input.to_string())
            .unwrap_or_else(|misfit| panic!("{seed}: {misfit}"));
        let read = lower::params(&fields, &input.to_string(), false, 1 << 20);
        let read = read.unwrap_or_else(|misfit| panic!("{seed}: {misfit}"));
        // Compared as numbers: the shortest digits of an f32 differ from those of an f64.
        let text = lift::json(&read.0[0], shape, 1 << 20).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value, "{seed}");
    }
}

#[test]
fn an_input_is_taken_exactly_where_its_schema_takes_it() {
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let (mut draw, fields, schema) = drawn(seed);
        let mut input = json!({ "it": draw.value(&fields.as_slice()[0].1) });
        draw.disturb(&mut input);
        let fits = schema.check(&input.to_string());
        let is_taken = lowered(&fields, &input).is_some();
        assert_eq!(
            is_taken,
            fits.is_ok(),
            "{seed}: {input} for {:?}: {fits:?}",
            fields
        );
        *(if is_taken { &mut taken } else { &mut refused }) += 1;
    }
    assert!(taken > 1_000 && refused > 1_000, "{taken} {refused}");
}

#[test]
fn results_match_their_schema() {
    for seed in 0..1_000 {
        let mut draw = Draw(seed);
        let returned = super::ResultShape::Value(draw.shape(4));
        let schema = Schema::compile(&schema::of_returned(&returned).to_string()).unwrap();
        let super::ResultShape::Value(shape) = returned else {
            panic!()
        };
        let fields = parameter(shape);
        let shape = &fields.as_slice()[0].1;
        let value = lowered(&fields, &json!({ "it": draw.value(shape) })).unwrap();
        let text = lift::json(&value, shape, 1 << 20).unwrap();
        schema
            .check(&text)
            .unwrap_or_else(|misfit| panic!("{seed}: {text} {misfit}"));
    }
}

#[test]
fn an_integer_is_read_from_its_digits() {
    let fields = parameter(Shape::Integer(Integer::U64));
    for (text, read) in [
        ("18446744073709551615", Some(u64::MAX)),
        ("9007199254740993", Some((1 << 53) + 1)),
        ("1e3", Some(1000)),
        ("-0", Some(0)),
        ("-0.0", Some(0)),
        ("9007199254740991.0", Some((1 << 53) - 1)),
        // A floating-point number cannot represent it exactly.
        ("9007199254740993.0", None),
        ("1e19", None),
        ("0.1", None),
    ] {
        let read = read.map(Val::U64);
        let value = lower::params(&fields, &format!(r#"{{"it": {text}}}"#), false, 1000);
        assert_eq!(value.ok().map(|mut values| values.0.remove(0)), read, "{text}");
    }
}

#[test]
fn a_text_that_grows_too_long_is_not_stored() {
    let shape = Shape::List(Box::new(Shape::Bool));
    let value = Val::List(vec![Val::Bool(true); 1000]);
    assert_eq!(lift::json(&value, &shape, 5001).unwrap().len(), 5001);
    let error = lift::json(&value, &shape, 5000).unwrap_err();
    assert!(error.to_string().contains("5001"), "{error}");
}
