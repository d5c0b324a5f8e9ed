//! Reads an export event by event, and folds its run.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{
    Json,
    admit::{MAX_DEPTH, admit_to_depth},
    deserialize::{self, FieldError},
};
use heddle_kernel::{EventRecord, GraphId, Run, RunId, Status, Timestamp, graph::Pins, run::NamedGraphs};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    errors::{ImportError, summary},
    ports::GraphRow,
};

/// The version of the export format.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// The maximum nesting of a line: a value of the maximum nesting, inside of an event, inside of the copy of a forked run.
const MAX_LINE_DEPTH: usize = MAX_DEPTH + 40;

/// The first line of an export: the run's row and its graphs.
#[derive(Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) heddle_run: u32,
    pub(crate) run_id: RunId,
    pub(crate) graph_id: GraphId,
    pub(crate) created_at: Timestamp,
    pub(crate) status: Status,
    pub(crate) last_seq: u64,
    pub(crate) priority: i32,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) origin: Option<Arc<str>>,
    pub(crate) graphs: Vec<HeadGraph>,
}

/// A graph in the first line.
#[derive(Serialize, Deserialize)]
pub(crate) struct HeadGraph {
    pub(crate) id: GraphId,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) definition: Json,
    pub(crate) created_at: Timestamp,
}

/// Reads the events of an export.
pub(crate) struct Replay<'e> {
    pub(crate) head: Head,
    /// The run after the folded events.
    pub(crate) run: Option<Run>,
    /// The graph that the run started with.
    pub(crate) graph: Option<GraphId>,
    /// The graphs that the run is or was pinned to.
    pub(crate) used: BTreeMap<GraphId, GraphRow>,
    lines: Lines<'e>,
}

impl<'e> Replay<'e> {
    /// Opens an export and reads its first line.
    ///
    /// # Errors
    /// If the text is not an export, or has another format version.
    pub(crate) fn open(export: &'e [u8]) -> Result<Self, ImportError> {
        let mut lines = Lines {
            rest: export,
            line: 0,
            next: 1,
        };
        let head: Option<Head> = lines.read()?;
        let head = head.ok_or_else(|| malformed(1, "the text is empty".to_owned()))?;
        if head.heddle_run != FORMAT_VERSION {
            let found = head.heddle_run;
            let message = format!("its form is {found}, and this Heddle reads {FORMAT_VERSION}");
            return Err(malformed(1, message));
        }
        Ok(Self {
            head,
            run: None,
            graph: None,
            used: BTreeMap::new(),
            lines,
        })
    }

    /// Reads the next event, which the caller then folds.
    ///
    /// # Errors
    /// If the line is not an event.
    pub(crate) fn read(&mut self) -> Result<Option<EventRecord>, ImportError> {
        self.lines.read()
    }

    /// Folds the event that was read last.
    ///
    /// # Errors
    /// If the event does not fit the run, or names a graph that the first line does not contain.
    pub(crate) fn fold(&mut self, event: &EventRecord) -> Result<(), ImportError> {
        let graphs = match Pins::of(&event.event) {
            Some(pins) => Some(self.graphs(&pins)?),
            None => None,
        };
        let folded = Run::fold_next(&mut self.run, self.head.run_id, event, graphs);
        folded.map_err(|error| self.malformed(error.to_string()))?;
        if let (None, Some(run)) = (&self.graph, &self.run) {
            self.graph = Some(run.graph.id.clone());
        }
        Ok(())
    }

    /// The error for a problem with the event that was read last.
    pub(crate) fn malformed(&self, message: String) -> ImportError {
        malformed(self.lines.line, message)
    }

    /// Checks that the export contains all of the run's events, once all events in it are folded.
    ///
    /// # Errors
    /// If the export is truncated.
    pub(crate) fn check_end(&self) -> Result<(), ImportError> {
        let Some(run) = &self.run else {
            return Err(malformed(2, "the run's events are not there".to_owned()));
        };
        match run.seq == self.head.last_seq {
            true => Ok(()),
            false => {
                let message = format!(
                    "it ends with event {}, and line 1 says that it has {}",
                    run.seq, self.head.last_seq
                );
                Err(malformed(self.lines.line, message))
            }
        }
    }

