//! `/openapi.json` and `/docs`: what the interface is, for programs and for people. Both come
//! from the binary, so they work without the internet.

mod answers;
mod graph;
mod members;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use serde_json::{Map, Value};
use utoipa::{
    OpenApi,
    openapi::{self, RefOr, Schema},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    extract::json_body,
    problem::{self, Kind, ProblemBody},
    view::{ChunkView, EventView, MissedView},
};

/// What the docs page may do. Its framework styles elements in place.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(title = "Heddle"),
    tags(
        (name = "original", description = "The original engine's routes, in their shapes: they stay for good"),
        (name = "graphs", description = "Definitions of nodes and edges, checked as a whole and kept"),
        (name = "runs", description = "Executions of graphs, and their events"),
        (name = "steering", description = "Runs that are stopped, resumed, retried, upgraded and forked"),
        (name = "history", description = "What a run did, step by step, and the whole of it as a file"),
        (name = "schedules", description = "Runs that are started when their time comes"),
        (name = "plugins", description = "Components and their functions"),
        (name = "tools", description = "Functions that take JSON and give JSON, called by hand"),
        (name = "health", description = "For whoever starts, watches and routes to the server"),
    ),
    components(schemas(EventView, ChunkView<'_>, MissedView, ProblemBody))
)]
struct Head;

/// What is said before any route is.
pub(crate) fn head() -> openapi::OpenApi {
    let mut api = Head::openapi();
    api.info.description = Some(format!(
        "A workflow engine whose every step runs in a WebAssembly sandbox. Create a graph, run it, and watch its \
         events.\n\nErrors are problem details (RFC 9457, `{}`): `detail` is for people, `type` for programs, and \
         `errors` points into the body. The schema `Problem` lists the types.",
        problem::MEDIA_TYPE
    ));
    let kinds: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| format!("- {}", kind.describe()))
        .collect();
    let components = api.components.get_or_insert_default();
    if let Some(RefOr::T(Schema::Object(problem))) = components.schemas.get_mut("Problem") {
        problem.description = Some(format!(
            "A problem (RFC 9457). The types are:\n\n{}",
            kinds.join("\n")
        ));
    }
    api
}

/// The description as JSON text.
pub(crate) fn text(api: openapi::OpenApi) -> String {
    let mut api = serde_json::to_value(api).expect("the description has string keys");
    members::tell_apart(&mut api);
    graph::add(&mut api);
    members::bound(&mut api);
    answers::add(&mut api);
    format!("{api:#}")
}

/// The routes of the docs, with the description as text.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(text: String) -> Router<S> {
    let text: Arc<str> = text.into();
    let config = Config::from("/openapi.json")
        .use_base_layout()
        .validator_url("none")
        .display_request_duration(true);
    let page: Router<S> = SwaggerUi::new("/docs").config(config).into();
    page.layer(middleware::from_fn(with_policy))
        .route("/openapi.json", get(async move || json_body(text.to_string())))
}

async fn with_policy(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Every operation of the description.
fn operations(api: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = api["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let members = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    // What else stands at a path is no object.
    members.filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn described() -> Value {
        serde_json::from_str(&crate::openapi()).expect("the description is JSON")
    }

    /// Calls `look` with every schema of the description and where it is.
    fn schemas(value: &Value, at: &str, look: &mut impl FnMut(&str, &Map<String, Value>)) {
        match value {
            Value::Object(members) => {
                let is_schema = members.contains_key("type") || members.contains_key("$ref");
                if is_schema && !at.ends_with("/properties") {
                    look(at, members);
                }
                let inner = members
                    .iter()
                    .filter(|(name, _)| !["example", "examples", "enum"].contains(&name.as_str()));
                inner.for_each(|(name, value)| schemas(value, &format!("{at}/{name}"), look));
            }
            Value::Array(all) => all
                .iter()
                .for_each(|value| schemas(value, &format!("{at}/-"), look)),
            _ => {}
        }
    }

    #[test]
    fn objects_say_what_is_in_them_and_numbers_how_small_they_may_be() {
        let api = described();
        let mut looked_at = 0;
        schemas(&api, "", &mut |at, schema| {
            looked_at += 1;
            let is = |kind: &str| match &schema.get("type") {
                Some(Value::Array(all)) => all.iter().any(|one| one == kind),
                one => one.is_some_and(|one| one == kind),
            };
            let has = |keyword: &str| schema.contains_key(keyword);
            assert!(
                !is("object") || has("properties") || has("additionalProperties"),
                "{at}"
            );
            assert!(!is("integer") || (has("minimum") && has("maximum")), "{at}");
            let name = at.rsplit('/').next().unwrap_or_default();
            if is("string") && (name == "run_id" || at.ends_with("/properties/last_run")) {
                assert_eq!(schema.get("format").and_then(Value::as_str), Some("uuid"), "{at}");
            }
            if [
                "status", "level", "severity", "overlap", "catch_up", "kind", "code", "merge",
            ]
            .contains(&name)
                && is("string")
            {
                assert!(has("enum"), "{at}");
            }
        });
        assert!(looked_at > 500, "{looked_at}");
    }

    #[test]
    fn operations_have_ids_of_their_own_and_describe_what_any_of_them_may_answer() {
        let mut api = described();
        let mut ids = BTreeSet::new();
        for operation in operations(&mut api) {
            let id = operation["operationId"].as_str().expect("an id").to_owned();
            let responses = operation["responses"].as_object().expect("responses");
            let mut expected = vec!["400", "403", "405", "421", "500", "default"];
            if operation.contains_key("requestBody") {
                expected.extend(["408", "413", "415", "422"]);
            }
            for status in expected {
                assert!(responses.contains_key(status), "{id} {status}");
            }
            for parameter in operation
                .get("parameters")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let kind = &parameter["schema"]["type"];
                assert!(!kind.is_array(), "{id} {parameter}");
                let is_run = parameter["name"] == "run_id";
                assert!(
                    !is_run || parameter["schema"]["format"] == "uuid",
                    "{id} {parameter}"
                );
            }
            assert!(ids.insert(id.clone()), "{id} is there twice");
        }
        assert!(ids.len() > 40, "{}", ids.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let api = described();
        schemas(&api, "", &mut |at, schema| {
            let Some(to) = schema.get("$ref").and_then(Value::as_str) else {
                return;
            };
            assert!(api.pointer(to.trim_start_matches('#')).is_some(), "{at}: {to}");
        });
    }
}
