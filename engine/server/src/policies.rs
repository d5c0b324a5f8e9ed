//! `/v1/plugins/{name}/policy`: what plugins are granted, changed while the server runs.
//!
//! Whoever may change it can grant anything, so all of it is off unless the operator turned it on.

use axum::{Json, extract::State, http::StatusCode};
use heddle_json::Json as JsonValue;
use heddle_runtime::{
    PolicyError,
    ports::{PluginPolicyInfo, PolicyRefused, PolicySource},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    App,
    extract::{JsonText, Parted},
    problem::{Kind, Problem, ProblemBody},
};

/// What a plugin is granted.
#[derive(Serialize, ToSchema)]
#[schema(as = PluginPolicy)]
pub(crate) struct PolicyBody {
    /// The plugin's name: every version of it is meant.
    plugin: String,
    /// Who says so: `file` (the policy file), `api` (this address), or `nobody`.
    from: PolicyFrom,
    /// What is said, in the form of a plugin's entry in the policy file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    policy: Option<JsonValue>,
    /// What that grants, a line for each grant.
    grants: Vec<String>,
}

/// Who says what a plugin is granted.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PolicyFrom {
    /// The policy file.
    File,
    /// Whoever set it over HTTP.
    Api,
    /// Nobody: nothing is granted.
    Nobody,
}

impl PolicyBody {
    fn of(plugin: String, info: PluginPolicyInfo) -> Self {
        Self {
            plugin,
            from: match info.source {
                PolicySource::File => PolicyFrom::File,
                PolicySource::Set => PolicyFrom::Api,
                PolicySource::Nobody => PolicyFrom::Nobody,
            },
            policy: info.body,
            grants: info.grants,
        }
    }
}

/// Get a plugin's policy
///
/// Only where the server was started with `--grant-over-http`.
#[utoipa::path(
    get, path = "/v1/plugins/{name}/policy", tag = "plugins", operation_id = "get_plugin_policy",
    params(("name" = String, Path, min_length = 1, example = "starter", description = "The plugin's name")),
    responses(
        (status = 200, description = "What the plugin is granted", body = PolicyBody),
        (status = 403, description = "The server was started without it", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    Parted(name): Parted<String>,
) -> Result<Json<PolicyBody>, Problem> {
    is_on(&app)?;
    let info = app.engine.policy(&name);
    Ok(Json(PolicyBody::of(name, info)))
}

/// Set a plugin's policy
///
/// The body is what the plugin's entry in the policy file would be. It holds in place of what was set before,
/// for every version of the plugin and every call that begins from here on, and is kept across restarts.
/// The plugin need not be there yet. What the policy file says of a plugin cannot be changed here.
#[utoipa::path(
    put, path = "/v1/plugins/{name}/policy", tag = "plugins", operation_id = "set_plugin_policy",
    params(("name" = String, Path, min_length = 1, example = "starter", description = "The plugin's name")),
    request_body(
        content = Value, description = "As the plugin's entry in the policy file", content_type = "application/json",
        example = json!({"http": ["https://api.example.org"], "clock": true}),
    ),
    responses(
        (status = 200, description = "What the plugin is granted from here on", body = PolicyBody),
        (status = 403, description = "The server was started without it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The policy file names the plugin", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "This is no policy, or grants what is not there", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put(
    State(app): State<App>,
    Parted(name): Parted<String>,
    body: JsonText,
) -> Result<Json<PolicyBody>, Problem> {
    is_on(&app)?;
    let policy = body.object()?.clone();
    let info = app.engine.set_policy(&name, policy).await?;
    tracing::info!(plugin = %name, grants = ?info.grants, "a policy was set over HTTP");
    Ok(Json(PolicyBody::of(name, info)))
}

/// Take back a plugin's policy
///
/// What was set for it stands no more, for every call that begins from here on.
#[utoipa::path(
    delete, path = "/v1/plugins/{name}/policy", tag = "plugins", operation_id = "unset_plugin_policy",
    params(("name" = String, Path, min_length = 1, example = "starter", description = "The plugin's name")),
    responses(
        (status = 204, description = "Nothing is set for it"),
        (status = 403, description = "The server was started without it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "Nothing was set for it", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The policy file names the plugin", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "This is no name of a plugin", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Parted(name): Parted<String>,
) -> Result<StatusCode, Problem> {
    is_on(&app)?;
    if app.engine.unset_policy(&name).await? {
        tracing::info!(plugin = %name, "a policy that was set over HTTP was taken back");
        return Ok(StatusCode::NO_CONTENT);
    }
    let detail = format!("nothing was set for plugin `{name}`");
    Err(Problem::new(Kind::NO_SUCH_POLICY, detail))
}

fn is_on(app: &App) -> Result<(), Problem> {
    match app.settings.grant_over_http {
        true => Ok(()),
        false => Err(Problem::new(
            Kind::GRANTS_OFF,
            "what plugins are granted is neither shown in full nor changed over HTTP: start the server with \
             --grant-over-http to allow that to everyone who reaches it, or change the policy file",
        )),
    }
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Refused(refused @ PolicyRefused::Fixed(_)) => {
                Self::new(Kind::POLICY_FIXED, refused.to_string())
            }
            PolicyError::Refused(refused @ PolicyRefused::Invalid(_)) => {
                Self::new(Kind::INVALID_POLICY, refused.to_string())
            }
            PolicyError::Store(error) => error.into(),
        }
    }
}
