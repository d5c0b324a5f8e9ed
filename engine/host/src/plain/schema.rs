//! JSON Schemas of shapes: what [`lower`](super::lower) accepts and [`lift`](super::lift) returns.

use serde_json::{Map, Value, json};

use super::shape::{Fields, Payload, ResultShape, Shape};

/// Numbers that JSON does not have are strings of this form, as in the JSON form of protocol buffers.
const NO_NUMBERS: &str = "^(NaN|-?Infinity)$";

/// The schema of a function's input: an object with its parameters.
pub(super) fn of_params(params: &Fields) -> Value {
    object(params)
}

/// The schema of a function's result.
pub(super) fn of_returned(returned: &ResultShape) -> Value {
    match returned {
        ResultShape::Nothing => json!({"type": "null"}),
        ResultShape::Value(shape) => of(shape),
        ResultShape::Result(ok, _) => payload(ok),
    }
}

fn of(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Integer(integer) => {
            let (least, most) = integer.range();
            json!({"type": "integer", "minimum": number(least), "maximum": number(most)})
        }
        Shape::Float32 => {
            // The largest f32 is read and written as a decimal slightly above its value.
            let most = 3.402_823_5e38;
            json!({"type": ["number", "string"], "minimum": -most, "maximum": most, "pattern": NO_NUMBERS})
        }
        Shape::Float64 => json!({"type": ["number", "string"], "pattern": NO_NUMBERS}),
        Shape::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
        Shape::String => json!({"type": "string"}),
        Shape::List(of_items) => json!({"type": "array", "items": of(of_items)}),
        Shape::Record(fields) => object(fields),
        Shape::Tuple(shapes) => {
            let items: Vec<_> = shapes.iter().map(of).collect();
            let len = items.len();
            json!({"type": "array", "prefixItems": items, "minItems": len, "maxItems": len})
        }
        Shape::Variant(cases) => variant(cases),
        Shape::Enum(names) => json!({"type": "string", "enum": names}),
        Shape::Option(inner) => match **inner {
            // The inner option has its own null.
            Shape::Option(_) => or_null(case("some", of(inner))),
            _ => or_null(of(inner)),
        },
        Shape::Result(ok, error) => {
            json!({"anyOf": [case("ok", payload(ok)), case("error", payload(error))]})
        }
        Shape::Flags(names) => json!({
            "type": "array", "items": {"type": "string", "enum": names}, "uniqueItems": true,
        }),
    }
}

fn object(fields: &Fields) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, shape) in fields.as_slice() {
        properties.insert(name.clone(), of(shape));
        if !matches!(shape, Shape::Option(_)) {
            required.push(name.as_str());
        }
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema["additionalProperties"] = json!(false);
    schema
}

/// A case without a value is a string with its name, a case with a value is an object with its name as the only key.
fn variant(cases: &[(String, Option<Shape>)]) -> Value {
    let empty = cases.iter().filter(|(_, carried)| carried.is_none());
    let empty: Vec<_> = empty.map(|(name, _)| name.as_str()).collect();
    let mut any = Vec::new();
    if !empty.is_empty() {
        any.push(json!({"type": "string", "enum": empty}));
    }
    let carrying = cases
        .iter()
        .filter_map(|(name, carried)| Some((name, carried.as_ref()?)));
    any.extend(carrying.map(|(name, carried)| case(name, of(carried))));
    match &mut any[..] {
        [only] => only.take(),
        _ => json!({ "anyOf": any }),
    }
}

fn case(name: &str, carried: Value) -> Value {
    json!({
        "type": "object", "properties": {name: carried}, "required": [name], "additionalProperties": false,
    })
}

fn payload(carried: &Payload) -> Value {
    carried
        .as_ref()
        .map_or_else(|| json!({"type": "null"}), |shape| of(shape))
}

/// The schema or null. If the schema has a type, null is added to its types: then problems have the pointer of the
/// value, and not of the alternatives.
fn or_null(mut schema: Value) -> Value {
    let is_enum = schema.get("enum").is_some();
    match schema.get_mut("type") {
        Some(ty @ Value::String(_)) if !is_enum => *ty = json!([ty.take(), "null"]),
        Some(Value::Array(types)) if !is_enum => types.push(json!("null")),
        _ => return json!({"anyOf": [schema, {"type": "null"}]}),
    }
    schema
}

/// Every integer type fits into u64 or i64.
fn number(number: i128) -> Value {
    u64::try_from(number).map_or_else(|_| json!(i64::try_from(number).unwrap_or(i64::MIN)), Value::from)
}
