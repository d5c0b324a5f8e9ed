//! Responses of the API: a whole completion, or an error.

use heddle_plugin::{http::Response, prelude::*};

/// A complete answer of a model.
#[derive(Default)]
pub(crate) struct Completion {
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) message: Message,
    pub(crate) finish_reason: Option<String>,
    pub(crate) usage: Option<Value>,
}

/// The message of a complete answer.
#[derive(Default)]
pub(crate) struct Message {
    pub(crate) content: String,
    pub(crate) refusal: Option<String>,
    pub(crate) tool_calls: Vec<Value>,
}

impl Message {
    /// The message in the form that the API expects in the next request.
    pub(crate) fn to_json(&self) -> Value {
        let content = match self.content.is_empty() && !self.tool_calls.is_empty() {
            true => Value::Null,
            false => self.content.as_str().into(),
        };
        let mut message = json!({"role": "assistant", "content": content});
        if let Some(refusal) = &self.refusal {
            message["refusal"] = refusal.as_str().into();
        }
        if !self.tool_calls.is_empty() {
            message["tool_calls"] = self.tool_calls.clone().into();
        }
        message
    }
}

/// The keys of a `chat.completion` that are read. Others are ignored.
#[derive(Deserialize)]
struct CompletionBody {
    id: Option<String>,
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: MessageBody,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct MessageBody {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<Value>>,
}

/// Reads a response that was not streamed.
pub(crate) fn read(response: &Response) -> Result<Completion> {
    let body: CompletionBody = response.json().context("the API's answer")?;
    let Some(Choice {
        message,
        finish_reason,
    }) = body.choices.into_iter().next()
    else {
        return Err(Error::permanent("the API's answer has no `choices`"));
    };
    let message = Message {
        content: message.content.unwrap_or_default(),
        refusal: message.refusal,
        tool_calls: message.tool_calls.unwrap_or_default(),
    };
    Ok(Completion {
        id: body.id,
        model: body.model,
        message,
        finish_reason,
        usage: body.usage,
    })
}

/// An error of the API: `{"error": {"message", "type", "param", "code"}}`.
pub(crate) struct Refusal {
    pub(crate) message: Option<String>,
    /// The keys but the message, for a program.
    pub(crate) data: Value,
}

impl Refusal {
    pub(crate) fn of(body: &Value) -> Self {
        let error = &body["error"];
        // Some servers return only a text.
        let message = error["message"].as_str().or(error.as_str());
        let mut data = json!({});
        for key in ["type", "code", "param"] {
            if !error[key].is_null() {
                data[key] = error[key].clone();
            }
        }
        Self {
            message: message.map(str::to_owned),
            data,
        }
    }
}
