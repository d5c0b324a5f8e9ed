//! The plugin's input, the request to the API, and the plugin's output.

use std::collections::BTreeMap;

use heddle_plugin::{http::Request, prelude::*, serde_json::Map};

/// The schema's name in `response_format` if the caller does not name it.
const SCHEMA_NAME: &str = "answer";

/// The input of `chat`: a request to a model.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatInput {
    /// The model's name at the API.
    model: String,
    /// The system message, which comes first.
    system: Option<String>,
    /// The conversation so far, in the API's form: objects with `role` and `content`.
    #[serde(default)]
    #[schemars(with = "Vec<Map<String, Value>>")]
    messages: Vec<Value>,
    /// The user's message, after `messages`.
    prompt: Option<String>,
    /// The API's URL, to which `/chat/completions` is added.
    #[serde(default = "base_url")]
    base_url: String,
    /// The header `authorization`, whole. It may name a secret that the operator granted, which the plugin never
    /// sees: `Bearer ${secret.NAME}`.
    authorization: Option<String>,
    /// More headers, by name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The sampling temperature, from 0.
    temperature: Option<f64>,
    /// The largest number of tokens of the answer.
    max_tokens: Option<u32>,
    /// A JSON Schema for the answer; the parsed answer is in `json`.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(crate) schema: Option<Value>,
    /// A name for the schema: letters, digits, `_` and `-`.
    schema_name: Option<String>,
    /// The tools that the model may call, in the API's form.
    #[serde(default)]
    #[schemars(with = "Vec<Map<String, Value>>")]
    tools: Vec<Value>,
    /// Whether and which tool the model must call, in the API's form.
    tool_choice: Option<Value>,
    /// Whether the answer is streamed to the run's watchers.
    #[serde(default = "yes")]
    stream: bool,
    /// More keys of the request's body, in the API's form. Keys that the plugin sets itself take precedence.
    #[serde(default)]
    extra: Map<String, Value>,
}

fn base_url() -> String {
    "https://api.openai.com/v1".to_owned()
}

fn yes() -> bool {
    true
}

/// The output of `chat`: the model's answer.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ChatOutput {
    /// The text; empty if the model only calls tools.
    pub(crate) text: String,
    /// The parsed text, if there is a `schema`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) json: Option<Value>,
    /// The reason for a refusal, if the model gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<String>,
    /// The model's tool calls, in the API's form: `id`, `type` and `function` with `name` and `arguments`, a
    /// JSON text.
    pub(crate) tool_calls: Vec<Value>,
    /// The whole message, to be appended to `messages` in the next request.
    pub(crate) message: Value,
    /// Why the answer ended: `stop`, `length`, `tool_calls`, `content_filter`.
    pub(crate) finish_reason: Option<String>,
    /// The token counts of the API; null if it sends none.
    pub(crate) usage: Option<Value>,
    /// The model that gave the answer.
    pub(crate) model: Option<String>,
    /// The answer's id at the API.
    pub(crate) id: Option<String>,
}

impl ChatInput {
    /// The HTTP request to the API.
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
            // Without this option, a streamed answer has no token counts.
            body.entry("stream_options")
                .or_insert_with(|| json!({"include_usage": true}));
        }
        Ok(body.into())
    }
}
