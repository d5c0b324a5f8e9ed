//! What is asked, as the plugin takes it and as the API does; and what the function gives.

use std::collections::BTreeMap;

use heddle_plugin::{http::Request, prelude::*, serde_json::Map};

/// What `response_format` calls a schema where the caller does not name it.
const SCHEMA_NAME: &str = "answer";

/// A question for a model.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    /// The model's name, as its API knows it.
    model: String,
    /// What the model is to be, said before all else.
    system: Option<String>,
    /// What was said so far, as the API takes it: objects with `role` and `content`.
    #[serde(default)]
    #[schemars(with = "Vec<Map<String, Value>>")]
    messages: Vec<Value>,
    /// What the user says, after `messages`.
    prompt: Option<String>,
    /// Where the API is; `/chat/completions` is added.
    #[serde(default = "base_url")]
    base_url: String,
    /// The header `authorization`, whole. It may name a secret that the operator granted, which the plugin never
    /// sees: `Bearer {{secret:NAME}}`.
    authorization: Option<String>,
    /// More headers, by name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// How freely the model chooses its words, from 0.
    temperature: Option<f64>,
    /// How many tokens the answer may have.
    max_tokens: Option<u32>,
    /// A JSON Schema that the answer is to follow; it is given parsed, in `json`.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(crate) schema: Option<Value>,
    /// A name for the schema: letters, digits, `_` and `-`.
    schema_name: Option<String>,
    /// The tools that the model may call, as the API takes them.
    #[serde(default)]
    #[schemars(with = "Vec<Map<String, Value>>")]
    tools: Vec<Value>,
    /// Whether and which tool the model must call, as the API takes it.
    tool_choice: Option<Value>,
    /// Whether the answer is read as it comes, and shown to who watches.
    #[serde(default = "yes")]
    stream: bool,
    /// More keys of the request's body, as the API takes them. Where the plugin sets the same key, its own counts.
    #[serde(default)]
    extra: Map<String, Value>,
}

fn base_url() -> String {
    "https://api.openai.com/v1".to_owned()
}

fn yes() -> bool {
    true
}

/// What the model said.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Said {
    /// Its text; empty where it only calls tools.
    pub(crate) text: String,
    /// The text parsed, where a `schema` was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) json: Option<Value>,
    /// Why it did not do as it was asked, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<String>,
    /// The tools that it wants called, as the API gives them: `id`, `type` and `function` with `name` and `arguments`, a
    /// text of JSON.
    pub(crate) tool_calls: Vec<Value>,
    /// The whole message, to be put behind `messages` in the next request.
    pub(crate) message: Value,
    /// Why it stopped: `stop`, `length`, `tool_calls`, `content_filter`.
    pub(crate) finish_reason: Option<String>,
    /// How many tokens it took, as the API gives it; null where it does not.
    pub(crate) usage: Option<Value>,
    /// The model that answered.
    pub(crate) model: Option<String>,
    /// The answer's id at the API.
    pub(crate) id: Option<String>,
}

impl Ask {
    /// The request that asks it.
    pub(crate) fn request(&self) -> Result<Request> {
        let url = format!("{}/chat/completions", self.base_url.trim_end_matches('/'));
        let accept = match self.stream {
            true => "text/event-stream",
            false => "application/json",
        };
        let mut request = Request::post(url).header("accept", accept).json(&self.body()?)?;
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in &self.headers {
            if name.eq_ignore_ascii_case("authorization") && self.authorization.is_some() {
                return Err(Error::invalid_input(
                    "give one of `authorization` and the header of that name, not both",
                ));
            }
            request
                .headers
                .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            request = request.header(name, value);
        }
        Ok(request)
    }

    fn body(&self) -> Result<Value> {
        let mut messages = Vec::new();
        messages.extend(
            self.system
                .as_ref()
                .map(|text| json!({"role": "system", "content": text})),
        );
        messages.extend(self.messages.iter().cloned());
        messages.extend(
            self.prompt
                .as_ref()
                .map(|text| json!({"role": "user", "content": text})),
        );
        if messages.is_empty() {
            return Err(Error::invalid_input(
                "there is nothing to ask: give `prompt`, `messages` or both",
            ));
        }
        let mut body = self.extra.clone();
        let mut set = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        set("model", self.model.as_str().into());
        set("messages", messages.into());
        if let Some(temperature) = self.temperature {
            set("temperature", temperature.into());
        }
        if let Some(tokens) = self.max_tokens {
            set("max_tokens", tokens.into());
        }
        if let Some(schema) = &self.schema {
            let name = self.schema_name.as_deref().unwrap_or(SCHEMA_NAME);
            let schema = json!({"name": name, "schema": schema, "strict": true});
            set(
                "response_format",
                json!({"type": "json_schema", "json_schema": schema}),
            );
        }
        if !self.tools.is_empty() {
            set("tools", self.tools.clone().into());
        }
        if let Some(choice) = &self.tool_choice {
            set("tool_choice", choice.clone());
        }
        if self.stream {
            set("stream", true.into());
            // Else the tokens of a streamed answer are not told.
            body.entry("stream_options")
                .or_insert_with(|| json!({"include_usage": true}));
        }
        Ok(body.into())
    }
}
