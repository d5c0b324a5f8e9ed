//! The filters of `GET /v1/runs`, as a query has them.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Query},
    http::{Uri, request::Parts},
};
use heddle_kernel::{RunId, Status, Timestamp};
use heddle_runtime::ports::{OriginFilter, OriginKind, RunFilter};
use serde::Deserialize;

use crate::{
    App, fields,
    problem::{Kind, Problem},
    view::StatusDoc,
};

/// How long a text may be that is looked for in errors, in bytes.
const MAX_TEXT: usize = 1_000;

/// Which runs to list. A run is listed if it fits every filter that is given.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Only runs of the graph with this id, or of every graph with this name, whatever its version.
    graph: Option<String>,
    /// Only runs with one of these statuses: given several times, or separated by commas.
    #[param(value_type = Option<Vec<StatusDoc>>)]
    status: Option<String>,
    /// Only runs that were started by this: `api` (a request), `schedule`, `fork`, `import`, or one schedule or forked
    /// run, as `schedule:NAME` or `fork:RUN`.
    #[param(
        example = "schedule:nightly",
        pattern = "^(api|schedule|fork|import|schedule:.+|fork:.+)$"
    )]
    origin: Option<String>,
    /// Only runs that began at this time or later: RFC 3339, as in `2026-11-29T12:00:00Z`.
    #[param(value_type = Option<String>, format = DateTime)]
    started_after: Option<String>,
    /// Only runs that began before this time: RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    started_before: Option<String>,
    /// Only runs whose error has this text in its message. Upper and lower case are the same; no character has a special
    /// meaning. At most 1,000 bytes.
    #[param(min_length = 1, max_length = 1000)]
    error: Option<String>,
    /// How many to list: 1 to 500; 50 where it is left out.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(crate) page_size: Option<usize>,
    /// `next_page_token` of the page before, with the same filters.
    pub(crate) page_token: Option<String>,
}

impl FromRequestParts<App> for ListParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Self::read(parts.uri.query().unwrap_or_default())
    }
}

impl ListParams {
    /// Reads a query, in which `status` may stand several times.
    fn read(query: &str) -> Result<Self, Problem> {
        let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
        let uri = uri.map_err(|error| wrong(error.to_string()))?;
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&uri);
        let Query(pairs) = pairs.map_err(|error| wrong(error.body_text()))?;
        let (statuses, mut pairs): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(name, _)| name == "status");
        if !statuses.is_empty() {
            let statuses: Vec<String> = statuses.into_iter().map(|(_, status)| status).collect();
            pairs.push(("status".to_owned(), statuses.join(",")));
        }
        fields::read_query(&pairs).map_err(|error| wrong(error.of_parameter()))
    }

    /// The graph that the list is of.
    pub(crate) fn graph(&self) -> Option<&str> {
        self.graph.as_deref()
    }

    /// The filters. Whether there is such a graph is not looked at.
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

fn wrong(message: String) -> Problem {
    Problem::new(Kind::BAD_QUERY, message)
}

/// The statuses of a list with commas, each once, in the order of [`Status::ALL`].
fn statuses(text: &str) -> Result<Vec<Status>, Problem> {
    let named = |name: &str| Status::ALL.into_iter().find(|status| status.as_str() == name);
    let wanted = text.split(',').map(|name| {
        let name = name.trim();
        named(name).ok_or_else(|| {
            let all = Status::ALL.map(Status::as_str).join("`, `");
            wrong(format!("`status`: `{name}` is no status of a run: give one or several of `{all}`, separated by commas"))
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
                wrong(format!(
                    "`origin`: `{run}` is no run's id: expected a UUID after `fork:`"
                ))
            })?;
            Ok(OriginFilter::Exactly(format!("fork:{run}").into()))
        }
        _ => Err(wrong(format!(
            "`origin`: `{text}` is no origin of a run: give `api`, `schedule`, `fork`, `import`, `schedule:NAME` or `fork:RUN`"
        ))),
    }
}

/// A time in whole milliseconds. Times of runs have no smaller parts, so the next millisecond stands for a time between
/// two of them.
fn time(name: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse_up(text).ok_or_else(|| {
        let hint = match text.contains(' ') {
            true => "; in a query, `+` is written as `%2B`",
            false => "",
        };
        wrong(format!(
            "`{name}`: `{text}` is no time: expected RFC 3339 with an offset, as in `2026-11-29T12:00:00Z`{hint}"
        ))
    })
}

fn error_text(text: &str) -> Result<Arc<str>, Problem> {
    match text.len() {
        0 => Err(wrong(
            "`error` is empty: give a text that the message of the error contains".to_owned(),
        )),
        1..=MAX_TEXT => Ok(text.into()),
        len => Err(wrong(format!("`error` has {len} bytes, more than {MAX_TEXT}"))),
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
                statuses(wrong).is_err_and(|told| told.contains("`queued`, `running`")),
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
                time(wrong).is_err_and(|told| told.contains("RFC 3339")),
                "{wrong}"
            );
        }
        assert!(time("2026-11-29T12:00:00+01:00").is_err_and(|told| told.contains("%2B")));
        assert!(read("started_before=never").is_err_and(|told| told.contains("started_before")));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
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
