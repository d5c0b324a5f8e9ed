//! The limits of one call: the host's own, those of a plugin in the policy, and those of a node in a graph.
//!
//! Limits have the same names wherever they are written or shown. A plugin's limit replaces the host's own, below or
//! above it; a node can only lower the limit that applies then.

use std::{collections::BTreeMap, fmt, time::Duration};

use heddle_json::{
    Json,
    deserialize::{FieldError, NullRule, read, read_with},
    object,
};
use heddle_kernel::graph;
use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::units::{Bytes, Span};

/// The largest 32-bit memory in bytes, which the host reserves for each memory.
pub(crate) const MEMORY_CEILING: usize = 4 << 30;

/// The largest `at_once`: more is the same as no limit.
const MAX_AT_ONCE: usize = 1 << 20;

/// The largest value of each limit in bytes except `memory`: what it limits is held in memory as a whole.
const MAX_BYTES: usize = 1 << 30;

/// The largest `time`.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest `http_requests`.
const MAX_REQUESTS: usize = 1 << 20;

/// The limits in a policy entry or a node, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// The linear memories of one instance, together.
    memory: Option<Size<MEMORY_CEILING>>,
    /// How long a call with the tools that it calls may take.
    time: Option<Time>,
    /// How much an instance may compute.
    fuel: Option<Fuel>,
    /// How many calls may be active at once.
    at_once: Option<Count<1, MAX_AT_ONCE>>,
    /// How much a call with the tools that it calls may log.
    log: Option<Size<MAX_BYTES>>,
    /// How much a call with the tools that it calls may emit.
    emit: Option<Size<MAX_BYTES>>,
    /// The maximum size of a call's result.
    result: Option<Size<MAX_BYTES>>,
    /// The bodies of all requests of a call with the tools that it calls.
    outgoing: Option<Size<MAX_BYTES>>,
    /// How many requests a call with the tools that it calls may make.
    http_requests: Option<Count<0, MAX_REQUESTS>>,
    /// The largest body of a request.
    http_request_bytes: Option<Size<MAX_BYTES>>,
    /// The largest body of a response.
    http_response_bytes: Option<Size<MAX_BYTES>>,
}

impl Limits {
    /// Reads the `limits` of a node.
    ///
    /// # Errors
    /// Each invalid key, with its JSON pointer within the node.
    pub(crate) fn of_node(json: &Json, null: NullRule) -> Result<Self, Vec<(String, String)>> {
        let problem = |error: FieldError| {
            let FieldError { pointer, message } = error.at_key("limits");
            (pointer, message)
        };
        let error = match read_with(json, null) {
            Ok(limits) => return Ok(limits),
            Err(error) => error,
        };
        let Ok(keys) = read::<BTreeMap<String, &RawValue>>(json) else {
            return Err(vec![problem(error)]);
        };
        // Each key is read alone, so that all problems are found.
        let problems = keys.into_iter().filter_map(|(key, value)| {
            let alone = object::to_json(&BTreeMap::from([(key, value)]));
            read_with::<Self>(&alone, null).err().map(problem)
        });
        Err(problems.collect())
    }

    /// How many calls may be active at once.
    pub(crate) fn at_once(&self) -> Option<usize> {
        self.at_once.map(|count| count.0)
    }

    /// A line for each limit.
    pub(crate) fn lines(&self) -> Vec<String> {
        fn line(name: &str, value: Option<impl fmt::Display>) -> Option<String> {
            value.map(|value| format!("{name}: {value}"))
        }
        let lines = [
            line("memory", self.memory),
            line("time", self.time),
            line("fuel", self.fuel),
            line("at_once", self.at_once),
            line("log", self.log),
            line("emit", self.emit),
            line("result", self.result),
            line("outgoing", self.outgoing),
            line("http_requests", self.http_requests),
            line("http_request_bytes", self.http_request_bytes),
            line("http_response_bytes", self.http_response_bytes),
        ];
        lines.into_iter().flatten().collect()
    }
}

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitSource {
    /// The host's own limit of every call.
    Default,
    /// The policy entry of the plugin.
    Policy,
    /// The node's `limits`.
    Node,
    /// The node's `timeout`.
    Timeout,
}

