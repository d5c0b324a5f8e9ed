//! HTTP requests to hosts that the operator granted to the plugin.
//!
//! ```no_run
//! # use heddle_plugin::{Result, http::Request};
//! # #[derive(serde::Deserialize)] struct Order { id: u64 }
//! # fn order() -> Result<Order> {
//! let answer = Request::get("https://api.example.org/v1/orders/7").header("accept", "application/json").send()?;
//! let order: Order = answer.checked()?.json()?;
//! # Ok(order) }
//! ```
//!
//! A request that the operator did not grant fails with an error that says what to add to the policy.
//! The engine gives each request of a call an `idempotency-key` that is the same on every attempt of the
//! step, unless the request has one. It follows no redirect.
//!
//! [`Request::open`] returns the response when its head arrives; its body is read as it arrives, in pieces or as
//! [server-sent events](Incoming::events).

mod date;
mod events;
#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(not(target_arch = "wasm32"))]
#[path = "native.rs"]
pub(crate) mod guest;

pub use events::{Event, Events};

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result, json};

/// An HTTP request to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The whole URL: `https://host/path?query`.
    pub url: String,
    /// The headers, in the order in which they were added.
    pub headers: Vec<(String, String)>,
    /// The body; empty if there is none.
    pub body: Vec<u8>,
}

/// A response with any status, also of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code, such as 200.
    pub status: u16,
    /// The headers, with names in lower case. Headers whose value is not text are left out.
    pub headers: Vec<(String, String)>,
    /// The whole body; empty if there is none.
    pub body: Vec<u8>,
}

/// A response whose body has not been read.
pub struct Incoming {
    /// The status code, such as 200.
    pub status: u16,
    /// The headers, with names in lower case. Headers whose value is not text are left out.
    pub headers: Vec<(String, String)>,
    body: guest::Body,
}

impl Request {
    /// A request without headers or a body.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A `GET` request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A `POST` request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// The same with one more header. In its value, `${secret.NAME}` stands for a secret of the operator, which
    /// is inserted when the request is sent and which the plugin never has.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with this body.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// The same with a JSON body and its content type.
    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Result<Self> {
        let body = json::to_text(body, format_args!("the body of a request"))?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// Sends the request and waits for the whole response.
    ///
    /// # Errors
    /// Permanent if the request is invalid or was not granted; retryable if the host could not be
    /// reached or did not answer. A response with an error status is not an error here.
    pub fn send(&self) -> Result<Response> {
        self.open()?.read()
    }

    /// Sends the request and waits for the response's status and headers. The body is read as it arrives.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn open(&self) -> Result<Incoming> {
        guest::open(self, &Url::parse(&self.url)?)
    }

    /// The request as errors show it: without its query and its user, which may hold secrets.
    fn shown(&self) -> String {
        format!("{} {}", self.method, without_secrets(&self.url))
    }
}

/// A URL without parts that may be secret. A password may have any character if the URL is not valid, so all up to
/// the last `@` is left out, unless it comes after the `/` of a path.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url
        .split_once("://")
        .map_or(("", url), |(scheme, rest)| (scheme, rest));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, rest) = match authority.rfind('@') {
        Some(at) => ("***@", &rest[at + 1..]),
        None => ("", rest),
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    match scheme {
        "" => format!("{user}{rest}"),
        scheme => format!("{scheme}://{user}{rest}"),
    }
}

impl Response {
    /// The value of the first header with this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The response, if its status is not an error.
    ///
    /// # Errors
    /// Retryable for the statuses of temporary errors (408, 425, 429, 500, 502, 503, 504),
    /// permanent for every other status from 400 on; with the beginning of the body, and in its data the `status` and, if
    /// the response says how long to wait, `retry_after_s`.
    pub fn checked(self) -> Result<Self> {
        let status = self.status;
        if status < 400 {
            return Ok(self);
        }
        let start: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        let message = format!("the response has status {status}: {start}");
        let error = match self.is_passing() {
            true => Error::retryable(message),
            false => Error::permanent(message),
        };
        let mut data = serde_json::json!({ "status": status });
        if let Some(seconds) = self.retry_after_s() {
            data["retry_after_s"] = seconds.into();
        }
        Err(error.with_data(data))
    }

    /// The seconds to wait according to the header `retry-after`. If it contains a time, they are counted
    /// from the response's own `date`, because a plugin's clock may not advance.
    pub fn retry_after_s(&self) -> Option<u64> {
        date::retry_after_s(self.header("retry-after")?, self.header("date"))
    }

