//! What handlers take from a request, with a problem for everything that may be wrong with it.
//!
//! A body is taken only with its content type: a page of another origin cannot send one of
//! these without asking first, so it can start nothing.

use std::{fmt, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::QueryRejection},
    http::{HeaderMap, header, request::Parts},
};
use futures_util::StreamExt;
use heddle_kernel::{Object, RunId, graph::duration};
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::value::RawValue;

use crate::{
    App,
    problem::{Kind, Problem},
};

/// How much of a body that is too large is read and thrown away, so that the client, which may
/// read only once it has written, gets to see the answer.
const MAX_DISCARDED: usize = 64 << 20;
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// The media type of JSON lines.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// A JSON body, as text.
pub(crate) struct JsonText(pub(crate) String);

impl FromRequest<App> for JsonText {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        expect_type(request.headers(), "application/json")?;
        Self::of(read(request, app, app.settings.max_body_bytes).await?)
    }
}

/// A JSON body that may be left out.
pub(crate) struct JsonOrNothing(JsonText);

impl FromRequest<App> for JsonOrNothing {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let typed = expect_type(request.headers(), "application/json");
        let bytes = read(request, app, app.settings.max_body_bytes).await?;
        if bytes.is_empty() {
            return Ok(Self(JsonText("{}".to_owned())));
        }
        typed?;
        JsonText::of(bytes).map(Self)
    }
}

impl JsonOrNothing {
    /// Reads the text as a `T`; of nothing as of `{}`.
    pub(crate) fn parse<'t, T: serde::Deserialize<'t>>(&'t self) -> Result<T, Problem> {
        self.0.parse()
    }
}

impl JsonText {
    fn of(bytes: Vec<u8>) -> Result<Self, Problem> {
        String::from_utf8(bytes)
            .map(Self)
            .map_err(|error| Problem::new(Kind::BAD_JSON, format!("the body is not UTF-8: {error}")))
    }

    /// Checks that the text is JSON, whatever it says.
    pub(crate) fn check(&self) -> Result<&RawValue, Problem> {
        self.parse()
    }

    /// Reads the text as a `T`.
    pub(crate) fn parse<'t, T: serde::Deserialize<'t>>(&'t self) -> Result<T, Problem> {
        serde_json::from_str(&self.0).map_err(|error| {
            if error.is_data() {
                return Problem::invalid_at("", error.to_string());
            }
            let hint = if self.0.trim().is_empty() {
                "the body is empty"
            } else {
                "the body is not JSON"
            };
            Problem::new(Kind::BAD_JSON, format!("{hint}: {error}"))
        })
    }
}

/// The state at `pointer` of a body: an object.
pub(crate) fn state_at(pointer: &str, state: &RawValue) -> Result<Object, Problem> {
    Object::parse(state.get()).map_err(|error| Problem::invalid_at(pointer, error.to_string()))
}

/// A component's bytes.
pub(crate) struct Component(pub(crate) Vec<u8>);

impl FromRequest<App> for Component {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        expect_type(request.headers(), "application/wasm")?;
        read(request, app, app.settings.max_component_bytes)
            .await
            .map(Self)
    }
}

/// A run as it was exported.
pub(crate) struct Exported(pub(crate) Vec<u8>);

impl FromRequest<App> for Exported {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        expect_type(request.headers(), NDJSON)?;
        read(request, app, app.settings.max_import_bytes).await.map(Self)
    }
}

fn expect_type(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or("(not text)"));
    if given.is_some_and(|given| is_type(given, expected)) {
        return Ok(());
    }
    let given = given.map_or_else(|| "none was given".to_owned(), |given| format!("got `{given}`"));
    Err(Problem::new(
        Kind::WRONG_TYPE,
        format!("send the body with `Content-Type: {expected}`; {given}"),
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
    let all = async {
        let mut stream = body.into_data_stream();
        let mut bytes = Vec::with_capacity(announced.unwrap_or_default());
        while let Some(part) = stream.next().await {
            let part =
                part.map_err(|error| Problem::new(Kind::BAD_BODY, format!("the body broke off: {error}")))?;
            if bytes.len() + part.len() > limit {
                discard(stream).await;
                return Err(too_large());
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    };
    tokio::time::timeout(within, all).await.unwrap_or_else(|_| {
        Err(Problem::new(
            Kind::BODY_TIMEOUT,
            format!("the body did not arrive within {} s", within.as_secs()),
        ))
    })
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
        let query = Query::from_request_parts(parts, app).await;
        query
            .map(|Query(params)| Self(params))
            .map_err(|error| Problem::new(Kind::BAD_QUERY, query_error(&error)))
    }
}

/// What is wrong with a query, without what every such error begins with.
pub(crate) fn query_error(error: &QueryRejection) -> String {
    let text = error.body_text();
    match text.strip_prefix("Failed to deserialize query string: ") {
        Some(particular) => particular.to_owned(),
        None => text,
    }
}

/// The variable parts of a path.
pub(crate) struct Parted<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Parted<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, app).await;
        path.map(|Path(parts)| Self(parts))
            .map_err(|error| Problem::new(Kind::BAD_REQUEST, error.body_text()))
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

/// Reads a duration: `500ms`, `30s`, `1h30m`, or digits alone for seconds; null stands for none.
pub(crate) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"30s\", as a string")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            parse_span(text).map(Some).map_err(E::custom)
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Visitor).map_err(D::Error::custom)
}

/// A duration as everywhere, or digits alone for seconds.
fn parse_span(text: &str) -> Result<Duration, String> {
    let seconds = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let ms = match seconds {
        true => duration(&format!("{text}s"))?,
        false => duration(text)?,
    };
    Ok(Duration::from_millis(ms))
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
    fn spans_have_a_unit_or_are_seconds() {
        let ms = |text| parse_span(text).map(|span| span.as_millis());
        for (text, expected) in [
            ("30s", 30_000),
            ("30", 30_000),
            ("250ms", 250),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(ms(text), Ok(expected), "{text}");
        }
        for (wrong, problem) in [
            ("", "expected a duration"),
            ("s", "expected a duration"),
            ("1.5s", "expected a duration"),
            ("-1s", "cannot be negative"),
            ("-1", "cannot be negative"),
            ("36501d", "longer than the longest duration, 36500d"),
            ("99999999999999999999", "longer than the longest duration, 36500d"),
        ] {
            assert!(ms(wrong).unwrap_err().contains(problem), "{wrong}");
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
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            #[serde(rename = "graph")]
            _graph: String,
        }
        let body = JsonText(text.to_owned());
        let told = body.parse::<Body>().expect_err("the text is wrong");
        expect.assert_eq(told.detail());
    }

    #[test]
    fn bad_json_is_told_with_its_place() {
        check_parse(
            "",
            expect!["the body is empty: EOF while parsing a value at line 1 column 0"],
        );
        check_parse(
            "{\n  \"graph\": }",
            expect!["the body is not JSON: expected value at line 2 column 12"],
        );
        check_parse(
            "{\"grap\": 1}",
            expect!["unknown field `grap`, expected `graph` at line 1 column 7"],
        );
        check_parse(
            "{\"graph\": 1}",
            expect!["invalid type: integer `1`, expected a string at line 1 column 11"],
        );
    }

    #[test]
    fn a_state_is_an_object() {
        let raw = RawValue::from_string("\"some data\"".to_owned()).expect("JSON");
        let told = state_at("/initial_state", &raw).expect_err("a string is no state");
        expect!["/initial_state: expected a JSON object, got a string"].assert_eq(told.detail());
    }
}
