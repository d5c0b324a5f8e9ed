//! The chat function against answers as the API writes them.

use std::{cell::RefCell, rc::Rc};

use heddle_plugin::{Kind, testing};

use super::*;

/// Answers every request with this response, in pieces of `piece_bytes`. Returns the requests that arrive.
fn answers(
    status: u16,
    headers: &[(&str, &str)],
    body: &str,
    piece_bytes: usize,
) -> Rc<RefCell<Vec<heddle_plugin::http::Request>>> {
    let requests = Rc::new(RefCell::new(Vec::new()));
    let kept = requests.clone();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    let body = body.as_bytes().to_vec();
    testing::answer_requests(move |request| {
        kept.borrow_mut().push(request.clone());
        Ok(Response {
            status,
            headers: headers.clone(),
            body: body.clone(),
        })
    });
    testing::answer_in_pieces(piece_bytes);
    requests
}

const EVENTS: &[(&str, &str)] = &[("content-type", "text/event-stream; charset=utf-8")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn chunk(delta: Value, finish_reason: Option<&str>) -> String {
    let chunk = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-2026", "system_fingerprint": null,
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}], "usage": null,
    });
    format!("data: {chunk}\n\n")
}

fn streamed(chunks: &[String]) -> String {
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12});
    let usage = json!({"id": "chatcmpl-1", "model": "m-2026", "choices": [], "usage": usage});
    format!("{}data: {usage}\n\ndata: [DONE]\n\n", chunks.concat())
}

fn chat(more: Value) -> Result<Value> {
    let mut input = json!({"model": "m", "prompt": "Say hello."});
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    testing::call("chat", input)
}

#[test]
fn a_streamed_answer_is_emitted_as_it_comes_and_given_whole() {
    let body = streamed(&[
        chunk(json!({"role": "assistant", "content": ""}), None),
        chunk(json!({"content": "Héllo"}), None),
        chunk(json!({"content": ", wörld 🧵"}), None),
        chunk(json!({}), Some("stop")),
    ]);
    for piece_bytes in [1, 2, 3, 7, 100, usize::MAX] {
        answers(200, EVENTS, &body, piece_bytes);
        let output = chat(json!({})).unwrap();
        assert_eq!(output["text"], "Héllo, wörld 🧵");
        assert_eq!(output["finish_reason"], "stop");
        assert_eq!(output["usage"]["total_tokens"], 12);
        assert_eq!(
            (&output["model"], &output["id"]),
            (&json!("m-2026"), &json!("chatcmpl-1"))
        );
        assert_eq!(
            output["message"],
            json!({"role": "assistant", "content": "Héllo, wörld 🧵"})
        );
        assert_eq!(
            testing::emitted(),
            [json!({"delta": "Héllo"}), json!({"delta": ", wörld 🧵"})]
        );
    }
}

#[test]
fn the_request_is_what_the_api_takes() {
    let requests = answers(
        200,
        EVENTS,
        &streamed(&[chunk(json!({"content": "{}"}), Some("stop"))]),
        64,
    );
    let tools =
        json!([{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]);
    chat(json!({
        "base_url": "http://127.0.0.1:1/v1/", "authorization": "Bearer ${secret.KEY}", "headers": {"x-team": "loom"},
        "system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}],
        "temperature": 0.5, "max_tokens": 20, "schema": {"type": "object"}, "tools": tools, "tool_choice": "auto",
        "extra": {"seed": 7, "model": "ignored"},
    }))
    .unwrap();
    let requests = requests.borrow();
    let request = &requests[0];
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        ("POST", "http://127.0.0.1:1/v1/chat/completions")
    );
    let header = |name: &str| {
        request
            .headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(header("authorization"), Some("Bearer ${secret.KEY}"));
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("x-team"), Some("loom"));
    let body: Value = heddle_plugin::serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        body,
        json!({
            "model": "m", "temperature": 0.5, "max_tokens": 20, "seed": 7, "stream": true,
            "stream_options": {"include_usage": true}, "tools": tools, "tool_choice": "auto",
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": true},
            },
            "messages": [
                {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Say hello."},
            ],
        })
    );
}

