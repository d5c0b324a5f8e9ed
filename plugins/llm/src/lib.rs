//! Calls a language model through an OpenAI-compatible API (`POST /chat/completions`).
//!
//! The answer is streamed to the run's watchers, and returned whole at the end. The key
//! of the API is in the caller's `authorization`, which the plugin passes on.

mod answer;
mod input;
mod stream;

use heddle_plugin::{
    http::{Incoming, Response},
    prelude::*,
};

use answer::Completion;
use input::{ChatInput, ChatOutput};

/// Calls a language model, and streams its answer to the run's watchers.
#[tool]
fn chat(input: ChatInput) -> Result<ChatOutput> {
    let incoming = input.request()?.open()?;
    if incoming.status >= 400 {
        return Err(refused(&incoming.read()?));
    }
    let completion = match is_events(&incoming) {
        true => stream::read(incoming.events())?,
        // A server that does not stream sends the whole answer at once.
        false => answer::read(&incoming.read()?)?,
    };
    to_output(&input, completion)
}

/// Converts the model's answer to the function's output.
fn to_output(input: &ChatInput, completion: Completion) -> Result<ChatOutput> {
    let json = match (&input.schema, completion.message.content.is_empty()) {
        (Some(_), false) => Some(parsed(&completion)?),
        _ => None,
    };
    let Completion {
        id,
        model,
        message,
        finish_reason,
        usage,
    } = completion;
    if usage.is_none() {
        log::debug!("the server did not say how many tokens it took");
    }
    Ok(ChatOutput {
        message: message.to_json(),
        text: message.content,
        json,
        refusal: message.refusal,
        tool_calls: message.tool_calls,
        finish_reason,
        usage,
        model,
        id,
    })
}

/// Parses an answer for which there is a schema. A model that was cut off will be cut off again; any other
/// failure may succeed next time.
fn parsed(completion: &Completion) -> Result<Value> {
    let text = &completion.message.content;
    heddle_plugin::serde_json::from_str(text).map_err(|error| {
        let data = json!({"text": text, "finish_reason": completion.finish_reason});
        let problem = "a `schema` was given, and the model's answer is not JSON";
        let error = match completion.finish_reason.as_deref() {
            Some("length") => Error::permanent(format!("{problem}: it was cut off; raise `max_tokens`")),
            _ => Error::retryable(format!("{problem}: {error}")),
        };
        error.with_data(data)
    })
}

fn is_events(incoming: &Incoming) -> bool {
    let content_type = incoming.header("content-type").unwrap_or_default();
    content_type
        .trim()
        .to_ascii_lowercase()
        .starts_with("text/event-stream")
}

/// The failure for a status from 400 on: temporary errors are retryable, others are not.
fn refused(response: &Response) -> Error {
    let status = response.status;
    let body: Value = response.json().unwrap_or_default();
    let refusal = answer::Refusal::of(&body);
    let message = match &refusal.message {
        Some(message) => format!("the API refused the request with status {status}: {message}"),
        None => {
            let start: String = String::from_utf8_lossy(&response.body)
                .chars()
                .take(200)
                .collect();
            format!("the API refused the request with status {status}: {start}")
        }
    };
    let mut data = refusal.data;
    data["status"] = status.into();
    if let Some(seconds) = response.retry_after_s() {
        data["retry_after_s"] = seconds.into();
    }
    let error = match status {
        408 | 409 | 425 | 429 | 500.. => Error::retryable(message),
        _ => Error::permanent(message),
    };
    error.with_data(data)
}

#[cfg(test)]
mod tests;
