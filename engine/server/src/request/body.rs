//! Request bodies: JSON, components and exports. All are read within limits of size and time.
//!
//! Every body needs its content type. Browsers send these types to another origin only after a preflight request,
//! which the server refuses, so pages of other origins cannot start anything.

use std::{sync::OnceLock, time::Duration};

use axum::{
    body::BodyDataStream,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use futures_util::StreamExt;
use heddle_json::{
    Json as JsonValue, Object,
    admit::Inadmissible,
    object::{self, kind_of},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use crate::{
    app::App,
    connections::active_request::ActiveRequest,
    request::deserialize::{self, FieldError},
    response::problem::{Problem, ProblemKind},
};

/// The part of a too large body that is read and discarded, in bytes. Some clients read the response only after they
/// have sent the whole body.
const MAX_DISCARDED: usize = 64 << 20;
/// The longest time that discarding takes.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// The memory that is reserved in advance for a body with an announced length, in bytes.
const MAX_RESERVED: usize = 64 << 10;

/// The media type of arbitrary bytes. Generated clients send it for types that they do not know.
pub(crate) const BYTES: &str = "application/octet-stream";
/// The media type of JSON lines.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// A JSON body, as text.
pub(crate) struct JsonText {
    pub(crate) text: String,
    /// The validated value, computed on first use.
    admitted: OnceLock<JsonValue>,
}

impl FromRequest<App> for JsonText {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        expect_type(request.headers(), &["application/json"])?;
        Self::of(read(request, app, app.settings.max_body_bytes).await?)
    }
}

/// An optional JSON body. An absent or null body, or one of blanks, is read as `{}`.
pub(crate) struct OptionalJson(JsonText);

impl FromRequest<App> for OptionalJson {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let typed = expect_type(request.headers(), &["application/json"]);
        let bytes = read(request, app, app.settings.max_body_bytes).await?;
        if bytes.iter().all(|byte| b" \t\r\n".contains(byte)) {
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

impl OptionalJson {
    /// Deserializes the body as a `T`.
    pub(crate) fn parse<'t, T: Deserialize<'t>>(&'t self) -> Result<T, Problem> {
        self.0.parse()
    }
}

/// A body without fields.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Nothing, example = json!({}))]
pub(crate) struct EmptyBody {}

impl JsonText {
    fn of(bytes: Vec<u8>) -> Result<Self, Problem> {
        String::from_utf8(bytes)
            .map(Self::new)
            .map_err(|error| Problem::new(ProblemKind::BAD_JSON, format!("the body is not UTF-8: {error}")))
    }

    pub(crate) fn new(text: String) -> Self {
        Self {
            text,
            admitted: OnceLock::new(),
        }
    }

    /// Checks that the text is JSON, for handlers that parse the text themselves.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        match serde_json::from_str::<&RawValue>(&self.text) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.not_admitted(error.into())),
        }
    }

    /// Returns the value, validated by the rules for all external JSON.
    pub(crate) fn value(&self) -> Result<&JsonValue, Problem> {
        if let Some(value) = self.admitted.get() {
            return Ok(value);
        }
        let value = object::admit(&self.text).map_err(|refused| self.not_admitted(refused))?;
        Ok(self.admitted.get_or_init(|| value))
    }

    /// Deserializes the body, which must be an object, as a `T`.
    pub(crate) fn parse<'t, T: Deserialize<'t>>(&'t self) -> Result<T, Problem> {
        deserialize::read(self.object()?)
            .map_err(|FieldError { pointer, message }| Problem::invalid_at(&pointer, message))
    }

    /// Returns the value, which must be an object.
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
            _ if self.text.trim().is_empty() => {
                Problem::new(ProblemKind::BAD_JSON, "the body is empty: send JSON")
            }
            Some(_) => Problem::new(ProblemKind::BAD_JSON, format!("the body is {problem}")),
            None => Problem::invalid_at(&pointer, problem),
        }
    }
}

/// Parses the state at `pointer` of a body.
///
/// # Errors
/// `invalid-request` if the state is not an object.
pub(crate) fn parse_state(pointer: &str, state: &RawValue) -> Result<Object, Problem> {
    // The state is a part of a body that was validated before.
    Object::parse(state.get()).map_err(|error| Problem::invalid_at(pointer, error.to_string()))
}

/// A request body that is a wasm component, as raw bytes.
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

/// An export of a run, with the permit to import it.
pub(crate) struct RunExport {
    pub(crate) text: Vec<u8>,
    pub(crate) permit: OwnedSemaphorePermit,
}

