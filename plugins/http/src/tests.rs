//! The request function against answers that a test gives.

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
fn a_request_is_sent_as_given() {
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
    let input = json!({"method": "PUT", "url": "https://a.org/b", "headers": {"x": "y"}, "json": {"n": 1}});
    assert_eq!(
        seen(input),
        json!({
            "method": "PUT", "url": "https://a.org/b", "body": r#"{"n":1}"#,
            "headers": [["content-type", "application/json"], ["x", "y"]],
        })
    );
    let input = json!({"url": "https://a.org", "headers": {"Content-Type": "a/b+json"}, "json": 1});
    assert_eq!(seen(input)["headers"], json!([["Content-Type", "a/b+json"]]));
    assert_eq!(
        seen(json!({"url": "https://a.org", "body": "text"}))["body"],
        "text"
    );
    let both = call(json!({"url": "https://a.org", "body": "a", "json": 1})).unwrap_err();
    assert_eq!(both.kind, Kind::InvalidInput);
}

#[test]
fn a_query_is_added_to_the_url() {
    testing::answer_requests(|request| {
        Ok(Response {
            status: 200,
            headers: Vec::new(),
            body: request.url.clone().into_bytes(),
        })
    });
    let url = |url: &str| {
        let query = json!({"q": "a b&c=é", "n": 1, "many": ["x", true], "none": null});
        call(json!({"url": url, "query": query})).unwrap()["body"].take()
    };
    let added = "many=x&many=true&n=1&q=a%20b%26c%3D%C3%A9";
    assert_eq!(url("https://a.org/b"), format!("https://a.org/b?{added}"));
    assert_eq!(url("https://a.org/b?c#d"), format!("https://a.org/b?c&{added}"));
    let error = call(json!({"url": "https://a.org", "query": {"a": {"b": 1}}})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
}

#[test]
fn a_body_is_read_as_it_is_asked_for_and_has_a_limit() {
    let read = |read: &str, body: &str| {
        answers(200, "text/plain", body);
        call(json!({"url": "https://a.org", "read": read})).map(|mut answer| answer["body"].take())
    };
    assert_eq!(read("json", "[1]").unwrap(), json!([1]));
    assert_eq!(read("text", "[1]").unwrap(), "[1]");
    for (body, expected) in [
        ("", ""),
        ("a", "YQ=="),
        ("ab", "YWI="),
        ("abc", "YWJj"),
        ("é?>~", "w6k/Pn4="),
    ] {
        assert_eq!(read("base64", body).unwrap(), expected);
    }
    assert!(read("json", "no").is_err());
    answers(200, "text/plain", "12345");
    assert!(call(json!({"url": "https://a.org", "max_bytes": 5})).is_ok());
    let error = call(json!({"url": "https://a.org", "max_bytes": 4})).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (Kind::Permanent, "the response has more than 4 bytes")
    );
}

#[test]
fn a_status_that_tells_of_an_error_fails_the_call_where_it_is_checked() {
    answers(404, "application/json", r#"{"detail": "no order 7"}"#);
    let error = call(json!({"url": "https://a.org", "check": true})).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (Kind::Permanent, "the response has status 404")
    );
    assert_eq!(error.data.unwrap()["body"]["detail"], "no order 7");
    answers(302, "text/plain", "");
    assert!(call(json!({"url": "https://a.org", "check": true})).is_ok());
}

#[test]
fn a_failure_carries_the_retry_delay_even_if_the_body_is_broken() {
    testing::answer_requests(|_| {
        Ok(Response {
            status: 503,
            headers: vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("retry-after".to_owned(), "30".to_owned()),
            ],
            body: b"<html>".to_vec(),
        })
    });
    let error = call(json!({"url": "https://a.org"})).unwrap_err();
    assert_eq!(error.kind, Kind::Retryable);
    let data = error.data.unwrap();
    assert_eq!(
        (&data["retry_after_s"], &data["body"]),
        (&json!(30), &json!("<html>"))
    );
}
