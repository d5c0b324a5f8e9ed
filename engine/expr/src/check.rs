//! Builds the plan of a parsed expression and finds its errors.
//!
//! A value of a variable may be any JSON, so an error is reported only if no value could make the part valid.
//! Every part is checked even if another part has an error, so that all errors are reported at once.

use std::sync::Arc;

use cel::{
    IdedExpr,
    common::ast::{
        CallExpr, EntryExpr, Expr, LiteralValue, MapExpr, SelectExpr, SourceInfo, operators as op,
    },
};

use super::{
    Problem,
    functions::TYPES,
    kinds::{Kinds, Operator, Type},
    parse::problem,
    patterns::GraphPatterns,
    plan::{Node, Path, selection},
    value::Value,
};
use crate::suggest::Suggestions;

/// The number of errors of one expression that are reported.
const MAX_PROBLEMS: usize = 20;

/// The keys of `run`.
pub(crate) const RUN_KEYS: [&str; 4] = ["id", "graph", "started_at", "steps"];

pub(super) struct Checker<'s> {
    source: &'s str,
    info: &'s SourceInfo,
    variables: &'s [&'s str],
    pub(super) suggestions: &'s Suggestions,
    pub(super) patterns: &'s GraphPatterns,
    /// The variables of the loops around, with the types of their items.
    pub(super) locals: Vec<(String, Type)>,
    pub(super) paths: Vec<Path>,
    problems: Vec<(usize, String)>,
    /// Errors that earlier versions allowed.
    pub(super) new_problems: Vec<(usize, String)>,
}

/// A part's plan, and the types that it may have.
pub(super) type Planned = (Node, Type);

/// A placeholder for a part with an error.
fn nothing() -> Planned {
    (Node::Constant(Value::Null), Type::ANY)
}

