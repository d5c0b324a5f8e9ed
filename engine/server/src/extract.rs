//! What handlers take from a request, with a problem for everything that may be wrong with it.
//!
//! A body is taken only with its content type: a page of another origin cannot send one of
//! these without asking first, so it can start nothing.

use std::{fmt, sync::OnceLock, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::PathRejection},
    http::{HeaderMap, header, request::Parts},
};
use futures_util::StreamExt;
use heddle_json::{
    Json as JsonValue, Object,
    admit::Inadmissible,
    object::{self, kind_of},
};
use heddle_kernel::{RunId, graph::duration};
use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer},
};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    App,
    connections::OnConnection,
    fields::{self, Wrong},
    problem::{Kind, Problem},
};

/// How much of a body that is too large is read and thrown away, so that the client, which may
/// read only once it has written, gets to see the answer.
const MAX_DISCARDED: usize = 64 << 20;
/// How much memory is reserved for a body that announces its length before it arrives.
const MAX_RESERVED: usize = 64 << 10;
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// The media type of a body of which nothing more is known: generated clients send it for what they cannot name.
pub(crate) const BYTES: &str = "application/octet-stream";
/// The media type of JSON lines.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// A JSON body, as it was sent.
pub(crate) struct JsonText {
    pub(crate) text: String,
    /// What was let in of it, once it was asked for.
    admitted: OnceLock<JsonValue>,
}

impl FromRequest<App> for JsonText {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        expect_type(request.headers(), &["application/json"])?;
        Self::of(read(request, app, app.settings.max_body_bytes).await?)
    }
}

/// A JSON body that may be left out, or be null.
pub(crate) struct JsonOrNothing(JsonText);

impl FromRequest<App> for JsonOrNothing {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let typed = expect_type(request.headers(), &["application/json"]);
        let bytes = read(request, app, app.settings.max_body_bytes).await?;
        if bytes.is_empty() {
            return Ok(Self(JsonText::new("{}".to_owned())));
        }
        typed?;
        let body = JsonText::of(bytes)?;
        Ok(Self(match body.text.trim() {
            "null" => JsonText::new("{}".to_owned()),
            _ => body,
        }))
    }
}

impl JsonOrNothing {
    /// Reads the text as a `T`; of nothing as of `{}`.
    pub(crate) fn parse<'t, T: Deserialize<'t>>(&'t self) -> Result<T, Problem> {
        self.0.parse()
    }
}

impl JsonText {
    fn of(bytes: Vec<u8>) -> Result<Self, Problem> {
        String::from_utf8(bytes)
            .map(Self::new)
            .map_err(|error| Problem::new(Kind::BAD_JSON, format!("the body is not UTF-8: {error}")))
    }

    pub(crate) fn new(text: String) -> Self {
        Self {
            text,
            admitted: OnceLock::new(),
        }
    }

    /// Checks that the text is JSON, for whoever reads the rest by itself.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        match serde_json::from_str::<&RawValue>(&self.text) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.not_admitted(error.into())),
        }
    }

    /// The value, let in by the rules for all JSON from outside.
    pub(crate) fn value(&self) -> Result<&JsonValue, Problem> {
        if let Some(value) = self.admitted.get() {
            return Ok(value);
        }
        let value = object::admit(&self.text).map_err(|refused| self.not_admitted(refused))?;
        Ok(self.admitted.get_or_init(|| value))
    }

    /// Reads an object's fields as a `T`.
    pub(crate) fn parse<'t, T: Deserialize<'t>>(&'t self) -> Result<T, Problem> {
        fields::read(self.object()?)
            .map_err(|Wrong { pointer, message }| Problem::invalid_at(&pointer, message))
    }

    /// The value, which has to be an object.
    pub(crate) fn object(&self) -> Result<&JsonValue, Problem> {
        let value = self.value()?;
        match kind_of(value.get()) {
            Some("an object") => Ok(value),
            kind => {
                let kind = kind.unwrap_or("nothing");
                Err(Problem::invalid_at(
                    "",
                    format!("the body must be a JSON object, got {kind}"),
                ))
            }
        }
    }

    fn not_admitted(&self, refused: Inadmissible) -> Problem {
        let Inadmissible {
            pointer,
            problem,
            place,
        } = refused;
        match place {
            _ if self.text.trim().is_empty() => Problem::new(Kind::BAD_JSON, "the body is empty: send JSON"),
            Some(_) => Problem::new(Kind::BAD_JSON, format!("the body is {problem}")),
            None => Problem::invalid_at(&pointer, problem),
        }
    }
}

