//! Retention: how long runs are kept after their end.

use std::{fmt, sync::Arc};

use crate::{
    graph::{duration, duration_text},
    ids::{GraphId, Timestamp},
    run::Status,
};

/// The time for which runs without a rule are kept: 7 days.
pub const DEFAULT_KEEP_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// The retention rules. The most specific rule for a run wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// The graph, by its id or name.
    graph: Option<Arc<str>>,
    status: Option<Status>,
    keep: Keep,
}

/// The time for which a run is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// This many milliseconds after its end.
    For(u64),
    /// Forever.
    Forever,
}

impl Default for Retention {
    /// Every run for [`DEFAULT_KEEP_MS`].
    fn default() -> Self {
        Self {
            rules: vec![Rule {
                graph: None,
                status: None,
                keep: Keep::For(DEFAULT_KEEP_MS),
            }],
        }
    }
}

impl Retention {
    /// Parses rules: `7d` for every run, `failed=30d`, `graph:NAME=1d`, `graph:NAME/failed=90d`. The time may
    /// be `forever`.
    ///
    /// # Errors
    /// The problem of the first invalid rule.
    pub fn read<'r>(rules: impl IntoIterator<Item = &'r str>) -> Result<Self, String> {
        let mut retention = Self::default();
        for text in rules {
            let rule = Rule::read(text)?;
            let same = |other: &&mut Rule| other.graph == rule.graph && other.status == rule.status;
            match retention.rules.iter_mut().find(same) {
                // Only the default rule may be set again.
                Some(default) if rule.rank() == 0 && *default == Self::default().rules[0] => *default = rule,
                Some(_) => return Err(format!("another rule is for the same runs as `{text}`")),
                None => retention.rules.push(rule),
            }
        }
        Ok(retention)
    }

    /// The time for which a run of this graph with this status is kept.
    pub fn keep(&self, graph: &GraphId, name: Option<&str>, status: Status) -> Keep {
        let fits = self.rules.iter().filter(|rule| {
            rule.status.is_none_or(|wanted| wanted == status)
                && rule
                    .graph
                    .as_deref()
                    .is_none_or(|wanted| wanted == &*graph.0 || Some(wanted) == name)
        });
        fits.max_by_key(|rule| rule.rank())
            .map_or(Keep::Forever, |rule| rule.keep)
    }

    /// Whether a run of this graph that ended at `ended` has expired at `now`.
    pub fn is_expired(
        &self,
        graph: &GraphId,
        name: Option<&str>,
        status: Status,
        ended: Timestamp,
        now: Timestamp,
    ) -> bool {
        match self.keep(graph, name, status) {
            Keep::For(ms) => status.is_over() && now.0.saturating_sub(ended.0) >= as_ms(ms),
            Keep::Forever => false,
        }
    }

    /// Whether any rule names a graph.
    pub fn names_graphs(&self) -> bool {
        self.rules.iter().any(|rule| rule.graph.is_some())
    }

    /// The shortest time of all rules; `None` if every run is kept forever.
    pub fn shortest_ms(&self) -> Option<u64> {
        let times = self.rules.iter().filter_map(|rule| match rule.keep {
            Keep::For(ms) => Some(ms),
            Keep::Forever => None,
        });
        times.min()
    }
}

