//! Evaluates a plan within a budget.
//!
//! The evaluator of the `cel` crate copies values into lists and has no budget, so a short expression could
//! use all memory. This one shares values and charges the budget for each operation.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use heddle_json::{Json, Object};

use super::{
    Bound,
    functions::{self, Tools},
    json,
    kinds::Operator,
    meter::{Meter, OBJECT_COST, Stop, wrong},
    missing::{self, PresentKeys},
    patterns::Patterns,
    plan::{Loop, LoopKind, Node, Path},
    read::{self, Member},
    value::{Key, Number, Outcome, Value, Written},
};

/// The cost of an error, whose message is built even if `||` ignores it.
const ERROR_COST: usize = 20;

/// One evaluation.
pub(super) struct Evaluation<'e, 'a> {
    paths: &'e [Path],
    find: &'e dyn Fn(&str) -> Option<Bound<'a>>,
    /// The value of each path that was read.
    read: Vec<Option<Value>>,
    /// The items of the loops around.
    locals: Vec<Value>,
    pub(super) meter: Meter,
    patterns: Patterns,
}

/// The text at a path.
pub(super) enum Lead<'a> {
    Text(&'a str),
    Whole(&'a Json),
    Object(&'a Object),
}

impl<'e, 'a> Evaluation<'e, 'a> {
    pub(super) fn new(paths: &'e [Path], find: &'e dyn Fn(&str) -> Option<Bound<'a>>) -> Self {
        Self {
            paths,
            find,
            read: vec![None; paths.len()],
            locals: Vec::new(),
            meter: Meter::new(),
            patterns: Patterns::default(),
        }
    }

    /// The value of a part.
    pub(super) fn value(&mut self, node: &Node) -> Outcome {
        self.meter.charge(1)?;
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Local(local) => Ok(self.locals[*local].clone()),
            Node::Path(number) => self.path(*number),
            Node::HasPath(number) => self.has_path(*number),
            Node::Select(of, key) => {
                let of = self.value(of)?;
                self.select(&of, key)
            }
            Node::Has(of, key) => match self.value(of)? {
                Value::Map(entries) => Ok(Value::Bool(entries.contains_key(&Key::String(key.clone())))),
                other => self.fail(format!("has(…) needs an object, this is {}", other.kind())),
            },
            Node::Index(parts) => {
                let of = self.value(&parts.0)?;
                let index = self.value(&parts.1)?;
                self.index(&of, &index)
            }
            Node::Not(of) => Ok(Value::Bool(!self.condition(of, "after `!`")?)),
            Node::Negate(of) => {
                let of = self.value(of)?;
                self.negate(&of)
            }
            Node::Binary(operator, sides) => {
                let left = self.value(&sides.0)?;
                let right = self.value(&sides.1)?;
                self.binary(*operator, &left, &right)
            }
            Node::And(sides) => self.either(sides, false),
            Node::Or(sides) => self.either(sides, true),
            Node::Choose(parts) => {
                if self.condition(&parts.0, "before `?`")? {
                    self.value(&parts.1)
                } else {
                    self.value(&parts.2)
                }
            }
            Node::Call(function, arguments) => {
                let arguments = arguments
                    .iter()
                    .map(|argument| self.value(argument))
                    .collect::<Result<Vec<_>, _>>()?;
                let tools = Tools {
                    meter: &self.meter,
                    patterns: &self.patterns,
                };
                function
                    .call(&tools, &arguments)
                    .or_else(|stop| self.failed(stop))
            }
            Node::NoFunction(name) => self.fail(format!("there is no function `{name}`")),
            Node::Matches(of, pattern) => {
                let of = self.value(of)?;
                functions::is_match(&self.meter, &of, &pattern.regex, pattern.cost)
                    .or_else(|stop| self.failed(stop))
            }
            Node::List(items) => {
                let items = items
                    .iter()
                    .map(|item| self.value(item))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Value::list(items))
            }
            Node::Map(entries) => self.map(entries),
            Node::Loop(looped) => self.looped(looped),
        }
    }

    pub(super) fn fail<T>(&self, reason: String) -> Result<T, Box<Stop>> {
        self.failed(Box::new(Stop::Wrong(reason)))
    }

    /// Charges for an error.
    fn failed<T>(&self, stop: Box<Stop>) -> Result<T, Box<Stop>> {
        self.meter.charge(ERROR_COST)?;
        Err(stop)
    }

    pub(super) fn condition(&mut self, node: &Node, place: &str) -> Result<bool, Box<Stop>> {
        match self.value(node)? {
            Value::Bool(holds) => Ok(holds),
            other => self.fail(format!("a condition {place} is a bool, this is {}", other.kind())),
        }
    }

    /// `&&` and `||`: one deciding side is enough, even if the other side is an error, as in CEL.
    fn either(&mut self, sides: &(Node, Node), decides: bool) -> Outcome {
        let place = if decides { "of `||`" } else { "of `&&`" };
        let left = match self.condition(&sides.0, place) {
            Err(stop) if matches!(*stop, Stop::Limit) => return Err(stop),
            Ok(left) if left == decides => return Ok(Value::Bool(decides)),
            left => left,
        };
        match self.condition(&sides.1, place) {
            Err(stop) if matches!(*stop, Stop::Limit) => Err(stop),
            Ok(right) if right == decides => Ok(Value::Bool(decides)),
            right => left.and(right).map(Value::Bool),
        }
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Outcome {
        self.meter.charge(OBJECT_COST)?;
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            let key = self.key(key)?;
            let value = self.value(value)?;
            match map.entry(key) {
                Entry::Vacant(free) => free.insert(value),
                Entry::Occupied(taken) => return self.fail(Key::given_twice(taken.key())),
            };
        }
        Ok(Value::Map(Arc::new(map)))
    }

    /// The key of an object that the expression builds.
    pub(super) fn key(&mut self, key: &Node) -> Result<Key, Box<Stop>> {
        let key = self.value(key)?;
        match Key::of(&key) {
            Some(key) => Ok(key),
            None => self.fail(format!("{} cannot be a key", key.kind())),
        }
    }

    fn looped(&mut self, looped: &Loop) -> Outcome {
        let over = match self.value(&looped.over)? {
            Value::List(items) => items,
            Value::Map(entries) => {
                self.meter.charge(entries.len())?;
                Arc::new(entries.keys().map(Key::value).collect())
            }
            other => {
                return self.fail(format!(
                    "a loop needs a list or an object, this is {}",
                    other.kind()
                ));
            }
        };
        let (mut items, mut count, mut failed) = (Vec::new(), 0, None);
        for item in over.iter() {
            self.meter.charge(1)?;
            self.locals.push(item.clone());
            let taken = match &looped.filter {
                Some(filter) => self.condition(filter, "of a loop"),
                None => Ok(true),
            };
            let given = match taken {
                Ok(true) if looped.kind == LoopKind::Map => self.value(&looped.body).map(Some),
                Ok(true) => self
                    .condition(&looped.body, "of a loop")
                    .map(|holds| Some(Value::Bool(holds))),
                Ok(false) => Ok(None),
                Err(stop) => Err(stop),
            };
            self.locals.pop();
            match (looped.kind, given) {
                (LoopKind::All, Ok(Some(Value::Bool(false)))) => return Ok(Value::Bool(false)),
                (LoopKind::Exists, Ok(Some(Value::Bool(true)))) => return Ok(Value::Bool(true)),
                (LoopKind::ExistsOne, Ok(Some(Value::Bool(true)))) => count += 1,
                (LoopKind::Map, Ok(Some(value))) => items.push(value),
                // A deciding item takes precedence over an item with an error.
                (LoopKind::All | LoopKind::Exists, Err(stop)) if !matches!(*stop, Stop::Limit) => {
                    failed.get_or_insert(stop);
                }
                (_, Err(stop)) => return Err(stop),
                _ => {}
            }
        }
        match (failed, looped.kind) {
            (Some(stop), _) => Err(stop),
            (None, LoopKind::Map) => Ok(Value::list(items)),
            (None, kind) => Ok(Value::Bool(match kind {
                LoopKind::ExistsOne => count == 1,
                kind => kind == LoopKind::All,
            })),
        }
    }

    fn binary(&self, operator: Operator, left: &Value, right: &Value) -> Outcome {
        let (meter, order) = (&self.meter, |holds: fn(std::cmp::Ordering) -> bool| {
            left.order(right, &self.meter)
                .map(|order| Value::Bool(order.is_some_and(holds)))
        });
        let done = match (operator, left, right) {
            (Operator::Equal, ..) => return left.same(right, meter).map(Value::Bool),
            (Operator::NotEqual, ..) => return left.same(right, meter).map(|same| Value::Bool(!same)),
            (Operator::Less, ..) => order(std::cmp::Ordering::is_lt),
            (Operator::LessOrEqual, ..) => order(std::cmp::Ordering::is_le),
            (Operator::Greater, ..) => order(std::cmp::Ordering::is_gt),
            (Operator::GreaterOrEqual, ..) => order(std::cmp::Ordering::is_ge),
            (Operator::In, item, Value::List(items)) => {
                for other in items.iter() {
                    if item.same(other, meter)? {
                        return Ok(Value::Bool(true));
                    }
                }
                return Ok(Value::Bool(false));
            }
            (Operator::In, key, Value::Map(entries)) => match Key::of(key) {
                Some(key) => return Ok(Value::Bool(entries.contains_key(&key))),
                // A number with a fraction is not a key, so no object contains it.
                None if key.number().is_some() => return Ok(Value::Bool(false)),
                None => wrong(""),
            },
            (Operator::Add, Value::String(a), Value::String(b)) => {
                meter.charge_bytes(a.len() + b.len())?;
                return Ok(Value::String([&**a, &**b].concat().into()));
            }
            (Operator::Add, Value::Bytes(a), Value::Bytes(b)) => {
                meter.charge_bytes(a.len() + b.len())?;
                return Ok(Value::Bytes([&**a, &**b].concat().into()));
            }
            (Operator::Add, Value::List(a), Value::List(b)) => {
                meter.charge(a.len() + b.len())?;
                return Ok(Value::list([a.as_slice(), b.as_slice()].concat()));
            }
            _ => match (left.number(), right.number()) {
                (Some(a), Some(b)) if operator != Operator::In => {
                    return self.calculate(operator, left, a, right, b);
                }
                _ => wrong(""),
            },
        };
        done.or_else(|stop| match *stop {
            Stop::Limit => Err(stop),
            _ => {
                let (l, r) = (left.kind(), right.kind());
                let (sign, hint) = (operator.sign(), operator.hint(l, r));
                self.fail(format!("`{sign}` does not fit {l} and {r}{hint}"))
            }
        })
    }

    fn negate(&self, of: &Value) -> Outcome {
        match (of, of.number()) {
            (Value::Uint(_), _) => self.fail("`-` cannot negate a uint; int(…) makes an int of it".into()),
            (_, Some(Number::Double(value))) => Ok(Value::Double(-value)),
            (_, Some(Number::Whole(value))) => match i64::try_from(-value) {
                Ok(value) => Ok(Value::Int(value)),
                Err(_) => self.overflow(&format!("-({value})"), "an int"),
            },
            (_, Some(Number::Long(written))) => self.inexact("-", written),
            (_, None) => self.fail("`-` needs a number after it".into()),
        }
    }

    fn calculate(
        &self,
        operator: Operator,
        left: &Value,
        a: Number<'_>,
        right: &Value,
        b: Number<'_>,
    ) -> Outcome {
        let sign = operator.sign();
        let (x, y) = match (a, b) {
            (Number::Long(written), _) | (_, Number::Long(written)) => return self.inexact(sign, written),
            (Number::Whole(x), Number::Whole(y)) => (x, y),
            _ => {
                let (x, y) = (a.double(), b.double());
                return Ok(Value::Double(match operator {
                    Operator::Add => x + y,
                    Operator::Subtract => x - y,
                    Operator::Multiply => x * y,
                    Operator::Divide => x / y,
                    _ => {
                        let hint = operator.hint(left.kind(), right.kind());
                        return self.fail(format!("`{sign}` needs whole numbers{hint}"));
                    }
                }));
            }
        };
        let result = match operator {
            Operator::Add => x.checked_add(y),
            Operator::Subtract => x.checked_sub(y),
            Operator::Multiply => x.checked_mul(y),
            Operator::Divide if y == 0 => return self.fail(format!("{x} is divided by 0")),
            Operator::Divide => x.checked_div(y),
            _ if y == 0 => return self.fail(format!("{x} % 0 has no remainder")),
            // The quotient of this division does not fit an int.
            _ if x == i64::MIN.into() && y == -1 => None,
            _ => x.checked_rem(y),
        };
        let int = result.and_then(|value| i64::try_from(value).ok()).map(Value::Int);
        let uint = result
            .and_then(|value| u64::try_from(value).ok())
            .map(Value::Uint);
        let (value, kind) = match (left, right) {
            (Value::Int(_), Value::Int(_)) => (int, "an int"),
            (Value::Uint(_), Value::Uint(_)) => (uint, "a uint"),
            // JSON has one kind of whole number: one beyond an int is a uint.
            _ => (int.or(uint), "an int or a uint"),
        };
        match value {
            Some(value) => Ok(value),
            None => self.overflow(&format!("{x} {sign} {y}"), kind),
        }
    }

    fn overflow(&self, calculation: &str, kind: &str) -> Outcome {
        self.fail(format!(
            "{calculation} does not fit {kind}; double(…) calculates with larger numbers, though not exactly"
        ))
    }

    /// The error that a number has too many digits for a calculation.
    fn inexact(&self, sign: &str, written: &Written) -> Outcome {
        self.fail(written.inexact(&format!("`{sign}`")))
    }

    fn select(&self, of: &Value, key: &Arc<str>) -> Outcome {
        let Value::Map(entries) = of else {
            return read::not_an_object("this", &of.kind().to_string(), key)
                .or_else(|stop| self.failed(stop));
        };
        match entries.get(&Key::String(key.clone())) {
            Some(value) => Ok(value.clone()),
            None => self.failed(Box::new(Stop::NoKey(entries.clone(), key.clone()))),
        }
    }

    fn index(&self, of: &Value, index: &Value) -> Outcome {
        match (of, index) {
            (Value::List(items), index) if index.number().is_some() => {
                let at = match Key::of(index) {
                    Some(Key::Int(at)) => usize::try_from(at).ok(),
                    _ => None,
                };
                match at.and_then(|at| items.get(at)) {
                    Some(item) => Ok(item.clone()),
                    None => {
                        let shown = Key::of(index).map_or_else(|| "this".into(), |key| key.show());
                        let len = items.len();
                        self.fail(format!("the list has {len} items, from 0, and none at {shown}"))
                    }
                }
            }
            (Value::Map(_), Value::String(key)) => self.select(of, key),
            (Value::Map(entries), index) => match Key::of(index) {
                Some(key) => match entries.get(&key) {
                    Some(value) => Ok(value.clone()),
                    None => self.fail(format!("the object has no key {}", key.show())),
                },
                None => self.fail(format!("{} cannot be a key", index.kind())),
            },
            _ => self.fail(format!("{} has no item at {}", of.kind(), index.kind())),
        }
    }

    /// The value at a path, which is read once.
    fn path(&mut self, number: usize) -> Outcome {
        if let Some(value) = &self.read[number] {
            return Ok(value.clone());
        }
        let path = &self.paths[number];
        let value = match self.follow(number)? {
            Lead::Text(text) => json::value(text, path, &self.meter)?,
            Lead::Whole(json) => json::value(json.get(), path, &self.meter)?,
            Lead::Object(object) => {
                let mut entries = BTreeMap::new();
                for (key, json) in object.iter() {
                    self.meter.charge(1)?;
                    let value = json::value(json.get(), path, &self.meter)?;
                    entries.insert(Key::String(key.clone()), value);
                }
                Value::Map(Arc::new(entries))
            }
        };
        self.read[number] = Some(value.clone());
        Ok(value)
    }

    /// Whether a path exists. Everything before its last key must exist.
    fn has_path(&mut self, number: usize) -> Outcome {
        let path = &self.paths[number];
        let before = path.keys.len() - 1;
        let key = &path.keys[before];
        let text = match self.lead(number, before)? {
            Lead::Object(object) => return Ok(Value::Bool(object.get(key).is_some())),
            Lead::Whole(json) => json.get(),
            Lead::Text(text) => text,
        };
        match read::member(text, key, &self.meter)? {
            Member::Found(_) => Ok(Value::Bool(true)),
            Member::Missing => Ok(Value::Bool(false)),
            Member::NotAnObject(kind) => self.fail(format!(
                "has({path}) needs an object, {} is {kind}",
                path.up_to(before)
            )),
        }
    }

    pub(super) fn follow(&self, number: usize) -> Result<Lead<'a>, Box<Stop>> {
        self.lead(number, self.paths[number].keys.len())
    }

    /// The value at the first `len` keys of a path.
    fn lead(&self, number: usize, len: usize) -> Result<Lead<'a>, Box<Stop>> {
        let path = &self.paths[number];
        let mut lead = match (self.find)(&path.variable) {
            Some(Bound::Object(object)) => Lead::Object(object),
            Some(Bound::Json(json)) => Lead::Whole(json),
            None => return self.fail(format!("`{}` has no value here", path.variable)),
        };
        for (index, key) in path.keys[..len].iter().enumerate() {
            let text = match lead {
                Lead::Object(object) => match object.get(key) {
                    Some(json) => {
                        lead = Lead::Whole(json);
                        continue;
                    }
                    None => return self.failed(Box::new(Stop::NoPath(number, index))),
                },
                Lead::Whole(json) => json.get(),
                Lead::Text(text) => text,
            };
            lead = match read::member(text, key, &self.meter)? {
                Member::Found(raw) => Lead::Text(raw.get()),
                Member::Missing => return self.failed(Box::new(Stop::NoPath(number, index))),
                Member::NotAnObject(kind) => {
                    return read::not_an_object(&path.up_to(index), kind, key)
                        .or_else(|stop| self.failed(stop));
                }
            };
        }
        Ok(lead)
    }

    /// The reason why the evaluation ended; `None` for the limit.
    pub(super) fn reason(mut self, stop: Stop) -> Option<String> {
        // The message is built once and does not count for the budget.
        self.meter = Meter::new();
        match stop {
            Stop::Wrong(reason) => Some(reason),
            Stop::Limit => None,
            Stop::NoKey(entries, key) => Some(missing::in_entries(&entries, &key)),
            Stop::NoPath(number, index) => {
                let there = match self.lead(number, index) {
                    Ok(Lead::Object(object)) => PresentKeys::in_object(object),
                    Ok(Lead::Whole(json)) => PresentKeys::in_text(json.get()),
                    Ok(Lead::Text(text)) => PresentKeys::in_text(text),
                    // A variable that changes its value between two looks has no key to name.
                    Err(_) => PresentKeys::in_text("{}"),
                };
                Some(missing::in_path(&self.paths[number], index, &there))
            }
        }
    }
}
