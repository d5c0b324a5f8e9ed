//! `/v1/plugins/{name}/{version}`: shows one version of a plugin, and removes one or all.

use axum::{Json, extract::State};
use heddle_runtime::ports::PluginInfo;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::plugins::PluginBody;
use crate::{
    app::App,
    request::{
        path::{PathParams, PluginParam, PluginVersionParams},
        query::QueryParams,
    },
    response::problem::{Problem, ProblemKind},
};

/// Get a version of a plugin
#[utoipa::path(
    get, path = "/v1/plugins/{name}/{version}", tag = "Plugins", operation_id = "get_plugin_version",
    params(
        PluginVersionParams,
    ),
    responses(
        (status = 200, description = "The version", body = PluginBody),
        (status = 404, description = "There is no such plugin or version"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    PathParams((name, version)): PathParams<(String, String)>,
) -> Result<Json<PluginBody>, Problem> {
    let plugins = app.engine.plugins();
    let is_it = |plugin: &PluginInfo| *plugin.name == *name && *plugin.version == *version;
    match plugins.iter().find(|plugin| is_it(plugin)) {
        Some(plugin) => Ok(Json(PluginBody::from(&**plugin))),
        None => {
            let detail = format!(
                "plugin `{name}` has no version {version}: GET /v1/plugins lists all plugins and versions"
            );
            Err(Problem::new(ProblemKind::NO_SUCH_PLUGIN, detail))
        }
    }
}

/// The parameters of a removal.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RemoveParams {
    /// Remove the plugin even if graphs or runs use it. They fail at their next call of it.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    force: bool,
    /// Remove the plugin even if it has grants.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    replace_granted: bool,
}

/// The result of removing versions of a plugin.
#[derive(Serialize, ToSchema)]
pub(crate) struct Removed {
    /// Each version that the request removed.
    removed: Vec<RemovedVersion>,
}

/// A removed version of a plugin.
#[derive(Serialize, ToSchema)]
struct RemovedVersion {
    /// The plugin's name.
    name: String,
    /// The plugin's version (SemVer).
    version: String,
    /// The SHA-256 of the component, as 64 hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    digest: String,
}

/// Remove a plugin
///
/// Removes all versions. Refused if a graph or an active run uses one of them, unless `force` is true, and if the plugin has
/// grants, unless `replace_granted` is true. A component in the plugins folder is registered again at the next start.
#[utoipa::path(
    delete, path = "/v1/plugins/{name}", tag = "Plugins", operation_id = "remove_plugin",
    params(PluginParam, RemoveParams),
    responses(
        (status = 200, description = "The removed versions", body = Removed),
        (status = 404, description = "There is no such plugin"),
        (status = 409, description = "The plugin is in use, or has grants"),
    )
)]
pub(crate) async fn remove_all(
    State(app): State<App>,
    PathParams(name): PathParams<String>,
    QueryParams(params): QueryParams<RemoveParams>,
) -> Result<Json<Removed>, Problem> {
    remove(&app, &name, None, &params).await
}

/// Remove a version of a plugin
///
/// Removes one version, under the same conditions as all versions.
#[utoipa::path(
    delete, path = "/v1/plugins/{name}/{version}", tag = "Plugins", operation_id = "remove_plugin_version",
    params(
        PluginVersionParams,
        RemoveParams,
    ),
    responses(
        (status = 200, description = "The removed versions", body = Removed),
        (status = 404, description = "There is no such plugin or version"),
        (status = 409, description = "The plugin is in use, or has grants"),
    )
)]
pub(crate) async fn remove_one(
    State(app): State<App>,
    PathParams((name, version)): PathParams<(String, String)>,
    QueryParams(params): QueryParams<RemoveParams>,
) -> Result<Json<Removed>, Problem> {
    remove(&app, &name, Some(&version), &params).await
}

async fn remove(
    app: &App,
    name: &str,
    version: Option<&str>,
    params: &RemoveParams,
) -> Result<Json<Removed>, Problem> {
    let removed = app
        .engine
        .remove_plugin(name, version, params.force, params.replace_granted);
    let removed = removed.await?;
    let removed = removed.iter().map(|plugin| RemovedVersion {
        name: plugin.name.to_string(),
        version: plugin.version.to_string(),
        digest: plugin.digest.to_string(),
    });
    Ok(Json(Removed {
        removed: removed.collect(),
    }))
}
