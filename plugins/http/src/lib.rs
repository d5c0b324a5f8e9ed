//! Makes HTTP requests to hosts that the operator granted to this plugin.
//!
//! An answer is a result whatever its status, but for the statuses that may go well another time:
//! these fail the call as retryable, so that the graph's policy tries again, with the same key.

use std::collections::BTreeMap;

use heddle_plugin::{
    http::{Request, Response},
    prelude::*,
};

/// A request.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The method, in capitals.
    #[serde(default = "get")]
    method: String,
    /// The whole URL, as in https://api.example.org/v1/orders?open=true.
    url: String,
    /// The headers, by name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A body in JSON.
    json: Option<Value>,
    /// A body as text, in place of `json`.
    body: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// An answer.
#[derive(Serialize, JsonSchema)]
struct Answered {
    /// The status.
    status: u16,
    /// Whether the status is one of those from 200 to 299.
    ok: bool,
    /// The headers by name, in lower case. Several of one name are joined with commas.
    headers: BTreeMap<String, String>,
    /// The body: parsed where it says that it is JSON, else as text; null for none.
    body: Value,
}

/// Sends an HTTP request and gives the answer, with its body as JSON or text.
#[tool]
fn request(asked: Asked) -> Result<Answered> {
    let mut request = Request::new(asked.method, asked.url);
    request = match (asked.json, asked.body) {
        (Some(_), Some(_)) => return Err(Error::invalid_input("give one of `json` and `body`, not both")),
        (Some(json), None) => {
            let says = asked
                .headers
                .keys()
                .any(|name| name.eq_ignore_ascii_case("content-type"));
            match says {
                true => request.body(json.to_string()),
                false => request.json(&json)?,
            }
        }
        (None, Some(text)) => request.body(text),
        (None, None) => request,
    };
    request.headers.extend(asked.headers);
    let response = request.send()?;
    let is_passing = response.is_passing();
    let answered = Answered::try_from(response)?;
    if is_passing {
        let message = format!("the answer has status {}, which may pass", answered.status);
        return Err(Error::retryable(message).with_data(json!(answered)));
    }
    Ok(answered)
}

impl TryFrom<Response> for Answered {
    type Error = Error;

    fn try_from(response: Response) -> Result<Self> {
        let body = match &response.body[..] {
            [] => Value::Null,
            _ if is_json(response.header("content-type").unwrap_or_default()) => {
                response.json().context("the body of the answer")?
            }
            _ => response
                .text()
                .context("the body of the answer is no text")?
                .into(),
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

/// Whether a content type is JSON's own or is written in JSON.
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
mod tests {
    use heddle_plugin::{Kind, testing};

    use super::*;

    fn answers(status: u16, content_type: &str, body: &str) {
        let (headers, body) = (
            vec![
                ("content-type".to_owned(), content_type.to_owned()),
                ("set-cookie".to_owned(), "a".to_owned()),
                ("set-cookie".to_owned(), "b".to_owned()),
            ],
            body.as_bytes().to_vec(),
        );
        testing::answer_requests(move |_| {
            Ok(Response {
                status,
                headers: headers.clone(),
                body: body.clone(),
            })
        });
    }

    fn call(input: Value) -> Result<Value> {
        testing::call("request", input)
    }

    #[test]
    fn a_body_is_json_where_it_says_so_and_text_elsewhere() {
        let url = json!({"url": "https://a.org"});
        for (content_type, body, expected) in [
            ("application/json; charset=utf-8", r#"{"a": 1}"#, json!({"a": 1})),
            ("application/problem+json", "[]", json!([])),
            ("text/plain", r#"{"a": 1}"#, json!(r#"{"a": 1}"#)),
            ("application/json", "", Value::Null),
        ] {
            answers(404, content_type, body);
            let answer = call(url.clone()).unwrap();
            assert_eq!(answer["body"], expected);
            assert_eq!((&answer["status"], &answer["ok"]), (&json!(404), &json!(false)));
            assert_eq!(answer["headers"]["set-cookie"], "a, b");
        }
        answers(200, "application/json", "{");
        assert!(
            call(url)
                .unwrap_err()
                .message
                .starts_with("the body of the answer")
        );
    }

    #[test]
    fn a_status_that_may_pass_is_a_failure_to_be_retried() {
        for status in [429, 503] {
            answers(status, "text/plain", "later");
            let error = call(json!({"url": "https://a.org"})).unwrap_err();
            assert_eq!(error.kind, Kind::Retryable);
            assert_eq!(error.data.unwrap()["body"], "later");
        }
    }

    #[test]
    fn a_request_is_sent_as_it_was_asked_for() {
        testing::answer_requests(|request| {
            let seen = json!({
                "method": request.method, "url": request.url, "headers": request.headers,
                "body": String::from_utf8_lossy(&request.body),
            });
            Ok(Response {
                status: 200,
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: seen.to_string().into_bytes(),
            })
        });
        let seen = |input: Value| call(input).unwrap()["body"].take();
        let asked =
            json!({"method": "PUT", "url": "https://a.org/b", "headers": {"x": "y"}, "json": {"n": 1}});
        assert_eq!(
            seen(asked),
            json!({
                "method": "PUT", "url": "https://a.org/b", "body": r#"{"n":1}"#,
                "headers": [["content-type", "application/json"], ["x", "y"]],
            })
        );
        let asked = json!({"url": "https://a.org", "headers": {"Content-Type": "a/b+json"}, "json": 1});
        assert_eq!(seen(asked)["headers"], json!([["Content-Type", "a/b+json"]]));
        assert_eq!(
            seen(json!({"url": "https://a.org", "body": "text"}))["body"],
            "text"
        );
        let both = call(json!({"url": "https://a.org", "body": "a", "json": 1})).unwrap_err();
        assert_eq!(both.kind, Kind::InvalidInput);
    }
}
