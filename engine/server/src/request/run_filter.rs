//! The filters of `GET /v1/runs`.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Query},
    http::{Uri, request::Parts},
};
use heddle_kernel::{RunId, Status, Timestamp};
use heddle_runtime::ports::{OriginFilter, OriginKind, RunFilter};
use serde::Deserialize;

use crate::{
    app::App,
    request::deserialize,
    response::problem::{Problem, ProblemKind},
    view::names::StatusDoc,
};

/// The longest value of `error`, in bytes.
const MAX_TEXT: usize = 1_000;

/// The parameters of the list of runs. A run is listed if it matches all filters.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Only runs of the graph with this id, or of all graphs with this name.
    graph: Option<String>,
    /// Only runs with one of these statuses. Separate several by commas or repeat the parameter.
    #[param(value_type = Option<Vec<StatusDoc>>)]
    status: Option<String>,
    /// Only runs with this origin: `api` (a start request), `schedule`, `fork`, `import`, `schedule:NAME` for one
    /// schedule, or `fork:RUN` for the forks of one run.
    #[param(
        example = "schedule:nightly",
        pattern = "^(api|schedule|fork|import|schedule:.+|fork:.+)$"
    )]
    origin: Option<String>,
    /// Only runs that were started at this time or later: RFC 3339, for example `2026-11-29T12:00:00Z`.
    #[param(value_type = Option<String>, format = DateTime)]
    started_after: Option<String>,
    /// Only runs that were started before this time: RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    started_before: Option<String>,
    /// Only runs whose error message contains this text. Case does not matter, and there are no wildcards. At most 1,000
    /// bytes.
    #[param(min_length = 1, max_length = 1000)]
    error: Option<String>,
    /// The number of runs on the page: 1 to 500, default 50.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(crate) page_size: Option<usize>,
    /// `next_page_token` of the previous page, with the same filters.
    pub(crate) page_token: Option<String>,
}

impl FromRequestParts<App> for ListParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Self::read(parts.uri.query().unwrap_or_default())
    }
}

impl ListParams {
    /// Reads a query, in which `status` can be repeated.
    fn read(query: &str) -> Result<Self, Problem> {
        let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
        let uri = uri.map_err(|error| invalid(error.to_string()))?;
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&uri);
        let Query(pairs) = pairs.map_err(|error| invalid(error.body_text()))?;
        let (statuses, mut pairs): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(name, _)| name == "status");
        if !statuses.is_empty() {
            let statuses: Vec<String> = statuses.into_iter().map(|(_, status)| status).collect();
            pairs.push(("status".to_owned(), statuses.join(",")));
        }
        deserialize::read_query(&pairs).map_err(|error| invalid(deserialize::parameter_message(&error)))
    }

    /// Returns the graph filter.
    pub(crate) fn graph(&self) -> Option<&str> {
        self.graph.as_deref()
    }

    /// Returns the filters. It does not check whether the graph exists.
    pub(crate) fn filter(&self) -> Result<RunFilter, Problem> {
        let time = |name: &str, text: &Option<String>| match text {
            Some(text) => time(name, text).map(Some),
            None => Ok(None),
        };
        Ok(RunFilter {
            graph: self.graph.as_deref().map(Arc::from),
            statuses: self.status.as_deref().map_or(Ok(Vec::new()), statuses)?,
            origin: self.origin.as_deref().map(origin).transpose()?,
            started_from: time("started_after", &self.started_after)?,
            started_before: time("started_before", &self.started_before)?,
            error: self.error.as_deref().map(error_text).transpose()?,
        })
    }
}

fn invalid(message: String) -> Problem {
    Problem::new(ProblemKind::BAD_QUERY, message)
}

/// Parses statuses separated by commas. Returns each once, in the order of [`Status::ALL`].
fn statuses(text: &str) -> Result<Vec<Status>, Problem> {
    let named = |name: &str| Status::ALL.into_iter().find(|status| status.as_str() == name);
    let wanted = text.split(',').map(|name| {
        let name = name.trim();
        named(name).ok_or_else(|| {
            let all = Status::ALL.map(Status::as_str).join("`, `");
            invalid(format!(
                "`status`: `{name}` is not a status: expected `{all}`, separated by commas"
            ))
        })
    });
    let wanted: Vec<Status> = wanted.collect::<Result<_, _>>()?;
    Ok(Status::ALL
        .into_iter()
        .filter(|status| wanted.contains(status))
        .collect())
}

