//! Error responses of a server: problems (RFC 9457), translated for users of the command line.
//!
//! A problem is written for HTTP clients. It may name a route, a query parameter, a header or a place in the body. The
//! message replaces these with the corresponding command, flag or argument.

use std::fmt::{self, Write};

use heddle_display as display;
use serde_json::Value;
use ureq::http::StatusCode;

use crate::answer::{list, text};

/// Routes and the corresponding commands. `{}` matches any segment of a path, and is replaced by that segment in the
/// command. The first match is used.
const COMMANDS: [(&str, &str, &str); 41] = [
    ("POST", "/graph/create", "heddle graph create FILE"),
    ("POST", "/graph/run", "heddle run GRAPH"),
    ("GET", "/graph/state/{}", "heddle show {}"),
    ("POST", "/v1/graphs", "heddle graph create FILE"),
    ("GET", "/v1/graphs", "heddle graph list"),
    ("POST", "/v1/graphs:check", "heddle graph check FILE"),
    ("GET", "/v1/graphs/{}", "heddle graph draw {}"),
    ("DELETE", "/v1/graphs/{}", "heddle graph delete {}"),
    ("GET", "/v1/graphs/{}/picture", "heddle graph draw {}"),
    ("POST", "/v1/runs", "heddle run GRAPH"),
    ("GET", "/v1/runs", "heddle runs"),
    ("POST", "/v1/runs:import", "heddle import FILE"),
    ("GET", "/v1/runs/{}", "heddle show {}"),
    ("GET", "/v1/runs/{}/events", "heddle watch {}"),
    ("POST", "/v1/runs/{}/signal", "heddle signal {} NAME"),
    ("POST", "/v1/runs/{}/cancel", "heddle cancel {}"),
    ("POST", "/v1/runs/{}/pause", "heddle pause {}"),
    ("POST", "/v1/runs/{}/resume", "heddle resume {}"),
    ("POST", "/v1/runs/{}/retry", "heddle retry {}"),
    ("POST", "/v1/runs/{}/upgrade", "heddle upgrade {}"),
    ("POST", "/v1/runs/{}/fork", "heddle fork {} --step N"),
    ("GET", "/v1/runs/{}/steps", "heddle steps {}"),
    ("GET", "/v1/runs/{}/steps/{}", "heddle show {} --step {}"),
    ("GET", "/v1/runs/{}/diff", "heddle diff {} FROM TO"),
    ("GET", "/v1/runs/{}/export", "heddle export {}"),
    ("POST", "/v1/schedules", "heddle schedule create NAME GRAPH"),
    ("GET", "/v1/schedules", "heddle schedule list"),
    ("GET", "/v1/schedules/{}", "heddle schedule show {}"),
    ("DELETE", "/v1/schedules/{}", "heddle schedule delete {}"),
    ("POST", "/v1/schedules/{}/pause", "heddle schedule pause {}"),
    ("POST", "/v1/schedules/{}/resume", "heddle schedule resume {}"),
    ("POST", "/v1/schedules/{}/run", "heddle schedule run {}"),
    ("POST", "/v1/plugins", "heddle plugin add FILE"),
    ("GET", "/v1/plugins", "heddle plugin list"),
    ("POST", "/v1/plugins:inspect", "heddle plugin inspect FILE"),
    ("GET", "/v1/plugins/{}", "heddle plugin inspect {}"),
    ("DELETE", "/v1/plugins/{}", "heddle plugin remove {}"),
    ("GET", "/v1/plugins/{}/{}", "heddle plugin inspect {}@{}"),
    ("DELETE", "/v1/plugins/{}/{}", "heddle plugin remove {}@{}"),
    ("GET", "/v1/tools", "heddle plugin list"),
    ("GET", "/v1/tools/{}/{}", "heddle plugin inspect {}"),
];

/// Routes without a command: messages keep them.
const HTTP_ONLY: [(&str, &str); 10] = [
    ("GET", "/ws/logs/{}"),
    ("GET", "/v1/graph.schema.json"),
    ("DELETE", "/v1/runs/{}"),
    ("POST", "/v1/tools/{}/{}/call"),
    ("GET", "/v1/plugins/{}/grants"),
    ("GET", "/v1/plugins/{}/policy"),
    ("PUT", "/v1/plugins/{}/policy"),
    ("DELETE", "/v1/plugins/{}/policy"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
];

/// The type of a problem with a query parameter.
const BAD_QUERY: &str = "urn:heddle:problem:bad-query";

/// The type of a problem with an unknown path.
const NO_SUCH_PATH: &str = "urn:heddle:problem:no-such-path";

/// JSON pointers into the body of a request, and the flags or arguments that the values come from.
pub(crate) type Flags = &'static [(&'static str, &'static str)];

/// An error response of the server (RFC 9457).
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    problem: Value,
    flags: Flags,
}

