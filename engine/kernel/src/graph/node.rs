//! Reads one node of a definition.

use std::sync::Arc;

use heddle_expr::{Expr, Want, is_reserved};
use heddle_json::Json;
use heddle_schema::Schema;
use serde_json::{Map as Members, Value};

use super::{
    definition::{
        DEFAULT_AT_ONCE, Each, MAX_AT_ONCE, MAX_ATTEMPTS, Map, NodeAction, NodeDefinition, OnItemError,
        Output, PayloadSchema, Retry, Sleep, Text, Wait,
    },
    duration::MAX_DURATION_MS,
    reader::{AFTER, BEFORE, Origin, Reader, kind},
};
use crate::{event::FailureKind, ids::Timestamp};

/// The keys that select a node's action; without one, the node calls the function with the node's name.
const KINDS: [&str; 5] = ["uses", "map", "graph", "sleep", "wait"];

/// The kinds of failure that `retry.on` may name.
const RETRIED: [(&str, FailureKind); 5] = [
    ("retryable", FailureKind::Retryable),
    ("timeout", FailureKind::Timeout),
    ("unavailable", FailureKind::Unavailable),
    ("trap", FailureKind::Trap),
    ("limit", FailureKind::Limit),
];

impl Reader<'_> {
    pub(super) fn node(&mut self, value: &Value, pointer: &str) -> Option<NodeDefinition> {
        let map = self.object(value, pointer, "a node")?;
        let kinds: Vec<&str> = KINDS.into_iter().filter(|key| map.contains_key(*key)).collect();
        if let [first, second, ..] = kinds.as_slice() {
            self.error(
                format!("{pointer}/{second}"),
                format!("a node does one thing, and this one has `{first}` already"),
            );
        }
        let does = kinds.first().copied().unwrap_or("uses");
        // The keys of a node depend on its action.
        let known: &[&str] = match does {
            "sleep" => &["sleep", "description", "compensate"],
            "wait" => &["wait", "description", "output", "on_error", "compensate"],
            "graph" => &[
                "graph",
                "description",
                "input",
                "output",
                "retry",
                "on_error",
                "compensate",
            ],
            "map" => &[
                "map",
                "description",
                "input",
                "config",
                "retry",
                "timeout",
                "on_error",
                "compensate",
                "limits",
                "grants",
            ],
            _ => &[
                "uses",
                "description",
                "config",
                "input",
                "output",
                "next",
                "retry",
                "timeout",
                "on_error",
                "compensate",
                "limits",
                "grants",
                "map",
                "graph",
                "sleep",
                "wait",
            ],
        };
        self.node_keys(map, pointer, does, known);
        self.text(map, pointer, "description");
        let item = match does {
            "map" => self.item(map, pointer),
            _ => None,
        };
        let does = self.does(map, pointer, does, &kinds, item.as_ref());
        let variables: Vec<&str> = BEFORE.into_iter().chain(item.as_deref()).collect();
        let input = map
            .get("input")
            .map(|input| self.expressions(input, &format!("{pointer}/input"), &variables));
        Some(NodeDefinition {
            action: does?,
            input,
            output: self.output(map, pointer),
            config: self.part(
                &format!("{pointer}/config"),
                map.get("config").unwrap_or(&Value::Null),
            ),
            next: self.next(map, pointer),
            retry: self.retry(map, pointer),
            timeout_ms: self.duration(map, pointer, "timeout"),
            on_error: self.text(map, pointer, "on_error").map(str::to_owned),
            compensate: self.text(map, pointer, "compensate").map(str::to_owned),
            limits: self.bounds(map, pointer, "limits"),
            grants: self.bounds(map, pointer, "grants"),
        })
    }

    /// The `limits` or the `grants` of a node, as written.
    fn bounds(&mut self, map: &Members<String, Value>, pointer: &str, key: &str) -> Option<Json> {
        let value = map.get(key)?;
        let place = format!("{pointer}/{key}");
        if map.get("map").is_some_and(|map| map.get("graph").is_some()) {
            let message =
                format!("`{key}` is not allowed where a map runs a graph: put it into that graph's nodes");
            self.error(place, message);
            return None;
        }
        self.object(value, &place, &format!("`{key}`"))?;
        Some(self.part(&place, value))
    }

    fn node_keys(&mut self, map: &Members<String, Value>, pointer: &str, does: &str, known: &[&str]) {
        const NODE: [&str; 10] = [
            "config",
            "input",
            "output",
            "next",
            "retry",
            "timeout",
            "on_error",
            "compensate",
            "limits",
            "grants",
        ];
        let mut unknown = map.clone();
        for key in NODE.into_iter().filter(|key| !known.contains(key)) {
            if unknown.remove(key).is_some() {
                let instead = match (does, key) {
                    ("map", "output") => ": use `map.into` for the results",
                    ("wait", "timeout") => ": use `wait.timeout`",
                    ("graph", "timeout") => ": use `limits.time` of that graph",
                    ("graph", "limits" | "grants") => ": put it into that graph's nodes",
                    _ => "",
                };
                self.error(
                    format!("{pointer}/{key}"),
                    format!("`{key}` is not allowed in a node with `{does}`{instead}"),
                );
            }
        }
        for key in KINDS {
            unknown.remove(key);
        }
        self.known_keys(&unknown, pointer, known);
    }

    fn does(
        &mut self,
        map: &Members<String, Value>,
        pointer: &str,
        does: &str,
        kinds: &[&str],
        item: Option<&Arc<str>>,
    ) -> Option<NodeAction> {
        match (does, item) {
            ("map", Some(item)) => self
                .map(&map["map"], &format!("{pointer}/map"), item.clone())
                .map(NodeAction::Map),
            ("map", None) => None,
            ("graph", _) => self
                .required(map, pointer, "graph", "the name or id of a graph")
                .map(|graph| NodeAction::Graph { graph: graph.into() }),
            ("sleep", _) => self
                .sleep(&map["sleep"], &format!("{pointer}/sleep"))
                .map(NodeAction::Sleep),
            ("wait", _) => self
                .wait(&map["wait"], &format!("{pointer}/wait"))
                .map(NodeAction::Wait),
            _ if kinds.is_empty() => Some(NodeAction::Call { uses: None }),
            _ => Some(NodeAction::Call {
                uses: self.text(map, pointer, "uses").map(Into::into),
            }),
        }
    }

    /// The name of a map's item. Only its type is checked here; `map` checks the rest.
    fn item(&mut self, map: &Members<String, Value>, pointer: &str) -> Option<Arc<str>> {
        let inner = self.object(&map["map"], &format!("{pointer}/map"), "`map`")?;
        let pointer = format!("{pointer}/map");
        let name = self.text(inner, &pointer, "as").unwrap_or("item");
        let mut letters = name.chars();
        let fits = letters
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        // Maps of stored graphs may have names that expressions cannot read.
        let is_word = is_reserved(name) && self.origin == Origin::New;
        if !fits || is_word || AFTER.contains(&name) {
            let message = match is_word {
                true => format!("`{name}` is a word of expressions, so no variable can have this name"),
                false => format!(
                    "expected a name of letters, digits and `_` other than {}, got {name:?}",
                    AFTER.join(", ")
                ),
            };
            self.error(format!("{pointer}/as"), message);
            return None;
        }
        Some(name.into())
    }

    fn map(&mut self, value: &Value, pointer: &str, item: Arc<str>) -> Option<Map> {
        let map = self.object(value, pointer, "`map`")?;
        self.known_keys(
            map,
            pointer,
            &["over", "as", "uses", "graph", "at_once", "into", "on_item_error"],
        );
        let over = match map.get("over") {
            Some(over) => self.expression(over, &format!("{pointer}/over"), &BEFORE, Want::Items),
            None => {
                self.error(
                    pointer,
                    "`over` is missing: an expression for a list or an object, as in \"state.files\"",
                );
                None
            }
        };
        let into = self.required(
            map,
            pointer,
            "into",
            "the key of the state that takes the results",
        );
        let each = match (self.text(map, pointer, "uses"), self.text(map, pointer, "graph")) {
            (Some(uses), None) => Some(Each::Call { uses: uses.into() }),
            (None, Some(graph)) => Some(Each::Graph { graph: graph.into() }),
            // A value of another type has an error of its own.
            (None, None) if map.contains_key("uses") != map.contains_key("graph") => None,
            _ => {
                self.error(
                    pointer,
                    "a map has either `uses`, a function, or `graph`, the name or id of one",
                );
                None
            }
        };
        let at_once = self
            .whole(map, pointer, "at_once", 1, MAX_AT_ONCE.into())
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(DEFAULT_AT_ONCE);
        let on_item_error = match self.text(map, pointer, "on_item_error") {
            None => Some(0),
            Some(word) => self.one_of(
                word,
                &format!("{pointer}/on_item_error"),
                &["fail", "skip", "collect"],
            ),
        };
        Some(Map {
            over: over?,
            item,
            each: each?,
            at_once,
            into: into?.into(),
            on_item_error: [OnItemError::Fail, OnItemError::Skip, OnItemError::Collect][on_item_error?],
        })
    }

    fn sleep(&mut self, value: &Value, pointer: &str) -> Option<Sleep> {
        let map = match value {
            Value::String(text) => {
                return super::duration::parse(text)
                    .map_err(|message| self.error(pointer, message))
                    .ok()
                    .map(Sleep::Ms);
            }
            Value::Object(map) => map,
            other => {
                self.error(
                    pointer,
                    format!(
                        "expected a duration such as \"10m\", or {{\"until\"}} or {{\"for\"}} with an expression, got {}",
                        kind(other)
                    ),
                );
                return None;
            }
        };
        self.known_keys(map, pointer, &["until", "for"]);
        let mut read = |key: &str| {
            let value = map.get(key)?;
            self.expression(value, &format!("{pointer}/{key}"), &BEFORE, Want::Any)
        };
        match (read("until"), read("for")) {
            (Some(until), None) => {
                // The longest time ahead is checked when the sleep begins.
                let check = |given: &Json| super::moment_of_json(given, Timestamp(i64::MAX)).map(drop);
                self.constant(&until, format!("{pointer}/until"), check);
                Some(Sleep::Until(until))
            }
            (None, Some(time)) => {
                self.constant(&time, format!("{pointer}/for"), |given| {
                    super::duration_of_json(given).map(drop)
                });
                Some(Sleep::For(time))
            }
            (None, None) if map.contains_key("until") || map.contains_key("for") => None,
            _ => {
                self.error(pointer, "a sleep has either `until` or `for`");
                None
            }
        }
    }

    /// Checks the value of an expression that has the same value in every run.
    fn constant(&mut self, expr: &Expr, pointer: String, check: impl Fn(&Json) -> Result<(), String>) {
        let value = expr.constant().filter(|_| self.origin == Origin::New);
        if let Some(Err(problem)) = value.map(|value| check(&value)) {
            self.error(pointer, problem);
        }
    }

    fn wait(&mut self, value: &Value, pointer: &str) -> Option<Wait> {
        let map = self.object(value, pointer, "`wait`")?;
        self.known_keys(
            map,
            pointer,
            &["signal", "schema", "timeout", "on_timeout", "prompt"],
        );
        if self.is_missing(map, "signal") {
            self.error(pointer, "`signal` is missing: the name of the signal to wait for");
        }
        let signal = self.text_or_expr(map, pointer, "signal");
        if let Some(Text::Plain(name)) = &signal {
            self.name(&format!("{pointer}/signal"), "a signal's name", name);
        }
        let schema = map.get("schema").and_then(|schema| {
            if self.found.has_enough_errors() {
                return None;
            }
            let text = self.part(&format!("{pointer}/schema"), schema);
            let compiled = Schema::compile_within(text.get(), &mut self.patterns);
            let compiled = compiled.and_then(|schema| match schema.lost_digits() {
                Some(problem) if self.origin == Origin::New => Err(problem),
                _ => Ok(schema),
            });
            match compiled {
                Ok(schema) => Some(Arc::new(PayloadSchema { text, schema })),
                Err(problem) => {
                    self.error(format!("{pointer}/schema"), format!("the schema {problem}"));
                    None
                }
            }
        });
        let timeout_ms = self.duration(map, pointer, "timeout");
        let on_timeout = self.text(map, pointer, "on_timeout").map(str::to_owned);
        if on_timeout.is_some() && !map.contains_key("timeout") {
            self.error(
                format!("{pointer}/on_timeout"),
                "without `timeout` it never goes there: say how long it waits",
            );
        }
        Some(Wait {
            signal: signal?,
            schema,
            timeout_ms,
            on_timeout,
            prompt: self.text_or_expr(map, pointer, "prompt"),
        })
    }

    /// A string, or `{"expr": …}` with an expression for a string.
    fn text_or_expr(&mut self, map: &Members<String, Value>, pointer: &str, key: &str) -> Option<Text> {
        let pointer = format!("{pointer}/{key}");
        match map.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(Text::Plain(text.as_str().into())),
            Value::Object(map) => {
                self.known_keys(map, &pointer, &["expr"]);
                let Some(expr) = map.get("expr") else {
                    self.error(&pointer, "`expr` is missing: an expression that gives the text");
                    return None;
                };
                self.expression(expr, &format!("{pointer}/expr"), &BEFORE, Want::String)
                    .map(Text::Expr)
            }
            other => {
                let message = format!(
                    "expected a string, or {{\"expr\"}} with an expression that gives one, got {}",
                    kind(other)
                );
                self.error(&pointer, message);
                None
            }
        }
    }

    fn output(&mut self, map: &Members<String, Value>, pointer: &str) -> Option<Output> {
        let pointer = format!("{pointer}/output");
        match map.get("output")? {
            Value::String(key) => Some(Output::Key(key.as_str().into())),
            value @ Value::Object(_) => Some(Output::Keys(self.expressions(value, &pointer, &AFTER))),
            other => {
                self.error(
                    pointer,
                    format!(
                        "expected a key of the state, or keys with expressions over `node`, got {}",
                        kind(other)
                    ),
                );
                None
            }
        }
    }

    fn next(&mut self, map: &Members<String, Value>, pointer: &str) -> Vec<String> {
        let Some(value) = map.get("next") else {
            return Vec::new();
        };
        match value {
            Value::String(name) => vec![name.clone()],
            Value::Array(all) if all.iter().all(Value::is_string) => {
                all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => {
                self.error(
                    format!("{pointer}/next"),
                    "expected the names of the nodes that the function may go to",
                );
                Vec::new()
            }
        }
    }

    fn retry(&mut self, map: &Members<String, Value>, pointer: &str) -> Option<Retry> {
        let pointer = format!("{pointer}/retry");
        let map = self.object(map.get("retry")?, &pointer, "`retry`")?;
        self.known_keys(
            map,
            &pointer,
            &["attempts", "backoff", "factor", "max", "jitter", "on"],
        );
        let attempts = self.whole(map, &pointer, "attempts", 1, MAX_ATTEMPTS.into());
        if !map.contains_key("attempts") {
            self.error(
                &pointer,
                "`attempts` is missing: the number of attempts, the first one included",
            );
        }
        let backoff_ms = self.duration(map, &pointer, "backoff").unwrap_or(1_000);
        let max_ms = self.duration(map, &pointer, "max").unwrap_or(MAX_DURATION_MS);
        let mut number = |key: &str, least: f64, most: f64, default: f64| match map.get(key) {
            None => default,
            Some(value) => match value.as_f64() {
                Some(number) if (least..=most).contains(&number) => number,
                _ => {
                    let pointer = format!("{pointer}/{key}");
                    let got = self.as_written(&pointer, value);
                    let message = format!("expected a number from {least} to {most}, got {got}");
                    self.error(pointer, message);
                    default
                }
            },
        };
        let (factor, jitter) = (number("factor", 1.0, 100.0, 2.0), number("jitter", 0.0, 1.0, 0.0));
        let mut on = Vec::new();
        match map.get("on") {
            None => on.extend([
                FailureKind::Retryable,
                FailureKind::Timeout,
                FailureKind::Unavailable,
            ]),
            Some(Value::Array(words)) => {
                for (position, word) in words.iter().enumerate() {
                    let word = word.as_str().unwrap_or_default();
                    let names = RETRIED.map(|(name, _)| name);
                    let place = format!("{pointer}/on/{position}");
                    on.extend(self.one_of(word, &place, &names).map(|at| RETRIED[at].1));
                }
            }
            Some(other) => self.error(
                format!("{pointer}/on"),
                format!("expected a list of kinds of failure, got {}", kind(other)),
            ),
        }
        Some(Retry {
            attempts: u32::try_from(attempts?).ok()?,
            backoff_ms,
            factor,
            max_ms,
            jitter,
            on,
        })
    }
}