fn as_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl Rule {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = |what: String| format!("`{text}`: {what}");
        // A graph's name may contain any character, so the time comes last.
        let (of, keep) = match text.rsplit_once('=') {
            Some((of, keep)) => (Some(of), keep),
            None => (None, text),
        };
        let keep = match keep {
            "forever" => Keep::Forever,
            keep => Keep::For(duration(keep).map_err(|error| wrong(format!("{error}, or `forever`")))?),
        };
        let (graph, status) = match of {
            None => (None, None),
            Some(of) => match of.strip_prefix("graph:") {
                None => (None, Some(status(of).map_err(wrong)?)),
                Some(of) => match of.rsplit_once('/') {
                    // A slash may be part of the name: then no status follows it.
                    Some((graph, ended)) if status(ended).is_ok() => (Some(graph), status(ended).ok()),
                    _ => (Some(of), None),
                },
            },
        };
        if graph == Some("") {
            return Err(wrong(
                "after `graph:` a graph's name or id is expected".to_owned(),
            ));
        }
        Ok(Self {
            graph: graph.map(Into::into),
            status,
            keep,
        })
    }

    /// How specific the rule is: a graph is more specific than a status.
    fn rank(&self) -> u8 {
        u8::from(self.graph.is_some()) * 2 + u8::from(self.status.is_some())
    }
}

fn status(text: &str) -> Result<Status, String> {
    let over = Status::ALL.into_iter().filter(|status| status.is_over());
    over.into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| {
            format!("`{text}` is not a final status: `finished`, `failed`, `cancelled` or `graph:NAME` is expected")
        })
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(ms) => f.write_str(&duration_text(*ms)),
            Self::Forever => f.write_str("forever"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(rules: &[&str], name: Option<&str>, status: Status) -> String {
        let retention = Retention::read(rules.iter().copied()).unwrap_or_else(|error| panic!("{error}"));
        retention.keep(&GraphId("0123".into()), name, status).to_string()
    }

    #[test]
    fn the_most_specific_rule_wins_in_any_order() {
        let rules = [
            "graph:review/failed=90d",
            "failed=30d",
            "graph:review=1d",
            "finished=forever",
            "2d",
        ];
        assert_eq!(keep(&rules, Some("review"), Status::Failed), "90d");
        assert_eq!(keep(&rules, Some("review"), Status::Finished), "1d");
        assert_eq!(keep(&rules, Some("other"), Status::Failed), "30d");
        assert_eq!(keep(&rules, None, Status::Finished), "forever");
        assert_eq!(keep(&rules, None, Status::Cancelled), "2d");
        assert_eq!(keep(&[], None, Status::Cancelled), "1w");
        assert_eq!(
            keep(&["graph:0123=1h"], None, Status::Failed),
            "1h",
            "a graph is found by its id"
        );
        assert_eq!(
            keep(&["graph:a/b=1h"], Some("a/b"), Status::Failed),
            "1h",
            "a name may have a slash"
        );
    }

    #[test]
    fn a_run_expires_after_its_retention_time_and_only_if_it_has_ended() {
        let retention = Retention::read(["1s"]).unwrap();
        let is_expired = |status, now| {
            retention.is_expired(&GraphId("g".into()), None, status, Timestamp(500), Timestamp(now))
        };
        assert!(!is_expired(Status::Finished, 1_499));
        assert!(is_expired(Status::Finished, 1_500));
        assert!(!is_expired(Status::Waiting, 1_500));
        assert_eq!(retention.shortest_ms(), Some(1_000));
        assert_eq!(Retention::read(["forever"]).unwrap().shortest_ms(), None);
    }

    #[test]
    fn an_invalid_rule_is_refused_with_the_reason() {
        let wrong = |rules: &[&str]| Retention::read(rules.iter().copied()).unwrap_err();
        assert_eq!(
            wrong(&["soon"]),
            "`soon`: expected a duration such as \"500ms\", \"10s\", \"1h30m\" or \"7d\", got \"soon\", or `forever`"
        );
        assert_eq!(
            wrong(&["running=1d"]),
            "`running=1d`: `running` is not a final status: `finished`, `failed`, `cancelled` or `graph:NAME` is expected"
        );
        assert_eq!(
            wrong(&["graph:=1d"]),
            "`graph:=1d`: after `graph:` a graph's name or id is expected"
        );
        assert_eq!(
            wrong(&["failed=1d", "failed=2d"]),
            "another rule is for the same runs as `failed=2d`"
        );
    }
}