impl fmt::Display for LimitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "the server's default",
            Self::Policy => "set by the policy",
            Self::Node => "set by the node",
            Self::Timeout => "the node's timeout",
        })
    }
}

/// A limit that applies, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit<T> {
    pub(crate) value: T,
    pub(crate) source: LimitSource,
}

impl<T: Copy + Ord> Limit<T> {
    pub(crate) fn default(value: T) -> Self {
        let source = LimitSource::Default;
        Self { value, source }
    }

    /// Replaces the host's own limit by the policy's.
    fn set(self, value: Option<T>) -> Self {
        let source = LimitSource::Policy;
        value.map_or(self, |value| Self { value, source })
    }

    /// The smaller limit applies.
    pub(crate) fn narrow(self, value: Option<T>, source: LimitSource) -> Self {
        match value {
            Some(value) if value < self.value => Self { value, source },
            _ => self,
        }
    }
}

impl Limit<usize> {
    /// The limit in a message: `16 MiB (memory, set by the policy)`.
    pub(crate) fn bytes(&self, name: &str) -> String {
        format!("{} ({name}, {})", Bytes(self.value), self.source)
    }

    /// A limit that is a count, in a message.
    pub(crate) fn count(&self, name: &str) -> String {
        format!("{} ({name}, {})", self.value, self.source)
    }
}

impl Limit<u64> {
    /// The limit in a message.
    pub(crate) fn fuel(&self) -> String {
        format!("{} (fuel, {})", self.value, self.source)
    }
}

impl Limit<Duration> {
    /// The limit in a message.
    pub(crate) fn span(&self) -> String {
        match self.source {
            LimitSource::Timeout => format!("{} ({})", Span(self.value), self.source),
            source => format!("{} (time, {source})", Span(self.value)),
        }
    }
}

/// The limits that apply to one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallLimits {
    pub(crate) memory: Limit<usize>,
    pub(crate) time: Limit<Duration>,
    /// Without a limit, fuel is not counted.
    pub(crate) fuel: Option<Limit<u64>>,
    pub(crate) log: Limit<usize>,
    pub(crate) emit: Limit<usize>,
    pub(crate) result: Limit<usize>,
    pub(crate) outgoing: Limit<usize>,
    pub(crate) http_requests: Limit<usize>,
    pub(crate) http_request_bytes: Limit<usize>,
    pub(crate) http_response_bytes: Limit<usize>,
}

impl CallLimits {
    /// The limits of a plugin with these limits in the policy.
    pub(crate) fn with_policy(&self, limits: &Limits) -> Self {
        let source = LimitSource::Policy;
        Self {
            memory: self.memory.set(value(limits.memory)),
            time: self.time.set(limits.time.map(|time| time.0)),
            fuel: limits
                .fuel
                .map(|Fuel(value)| Limit { value, source })
                .or(self.fuel),
            log: self.log.set(value(limits.log)),
            emit: self.emit.set(value(limits.emit)),
            result: self.result.set(value(limits.result)),
            outgoing: self.outgoing.set(value(limits.outgoing)),
            http_requests: self.http_requests.set(limits.http_requests.map(|count| count.0)),
            http_request_bytes: self.http_request_bytes.set(value(limits.http_request_bytes)),
            http_response_bytes: self.http_response_bytes.set(value(limits.http_response_bytes)),
        }
    }

    /// The limits of a node's calls with these limits.
    pub(crate) fn narrowed_to(&self, limits: &Limits) -> Self {
        let source = LimitSource::Node;
        let fuel = match (self.fuel, limits.fuel) {
            (Some(fuel), Some(limits)) => Some(fuel.narrow(Some(limits.0), source)),
            (None, Some(Fuel(value))) => Some(Limit { value, source }),
            (fuel, None) => fuel,
        };
        let requests = limits.http_requests.map(|count| count.0);
        let (request, response) = (limits.http_request_bytes, limits.http_response_bytes);
        Self {
            memory: self.memory.narrow(value(limits.memory), source),
            time: self.time.narrow(limits.time.map(|time| time.0), source),
            fuel,
            log: self.log.narrow(value(limits.log), source),
            emit: self.emit.narrow(value(limits.emit), source),
            result: self.result.narrow(value(limits.result), source),
            outgoing: self.outgoing.narrow(value(limits.outgoing), source),
            http_requests: self.http_requests.narrow(requests, source),
            http_request_bytes: self.http_request_bytes.narrow(value(request), source),
            http_response_bytes: self.http_response_bytes.narrow(value(response), source),
        }
    }
}

