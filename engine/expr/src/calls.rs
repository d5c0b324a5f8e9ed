//! Plans calls: functions, methods, and loops, which the parser expands as macros.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, operators as op},
};

use super::{
    check::{Checker, Planned},
    format::{self, Piece},
    functions::{self, Function},
    kinds::{Kinds, Type},
    plan::{Loop, LoopKind, Node},
    value::{Value, clipped},
};
use crate::suggest::Suggestions;

/// The loops: the name of the macro, and its number of arguments.
const LOOPS: [(&str, &str); 6] = [
    ("all", "a name for the item and a condition"),
    ("exists", "a name for the item and a condition"),
    ("exists_one", "a name for the item and a condition"),
    ("existsOne", "a name for the item and a condition"),
    ("filter", "a name for the item and a condition"),
    ("map", "a name for the item, perhaps a condition, and a value"),
];

/// Reserved words that the standard allows as names of methods, so that an environment may define such
/// functions. Heddle defines none: a call is an error when it is evaluated.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether a name is a word of the language, so that no variable can have it.
pub fn is_reserved(name: &str) -> bool {
    matches!(name, "true" | "false" | "null" | "in") || RESERVED.contains(&name)
}

impl Checker<'_> {
    /// Plans a call of a function by its name.
    pub(super) fn function(
        &mut self,
        id: u64,
        name: &str,
        target: Option<IdedExpr>,
        args: Vec<IdedExpr>,
    ) -> Planned {
        let (name, target) = self.namespaced(name.trim_start_matches('.'), target);
        let name = name.as_str();
        let at = self.at_name(id, name);
        let given = args.len() + usize::from(target.is_some());
        let as_method = target.is_some();
        let found = functions::named(name).find(|function| {
            let style = if as_method {
                function.method
            } else {
                function.global
            };
            style && function.takes.len() == given
        });
        if found.is_none() && as_method && RESERVED.contains(&name) {
            for part in target.into_iter().chain(args) {
                self.plan(part);
            }
            return (Node::NoFunction(name.into()), Type::ANY);
        }
        let Some(function) = found else {
            let message = unknown_function(name, as_method, args.len(), self.suggestions);
            // A target such as `math` in `math.abs(x)` is not a second error. The variables of an invalid
            // loop are unknown.
            if !LOOPS.iter().any(|(known, _)| *known == name) {
                let target = target.filter(|target| !matches!(target.expr, Expr::Ident(_)));
                for part in target.into_iter().chain(args) {
                    self.plan(part);
                }
            }
            return self.report(at, message);
        };
        let mut nodes = Vec::with_capacity(given);
        for (index, part) in target.into_iter().chain(args).enumerate() {
            let part_at = self.start(&part);
            let template = match nodes.first() {
                Some((Node::Constant(Value::String(template)), at)) if function.name == "format" => {
                    Some((template.clone(), *at))
                }
                _ => None,
            };
            let (node, part_type) = match template {
                Some((template, at)) => self.formatted(&template, at, part),
                None => self.plan(part),
            };
            if !part_type.kinds.meets(function.takes[index]) {
                let at = if as_method && index == 0 { at } else { part_at };
                self.report(at, function.misfit(index, part_type.kinds));
            }
            nodes.push((node, part_at));
        }
        self.called(function, nodes)
    }

    /// The full name of a function in a namespace, as in `strings.quote(x)`, which is parsed as a method
    /// of `strings`.
    fn namespaced(&self, name: &str, target: Option<IdedExpr>) -> (String, Option<IdedExpr>) {
        match target {
            Some(IdedExpr {
                expr: Expr::Ident(space),
                ..
            }) if functions::is_namespace(space.trim_start_matches('.')) && !self.is_known(&space) => {
                (format!("{}.{name}", space.trim_start_matches('.')), None)
            }
            target => (name.to_owned(), target),
        }
    }

    /// Plans the list of `format`, and checks its items against the verbs of a constant template.
    fn formatted(&mut self, template: &str, template_at: usize, part: IdedExpr) -> Planned {
        let mut verbs = Vec::new();
        for piece in format::pieces(template) {
            match piece {
                Ok(Piece::Verb(verb)) => verbs.push(verb),
                Ok(Piece::Text(_)) => {}
                Err(problem) => {
                    self.report(template_at, problem);
                }
            }
        }
        let at = self.start(&part);
        let Expr::List(list) = part.expr else {
            return self.plan(part);
        };
        let mut nodes = Vec::with_capacity(list.elements.len());
        let mut kinds = Kinds::NONE;
        for (index, item) in list.elements.into_iter().enumerate() {
            let item_at = self.start(&item);
            let (node, item_type) = self.plan(item);
            if let Some(verb) = verbs.get(index)
                && !item_type.kinds.meets(verb.takes())
            {
                self.report(item_at, verb.misfit(item_type.kinds));
            }
            kinds = kinds.or(item_type.kinds);
            nodes.push(node);
        }
        if let Some(verb) = verbs.get(nodes.len()) {
            self.report(at, format::too_few(*verb, nodes.len()));
        }
        (Node::List(nodes), Type::list(kinds))
    }

    /// A call, with its pattern compiled if it is constant.
    fn called(&mut self, function: &'static Function, mut nodes: Vec<(Node, usize)>) -> Planned {
        if function.name == "matches"
            && let Some((Node::Constant(Value::String(pattern)), at)) = nodes.get(1)
        {
            return match self.patterns.compile(pattern) {
                Ok(pattern) => (
                    Node::Matches(Box::new(nodes.remove(0).0), pattern),
                    function.gives,
                ),
                Err(reason) => self.report(*at, reason),
            };
        }
        let nodes = nodes.into_iter().map(|(node, _)| node).collect();
        (Node::Call(function, nodes), function.gives)
    }

    pub(super) fn comprehension(&mut self, id: u64, comprehension: ComprehensionExpr) -> Planned {
        let at = self.at(id);
        let Some((kind, filter, body)) = loop_of(comprehension.accu_init, comprehension.loop_step) else {
            return self.report(at, "this kind of loop is not supported");
        };
        let (over, over_type) = self.plan(comprehension.iter_range);
        if !over_type.kinds.meets(Kinds::ITEMS) {
            self.report(
                at,
                format!(
                    "a loop needs a list or an object before it, this is {}",
                    over_type.kinds
                ),
            );
        }
        self.locals.push((comprehension.iter_var, over_type.looped()));
        let filter = filter.map(|filter| self.condition(filter, "of a loop"));
        let (body, body_type) = if kind == LoopKind::Map {
            self.plan(body)
        } else {
            (self.condition(body, "of a loop"), Type::BOOL)
        };
        self.locals.pop();
        let gives = match kind {
            LoopKind::Map => Type::list(body_type.kinds),
            _ => Type::BOOL,
        };
        let planned = Loop {
            kind,
            over,
            filter,
            body,
        };
        (Node::Loop(Box::new(planned)), gives)
    }
}

