//! Streamed answers: events with pieces of a completion, and `[DONE]` at the end.

use std::collections::BTreeMap;

use heddle_plugin::{http::Events, prelude::*};

use crate::answer::{Completion, Refusal};

/// The keys of a `chat.completion.chunk` that are read; others may come.
#[derive(Deserialize)]
struct Chunk {
    id: Option<String>,
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
    #[serde(default)]
    index: u32,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

/// A piece of a tool call: the first one has the id and the name, later ones more of the arguments.
#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: u32,
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    function: FunctionDelta,
}

#[derive(Deserialize, Default)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

/// The pieces of a tool call so far.
#[derive(Default)]
struct ToolCall {
    id: String,
    kind: Option<String>,
    name: String,
    arguments: String,
}

/// Reads the events to their end, and emits each piece of text to the run's watchers.
pub(crate) fn read(events: Events) -> Result<Completion> {
    let mut completion = Completion::default();
    let mut calls: BTreeMap<u32, ToolCall> = BTreeMap::new();
    let mut is_done = false;
    for event in events {
        let data = event?.data;
        if data.trim() == "[DONE]" {
            is_done = true;
            break;
        }
        let chunk: Chunk = heddle_plugin::serde_json::from_str(&data).map_err(|error| {
            Error::permanent(format!(
                "a piece of the API's answer is not what it should be: {error}"
            ))
        })?;
        if let Some(error) = chunk.error {
            return Err(broken_off(&error));
        }
        completion.id = completion.id.or(chunk.id);
        completion.model = completion.model.or(chunk.model);
        completion.usage = chunk.usage.or(completion.usage);
        // More than one answer arrives only if `extra` requests it with `n`: the first one counts.
        let Some(choice) = chunk.choices.into_iter().find(|choice| choice.index == 0) else {
            continue;
        };
        completion.finish_reason = choice.finish_reason.or(completion.finish_reason);
        let Delta {
            content,
            refusal,
            tool_calls,
        } = choice.delta;
        if let Some(text) = content.filter(|text| !text.is_empty()) {
            emit(&json!({ "delta": text }))?;
            completion.message.content.push_str(&text);
        }
        if let Some(text) = refusal {
            completion.message.refusal.get_or_insert_default().push_str(&text);
        }
        for piece in tool_calls.into_iter().flatten() {
            calls.entry(piece.index).or_default().add(piece);
        }
    }
    // Some servers leave `[DONE]` out; without either, the end of the answer is missing.
    if !is_done && completion.finish_reason.is_none() {
        return Err(Error::retryable("the API's answer broke off before its end"));
    }
    completion.message.tool_calls = calls.into_values().map(ToolCall::into_json).collect();
    Ok(completion)
}

impl ToolCall {
    fn add(&mut self, piece: CallDelta) {
        let CallDelta {
            id, kind, function, ..
        } = piece;
        self.id.push_str(&id.unwrap_or_default());
        self.kind = kind.or(self.kind.take());
        self.name.push_str(&function.name.unwrap_or_default());
        self.arguments.push_str(&function.arguments.unwrap_or_default());
    }

    fn into_json(self) -> Value {
        let Self {
            id,
            kind,
            name,
            arguments,
        } = self;
        json!({
            "id": id,
            "type": kind.as_deref().unwrap_or("function"),
            "function": {"name": name, "arguments": arguments},
        })
    }
}

/// An error during an answer. The request was valid, so it is retryable.
fn broken_off(error: &Value) -> Error {
    let refusal = Refusal::of(&json!({ "error": error }));
    let message = refusal.message.unwrap_or_else(|| error.to_string());
    Error::retryable(format!("the API broke off its answer: {message}")).with_data(refusal.data)
}