    /// The graphs that an event pins the run to, from the first line.
    fn graphs(&mut self, pins: &Pins<'_>) -> Result<NamedGraphs, ImportError> {
        let line = self.lines.line;
        let (head, used) = (&self.head, &mut self.used);
        pins.resolve(|id| {
            let held = head.graphs.iter().find(|held| held.id == *id);
            let held = held.ok_or_else(|| {
                let message = format!("it names the graph {id}, which line 1 does not hold");
                malformed(line, message)
            })?;
            let graph = pins.rebuild_imported(held.definition.get());
            let graph = graph.map_err(|found| malformed(1, format!("graph {id}: {}", summary(&found))))?;
            if graph.id != *id {
                let message = format!("graph {id} is another one, of the id {}", graph.id);
                return Err(malformed(1, message));
            }
            let row = GraphRow {
                id: id.clone(),
                name: graph.name.clone(),
                definition: graph.definition.clone(),
                created_at: held.created_at,
                // Resolved when a run of the graph is started here.
                functions: BTreeMap::new(),
            };
            used.insert(id.clone(), row);
            Ok(Arc::new(graph))
        })
    }
}

/// JSON values, one in each line. Older exports may contain a value that spans several lines, since values were written as
/// clients had sent them.
struct Lines<'e> {
    rest: &'e [u8],
    /// The number of the line in which the last value starts.
    line: usize,
    /// The number of the next line.
    next: usize,
}

impl<'e> Lines<'e> {
    /// The next value. `None` if only empty lines are left.
    fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ImportError> {
        while !self.rest.is_empty() {
            let (line, rest) = split(self.rest);
            self.line = self.next;
            let (value, rest, lines) = match serde_json::from_slice::<&RawValue>(line) {
                _ if line.trim_ascii().is_empty() => (None, rest, 1),
                Ok(value) => (Some(value), rest, 1),
                Err(error) => {
                    let whole = error.is_eof().then(|| multi_line_value(self.rest)).flatten();
                    let (value, rest, lines) = whole.ok_or_else(|| {
                        let message = without_position(&error);
                        malformed(
                            self.line,
                            format!("not JSON at column {}: {message}", error.column()),
                        )
                    })?;
                    (Some(value), rest, lines)
                }
            };
            self.rest = rest;
            self.next += lines;
            if let Some(value) = value {
                return self.admit(value).map(Some);
            }
        }
        Ok(None)
    }

    /// Checks a value against the rules for JSON, and deserializes it.
    fn admit<T: DeserializeOwned>(&self, value: &RawValue) -> Result<T, ImportError> {
        let wrong = |message: String| malformed(self.line, message);
        let text = admit_to_depth(value.get(), MAX_LINE_DEPTH).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_str(&text).or_else(|_| {
            // Once more, for a message with a pointer in the terms of JSON.
            let raw: &RawValue =
                serde_json::from_str(&text).map_err(|error| wrong(without_position(&error)))?;
            deserialize::read(raw).map_err(|FieldError { pointer, message }| {
                wrong(match pointer.as_str() {
                    "" => message,
                    pointer => format!("at {pointer}: {message}"),
                })
            })
        })
    }
}

/// The message of an error without the position in the line.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or(&message).to_owned()
}

/// A value that spans several lines, the text after it, and its number of lines.
fn multi_line_value(text: &[u8]) -> Option<(&RawValue, &[u8], usize)> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    let value = values.next()?.ok()?;
    let (own, rest) = text.split_at(values.byte_offset());
    let (end, rest) = split(rest);
    let lines = own.iter().filter(|byte| **byte == b'\n').count() + 1;
    end.trim_ascii().is_empty().then_some((value, rest, lines))
}

/// The first line of a text, and the rest.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

pub(crate) fn malformed(line: usize, message: String) -> ImportError {
    ImportError::Malformed { line, message }
}
