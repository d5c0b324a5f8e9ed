//! The handlers of all described routes, one file for each part of the interface.
//!
//! A handler has the same parts everywhere: extractors read the request, one call of the engine does the work, and a
//! view becomes the response. Errors of the engine become problems with `?`.

mod control;
mod event_stream;
mod export;
mod graphs;
mod health;
mod history;
mod original;
mod plugin_versions;
mod plugins;
mod policies;
mod run_socket;
mod runs;
mod schedules;
mod tools;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, docs};

/// Returns all described routes. A route that is not listed here does not exist.
pub(crate) fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(docs::head())
        .routes(routes!(original::create))
        .routes(routes!(original::run))
        .routes(routes!(original::state))
        .routes(routes!(run_socket::logs))
        .routes(routes!(graphs::create, graphs::list))
        .routes(routes!(graphs::check))
        .routes(routes!(graphs::schema))
        .routes(routes!(graphs::get, graphs::delete))
        .routes(routes!(graphs::picture))
        .routes(routes!(runs::start, runs::list))
        .routes(routes!(runs::get, runs::delete))
        .routes(routes!(runs::events))
        .routes(routes!(control::signal))
        .routes(routes!(control::cancel))
        .routes(routes!(control::pause))
        .routes(routes!(control::resume))
        .routes(routes!(control::retry))
        .routes(routes!(control::upgrade))
        .routes(routes!(control::fork))
        .routes(routes!(history::list))
        .routes(routes!(history::step))
        .routes(routes!(history::diff))
        .routes(routes!(export::export))
        .routes(routes!(export::import))
        .routes(routes!(schedules::put, schedules::list))
        .routes(routes!(schedules::get, schedules::delete))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::run))
        .routes(routes!(plugins::list, plugins::register))
        .routes(routes!(plugins::inspect))
        .routes(routes!(plugins::get, plugin_versions::remove_all))
        .routes(routes!(plugins::grants))
        .routes(routes!(policies::get, policies::put, policies::delete))
        .routes(routes!(plugin_versions::get, plugin_versions::remove_one))
        .routes(routes!(tools::list))
        .routes(routes!(tools::get))
        .routes(routes!(tools::call))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}