/// The kind, the filter and the body of a loop, recognized by the start value and the step of its
/// accumulator.
fn loop_of(init: IdedExpr, step: IdedExpr) -> Option<(LoopKind, Option<IdedExpr>, IdedExpr)> {
    let Expr::Call(CallExpr {
        func_name, mut args, ..
    }) = step.expr
    else {
        return None;
    };
    match (init.expr, func_name.as_str(), args.len()) {
        (Expr::Literal(LiteralValue::Boolean(_)), op::LOGICAL_AND, 2) => {
            Some((LoopKind::All, None, args.pop()?))
        }
        (Expr::Literal(LiteralValue::Boolean(_)), op::LOGICAL_OR, 2) => {
            Some((LoopKind::Exists, None, args.pop()?))
        }
        (Expr::Literal(LiteralValue::Int(_)), op::CONDITIONAL, 3) => {
            Some((LoopKind::ExistsOne, None, args.remove(0)))
        }
        (Expr::List(_), op::ADD, 2) => Some((LoopKind::Map, None, appended(args.pop()?)?)),
        (Expr::List(_), op::CONDITIONAL, 3) => {
            let Expr::Call(CallExpr { args: mut append, .. }) = args.remove(1).expr else {
                return None;
            };
            Some((LoopKind::Map, Some(args.remove(0)), appended(append.pop()?)?))
        }
        _ => None,
    }
}

/// The one item of a list.
fn appended(list: IdedExpr) -> Option<IdedExpr> {
    match list.expr {
        Expr::List(mut list) => list.elements.pop(),
        _ => None,
    }
}

/// The message that no function fits a call.
fn unknown_function(name: &str, as_method: bool, given: usize, suggestions: &Suggestions) -> String {
    if let Some((_, takes)) = LOOPS.iter().find(|(known, _)| *known == name) {
        return if as_method {
            format!("`.{name}(…)` takes {takes}, not {given} {}", arguments(given))
        } else {
            format!("`{name}` is called on a list or an object: list.{name}(item, …)")
        };
    }
    if name == "has" {
        return "has(…) takes one key, as in has(state.score)".into();
    }
    if matches!(name, "now" | "timestamp" | "duration") {
        return format!("there is no function `{name}`: expressions know no times; a node can wait or sleep");
    }
    let same_style: Vec<_> = functions::named(name)
        .filter(|function| {
            if as_method {
                function.method
            } else {
                function.global
            }
        })
        .collect();
    if let Some(function) = same_style.first() {
        let counts: Vec<_> = same_style
            .iter()
            .map(|function| (function.takes.len() - usize::from(as_method)).to_string())
            .collect();
        let (shown, last) = (counts.join(" or "), function.takes.len() - usize::from(as_method));
        let words = if counts.len() > 1 {
            "arguments"
        } else {
            arguments(last)
        };
        return format!("{name}(…) takes {shown} {words}, not {given}");
    }
    let namespaced =
        functions::names().find(|known| known.strip_suffix(name).is_some_and(|space| space.ends_with('.')));
    if let Some(known) = namespaced {
        return format!("`{name}` is called as {known}(value)");
    }
    match functions::named(name).next() {
        Some(_) if as_method => format!("`{name}` is called as {name}(value)"),
        Some(_) => format!("`{name}` is called on a value: value.{name}(…)"),
        None => {
            let known = functions::names()
                .chain(LOOPS.iter().map(|(name, _)| *name))
                .chain(["has"]);
            match suggestions.nearest(name, known) {
                Some(near) => format!("there is no function `{name}`; did you mean `{near}`?"),
                None => format!("there is no function `{}`", clipped(name, 40)),
            }
        }
    }
}

fn arguments(count: usize) -> &'static str {
    if count == 1 { "argument" } else { "arguments" }
}