    /// Whether the status is a temporary error.
    pub fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }

    /// The JSON body, parsed as a type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        json::parse(self.text()?).map_err(|malformed| {
            Error::permanent(format!(
                "the response's body is not what was expected: {malformed}"
            ))
        })
    }
}

impl Incoming {
    /// The value of the first header with this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The next bytes of the body, as soon as there are any; `None` at the end.
    ///
    /// # Errors
    /// Retryable if the connection broke off, permanent if the body is larger than its limit.
    pub fn next_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        self.body.next()
    }

    /// The rest of the body as server-sent events, each as soon as it is complete.
    pub fn events(self) -> Events {
        Events::of(self)
    }

    /// Waits for the rest of the body.
    pub fn read(self) -> Result<Response> {
        self.read_at_most(usize::MAX)
    }

    /// Waits for the rest of the body. Fails if it is larger than `bytes`.
    ///
    /// # Errors
    /// Those of [`next_bytes`](Self::next_bytes), and permanent if the body is larger.
    pub fn read_at_most(mut self, bytes: usize) -> Result<Response> {
        let mut body = Vec::new();
        while let Some(more) = self.next_bytes()? {
            if more.len() > bytes - body.len() {
                return Err(Error::permanent(format!(
                    "the response has more than {bytes} bytes"
                )));
            }
            body.extend_from_slice(&more);
        }
        Ok(Response {
            status: self.status,
            headers: self.headers,
            body,
        })
    }
}

/// The value of the first header with this name.
fn find<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let found = headers.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.as_str())
}

/// The parts of a URL.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    is_https: bool,
    authority: &'a str,
    /// With the query; begins with `/`, `?` or nothing.
    path: &'a str,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Result<Self> {
        let wrong = |what: fmt::Arguments<'_>| {
            Error::permanent(format!("`{url}` is not a URL for a request: {what}"))
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong(format_args!("write it like https://api.example.org/v1")))?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong(format_args!("its scheme is neither http nor https"))),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() {
            return Err(wrong(format_args!("it names no host")));
        }
        Ok(Self {
            is_https,
            authority,
            path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn an_url_is_taken_apart() {
        let url = Url::parse("HTTPS://me@a.org:81/b?c=/d#e").expect("it is one");
        assert_eq!(
            (url.is_https, url.authority, url.path),
            (true, "me@a.org:81", "/b?c=/d")
        );
        let url = Url::parse("http://a.org?b").expect("it is one");
        assert_eq!((url.is_https, url.authority, url.path), (false, "a.org", "?b"));
        for (odd, expected) in [
            ("a.org", "like https://"),
            ("ftp://a", "neither http nor https"),
            ("http:///a", "no host"),
        ] {
            let error = Url::parse(odd).expect_err("it is none");
            assert!(error.message.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_user_and_query() {
        for (url, expected) in [
            ("http://u:s3cretpw@ho st/", "http://***@ho st/"),
            ("http://u:p#w?@host/a?key=b", "http://***@host/a"),
            ("https://host:81/@me?key=b#c", "https://host:81/@me"),
            ("u:pw@host", "***@host"),
            ("host", "host"),
        ] {
            assert_eq!(without_secrets(url), expected);
        }
    }

    #[test]
    fn a_status_says_whether_to_try_again() {
        let answer = |status| Response {
            status,
            headers: vec![("a".into(), "b".into())],
            body: b"{\"n\": 1}".to_vec(),
        };
        let ok = answer(204).checked().expect("no error");
        assert_eq!((ok.header("a"), ok.header("c")), (Some("b"), None));
        assert_eq!(ok.json::<serde_json::Value>().expect("it is JSON")["n"], 1);
        for (status, kind) in [
            (404, Kind::Permanent),
            (429, Kind::Retryable),
            (503, Kind::Retryable),
            (501, Kind::Permanent),
        ] {
            let error = answer(status).checked().expect_err("an error");
            assert_eq!(error.kind, kind, "{status}");
            assert_eq!(
                error.message,
                format!("the response has status {status}: {{\"n\": 1}}")
            );
        }
    }

    #[test]
    fn a_test_answers_requests() {
        let request = Request::post("https://a.org/b?secret")
            .json(&[1])
            .expect("it is JSON");
        let refused = request.send().expect_err("nobody answers");
        assert!(
            refused.message.starts_with("POST https://a.org/b was not sent"),
            "{refused}"
        );
        crate::testing::answer_requests(|request| {
            assert_eq!(request.body, b"[1]");
            Ok(Response {
                status: 201,
                headers: request.headers.clone(),
                body: Vec::new(),
            })
        });
        let answer = request.send().expect("it is answered");
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (201, Some("application/json"))
        );
    }
}