impl std::error::Error for Problem {}

impl Problem {
    /// Reads the body of an error response. A body that is not a problem has no details.
    pub(crate) fn of(status: StatusCode, body: &str, flags: Flags) -> Self {
        let problem = serde_json::from_str(body).unwrap_or_default();
        Self {
            status,
            problem,
            flags,
        }
    }

    /// The findings of the problem, if it lists any.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Value> {
        list(&self.problem, "errors")
    }

    /// The title of the problem.
    pub(crate) fn title(&self) -> String {
        text(&self.problem, "title").into_owned()
    }

    /// Whether the response does not come from a Heddle server, or comes from a wrong path of one. If the URL has no path,
    /// an unknown route means an older version of Heddle.
    pub(crate) fn is_not_heddle(&self, has_path: bool) -> bool {
        let kind = &self.problem["type"];
        self.status == StatusCode::NOT_FOUND && (!kind.is_string() || (has_path && *kind == NO_SUCH_PATH))
    }

    /// Whether an argument of the command is wrong: the server cannot read the request, or every finding is about a value
    /// of a flag or argument.
    pub(crate) fn is_usage_error(&self) -> bool {
        let is_flag = |finding: &Value| {
            let pointer = text(finding, "pointer");
            self.flags.iter().any(|(place, _)| {
                let rest = pointer.strip_prefix(place);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        match self.status {
            StatusCode::BAD_REQUEST => true,
            StatusCode::UNPROCESSABLE_ENTITY => {
                let mut findings = self.findings().peekable();
                findings.peek().is_some() && findings.all(is_flag)
            }
            _ => false,
        }
    }

    /// A place in the body, named by its flag or argument if possible.
    fn place(&self, pointer: &str) -> String {
        let fits = |place: &str| {
            let rest = pointer.strip_prefix(place)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(rest)
        };
        let found = self
            .flags
            .iter()
            .find_map(|(place, flag)| Some((flag, fits(place)?)));
        match found {
            Some((flag, "")) => (*flag).to_owned(),
            Some((flag, rest)) => format!("{flag} at {}", display::line(rest)),
            None => display::line(pointer).into_owned(),
        }
    }

    /// A finding as `PLACE: message`.
    fn finding(&self, finding: &Value) -> String {
        let message = with_commands(&text(finding, "message"));
        match &*text(finding, "pointer") {
            "" => message,
            pointer => format!("{}: {message}", self.place(pointer)),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, detail) = (self.title(), text(&self.problem, "detail"));
        let findings: Vec<&Value> = self.findings().collect();
        match &*findings {
            // The detail repeats the messages of the findings, so one of both is enough.
            [finding] if detail.ends_with(&*text(finding, "message")) => {
                let pointer = text(finding, "pointer");
                let before = detail
                    .strip_suffix(&*text(finding, "message"))
                    .unwrap_or_default();
                let before = before.strip_suffix(&format!("{pointer}: ")).unwrap_or(before);
                write!(f, "{}{}", with_commands(before), self.finding(finding))
            }
            [] if detail.is_empty() => {
                write!(f, "the server answered {}", self.status)?;
                match self.status {
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                        f.write_str(": authenticate with --token, HEDDLE_TOKEN or --header")
                    }
                    _ => Ok(()),
                }
            }
            [] if self.problem["type"] == BAD_QUERY => f.write_str(&with_commands(&query_flag(&detail))),
            [] => f.write_str(&with_commands(&detail)),
            findings => {
                f.write_str(&lower_first(&title))?;
                f.write_char(':')?;
                for finding in findings {
                    write!(f, "\n  {}", self.finding(finding))?;
                }
                Ok(())
            }
        }
    }
}

/// A message about a query parameter, with the flag of the same name instead. The parameter is at the beginning.
fn query_flag(detail: &str) -> String {
    let parameter = detail.strip_prefix('`').and_then(|rest| rest.split_once('`'));
    match parameter {
        Some((name, rest)) if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
            format!("--{}{rest}", name.replace('_', "-"))
        }
        _ => detail.to_owned(),
    }
}

/// A title with a lower-case first letter, for use in a sentence.
fn lower_first(title: &str) -> String {
    let mut rest = title.chars();
    rest.next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(rest).collect())
}

