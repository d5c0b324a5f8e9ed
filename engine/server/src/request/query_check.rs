//! Refuses query parameters that the operation does not declare in the OpenAPI document.
//!
//! All routes under `/v1` are checked, even if their handlers read no query. The original routes accept any parameter
//! for compatibility.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{MatchedPath, Query, Request, State},
    http::{Method, Uri},
    middleware::Next,
    response::{IntoResponse, Response},
};
use utoipa::openapi::{
    OpenApi, RefOr,
    path::{Operation, Parameter, ParameterIn},
};

use crate::response::problem::{Problem, ProblemKind};

/// The declared query parameters of all operations, by route.
#[derive(Clone)]
pub(crate) struct DeclaredParameters(Arc<HashMap<String, Operations>>);

/// The operations of a route, each with the names of its parameters.
type Operations = Vec<(Method, Vec<String>)>;

impl DeclaredParameters {
    /// Collects the parameters of the OpenAPI document.
    pub(crate) fn new(api: &OpenApi) -> Self {
        let under_v1 = api
            .paths
            .paths
            .iter()
            .filter(|(path, _)| path.starts_with("/v1/"));
        let by_path = under_v1.map(|(path, item)| {
            let operations = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            let declared = operations
                .into_iter()
                .filter_map(|(method, operation)| Some((method, parameters(operation.as_ref()?))));
            (path.clone(), declared.collect())
        });
        Self(Arc::new(by_path.collect()))
    }

    /// Returns the parameters of an operation; none if the operation is not checked.
    fn of(&self, path: &str, method: &Method) -> Option<&[String]> {
        // HEAD is handled as GET.
        let method = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let operations = self.0.get(path)?;
        let (_, names) = operations.iter().find(|(declared, _)| declared == method)?;
        Some(names)
    }
}

fn parameters(operation: &Operation) -> Vec<String> {
    let name = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(Parameter {
            name,
            parameter_in: ParameterIn::Query,
            ..
        }) => Some(name.clone()),
        _ => None,
    };
    let all = operation.parameters.iter().flatten();
    all.filter_map(name).collect()
}

/// Refuses a request with an invalid query or an undeclared parameter.
pub(crate) async fn check(
    State(declared): State<DeclaredParameters>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    if request.uri().query().is_some()
        && let Some(path) = path
        && let Some(known) = declared.of(path.as_str(), request.method())
        && let Err(message) = check_query(request.uri(), known)
    {
        return Problem::new(ProblemKind::BAD_QUERY, message).into_response();
    }
    next.run(request).await
}

fn check_query(uri: &Uri, known: &[String]) -> Result<(), String> {
    for part in uri.query().unwrap_or_default().split('&') {
        if !is_encoded(part) {
            return Err(format!(
                "`{part}`: invalid percent-encoding: each byte of UTF-8 is `%` and two hexadecimal digits, and `%` itself is `%25`"
            ));
        }
    }
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let Query(pairs) = pairs.map_err(|error| error.body_text())?;
    match pairs.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, _)) => Err(match known {
            [] => format!("`{name}`: unknown parameter; this route has no parameters"),
            known => format!(
                "`{name}`: unknown parameter; known parameters: {}",
                known.join(", ")
            ),
        }),
        None => Ok(()),
    }
}

/// Returns whether every `%` begins an encoded byte and the decoded bytes are UTF-8.
fn is_encoded(part: &str) -> bool {
    let mut decoded = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        decoded.push(match byte {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => return false,
            },
            byte => byte,
        });
    }
    String::from_utf8(decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_begins_a_byte_of_utf8() {
        for right in ["", "a=b", "a=%20", "a=%C3%bc", "a=100%25", "%61=1", "a+b"] {
            assert!(is_encoded(right), "{right}");
        }
        for wrong in ["%", "a=%", "a=%2", "a=%zz", "a=%+1", "a=%ff", "a=%c3", "%ff=1"] {
            assert!(!is_encoded(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_undeclared_parameter_is_refused_with_the_declared_ones() {
        let check = |query: &str, known: &[&str]| {
            let known: Vec<String> = known.iter().map(|&name| name.to_owned()).collect();
            let uri = format!("/v1/runs?{query}").parse().expect("a URI");
            check_query(&uri, &known)
        };
        assert_eq!(check("", &[]), Ok(()));
        assert_eq!(check("wait=1s&a%62=", &["wait", "ab"]), Ok(()));
        assert_eq!(
            check("wait=1s&Wait=1s", &["wait", "ab"]),
            Err("`Wait`: unknown parameter; known parameters: wait, ab".to_owned())
        );
        assert_eq!(
            check("x", &[]),
            Err("`x`: unknown parameter; this route has no parameters".to_owned())
        );
    }
}
