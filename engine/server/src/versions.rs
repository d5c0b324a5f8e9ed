//! `/v1/plugins/{name}` and its versions: one of several looked at, and plugins removed.

use axum::{Json, extract::State};
use heddle_runtime::{RemovePluginError, ports::PluginInfo};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    App,
    extract::{Params, Parted},
    plugins::PluginBody,
    problem::{Kind, Problem, ProblemBody},
};

/// Get a version of a plugin
#[utoipa::path(
    get, path = "/v1/plugins/{name}/{version}", tag = "plugins", operation_id = "get_plugin_version",
    params(
        ("name" = String, Path, min_length = 1, example = "starter", description = "The plugin's name"),
        ("version" = String, Path, min_length = 1, example = "0.1.0", description = "The version, as it is listed"),
    ),
    responses(
        (status = 200, description = "The version", body = PluginBody),
        (status = 404, description = "There is no such plugin or version", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    Parted((name, version)): Parted<(String, String)>,
) -> Result<Json<PluginBody>, Problem> {
    let plugins = app.engine.plugins();
    let is_it = |plugin: &PluginInfo| *plugin.name == *name && *plugin.version == *version;
    match plugins.iter().find(|plugin| is_it(plugin)) {
        Some(plugin) => Ok(Json(PluginBody::from(&**plugin))),
        None => {
            let detail = format!(
                "there is no plugin `{name}` of version {version}: GET /v1/plugins lists those that there are"
            );
            Err(Problem::new(Kind::NO_SUCH_PLUGIN, detail))
        }
    }
}

/// How to remove a plugin.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RemoveParams {
    /// Whether it is removed even where graphs or runs need it: these fail when they next call it.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    force: bool,
    /// Whether it is removed even where it has grants.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    replace_granted: bool,
}

/// What was removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Removed {
    /// Each version that is gone.
    removed: Vec<RemovedVersion>,
}

/// A version that was removed.
#[derive(Serialize, ToSchema)]
struct RemovedVersion {
    /// The plugin's name.
    name: String,
    /// Its version.
    version: String,
    /// The SHA-256 of its component.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    digest: String,
}

/// Remove a plugin
///
/// Every version of it. Refused where a graph was created with one of them, or a run that is not over keeps to one,
/// unless it is forced; and where it has grants, unless `replace_granted` is there. A
/// component of the plugins folder is there again after a restart, if its file still is.
#[utoipa::path(
    delete, path = "/v1/plugins/{name}", tag = "plugins", operation_id = "remove_plugin",
    params(("name" = String, Path, min_length = 1, example = "starter", description = "The plugin's name"), RemoveParams),
    responses(
        (status = 200, description = "It is gone", body = Removed),
        (status = 404, description = "There is no such plugin", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Something needs it, or it has grants", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove_all(
    State(app): State<App>,
    Parted(name): Parted<String>,
    Params(params): Params<RemoveParams>,
) -> Result<Json<Removed>, Problem> {
    remove(&app, &name, None, &params).await
}

/// Remove a version of a plugin
///
/// As with all of them.
#[utoipa::path(
    delete, path = "/v1/plugins/{name}/{version}", tag = "plugins", operation_id = "remove_plugin_version",
    params(
        ("name" = String, Path, min_length = 1, example = "starter", description = "The plugin's name"),
        ("version" = String, Path, min_length = 1, example = "0.1.0", description = "The version, as it is listed"),
        RemoveParams,
    ),
    responses(
        (status = 200, description = "It is gone", body = Removed),
        (status = 404, description = "There is no such plugin or version", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Something needs it, or it has grants", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove_one(
    State(app): State<App>,
    Parted((name, version)): Parted<(String, String)>,
    Params(params): Params<RemoveParams>,
) -> Result<Json<Removed>, Problem> {
    remove(&app, &name, Some(&version), &params).await
}

async fn remove(
    app: &App,
    name: &str,
    version: Option<&str>,
    how: &RemoveParams,
) -> Result<Json<Removed>, Problem> {
    let removed = app
        .engine
        .remove_plugin(name, version, how.force, how.replace_granted);
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

impl From<RemovePluginError> for Problem {
    fn from(error: RemovePluginError) -> Self {
        match error {
            RemovePluginError::NoSuchPlugin(_) | RemovePluginError::NoSuchVersion { .. } => {
                Self::new(Kind::NO_SUCH_PLUGIN, error.to_string())
            }
            RemovePluginError::Granted { .. } => Self::new(Kind::NAME_GRANTED, error.to_string()),
            RemovePluginError::Needed { .. } => {
                let detail = format!("{error} (`?force=true`)");
                Self::new(Kind::PLUGIN_NEEDED, detail)
            }
            RemovePluginError::Store(error) => error.into(),
        }
    }
}