fn origin(text: &str) -> Result<OriginFilter, Problem> {
    if let Some(kind) = OriginKind::ALL.into_iter().find(|kind| kind.as_str() == text) {
        return Ok(OriginFilter::Kind(kind));
    }
    match text.split_once(':') {
        Some(("schedule", name)) if !name.is_empty() => Ok(OriginFilter::Exactly(text.into())),
        Some(("fork", run)) => {
            let run: RunId = run.parse().map_err(|_| {
                invalid(format!(
                    "`origin`: `{run}` is not a run id: expected a UUID after `fork:`"
                ))
            })?;
            Ok(OriginFilter::Exactly(format!("fork:{run}").into()))
        }
        _ => Err(invalid(format!(
            "`origin`: `{text}` is not an origin: expected `api`, `schedule`, `fork`, `import`, `schedule:NAME` or `fork:RUN`"
        ))),
    }
}

/// Parses a time and rounds it up to milliseconds, the precision of the times of runs.
fn time(name: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse_up(text).ok_or_else(|| {
        let hint = match text.contains(' ') {
            true => "; in a query, write `+` as `%2B`",
            false => "",
        };
        invalid(format!(
            "`{name}`: `{text}` is not a time: expected RFC 3339 with an offset, for example `2026-11-29T12:00:00Z`{hint}"
        ))
    })
}

fn error_text(text: &str) -> Result<Arc<str>, Problem> {
    match text.len() {
        0 => Err(invalid(
            "`error` is empty: expected a part of the error message".to_owned(),
        )),
        1..=MAX_TEXT => Ok(text.into()),
        len => Err(invalid(format!(
            "`error` has {len} bytes, more than the limit of {MAX_TEXT}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<RunFilter, String> {
        let filter = ListParams::read(query).and_then(|params| params.filter());
        filter.map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn statuses_are_given_with_commas_or_several_times() {
        let statuses = |query| read(query).map(|filter| filter.statuses);
        assert_eq!(statuses(""), Ok(vec![]));
        assert_eq!(statuses("status=failed"), Ok(vec![Status::Failed]));
        let both = vec![Status::Queued, Status::Failed];
        assert_eq!(statuses("status=failed,queued,failed"), Ok(both.clone()));
        assert_eq!(statuses("status=failed%2C%20queued"), Ok(both.clone()));
        assert_eq!(statuses("status=queued&error=x&status=failed"), Ok(both));
        for wrong in [
            "status=",
            "status=failed,",
            "status=Failed",
            "status=odd",
            "status=failed&status=",
        ] {
            assert!(
                statuses(wrong).is_err_and(|detail| detail.contains("`queued`, `running`")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_origin_is_a_kind_or_one_schedule_or_run() {
        let origin = |text: &str| read(&format!("origin={text}")).map(|filter| filter.origin);
        for kind in OriginKind::ALL {
            assert_eq!(origin(kind.as_str()), Ok(Some(OriginFilter::Kind(kind))));
        }
        let exactly = |text: &str| Ok(Some(OriginFilter::Exactly(text.into())));
        assert_eq!(origin("schedule:a%3Ab"), exactly("schedule:a:b"));
        assert_eq!(
            origin("fork:01A2129C77F9704B81C5FE1E28A1DE49"),
            exactly("fork:01a2129c-77f9-704b-81c5-fe1e28a1de49")
        );
        for wrong in ["", "Api", "schedule:", "fork:", "fork:7", "import:7", "cron"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_rfc_3339_and_rounded_up_to_milliseconds() {
        let time = |text: &str| {
            read(&format!("started_after={text}")).map(|filter| filter.started_from.map(|at| at.0))
        };
        assert_eq!(time("1970-01-01T00:00:00Z"), Ok(Some(0)));
        assert_eq!(time("1970-01-01T01:00:00.25%2B01:00"), Ok(Some(250)));
        assert_eq!(time("1970-01-01T00:00:00.0010001Z"), Ok(Some(2)));
        assert_eq!(time("1969-12-31T23:59:59.9985Z"), Ok(Some(-1)));
        assert_eq!(
            time("9999-12-31T23:59:59Z"),
            Ok(Some(i64::MAX)),
            "RFC 3339 goes beyond what a timestamp has"
        );
        for wrong in [
            "",
            "now",
            "12",
            "2026-11-29",
            "2026-11-29T12:00:00",
            "2026-13-01T00:00:00Z",
            "2026-11-29T12:00:00%2B25:00",
        ] {
            assert!(
                time(wrong).is_err_and(|detail| detail.contains("RFC 3339")),
                "{wrong}"
            );
        }
        assert!(time("2026-11-29T12:00:00+01:00").is_err_and(|detail| detail.contains("%2B")));
        assert!(read("started_before=never").is_err_and(|detail| detail.contains("started_before")));
    }

    #[test]
    fn invalid_filters_are_refused() {
        for wrong in ["error=", "page=2", "graph=a&graph=b", "page_size=-1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read(&format!("error={}", "x".repeat(1_001))).is_err());
        assert_eq!(
            read("error=100%25").map(|filter| filter.error),
            Ok(Some("100%".into()))
        );
    }
}
