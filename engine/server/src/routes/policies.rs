//! `/v1/plugins/{name}/policy`: plugins' policies, read and changed at run time.
//!
//! A client that can set policies can grant anything, so these routes are disabled by default.

use axum::{Json, extract::State, http::StatusCode};
use heddle_json::Json as JsonValue;
use heddle_runtime::ports::{PluginPolicyInfo, PolicySource};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    request::{
        body::JsonText,
        path::{PathParams, PluginParam},
    },
    response::problem::{Problem, ProblemKind},
};

/// A plugin's policy.
#[derive(Serialize, ToSchema)]
#[schema(as = PluginPolicy)]
pub(crate) struct PolicyBody {
    /// The plugin's name. The policy applies to all its versions.
    plugin: String,
    /// Where the policy was set.
    from: PolicyFrom,
    /// The policy, in the format of a plugin's entry in the policy file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    policy: Option<JsonValue>,
    /// The grants, one line each.
    grants: Vec<String>,
}

/// Where a policy was set: `file` (the policy file), `api` (this route) or `nobody` (not set).
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PolicyFrom {
    /// In the policy file.
    File,
    /// Over HTTP.
    Api,
    /// Not set: the plugin has no grants.
    Nobody,
}

impl PolicyBody {
    fn of(plugin: String, info: PluginPolicyInfo) -> Self {
        Self {
            plugin,
            from: match info.source {
                PolicySource::File => PolicyFrom::File,
                PolicySource::Set => PolicyFrom::Api,
                PolicySource::Unset => PolicyFrom::Nobody,
            },
            policy: info.body,
            grants: info.grants,
        }
    }
}

/// Get a plugin's policy
///
/// Requires that the server was started with `--grant-over-http`.
#[utoipa::path(
    get, path = "/v1/plugins/{name}/policy", tag = "Plugins", operation_id = "get_plugin_policy",
    params(PluginParam),
    responses(
        (status = 200, description = "The policy", body = PolicyBody),
        (status = 403, description = "The server was started without `--grant-over-http`"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    PathParams(name): PathParams<String>,
) -> Result<Json<PolicyBody>, Problem> {
    check_enabled(&app)?;
    let info = app.engine.policy(&name);
    Ok(Json(PolicyBody::of(name, info)))
}

/// Set a plugin's policy
///
/// The body has the format of a plugin's entry in the policy file. It replaces the previous policy, for all versions of the
/// plugin and for all calls that start from now on, and survives restarts. The plugin does not have to be registered yet.
/// A policy in the policy file cannot be changed here. Requires that the server was started with `--grant-over-http`.
#[utoipa::path(
    put, path = "/v1/plugins/{name}/policy", tag = "Plugins", operation_id = "set_plugin_policy",
    params(PluginParam),
    request_body(
        content = Value, description = "The policy, in the format of a plugin's entry in the policy file", content_type = "application/json",
        example = json!({"http": ["https://api.example.org"], "clock": true}),
    ),
    responses(
        (status = 200, description = "The policy is set", body = PolicyBody),
        (status = 403, description = "The server was started without `--grant-over-http`"),
        (status = 409, description = "The policy file defines the plugin's policy"),
        (status = 422, description = "The policy is invalid, or refers to something that does not exist"),
    )
)]
pub(crate) async fn put(
    State(app): State<App>,
    PathParams(name): PathParams<String>,
    body: JsonText,
) -> Result<Json<PolicyBody>, Problem> {
    check_enabled(&app)?;
    let policy = body.object()?.clone();
    let info = app.engine.set_policy(&name, policy).await?;
    tracing::info!(plugin = %name, grants = ?info.grants, "set a plugin's policy over HTTP");
    Ok(Json(PolicyBody::of(name, info)))
}

/// Remove a plugin's policy
///
/// Removes the policy that was set over HTTP, for all calls that start from now on. Requires that the server was started
/// with `--grant-over-http`.
#[utoipa::path(
    delete, path = "/v1/plugins/{name}/policy", tag = "Plugins", operation_id = "unset_plugin_policy",
    params(PluginParam),
    responses(
        (status = 204, description = "The policy is removed"),
        (status = 403, description = "The server was started without `--grant-over-http`"),
        (status = 404, description = "No policy was set over HTTP"),
        (status = 409, description = "The policy file defines the plugin's policy"),
        (status = 422, description = "The plugin name is invalid"),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    PathParams(name): PathParams<String>,
) -> Result<StatusCode, Problem> {
    check_enabled(&app)?;
    if app.engine.unset_policy(&name).await? {
        tracing::info!(plugin = %name, "removed a plugin's policy that was set over HTTP");
        return Ok(StatusCode::NO_CONTENT);
    }
    let detail = format!("no policy was set over HTTP for plugin `{name}`");
    Err(Problem::new(ProblemKind::NO_SUCH_POLICY, detail))
}

fn check_enabled(app: &App) -> Result<(), Problem> {
    match app.settings.grant_over_http {
        true => Ok(()),
        false => Err(Problem::new(
            ProblemKind::GRANTS_OFF,
            "policies cannot be read or changed over HTTP: start the server with --grant-over-http, which allows this to \
             all its clients, or edit the policy file",
        )),
    }
}
