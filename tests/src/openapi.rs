//! Checks every response that a test receives against the server's own description, `/openapi.json`: its status and
//! content type must be described, and its body must match the schema.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use crate::Response;

/// An OpenAPI document, and the responses that were checked against it.
pub struct OpenApi {
    document: Value,
    /// Compiled validators by the text of their schema.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
    seen: Mutex<BTreeSet<(String, String)>>,
}

impl OpenApi {
    /// Takes the content of `/openapi.json`.
    pub fn new(document: Value) -> Self {
        Self {
            document,
            validators: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// The document as JSON.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The operations and statuses of the checked responses: `("start_run", "202")`.
    pub fn seen(&self) -> BTreeSet<(String, String)> {
        self.seen.lock().unwrap().clone()
    }

    /// Every operation, by its id.
    pub fn operations(&self) -> impl Iterator<Item = (&str, &Value)> {
        let paths = self.document["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(_, path)| path.as_object().into_iter().flatten());
        operations.filter_map(|(_, operation)| Some((operation["operationId"].as_str()?, operation)))
    }

    /// Checks a response. Paths that the document does not describe are ignored.
    pub fn check_response(&self, method: &str, path: &str, answer: &Response) {
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

    /// Checks an event of a WebSocket or an event stream.
    pub fn check_event(&self, event: &Value) {
        let name = match event["type"].as_str() {
            Some("chunk") => "Chunk",
            Some("chunks_missed") => "ChunksMissed",
            _ => "Event",
        };
        self.check_value(&json!({"$ref": format!("#/components/schemas/{name}")}), event);
    }

    fn check_content(&self, content: &Map<String, Value>, answer: &Response) {
        let kind = answer.content_type.split(';').next().unwrap_or_default();
        let described = content.get(kind);
        let described = described.unwrap_or_else(|| panic!("the type {kind} is not described: {answer:?}"));
        if kind.ends_with("json") && kind != "application/x-ndjson" {
            self.check_body(&described["schema"], answer);
        }
        if kind == "text/event-stream" {
            let data = answer.text.lines().filter_map(|line| line.strip_prefix("data:"));
            let events = data.map(|data| serde_json::from_str::<Value>(data).expect("an event is JSON"));
            // The last message reports the end of the run and is not an event.
            let events = events.filter(|event| event.get("type").is_some());
            events.for_each(|event| self.check_event(&event));
        }
    }

    fn check_body(&self, schema: &Value, answer: &Response) {
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
        let validator = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut schema = schema.clone();
            schema["components"] = self.document["components"].clone();
            let validator = jsonschema::options()
                .with_draft(Draft::Draft202012)
                .should_validate_formats(true)
                .build(&schema);
            Arc::new(validator.expect("a described schema is one"))
        });
        validator.clone()
    }

    /// Resolves a `$ref`. Returns other values unchanged.
    fn resolved<'d>(&'d self, described: &'d Value) -> &'d Value {
        match described["$ref"].as_str() {
            Some(to) => self
                .document
                .pointer(to.trim_start_matches('#'))
                .expect("a reference leads somewhere"),
            None => described,
        }
    }

    /// The described path of an address. If several match, the one with the fewest parameters.
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