/// Replaces the routes, parameters and headers in a message of the server with commands and flags.
pub(crate) fn with_commands(message: &str) -> String {
    let mut translated = String::with_capacity(message.len());
    let mut rest = message;
    loop {
        let methods = ["GET /", "POST /", "PUT /", "DELETE /"];
        let route = methods.iter().filter_map(|method| rest.find(method)).min();
        let Some(at) = route else {
            translated.push_str(rest);
            return with_flags(&translated);
        };
        translated.push_str(&rest[..at]);
        rest = &rest[at..];
        let (method, path) = rest.split_once(' ').expect("a space follows a method");
        let ends = |c: char| c.is_whitespace() || matches!(c, '`' | ',' | ';' | ')' | '"');
        let path = &path[..path.find(ends).unwrap_or(path.len())];
        // A `:` or `.` at the end belongs to the sentence.
        let path = path.trim_end_matches([':', '.']);
        let len = method.len() + 1 + path.len();
        match command(method, path) {
            // Adds backticks unless the message has them.
            Some(command) if translated.ends_with('`') => translated.push_str(&command),
            Some(command) => write!(translated, "`{command}`").expect("writing to a string does not fail"),
            None => translated.push_str(&rest[..len]),
        }
        rest = &rest[len..];
    }
}

/// The message of a run's error. Messages of the engine are translated; messages of functions are not changed.
pub(crate) fn run_error(error: &Value) -> String {
    let message = error["message"].as_str().unwrap_or_default();
    match error["code"].as_str() {
        Some("retryable" | "permanent" | "invalid_input") => message.to_owned(),
        _ => with_commands(message),
    }
}

/// The command for a route, if there is one.
fn command(method: &str, path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap_or_default();
    let has_none = |(of, template): &(&str, &str)| *of == method && path_names(template, path).is_some();
    if HTTP_ONLY.iter().any(has_none) {
        return None;
    }
    COMMANDS.iter().find_map(|(of, template, command)| {
        if *of != method {
            return None;
        }
        let names = path_names(template, path)?;
        let mut names = names.into_iter();
        let parts: Vec<&str> = command.split("{}").collect();
        let filled = parts.iter().enumerate().map(|(position, part)| match position {
            0 => (*part).to_owned(),
            _ => format!("{}{part}", placeholder(names.next().unwrap_or_default())),
        });
        Some(filled.collect())
    })
}

/// The segments of a path that match `{}` in the template.
fn path_names<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let (mut parts, mut names) = (path.split('/'), Vec::new());
    for expected in template.split('/') {
        match (expected, parts.next()?) {
            ("{}", "") => return None,
            ("{}", name) => names.push(name),
            (expected, part) if expected == part => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(names)
}

/// Converts `{run_id}` in a route to the form of help texts: `RUN`.
fn placeholder(name: &str) -> String {
    match name.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
        Some(name) => name.strip_suffix("_id").unwrap_or(name).to_uppercase(),
        None => name.to_owned(),
    }
}