/// The state at `pointer` of a body: an object.
pub(crate) fn state_at(pointer: &str, state: &RawValue) -> Result<Object, Problem> {
    // It is a part of what was let in.
    Object::parse(state.get()).map_err(|error| Problem::invalid_at(pointer, error.to_string()))
}

/// A component's bytes.
pub(crate) struct Component(pub(crate) Vec<u8>);

impl FromRequest<App> for Component {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        expect_type(request.headers(), &["application/wasm", BYTES])?;
        read(request, app, app.settings.max_component_bytes)
            .await
            .map(Self)
    }
}

/// A run as it was exported, and the permit to import it.
pub(crate) struct Exported {
    pub(crate) text: Vec<u8>,
    pub(crate) permit: OwnedSemaphorePermit,
}

impl FromRequest<App> for Exported {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        expect_type(request.headers(), &[NDJSON, BYTES])?;
        // Before the body is read: until its turn has come, nothing of it is in memory.
        let turn = app.imports.clone().acquire_owned();
        let Ok(permit) = tokio::time::timeout(app.settings.body_timeout, turn).await else {
            let detail = format!(
                "{} runs are being imported, the limit (max_imports): try again in a moment",
                app.settings.max_imports
            );
            return Err(Problem::new(Kind::TOO_MANY_IMPORTS, detail).retry_after(5));
        };
        let permit = permit.expect("nobody closes this semaphore");
        let text = read(request, app, app.settings.max_import_bytes).await?;
        Ok(Self { text, permit })
    }
}

/// Sees to it that the body has one of the expected types, of which the first is the one to tell.
fn expect_type(headers: &HeaderMap, expected: &[&str]) -> Result<(), Problem> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or("(not text)"));
    if given.is_some_and(|given| expected.iter().any(|expected| is_type(given, expected))) {
        return Ok(());
    }
    let given = given.map_or_else(|| "none was given".to_owned(), |given| format!("got `{given}`"));
    Err(Problem::new(
        Kind::WRONG_TYPE,
        format!("send the body with `Content-Type: {}`; {given}", expected[0]),
    ))
}

/// Whether a content type is the expected one, whatever its parameters.
fn is_type(given: &str, expected: &str) -> bool {
    let essence = given.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(expected)
}

async fn read(request: Request, app: &App, limit: usize) -> Result<Vec<u8>, Problem> {
    let (parts, body) = request.into_parts();
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let too_large = || {
        Problem::new(
            Kind::TOO_LARGE,
            format!("the body is larger than its limit of {limit} bytes"),
        )
    };
    if announced.is_some_and(|announced| announced > limit) {
        // A client that asked whether to send it is told, and does not.
        if !parts.headers.contains_key(header::EXPECT) {
            discard(body.into_data_stream()).await;
        }
        return Err(too_large());
    }
    let within = app.settings.body_timeout;
    let on = parts.extensions.get::<OnConnection>();
    let mut held = app.bodies.begin(on.map(OnConnection::end).unwrap_or_default());
    let all = async {
        let mut stream = body.into_data_stream();
        // What is only announced takes no memory.
        let mut bytes = Vec::with_capacity(announced.unwrap_or_default().min(MAX_RESERVED));
        while let Some(part) = stream.next().await {
            let part =
                part.map_err(|error| Problem::new(Kind::BAD_BODY, format!("the body broke off: {error}")))?;
            if bytes.len() + part.len() > limit {
                discard(stream).await;
                return Err(too_large());
            }
            held.grow_to(bytes.len() + part.len()).await?;
            bytes.extend_from_slice(&part);
        }
        held.arrived();
        Ok(bytes)
    };
    let received = tokio::time::timeout(within, all).await.unwrap_or_else(|_| {
        Err(Problem::new(
            Kind::BODY_TIMEOUT,
            format!("the body did not arrive within {} s", within.as_secs()),
        ))
    })?;
    if let Some(on) = on {
        on.received(held);
    }
    Ok(received)
}

