//! Query parameters and durations.

use std::{fmt, time::Duration};

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use heddle_kernel::graph::duration;
use serde::de::{DeserializeOwned, Deserializer};

use crate::{
    app::App,
    request::deserialize,
    response::problem::{Problem, ProblemKind},
};

/// The parameters of a query, deserialized as a `T`.
pub(crate) struct QueryParams<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, app).await;
        let Query(pairs) = query.map_err(|error| Problem::new(ProblemKind::BAD_QUERY, error.body_text()))?;
        match deserialize::read_query(&pairs) {
            Ok(params) => Ok(Self(params)),
            Err(error) => Err(Problem::new(
                ProblemKind::BAD_QUERY,
                deserialize::parameter_message(&error),
            )),
        }
    }
}

/// Returns the number of items that a request asks for with the parameter `name`: 1 to `max`.
pub(crate) fn item_count(
    name: &str,
    given: Option<usize>,
    default: usize,
    max: usize,
) -> Result<usize, Problem> {
    match given.unwrap_or(default) {
        count if (1..=max).contains(&count) => Ok(count),
        count => Err(Problem::new(
            ProblemKind::BAD_QUERY,
            format!("`{name}`: expected a whole number from 1 to {max}, got {count}"),
        )),
    }
}

/// Deserializes a duration such as `500ms`, `30s` or `1h30m`; null is none.
pub(crate) fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn durations_have_the_syntax_of_graphs() {
        #[derive(Debug, Deserialize)]
        struct Body {
            #[serde(default, deserialize_with = "optional_duration")]
            wait: Option<Duration>,
        }
        let read = |text: &str| {
            let pairs = [("wait".to_owned(), text.to_owned())];
            let read = deserialize::read_query::<Body>(&pairs);
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
    fn a_count_is_from_1_to_its_limit() {
        assert_eq!(item_count("limit", None, 50, 100).ok(), Some(50));
        assert_eq!(item_count("limit", Some(100), 50, 100).ok(), Some(100));
        for wrong in [0, 101] {
            let problem = item_count("limit", Some(wrong), 50, 100).expect_err("it is outside");
            assert_eq!(
                problem.detail(),
                format!("`limit`: expected a whole number from 1 to 100, got {wrong}")
            );
        }
    }
}