/// Replaces `?force=true` with `--force`, `?after=3` with `--after 3`, and the header of idempotency keys with its flag.
fn with_flags(message: &str) -> String {
    let mut translated = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find('?') {
        let (before, after) = rest.split_at(at);
        translated.push_str(before);
        let after = &after[1..];
        let name_len = after
            .find(|c: char| !(c.is_ascii_lowercase() || c == '_'))
            .unwrap_or(after.len());
        let (name, value) = after.split_at(name_len);
        let begins_word = before.is_empty() || before.ends_with(['`', ' ', '(']);
        let Some(value) = value
            .strip_prefix('=')
            .filter(|_| !name.is_empty() && begins_word)
        else {
            translated.push('?');
            rest = after;
            continue;
        };
        let value_len = value.find(|c: char| !c.is_alphanumeric()).unwrap_or(value.len());
        translated.push_str("--");
        translated.push_str(&name.replace('_', "-"));
        if !matches!(&value[..value_len], "true" | "") {
            translated.push(' ');
            translated.push_str(&value[..value_len]);
        }
        rest = &value[value_len..];
    }
    translated.push_str(rest);
    translated
        .replace("`Idempotency-Key`", "`--idempotency-key`")
        .replace("`idempotency-key`", "`--idempotency-key`")
        .replace("`waits` of the run lists", "`heddle show RUN` lists")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(problem: &Value, flags: Flags) -> String {
        Problem::of(StatusCode::UNPROCESSABLE_ENTITY, &problem.to_string(), flags).to_string()
    }

    #[test]
    fn a_finding_is_printed_once() {
        let one = json!({"title": "The body does not have the right form", "detail": "/state: expected a JSON object",
            "errors": [{"pointer": "/state", "message": "expected a JSON object"}]});
        assert_eq!(message(&one, &[]), "/state: expected a JSON object");
        assert_eq!(
            message(&one, &[("/state", "--state")]),
            "--state: expected a JSON object"
        );
        let whole =
            json!({"title": "T", "detail": "too large", "errors": [{"pointer": "", "message": "too large"}]});
        assert_eq!(message(&whole, &[]), "too large");
        let several = json!({"title": "The graph has errors", "detail": "/a: x; y",
            "errors": [{"pointer": "/a", "message": "x"}, {"pointer": "", "message": "y"}]});
        assert_eq!(message(&several, &[]), "the graph has errors:\n  /a: x\n  y");
        let payload = json!({"title": "T", "detail": "the payload of `go` does not fit: /payload/n: no number",
            "errors": [{"pointer": "/payload/n", "message": "no number"}]});
        assert_eq!(
            message(&payload, &[("/payload", "--payload")]),
            "the payload of `go` does not fit: --payload at /n: no number"
        );
    }

    #[test]
    fn a_query_parameter_is_named_by_its_flag() {
        let of_query = |detail: &str| message(&json!({"type": BAD_QUERY, "detail": detail}), &[]);
        assert_eq!(
            of_query("`started_after`: `x` is not a time"),
            "--started-after: `x` is not a time"
        );
        assert_eq!(of_query("`x y` is odd"), "`x y` is odd");
        assert_eq!(message(&json!({"detail": "`status`: odd"}), &[]), "`status`: odd");
    }

    #[test]
    fn a_response_without_details_is_described_by_its_status() {
        let of = |status, body: &str| Problem::of(status, body, &[]).to_string();
        assert_eq!(
            of(StatusCode::BAD_GATEWAY, "<html>"),
            "the server answered 502 Bad Gateway"
        );
        assert!(of(StatusCode::UNAUTHORIZED, "").contains("--token"));
        let elsewhere =
            |body: &str, has_path| Problem::of(StatusCode::NOT_FOUND, body, &[]).is_not_heddle(has_path);
        let problem = |kind: &str| json!({"type": kind, "detail": "there is none"}).to_string();
        assert!(elsewhere("<html>", false) && elsewhere(&problem(NO_SUCH_PATH), true));
        assert!(!elsewhere(&problem(NO_SUCH_PATH), false));
        assert!(!elsewhere(&problem("urn:heddle:problem:no-such-run"), true));
    }

    #[test]
    fn routes_become_commands_and_parameters_become_flags() {
        for (message, expected) in [
            (
                "GET /v1/plugins lists all plugins",
                "`heddle plugin list` lists all plugins",
            ),
            (
                "; `GET /v1/graphs` lists all graphs",
                "; `heddle graph list` lists all graphs",
            ),
            (
                "create it with POST /v1/graphs, or run it: POST /graph/run",
                "create it with `heddle graph create FILE`, or run it: `heddle run GRAPH`",
            ),
            (
                "GET /v1/plugins/shout shows it",
                "`heddle plugin inspect shout` shows it",
            ),
            (
                "`waits` of `GET /v1/runs/{run_id}`.",
                "`waits` of `heddle show RUN`.",
            ),
            (
                "PUT /v1/plugins/a/policy sets it",
                "PUT /v1/plugins/a/policy sets it",
            ),
            (
                "remove it anyway with ?force=true",
                "remove it anyway with --force",
            ),
            (
                "come back with `?after=7`, or not?",
                "come back with `--after 7`, or not?",
            ),
            (
                "is it there? a?b=c https://h/?a=b",
                "is it there? a?b=c https://h/?a=b",
            ),
            (
                "DELETE /v1/plugins/a/policy takes it back",
                "DELETE /v1/plugins/a/policy takes it back",
            ),
            ("`Idempotency-Key` is 1 to 255", "`--idempotency-key` is 1 to 255"),
            ("`waits` of the run lists those", "`heddle show RUN` lists those"),
            ("GET /", "GET /"),
        ] {
            assert_eq!(with_commands(message), expected);
        }
    }

    #[test]
    fn every_route_is_in_one_of_the_tables() {
        let api: Value = serde_json::from_str(&heddle_server::openapi()).unwrap();
        for (path, methods) in api["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let method = method.to_uppercase();
                let known = |of: &str, template: &str| {
                    of == method
                        && template.split('/').count() == path.split('/').count()
                        && template.split('/').zip(path.split('/')).all(|(expected, part)| {
                            (expected == "{}") == part.starts_with('{')
                                && (expected == "{}" || expected == part)
                        })
                };
                let has_command = COMMANDS.iter().any(|(of, template, _)| known(of, template));
                let has_none = HTTP_ONLY.iter().any(|(of, template)| known(of, template));
                assert!(
                    has_command != has_none,
                    "{method} {path}: add it to one of the tables"
                );
            }
        }
    }
}