async fn discard(mut stream: BodyDataStream) {
    let all = async {
        let mut left = MAX_DISCARDED;
        while let Some(Ok(part)) = stream.next().await {
            match left.checked_sub(part.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whoever takes longer is cut off, which is all that can be done.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
}

/// The parameters of a query.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, app).await;
        let Query(pairs) = query.map_err(|error| Problem::new(Kind::BAD_QUERY, error.body_text()))?;
        match fields::read_query(&pairs) {
            Ok(params) => Ok(Self(params)),
            Err(wrong) => Err(Problem::new(Kind::BAD_QUERY, wrong.of_parameter())),
        }
    }
}

/// How many items a request asks for, as the parameter `name` says: 1 to `most`.
pub(crate) fn count(name: &str, given: Option<usize>, default: usize, most: usize) -> Result<usize, Problem> {
    match given.unwrap_or(default) {
        count if (1..=most).contains(&count) => Ok(count),
        count => Err(Problem::new(
            Kind::BAD_QUERY,
            format!("`{name}`: expected a whole number from 1 to {most}, got {count}"),
        )),
    }
}

/// The variable parts of a path.
pub(crate) struct Parted<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Parted<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, app).await;
        path.map(|Path(parts)| Self(parts))
            .map_err(|error| Problem::new(Kind::BAD_REQUEST, path_error(&error)))
    }
}

/// What is wrong with a path. Its parts are texts and whole numbers.
pub(crate) fn path_error(error: &PathRejection) -> String {
    use axum::extract::path::ErrorKind as E;
    let PathRejection::FailedToDeserializePathParams(inner) = error else {
        return error.body_text();
    };
    match inner.kind() {
        E::ParseErrorAtIndex { value, .. }
        | E::ParseErrorAtKey { value, .. }
        | E::ParseError { value, .. } => {
            format!("expected a whole number in the path, got {value:?}")
        }
        E::InvalidUtf8InPathParam { .. } => "the path is not UTF-8".to_owned(),
        _ => error.body_text(),
    }
}

/// The run that a path names.
pub(crate) struct RunPath(pub(crate) RunId);

impl FromRequestParts<App> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Parted(text) = Parted::<String>::from_request_parts(parts, app).await?;
        run_id(&text).map(Self)
    }
}

/// The run's id that this text is.
pub(crate) fn run_id(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("`{text}` is no run's id: expected a UUID, as POST /graph/run answers it");
        Problem::new(Kind::BAD_ID, detail)
    })
}

/// That there is no run with this id.
pub(crate) fn no_such_run(run: RunId) -> Problem {
    Problem::new(Kind::NO_SUCH_RUN, format!("there is no run {run}"))
}

/// Reads a duration: `500ms`, `30s`, `1h30m`; null stands for none.
pub(crate) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Option<Duration>;

        fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_str(self)
        }

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"30s\", as a string")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let ms = duration(text).map_err(E::custom)?;
            Ok(Some(Duration::from_millis(ms)))
        }
    }
    deserializer.deserialize_option(Visitor)
}