impl<'s> Checker<'s> {
    pub(super) fn new(
        source: &'s str,
        info: &'s SourceInfo,
        variables: &'s [&'s str],
        suggestions: &'s Suggestions,
        patterns: &'s GraphPatterns,
    ) -> Self {
        Self {
            source,
            info,
            variables,
            suggestions,
            patterns,
            locals: Vec::new(),
            paths: Vec::new(),
            problems: Vec::new(),
            new_problems: Vec::new(),
        }
    }

    /// The errors, in the order of the source.
    pub(super) fn problems(mut self) -> Result<Vec<Path>, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(self.paths);
        }
        self.problems.sort();
        self.problems.dedup();
        Err(self
            .problems
            .iter()
            .map(|(at, message)| problem(self.source, *at, message))
            .collect())
    }

    /// The position of a part; for operators and calls, that of the sign or the bracket.
    pub(super) fn at(&self, id: u64) -> usize {
        self.info.offset_for(id).map_or(0, |(start, _)| start as usize)
    }

    /// The position of the name of a call, which ends before its bracket.
    pub(super) fn at_name(&self, id: u64, name: &str) -> usize {
        let bracket = self.at(id);
        let before = self.source.get(..bracket).unwrap_or("").trim_end();
        if before.ends_with(name) {
            before.len() - name.len()
        } else {
            bracket
        }
    }

    pub(super) fn report(&mut self, at: usize, message: impl Into<String>) -> Planned {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push((at, message.into()));
        }
        nothing()
    }

    /// Reports unknown keys of `run`.
    fn check_run_key(&mut self, path: &Path, id: u64) {
        let ("run", Some(key)) = (&*path.variable, path.keys.first()) else {
            return;
        };
        if !RUN_KEYS.contains(&&**key) {
            let near = self.suggestions.nearest(key, RUN_KEYS.into_iter());
            let hint = near.map_or_else(String::new, |near| format!("did you mean `run.{near}`? In all, "));
            let known = RUN_KEYS.join("`, `");
            let message = format!("`run` has no `{key}`; {hint}it has `{known}`");
            if self.new_problems.len() < MAX_PROBLEMS {
                self.new_problems.push((self.at(id), message));
            }
        }
    }

    /// Plans a part.
    pub(super) fn plan(&mut self, part: IdedExpr) -> Planned {
        if let Some(path) = self.path(&part) {
            self.check_run_key(&path, part.id);
            return (Node::Path(self.number(path)), Type::JSON);
        }
        let id = part.id;
        match part.expr {
            Expr::Literal(literal) => constant(&literal),
            Expr::Ident(name) => self.name(id, &name),
            Expr::Select(select) => self.select(id, select),
            Expr::Call(call) => self.call(id, call),
            Expr::List(list) => {
                let planned: Vec<_> = list.elements.into_iter().map(|item| self.plan(item)).collect();
                let items = planned
                    .iter()
                    .fold(Kinds::NONE, |kinds, (_, item)| kinds.or(item.kinds));
                let items = if planned.is_empty() { Kinds::ANY } else { items };
                let nodes = planned.into_iter().map(|(node, _)| node).collect();
                (Node::List(nodes), Type::list(items))
            }
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(comprehension) => self.comprehension(id, *comprehension),
            Expr::Struct(message) => {
                let name = message.type_name;
                self.report(
                    self.at_name(id, &name),
                    format!("`{name}` is not a type that an expression can create; an object is written {{\"key\": value}}"),
                )
            }
            Expr::Unspecified => self.report(self.at(id), "something is missing here"),
        }
    }

    /// The path of a part, if it is one that starts at a variable.
    fn path(&self, part: &IdedExpr) -> Option<Path> {
        let (mut part, mut keys) = (part, Vec::new());
        loop {
            match &part.expr {
                Expr::Select(select) if !select.test => {
                    keys.push(Arc::from(select.field.as_str()));
                    part = &select.operand;
                }
                Expr::Call(call) if call.func_name == op::INDEX && call.target.is_none() => {
                    let [of, index] = call.args.as_slice() else {
                        return None;
                    };
                    let Expr::Literal(LiteralValue::String(key)) = &index.expr else {
                        return None;
                    };
                    keys.push(Arc::from(key.inner()));
                    part = of;
                }
                Expr::Ident(name) => {
                    let (name, at_root) = root(name);
                    if !self.variables.contains(&name) || (!at_root && self.local(name).is_some()) {
                        return None;
                    }
                    keys.reverse();
                    return Some(Path {
                        variable: name.into(),
                        keys,
                    });
                }
                _ => return None,
            }
        }
    }

    /// The index of a path, so that each path is read once.
    fn number(&mut self, path: Path) -> usize {
        self.paths
            .iter()
            .position(|known| *known == path)
            .unwrap_or_else(|| {
                self.paths.push(path);
                self.paths.len() - 1
            })
    }

    /// Whether a name is that of a variable or of a loop's item.
    pub(super) fn is_known(&self, name: &str) -> bool {
        let (name, at_root) = root(name);
        self.variables.contains(&name) || (!at_root && self.local(name).is_some())
    }

    fn local(&self, name: &str) -> Option<usize> {
        self.locals.iter().rposition(|(local, _)| local == name)
    }

    /// Plans a name that is not a variable: a loop variable, a type, or an error.
    fn name(&mut self, id: u64, name: &str) -> Planned {
        let (name, at_root) = root(name);
        if let Some(local) = self.local(name).filter(|_| !at_root) {
            return (Node::Local(local), self.locals[local].1);
        }
        if let Some(known) = TYPES.iter().find(|known| **known == name) {
            return (Node::Constant(Value::Type(known)), Type::of(Kinds::TYPE));
        }
        if at_root && self.local(name).is_some() {
            let message = format!(
                "there is no variable `{name}`: with a dot before it, a name is not that of a loop's item; write `{name}`, \
                 without the dot"
            );
            return self.report(self.at(id), message);
        }
        let locals = self.locals.iter().map(|(name, _)| name.as_str());
        let known: Vec<&str> = self
            .variables
            .iter()
            .copied()
            .chain(locals.filter(|_| !at_root))
            .collect();
        let hint = match self.suggestions.nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "there are {}; write a string in quotes: \"{name}\"",
                known
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        self.report(self.at(id), format!("there is no variable `{name}`; {hint}"))
    }

    fn select(&mut self, id: u64, select: SelectExpr) -> Planned {
        let key: Arc<str> = select.field.as_str().into();
        if select.test
            && let Some(mut path) = self.path(&select.operand)
        {
            path.keys.push(key);
            return (Node::HasPath(self.number(path)), Type::BOOL);
        }
        let (of, of_type) = self.plan(*select.operand);
        if !of_type.kinds.meets(Kinds::MAP) {
            let selected = selection(&key);
            return self.report(
                self.at(id),
                format!(
                    "`{selected}` needs an object before it, this is {}",
                    of_type.kinds
                ),
            );
        }
        if select.test {
            (Node::Has(Box::new(of), key), Type::BOOL)
        } else {
            (Node::Select(Box::new(of), key), Type::ANY)
        }
    }

    fn map(&mut self, map: MapExpr) -> Planned {
        let mut entries = Vec::with_capacity(map.entries.len());
        for entry in map.entries {
            let EntryExpr::MapEntry(entry_expr) = entry.expr else {
                self.report(
                    self.at(entry.id),
                    "an object's entries are written \"key\": value",
                );
                continue;
            };
            let key_at = self.at(entry_expr.key.id);
            let bare = match &entry_expr.key.expr {
                Expr::Ident(name) if self.path(&entry_expr.key).is_none() && self.local(name).is_none() => {
                    Some(format!("write a key in quotes: \"{name}\""))
                }
                _ => None,
            };
            let key = match bare {
                Some(message) => self.report(key_at, message),
                None => self.plan(entry_expr.key),
            };
            if !key.1.kinds.meets(Kinds::KEY) {
                self.report(
                    key_at,
                    format!("a key is a string, a number or a bool, this is {}", key.1.kinds),
                );
            }
            entries.push((key.0, self.plan(entry_expr.value).0));
        }
        (Node::Map(entries), Type::of(Kinds::MAP))
    }

    fn call(&mut self, id: u64, call: CallExpr) -> Planned {
        let CallExpr {
            func_name: name,
            target,
            mut args,
        } = call;
        if target.is_some() || !is_operator(&name) {
            return self.function(id, &name, target.map(|target| *target), args);
        }
        match (name.as_str(), args.len()) {
            (op::CONDITIONAL, 3) => {
                let (last, first) = (args.pop(), args.remove(0));
                let condition = self.condition(first, "before `?`");
                let (then, then_type) = self.plan(args.remove(0));
                let (other, other_type) = self.plan(last.unwrap_or_default());
                (
                    Node::Choose(Box::new((condition, then, other))),
                    then_type.or(other_type),
                )
            }
            (op::LOGICAL_AND | op::LOGICAL_OR, 2) => {
                let place = if name == op::LOGICAL_AND {
                    "of `&&`"
                } else {
                    "of `||`"
                };
                let right = args.pop().unwrap_or_default();
                let sides = Box::new((
                    self.condition(args.remove(0), place),
                    self.condition(right, place),
                ));
                let node = if name == op::LOGICAL_AND {
                    Node::And(sides)
                } else {
                    Node::Or(sides)
                };
                (node, Type::BOOL)
            }
            (op::LOGICAL_NOT, 1) => {
                let of = self.condition(args.remove(0), "after `!`");
                (Node::Not(Box::new(of)), Type::BOOL)
            }
            (op::NEGATE, 1) => {
                let at = self.at(id);
                let (of, of_type) = self.plan(args.remove(0));
                let kinds = of_type.kinds.and(Kinds::INT.or(Kinds::DOUBLE));
                if kinds == Kinds::NONE {
                    let hint = match of_type.kinds {
                        Kinds::UINT => "; int(…) makes an int of it",
                        _ => "",
                    };
                    return self.report(
                        at,
                        format!(
                            "`-` needs an int or a double after it, this is {}{hint}",
                            of_type.kinds
                        ),
                    );
                }
                (Node::Negate(Box::new(of)), Type::of(kinds))
            }
            (op::INDEX, 2) => self.index(id, args),
            (_, 2) => match Operator::named(&name) {
                Some(operator) => self.binary(id, operator, args),
                None => self.report(self.at(id), format!("`{name}` is not an operator here")),
            },
            _ => self.report(self.at(id), format!("`{name}` is not an operator here")),
        }
    }

    /// Plans a part that must be a bool.
    pub(super) fn condition(&mut self, part: IdedExpr, place: &str) -> Node {
        let at = self.start(&part);
        let (node, part_type) = self.plan(part);
        if !part_type.kinds.meets(Kinds::BOOL) {
            self.report(
                at,
                format!("a condition {place} is a bool, this is {}", part_type.kinds),
            );
        }
        node
    }

    /// The start of a part.
    pub(super) fn start(&self, part: &IdedExpr) -> usize {
        let at = self.at(part.id);
        match &part.expr {
            Expr::Select(select) => self.start(&select.operand).min(at),
            Expr::Call(call) => call
                .target
                .iter()
                .map(|target| self.start(target))
                .chain(call.args.iter().map(|argument| self.start(argument)))
                .chain([self.at_name(part.id, &call.func_name)])
                .fold(at, usize::min),
            Expr::Comprehension(comprehension) => self.start(&comprehension.iter_range).min(at),
            _ => at,
        }
    }

    fn index(&mut self, id: u64, mut args: Vec<IdedExpr>) -> Planned {
        let index = args.pop().unwrap_or_default();
        let (of, of_type) = self.plan(args.remove(0));
        let (index, index_type) = self.plan(index);
        let (kinds, by) = (of_type.kinds, index_type.kinds);
        if !kinds.meets(Kinds::ITEMS) {
            return self.report(
                self.at(id),
                format!("`[…]` needs a list or an object before it, this is {kinds}"),
            );
        }
        let fits = kinds.meets(Kinds::LIST) && by.meets(Kinds::NUMBER)
            || kinds.meets(Kinds::MAP) && by.meets(Kinds::KEY);
        if !fits {
            let needs = if kinds.meets(Kinds::MAP) {
                "a key"
            } else {
                "a whole number"
            };
            return self.report(
                self.at(id),
                format!("the index of {kinds} is {needs}, this is {by}"),
            );
        }
        let items = if kinds.meets(Kinds::MAP) {
            Kinds::ANY
        } else {
            of_type.items
        };
        (Node::Index(Box::new((of, index))), Type::of(items))
    }

    fn binary(&mut self, id: u64, operator: Operator, mut args: Vec<IdedExpr>) -> Planned {
        let at = self.at(id);
        let right = args.pop().unwrap_or_default();
        let left = args.remove(0);
        // `state.my-key` is read as a difference.
        let dashed = match (&left.expr, &right.expr) {
            (Expr::Select(select), Expr::Ident(name))
                if operator == Operator::Subtract
                    && self.path(&right).is_none()
                    && self.local(name).is_none() =>
            {
                self.path(&select.operand)
                    .map(|path| (path.to_string(), format!("{}-{name}", select.field)))
            }
            _ => None,
        };
        if let Some((of, key)) = dashed {
            return self.report(
                at,
                format!("this subtracts; a key with a dash is read as {of}[\"{key}\"]"),
            );
        }
        let (left, left_type) = self.plan(left);
        let (right, right_type) = self.plan(right);
        let (l, r) = (left_type.kinds, right_type.kinds);
        let kinds = operator.result(l, r);
        if kinds == Kinds::NONE {
            let (sign, hint) = (operator.sign(), operator.hint(l, r));
            return self.report(at, format!("`{sign}` does not fit {l} and {r}{hint}"));
        }
        let items = left_type.or(right_type).items;
        (
            Node::Binary(operator, Box::new((left, right))),
            Type { kinds, items },
        )
    }
}

/// A name without its leading dot. With a dot, it is a variable and not a loop variable.
fn root(name: &str) -> (&str, bool) {
    match name.strip_prefix('.') {
        Some(name) => (name, true),
        None => (name, false),
    }
}

/// Whether a call is an operator; their names are signs: `_+_`, `!_`, `@in`.
fn is_operator(name: &str) -> bool {
    name.starts_with(['_', '!', '-', '@']) && name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

fn constant(literal: &LiteralValue) -> Planned {
    let value = match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Bytes(value) => Value::Bytes(value.inner().into()),
        LiteralValue::Double(value) => Value::Double(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(value) => Value::string(value.inner()),
        LiteralValue::UInt(value) => Value::Uint(*value.inner()),
    };
    let kinds = value.kind();
    (Node::Constant(value), Type::of(kinds))
}
