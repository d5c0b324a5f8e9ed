//! Every answer that a test sees is checked against the server's own description, `/openapi.json`: its status and its
//! type are described, and its body has the form that is described.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use crate::Answer;

/// A description, and what was seen of it.
pub struct Description {
    document: Value,
    /// The validators that were made so far, by the schema's text.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
    seen: Mutex<BTreeSet<(String, String)>>,
}

impl Description {
    /// What `/openapi.json` says.
    pub fn new(document: Value) -> Self {
        Self {
            document,
            validators: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// The description as JSON.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The operations and the statuses of the answers that were checked: `("start_run", "202")`.
    pub fn seen(&self) -> BTreeSet<(String, String)> {
        self.seen.lock().unwrap().clone()
    }

    /// Every operation, by its id.
    pub fn operations(&self) -> impl Iterator<Item = (&str, &Value)> {
        let paths = self.document["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(_, path)| path.as_object().into_iter().flatten());
        operations.filter_map(|(_, operation)| Some((operation["operationId"].as_str()?, operation)))
    }

    /// Checks an answer. One at an address that is not described is left alone.
    pub fn check(&self, method: &str, path: &str, answer: &Answer) {
        let Some((template, operations)) = self.path(path) else {
            return;
        };
        let Some(operation) = operations.get(method) else {
            assert_eq!(answer.status, 405, "{method} {template}: {answer:?}");
            return self.check_body(&json!({"$ref": "#/components/schemas/Problem"}), answer);
        };
        let status = answer.status.to_string();
        let described = &operation["responses"][&status];
        assert!(
            described.is_object(),
            "{method} {template} answers {status}, which is not described: {answer:?}"
        );
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        self.seen.lock().unwrap().insert((id, status));
        match self.resolved(described)["content"].as_object() {
            None => assert!(answer.text.is_empty(), "{method} {template}: {answer:?}"),
            Some(content) => self.check_content(content, answer),
        }
    }

    /// Checks what a socket of a run or its event stream sent.
    pub fn check_event(&self, event: &Value) {
        let name = match event["type"].as_str() {
            Some("chunk") => "Chunk",
            Some("chunks_missed") => "ChunksMissed",
            _ => "Event",
        };
        self.check_value(&json!({"$ref": format!("#/components/schemas/{name}")}), event);
    }

    fn check_content(&self, content: &Map<String, Value>, answer: &Answer) {
        let kind = answer.content_type.split(';').next().unwrap_or_default();
        let described = content.get(kind);
        let described = described.unwrap_or_else(|| panic!("the type {kind} is not described: {answer:?}"));
        if kind.ends_with("json") && kind != "application/x-ndjson" {
            self.check_body(&described["schema"], answer);
        }
        if kind == "text/event-stream" {
            let data = answer.text.lines().filter_map(|line| line.strip_prefix("data:"));
            let events = data.map(|data| serde_json::from_str::<Value>(data).expect("an event is JSON"));
            // The last one says that the run is over, and is no event of it.
            let events = events.filter(|event| event.get("type").is_some());
            events.for_each(|event| self.check_event(&event));
        }
    }

    fn check_body(&self, schema: &Value, answer: &Answer) {
        self.check_value(schema, &answer.json());
    }

    fn check_value(&self, schema: &Value, value: &Value) {
        let validator = self.validator(schema);
        let found: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(found.is_empty(), "{schema}: {}\nin {value}", found.join("\n"));
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap();
        let made = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut schema = schema.clone();
            schema["components"] = self.document["components"].clone();
            let made = jsonschema::options()
                .with_draft(Draft::Draft202012)
                .should_validate_formats(true)
                .build(&schema);
            Arc::new(made.expect("a described schema is one"))
        });
        made.clone()
    }

    /// What a reference in the description leads to; else the value itself.
    fn resolved<'d>(&'d self, described: &'d Value) -> &'d Value {
        match described["$ref"].as_str() {
            Some(to) => self
                .document
                .pointer(to.trim_start_matches('#'))
                .expect("a reference leads somewhere"),
            None => described,
        }
    }

    /// The described path that an address is at, of which the one with the fewest parameters counts.
    fn path(&self, address: &str) -> Option<(&str, &Map<String, Value>)> {
        let address = address.split('?').next().unwrap_or_default();
        let fits = |template: &str| {
            let mut both = template.split('/').zip(address.split('/'));
            template.split('/').count() == address.split('/').count()
                && both.all(|(part, given)| part == given || (part.starts_with('{') && !given.is_empty()))
        };
        let paths = self.document["paths"].as_object()?;
        let fitting = paths.iter().filter(|(template, _)| fits(template));
        let (template, operations) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
        Some((template, operations.as_object()?))
    }
}
