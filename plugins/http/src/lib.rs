//! Makes HTTP requests to hosts that the operator granted to this plugin.
//!
//! A response is a result with any status, except the statuses of temporary errors:
//! these are retryable failures, so that the graph's policy applies, with the same idempotency key.

mod query;

use std::collections::BTreeMap;

use heddle_plugin::{
    http::{Request, Response},
    prelude::*,
};

/// The input of `request`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RequestInput {
    /// The method, in capitals.
    #[serde(default = "get")]
    method: String,
    /// The whole URL, as in https://api.example.org/v1/orders?open=true.
    url: String,
    /// The query to add to the URL, by name. A list is added once for each of its items, and null is not added.
    #[serde(default)]
    query: BTreeMap<String, Value>,
    /// The headers, by name. One may name a secret that the operator granted: `Bearer ${secret.NAME}`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A body in JSON.
    json: Option<Value>,
    /// A body as text, in place of `json`.
    body: Option<String>,
    /// The type as which the response's body is read.
    #[serde(default)]
    read: As,
    /// The largest size of the response's body in bytes; the engine's limit applies as well.
    max_bytes: Option<usize>,
    /// Whether every status from 400 on fails the call, instead of only temporary errors.
    #[serde(default)]
    check: bool,
}

/// The type as which a body is read.
#[derive(Deserialize, JsonSchema, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum As {
    /// JSON if the response has a JSON content type, else text.
    #[default]
    Auto,
    /// JSON, whatever the content type is.
    Json,
    /// Text, whatever the content type is.
    Text,
    /// Bytes, as a text in base64.
    Base64,
}

fn get() -> String {
    "GET".to_owned()
}

/// The output of `request`.
#[derive(Serialize, JsonSchema)]
struct ResponseOutput {
    /// The status code, such as 200.
    status: u16,
    /// Whether the status is one of those from 200 to 299.
    ok: bool,
    /// The headers by name, in lower case. Several of one name are joined with commas.
    headers: BTreeMap<String, String>,
    /// The body: parsed if it has a JSON content type, else as text; null if there is none.
    body: Value,
}

/// Sends an HTTP request and returns the response, with its body as JSON or text.
#[tool]
fn request(input: RequestInput) -> Result<ResponseOutput> {
    let url = query::added(input.url, &input.query)?;
    let mut request = Request::new(input.method, url);
    request = match (input.json, input.body) {
        (Some(_), Some(_)) => return Err(Error::invalid_input("give one of `json` and `body`, not both")),
        (Some(json), None) => {
            let has_type = input
                .headers
                .keys()
                .any(|name| name.eq_ignore_ascii_case("content-type"));
            match has_type {
                true => request.body(json.to_string()),
                false => request.json(&json)?,
            }
        }
        (None, Some(text)) => request.body(text),
        (None, None) => request,
    };
    request.headers.extend(input.headers);
    let response = request
        .open()?
        .read_at_most(input.max_bytes.unwrap_or(usize::MAX))?;
    let (status, is_passing) = (response.status, response.is_passing());
    let wait = response.retry_after_s();
    let is_refused = is_passing || (input.check && status >= 400);
    let output = match is_refused {
        // The body of an error response is kept as far as it can be read.
        true => ResponseOutput::of(response, As::Auto, true)?,
        false => return ResponseOutput::of(response, input.read, false),
    };
    let error = match is_passing {
        true => Error::retryable(format!("the response has status {status}, a temporary error")),
        false => Error::permanent(format!("the response has status {status}")),
    };
    let mut data = json!(output);
    if let Some(seconds) = wait {
        data["retry_after_s"] = seconds.into();
    }
    Err(error.with_data(data))
}

impl ResponseOutput {
    /// Reads a response's body. A lenient reader returns text if a JSON content type is wrong, and null if the body
    /// is not text.
    fn of(response: Response, read: As, is_lenient: bool) -> Result<Self> {
        let says_json = is_json(response.header("content-type").unwrap_or_default());
        let text = || response.text().context("the body of the answer is not text");
        let body = match (&response.body[..], read) {
            (bytes, As::Base64) => query::base64(bytes).into(),
            ([], _) => Value::Null,
            (_, As::Json) => response.json().context("the body of the answer")?,
            (_, As::Auto) if says_json => match response.json() {
                Err(_) if is_lenient => text().map_or(Value::Null, Value::from),
                json => json.context("the body of the answer")?,
            },
            (_, As::Auto | As::Text) => match text() {
                Err(_) if is_lenient => Value::Null,
                text => text?.into(),
            },
        };
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in response.headers {
            headers
                .entry(name)
                .and_modify(|values| *values = format!("{values}, {value}"))
                .or_insert(value);
        }
        Ok(Self {
            status: response.status,
            ok: (200..300).contains(&response.status),
            headers,
            body,
        })
    }
}

/// Whether a content type is `application/json` or ends with `+json`.
fn is_json(content_type: &str) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

#[cfg(test)]
mod tests;