impl FromRequest<App> for RunExport {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        expect_type(request.headers(), &[NDJSON, BYTES])?;
        // The permit comes first, so that waiting requests hold no body in memory.
        let permit = app.imports.clone().acquire_owned();
        let Ok(permit) = tokio::time::timeout(app.settings.body_timeout, permit).await else {
            let detail = format!(
                "{} runs are being imported, which is the limit (max_imports): try again later",
                app.settings.max_imports
            );
            return Err(Problem::new(ProblemKind::TOO_MANY_IMPORTS, detail).retry_after(5));
        };
        let permit = permit.expect("this semaphore is never closed");
        let text = read(request, app, app.settings.max_import_bytes).await?;
        Ok(Self { text, permit })
    }
}

/// Checks that the body has one of the expected content types. The error names the first one.
fn expect_type(headers: &HeaderMap, expected: &[&str]) -> Result<(), Problem> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or("(not text)"));
    if content_type
        .is_some_and(|content_type| expected.iter().any(|expected| is_type(content_type, expected)))
    {
        return Ok(());
    }
    let content_type = content_type.map_or_else(
        || "none was given".to_owned(),
        |content_type| format!("got `{content_type}`"),
    );
    Err(Problem::new(
        ProblemKind::WRONG_TYPE,
        format!(
            "send the body with `Content-Type: {}`; {content_type}",
            expected[0]
        ),
    ))
}

/// Compares a content type without its parameters.
fn is_type(given: &str, expected: &str) -> bool {
    let essence = given.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(expected)
}

/// Reads a body of at most `limit` bytes within the body timeout and the budget of all bodies.
async fn read(request: Request, app: &App, limit: usize) -> Result<Vec<u8>, Problem> {
    let (parts, body) = request.into_parts();
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let too_large = || {
        Problem::new(
            ProblemKind::TOO_LARGE,
            format!("the body is larger than its limit of {limit} bytes"),
        )
    };
    if announced.is_some_and(|announced| announced > limit) {
        // A client that sent `Expect: 100-continue` has not sent the body.
        if !parts.headers.contains_key(header::EXPECT) {
            discard(body.into_data_stream()).await;
        }
        return Err(too_large());
    }
    let timeout = app.settings.body_timeout;
    let active = parts.extensions.get::<ActiveRequest>();
    let mut reservation = app
        .bodies
        .begin(active.map(ActiveRequest::close_signal).unwrap_or_default());
    let all = async {
        let mut stream = body.into_data_stream();
        // Announced bytes that never arrive take no memory.
        let mut bytes = Vec::with_capacity(announced.unwrap_or_default().min(MAX_RESERVED));
        while let Some(part) = stream.next().await {
            let part = part.map_err(|error| {
                Problem::new(ProblemKind::BAD_BODY, format!("the body is incomplete: {error}"))
            })?;
            if bytes.len() + part.len() > limit {
                discard(stream).await;
                return Err(too_large());
            }
            reservation.grow_to(bytes.len() + part.len()).await?;
            bytes.extend_from_slice(&part);
        }
        reservation.arrived();
        Ok(bytes)
    };
    let received = tokio::time::timeout(timeout, all).await.unwrap_or_else(|_| {
        Err(Problem::new(
            ProblemKind::BODY_TIMEOUT,
            format!("the body did not arrive within {} s", timeout.as_secs()),
        ))
    })?;
    if let Some(active) = active {
        active.body_received(reservation);
    }
    Ok(received)
}

/// Reads the rest of a refused body, within limits.
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
    // A client that takes longer may miss the response.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

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
        let problem = body.parse::<Body>().expect_err("the text is invalid");
        expect.assert_eq(problem.detail());
    }

    #[test]
    fn a_body_is_a_valid_json_object_or_is_refused_with_the_reason() {
        check_parse("", expect!["the body is empty: send JSON"]);
        check_parse(" \n", expect!["the body is empty: send JSON"]);
        check_parse(
            "{\n  \"graph\": }",
            expect!["the body is not JSON: expected value at line 2 column 12"],
        );
        check_parse(
            "{\"grap\": 1}",
            expect!["/grap: unknown field; known fields: graph"],
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
                r#"/graph: the string has `\ud800`, half of a surrogate pair, which is not a character: write the character itself, or both halves"#
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
    fn a_state_is_an_object() {
        let raw = RawValue::from_string("\"some data\"".to_owned()).expect("JSON");
        let problem = parse_state("/initial_state", &raw).expect_err("a state is an object");
        expect!["/initial_state: expected a JSON object, got a string"].assert_eq(problem.detail());
    }
}