fn value<const MAX: usize>(size: Option<Size<MAX>>) -> Option<usize> {
    size.map(|size| size.0)
}

/// A number of bytes from 1 to `MAX`: a whole number, alone or with `B`, `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size<const MAX: usize>(usize);

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count<const MIN: usize, const MAX: usize>(usize);

/// A duration, in the form that graphs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time(Duration);

/// A whole number of units of fuel, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fuel(u64);

/// A value before its range is checked.
enum Written {
    Whole(u64),
    Text(String),
    /// Another value, by its type.
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a string")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Written, E> {
                Ok(Written::Whole(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Written, E> {
                Ok(u64::try_from(number).map_or(Written::Other("a number"), Written::Whole))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Written, E> {
                // 1.0 and 1e3 are whole numbers. The first double that is too large is 2^64.
                match number.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&number) {
                    true => Ok(Written::Whole(number as u64)),
                    false => Ok(Written::Other("a number")),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Written, E> {
                Ok(Written::Text(text.to_owned()))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Written, E> {
                Ok(Written::Other("a boolean"))
            }

            fn visit_unit<E: Error>(self) -> Result<Written, E> {
                Ok(Written::Other("null"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Written, A::Error> {
                Ok(Written::Other("an array"))
            }

            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Written, A::Error> {
                Ok(Written::Other("an object"))
            }
        }

        input.deserialize_any(Reader)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Size<MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let bytes = match Written::deserialize(input)? {
            Written::Whole(bytes) => Some(bytes),
            Written::Text(text) => graph::size(&text),
            Written::Other(_) => None,
        };
        let fits = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        match fits.filter(|bytes| (1..=MAX).contains(bytes)) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(D::Error::custom(format!(
                "expected a number of bytes of at most {}, such as 65536, \"64KiB\" or \"16MiB\"",
                Bytes(MAX)
            ))),
        }
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let count = match Written::deserialize(input)? {
            Written::Whole(count) => usize::try_from(count).ok(),
            Written::Text(_) | Written::Other(_) => None,
        };
        match count.filter(|count| (MIN..=MAX).contains(count)) {
            Some(count) => Ok(Self(count)),
            None => Err(D::Error::custom(format!(
                "expected a whole number from {MIN} to {MAX}"
            ))),
        }
    }
}

/// The error for a duration of another type.
fn not_a_string<E: Error>(kind: &str) -> E {
    E::custom(format!(
        "expected a duration such as \"10s\" or \"1h30m\", as a string, got {kind}"
    ))
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = match Written::deserialize(input)? {
            Written::Text(text) => text,
            Written::Whole(_) => return Err(not_a_string("a number")),
            Written::Other(kind) => return Err(not_a_string(kind)),
        };
        let ms = graph::duration(&text).map_err(D::Error::custom)?;
        match Duration::from_millis(ms) {
            time if time > Duration::ZERO && time <= MAX_TIME => Ok(Self(time)),
            _ => Err(D::Error::custom(format!(
                "expected a duration of at least 1ms and at most 24h, got {text:?}"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Fuel {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        match Written::deserialize(input)? {
            // wasmtime counts fuel as a signed number.
            Written::Whole(fuel @ 1..=0x7fff_ffff_ffff_ffff) => Ok(Self(fuel)),
            _ => Err(D::Error::custom(
                "expected a whole number of at least 1, such as 1000000000",
            )),
        }
    }
}

impl<const MAX: usize> fmt::Display for Size<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Bytes(self.0).fmt(f)
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Display for Count<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(self.0).fmt(f)
    }
}

impl fmt::Display for Fuel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Limits {
        Limits::of_node(&object::json(text).unwrap(), NullRule::Refused).unwrap()
    }

    fn refused(text: &str) -> Vec<(String, String)> {
        Limits::of_node(&object::json(text).unwrap(), NullRule::Refused).unwrap_err()
    }

    #[test]
    fn limits_are_read_in_their_units() {
        let limits = limits(
            r#"{"memory": "128MiB", "time": "1m30s", "fuel": 1000000000, "at_once": 4, "log": "64 KiB", "emit": 1000,
                "result": "1 MiB", "outgoing": "1GiB"}"#,
        );
        let lines = [
            "memory: 128 MiB",
            "time: 90 s",
            "fuel: 1000000000",
            "at_once: 4",
            "log: 64 KiB",
            "emit: 1000 bytes",
            "result: 1 MiB",
            "outgoing: 1024 MiB",
        ];
        assert_eq!(limits.lines(), lines);
    }

    #[test]
    fn a_time_that_is_not_a_string_is_refused_with_its_type() {
        for (time, kind) in [
            ("5", "a number"),
            ("1.5", "a number"),
            ("-1", "a number"),
            ("true", "a boolean"),
            ("[\"1s\"]", "an array"),
            ("{}", "an object"),
        ] {
            let found = refused(&format!(r#"{{"time": {time}}}"#));
            let expected =
                format!("expected a duration such as \"10s\" or \"1h30m\", as a string, got {kind}");
            assert_eq!(found, [("/limits/time".to_owned(), expected)], "{time}");
        }
    }

    #[test]
    fn each_invalid_key_of_a_node_is_reported_with_its_pointer() {
        let problems = refused(
            r#"{"memory": "5GiB", "time": "soon", "fuel": 0, "at_once": 0, "log": -1, "emit": "1MB", "http_requests": "2",
                "memmory": 1, "result": "1MiB"}"#,
        );
        let found: Vec<String> = problems
            .iter()
            .map(|(pointer, message)| format!("{pointer}: {}", message.split(", such as").next().unwrap()))
            .collect();
        let expected = [
            "/limits/at_once: expected a whole number from 1 to 1048576",
            "/limits/emit: expected a number of bytes of at most 1024 MiB",
            "/limits/fuel: expected a whole number of at least 1",
            "/limits/http_requests: expected a whole number from 0 to 1048576",
            "/limits/log: expected a number of bytes of at most 1024 MiB",
            "/limits/memmory: unknown field; known fields: memory, time, fuel, at_once, log, emit, result, outgoing, \
             http_requests, http_request_bytes, http_response_bytes",
            "/limits/memory: expected a number of bytes of at most 4096 MiB",
            "/limits/time: expected a duration such as \"500ms\", \"10s\", \"1h30m\" or \"7d\", got \"soon\"",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_whole_number_may_have_a_fraction_of_zeros_or_an_exponent() {
        let written = limits(r#"{"memory": 16777216.0, "fuel": 1e3, "at_once": 4.0, "http_requests": 0e0}"#);
        assert_eq!(
            written,
            limits(r#"{"memory": 16777216, "fuel": 1000, "at_once": 4, "http_requests": 0}"#)
        );
        for (text, pointer) in [
            (r#"{"fuel": 1.5}"#, "/limits/fuel"),
            (r#"{"fuel": 1e19}"#, "/limits/fuel"),
            (r#"{"at_once": -1.0}"#, "/limits/at_once"),
            (r#"{"memory": 1e300}"#, "/limits/memory"),
        ] {
            assert_eq!(refused(text)[0].0, pointer, "{text}");
        }
    }

    #[test]
    fn null_is_refused_in_a_new_node_and_means_no_limit_in_a_stored_one() {
        let json = object::json(r#"{"memory": null, "time": null}"#).unwrap();
        assert_eq!(Limits::of_node(&json, NullRule::IsAbsent), Ok(Limits::default()));
        let problems = Limits::of_node(&json, NullRule::Refused).unwrap_err();
        let found: Vec<_> = problems.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(found, ["/limits/memory", "/limits/time"]);
        assert_eq!(problems[0].1, "null is not a value here: leave the key out");
    }
}