#[test]
fn calls_of_tools_are_put_together_from_their_pieces() {
    let first = json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}]});
    let piece =
        |index: u32, text: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]});
    let second = json!({"tool_calls": [{"index": 1, "id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}}]});
    let body = streamed(&[
        chunk(first, None),
        chunk(piece(0, "{\"ci"), None),
        chunk(second, None),
        chunk(piece(0, "ty\": 1}"), None),
        chunk(json!({}), Some("tool_calls")),
    ]);
    answers(200, EVENTS, &body, 5);
    let output = chat(json!({})).unwrap();
    let calls = json!([
        {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{\"city\": 1}"}},
        {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ]);
    assert_eq!((&output["tool_calls"], &output["text"]), (&calls, &json!("")));
    assert_eq!(
        output["message"],
        json!({"role": "assistant", "content": null, "tool_calls": calls})
    );
    assert!(testing::emitted().is_empty());
}

#[test]
fn an_answer_that_follows_a_schema_is_parsed() {
    let answer = |content: &str, finish_reason: &str| {
        let body = json!({
            "id": "c", "object": "chat.completion", "model": "m", "usage": {"total_tokens": 1},
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content, "refusal": null}, "finish_reason": finish_reason}],
        });
        answers(200, JSON, &body.to_string(), 10);
        chat(json!({"schema": {"type": "object"}, "stream": false}))
    };
    assert_eq!(answer("{\"n\": 1}", "stop").unwrap()["json"], json!({"n": 1}));
    let error = answer("{\"n\": 1", "stop").unwrap_err();
    assert_eq!(error.kind, Kind::Retryable);
    let error = answer("{\"n\": 1", "length").unwrap_err();
    assert_eq!(error.kind, Kind::Permanent);
    assert!(error.message.ends_with("raise `max_tokens`"), "{error}");
}

#[test]
fn a_refusal_has_the_apis_message_and_says_whether_to_try_again() {
    let body = r#"{"error": {"message": "Slow down.", "type": "requests", "param": null, "code": "rate_limit_exceeded"}}"#;
    for (status, kind) in [
        (400, Kind::Permanent),
        (401, Kind::Permanent),
        (404, Kind::Permanent),
        (429, Kind::Retryable),
        (500, Kind::Retryable),
        (503, Kind::Retryable),
        (529, Kind::Retryable),
    ] {
        answers(status, &[("retry-after", "7")], body, 9);
        let error = chat(json!({})).unwrap_err();
        assert_eq!(error.kind, kind, "{status}");
        assert_eq!(
            error.message,
            format!("the API refused the request with status {status}: Slow down.")
        );
        let data =
            json!({"status": status, "retry_after_s": 7, "type": "requests", "code": "rate_limit_exceeded"});
        assert_eq!(error.data, Some(data));
    }
    answers(502, &[], "<html>bad gateway", 9);
    let error = chat(json!({})).unwrap_err();
    assert!(
        error.message.ends_with("status 502: <html>bad gateway"),
        "{error}"
    );
}

#[test]
fn an_answer_that_breaks_off_is_to_be_tried_again() {
    let begun = chunk(json!({"content": "Hel"}), None);
    answers(200, EVENTS, &begun, 8);
    let error = chat(json!({})).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (Kind::Retryable, "the API's answer broke off before its end")
    );
    let failed = format!(
        "{begun}data: {{\"error\": {{\"message\": \"The server is overloaded.\", \"code\": \"overloaded\"}}}}\n\n"
    );
    answers(200, EVENTS, &failed, 8);
    let error = chat(json!({})).unwrap_err();
    assert_eq!(error.kind, Kind::Retryable);
    assert_eq!(
        error.message,
        "the API broke off its answer: The server is overloaded."
    );
    // Without `[DONE]`, the reason why it finished is an end, too.
    answers(200, EVENTS, &(begun + &chunk(json!({}), Some("length"))), 8);
    assert_eq!(chat(json!({})).unwrap()["finish_reason"], "length");
}

#[test]
fn invalid_requests_are_refused() {
    let error = testing::call("chat", json!({"model": "m"})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    let error = chat(json!({"authorization": "a", "headers": {"Authorization": "b"}})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    let error = chat(json!({"temprature": 1})).unwrap_err();
    assert!(error.message.contains("unknown field `temprature`"), "{error}");
}
