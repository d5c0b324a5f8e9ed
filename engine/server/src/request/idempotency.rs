//! The `Idempotency-Key` header: a repeated request with the same key returns the first result.
//!
//! A key belongs to one request, identified by a digest of its path and its body without insignificant white space.
//! The query is not part of the digest, because it affects only the response.

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderName},
};
use heddle_kernel::Digest;
use heddle_runtime::RequestKey;
use utoipa::IntoParams;

use crate::{
    app::App,
    request::body::JsonText,
    response::problem::{Problem, ProblemKind},
};

/// The request header with the key.
const HEADER: &str = "idempotency-key";
/// The response header that is `true` if the response repeats an earlier one.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// The header, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes the header")]
pub(crate) struct IdempotencyKey {
    /// 1 to 255 visible ASCII characters. A repeated request with the same key returns the result of the first one and
    /// has no further effect.
    #[param(
        rename = "idempotency-key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]{1,255}$"
    )]
    key: Option<String>,
}

/// A JSON body with its idempotency key.
pub(crate) struct KeyedJson {
    pub(crate) body: JsonText,
    pub(crate) key: Option<RequestKey>,
}

impl FromRequest<App> for KeyedJson {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let key = key(request.headers())?.map(str::to_owned);
        let path = request.uri().path().to_owned();
        let body = JsonText::from_request(request, app).await?;
        let key = match key {
            Some(key) => Some(RequestKey {
                key: key.into(),
                digest: digest(&path, body.value()?.get()),
            }),
            None => None,
        };
        Ok(Self { body, key })
    }
}

/// Returns the digest of a request. The body is in one line and a path has no line break, so the parts cannot be
/// confused.
fn digest(path: &str, body: &str) -> Digest {
    Digest::of(format!("{path}\n{body}").as_bytes())
}

fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut keys = headers.get_all(HEADER).iter();
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    let wrong = |what: &str| {
        let detail = format!("`Idempotency-Key` must be 1 to {MAX_KEY} visible ASCII characters: {what}");
        Err(Problem::new(ProblemKind::BAD_KEY, detail))
    };
    if keys.next().is_some() {
        return wrong("the header is repeated");
    }
    let key = key.as_bytes();
    match std::str::from_utf8(key) {
        Ok("") => wrong("it is empty"),
        Ok(key) if key.len() > MAX_KEY => wrong(&format!("it has {} bytes", key.len())),
        Ok(key) if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(key)),
        _ => wrong("it has other characters"),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).expect("a header's value"));
        }
        key(&headers)
            .map(|key| key.map(str::to_owned))
            .map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn a_key_is_visible_ascii_and_given_once() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"order-7:a/b~!"]), Ok(Some("order-7:a/b~!".to_owned())));
        assert!(read(&[&[b'k'; 255]]).is_ok());
        let others: [&[&[u8]]; 6] = [
            &[b""],
            &[&[b'k'; 256]],
            &[b"two words"],
            &["kéy".as_bytes()],
            &[b"\xff"],
            &[b"a", b"a"],
        ];
        for wrong in others {
            let detail = read(wrong).expect_err("the key is invalid");
            assert!(detail.contains("1 to 255 visible ASCII"), "{detail}");
        }
    }

    #[test]
    fn a_digest_is_of_the_path_and_the_body() {
        assert_eq!(digest("/v1/runs", "{}"), digest("/v1/runs", "{}"));
        assert_ne!(digest("/v1/runs", "{}"), digest("/graph/run", "{}"));
        assert_ne!(digest("/v1/runs", "{}"), digest("/v1/runs", "{ }"));
    }
}