/// The body of an answer that was made from JSON text.
pub(crate) fn json_body(text: String) -> ([(header::HeaderName, &'static str); 1], Body) {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(text))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn spans_are_durations_as_everywhere() {
        #[derive(Debug, Deserialize)]
        struct Body {
            #[serde(default, deserialize_with = "span")]
            wait: Option<Duration>,
        }
        let read = |text: &str| {
            let pairs = [("wait".to_owned(), text.to_owned())];
            let read = fields::read_query::<Body>(&pairs);
            read.map(|body| body.wait.expect("it is given").as_millis())
        };
        for (text, expected) in [
            ("30s", 30_000),
            ("250ms", 250),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("30s1m", 90_000),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for (wrong, problem) in [
            ("", "expected a duration"),
            ("s", "expected a duration"),
            ("30", "a number has a unit, as in \"30s\""),
            ("1m30", "expected a duration"),
            ("1.5s", "expected a duration"),
            ("-1s", "cannot be negative"),
            ("-1", "cannot be negative"),
            ("36501d", "longer than the longest duration, 36500d"),
        ] {
            assert!(read(wrong).unwrap_err().message.contains(problem), "{wrong}");
        }
    }

    #[test]
    fn a_content_type_may_have_parameters() {
        assert!(is_type("application/json", "application/json"));
        assert!(is_type("Application/JSON; charset=utf-8", "application/json"));
        assert!(!is_type("text/plain", "application/json"));
        assert!(!is_type("text/plain; application/json", "application/json"));
        assert!(!is_type("application/json, text/plain", "application/json"));
    }

    fn check_parse(text: &str, expect: Expect) {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            #[serde(rename = "graph")]
            _graph: String,
        }
        let body = JsonText::new(text.to_owned());
        let told = body.parse::<Body>().expect_err("the text is wrong");
        expect.assert_eq(told.detail());
    }

    #[test]
    fn a_body_is_a_json_object_by_the_rules_for_all_json_or_is_told_why_not() {
        check_parse("", expect!["the body is empty: send JSON"]);
        check_parse(" \n", expect!["the body is empty: send JSON"]);
        check_parse(
            "{\n  \"graph\": }",
            expect!["the body is not JSON: expected value at line 2 column 12"],
        );
        check_parse(
            "{\"grap\": 1}",
            expect!["/grap: unknown field; known here: graph"],
        );
        check_parse(
            "{\"graph\": 1}",
            expect!["/graph: expected a string, got a number"],
        );
        check_parse("[\"g\"]", expect!["the body must be a JSON object, got an array"]);
        check_parse("null", expect!["the body must be a JSON object, got null"]);
        check_parse(
            r#"{"graph": "g", "graph": "h"}"#,
            expect!["/graph: the key `graph` is given twice: keep one of the two"],
        );
        check_parse(
            r#"{"graph": "\ud800"}"#,
            expect![[
                r#"/graph: the string has `\ud800`, half of a surrogate pair, which is no character: write the character itself, or both halves"#
            ]],
        );
        check_parse(
            r#"{"graph": 1E400}"#,
            expect![
                "/graph: the number `1E400` is beyond the range of a double (about ±1.8e308): give it as a string"
            ],
        );
    }

    #[test]
    fn a_count_is_from_1_to_its_limit() {
        assert_eq!(count("limit", None, 50, 100).ok(), Some(50));
        assert_eq!(count("limit", Some(100), 50, 100).ok(), Some(100));
        for wrong in [0, 101] {
            let told = count("limit", Some(wrong), 50, 100).expect_err("it is outside");
            assert_eq!(
                told.detail(),
                format!("`limit`: expected a whole number from 1 to 100, got {wrong}")
            );
        }
    }

    #[test]
    fn a_state_is_an_object() {
        let raw = RawValue::from_string("\"some data\"".to_owned()).expect("JSON");
        let told = state_at("/initial_state", &raw).expect_err("a string is no state");
        expect!["/initial_state: expected a JSON object, got a string"].assert_eq(told.detail());
    }
}
