//! Requests that may be sent again: the `Idempotency-Key` header, by which they are known.
//!
//! A key stands for one request: the digest that goes with it is of the path and the body, without the white space
//! between its tokens. The query is left out, since it says only how the answer is given.

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderName},
};
use heddle_kernel::Digest;
use heddle_runtime::RequestKey;

use crate::{
    App,
    extract::JsonText,
    problem::{Kind, Problem},
};

/// The header.
pub(crate) const HEADER: &str = "idempotency-key";
/// The header of an answer that was given before: `true`.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// A JSON body, and the key that it was sent with.
pub(crate) struct Keyed {
    pub(crate) body: JsonText,
    pub(crate) key: Option<RequestKey>,
}

impl FromRequest<App> for Keyed {
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

/// The digest of what was sent; the body is in one line, however it was written. A path has no line break, so no two requests share one.
fn digest(path: &str, body: &str) -> Digest {
    Digest::of(format!("{path}\n{body}").as_bytes())
}

fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut keys = headers.get_all(HEADER).iter();
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    let wrong = |what: &str| {
        let detail = format!("`Idempotency-Key` is 1 to {MAX_KEY} visible ASCII characters: {what}");
        Err(Problem::new(Kind::BAD_KEY, detail))
    };
    if keys.next().is_some() {
        return wrong("it was given twice");
    }
    let key = key.as_bytes();
    match std::str::from_utf8(key) {
        Ok("") => wrong("it is empty"),
        Ok(key) if key.len() > MAX_KEY => wrong(&format!("it has {} bytes", key.len())),
        Ok(key) if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(key)),
        _ => wrong("it has others"),
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
            let told = read(wrong).expect_err("this is no key");
            assert!(told.contains("1 to 255 visible ASCII"), "{told}");
        }
    }

    #[test]
    fn a_digest_is_of_the_path_and_the_body() {
        assert_eq!(digest("/v1/runs", "{}"), digest("/v1/runs", "{}"));
        assert_ne!(digest("/v1/runs", "{}"), digest("/graph/run", "{}"));
        assert_ne!(digest("/v1/runs", "{}"), digest("/v1/runs", "{ }"));
    }
}
