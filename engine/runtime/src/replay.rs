//! An export that is read event by event, with the run as it was at each.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{
    Json,
    admit::{MAX_DEPTH, admit_to_depth},
    object::kind_of,
};
use heddle_kernel::{
    EventRecord, Graph, GraphId, Run, RunId, Status, Timestamp,
    graph::Pins,
    run::{FoldError, Graphs},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    answer::{ImportError, summary},
    ports::GraphRow,
};

/// The version of the form.
pub(crate) const FORM: u32 = 1;
/// How deep a line may be nested: a value as deep as any, in an event, in the copy of a run that was forked.
const MAX_LINE_DEPTH: usize = MAX_DEPTH + 40;

/// The first line.
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

#[derive(Serialize, Deserialize)]
pub(crate) struct HeadGraph {
    pub(crate) id: GraphId,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) definition: Json,
    pub(crate) created_at: Timestamp,
}

/// A run that is read from its export.
pub(crate) struct Replay<'e> {
    pub(crate) head: Head,
    /// The run after the events that were folded.
    pub(crate) run: Option<Run>,
    /// The graph that it began with.
    pub(crate) graph: Option<GraphId>,
    /// The graphs that it keeps to, or did.
    pub(crate) used: BTreeMap<GraphId, GraphRow>,
    lines: Lines<'e>,
}

impl<'e> Replay<'e> {
    /// Reads the first line.
    ///
    /// # Errors
    /// Where it is no export, or one of another form.
    pub(crate) fn open(export: &'e [u8]) -> Result<Self, ImportError> {
        let mut lines = Lines {
            rest: export,
            line: 0,
            next: 1,
        };
        let head: Option<Head> = lines.read()?;
        let head = head.ok_or_else(|| malformed(1, "the text is empty".to_owned()))?;
        if head.heddle_run != FORM {
            let found = head.heddle_run;
            let message = format!("its form is {found}, and this Heddle reads {FORM}");
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

    /// The next event, which is to be folded.
    ///
    /// # Errors
    /// Where the line is no event.
    pub(crate) fn read(&mut self) -> Result<Option<EventRecord>, ImportError> {
        self.lines.read()
    }

    /// Folds the event that was read last.
    ///
    /// # Errors
    /// Where it does not follow, or names what the first line does not hold.
    pub(crate) fn fold(&mut self, event: &EventRecord) -> Result<(), ImportError> {
        let line = self.lines.line;
        let wrong = |error: FoldError| malformed(line, error.to_string());
        let graphs = match Pins::of(&event.event) {
            Some(pins) => Some(self.graphs(&pins)?),
            None => None,
        };
        match (&mut self.run, graphs) {
            (Some(run), graphs) => {
                if let Some((graph, graphs)) = graphs {
                    run.stage(graph, graphs);
                }
                run.fold(event).map_err(wrong)?;
            }
            (None, Some((graph, graphs))) => {
                self.graph = Some(graph.id.clone());
                let first = Run::from_first(self.head.run_id, graph, graphs, event);
                self.run = Some(first.map_err(wrong)?);
            }
            (None, None) => {
                let message = "the first event is not the run's start".to_owned();
                return Err(malformed(line, message));
            }
        }
        Ok(())
    }

    /// That something is wrong with the event that was read last.
    pub(crate) fn malformed(&self, message: String) -> ImportError {
        malformed(self.lines.line, message)
    }

    /// Checks, once every event was folded, that the export has all of the run's events.
    ///
    /// # Errors
    /// Where it was cut off.
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

    /// The graphs that an event names.
    fn graphs(&mut self, pins: &Pins<'_>) -> Result<(Arc<Graph>, Arc<Graphs>), ImportError> {
        let mut graph = |id: &GraphId| {
            let held = self.head.graphs.iter().find(|held| held.id == *id);
            let held = held.ok_or_else(|| {
                let message = format!("it names the graph {id}, which line 1 does not hold");
                malformed(self.lines.line, message)
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
                // Whoever starts a run of it has these looked up.
                functions: BTreeMap::new(),
            };
            self.used.insert(id.clone(), row);
            Ok(Arc::new(graph))
        };
        let own = graph(pins.graph)?;
        let mut named = Graphs::new();
        for (name, id) in pins.graphs {
            named.insert(name.clone(), graph(id)?);
        }
        Ok((own, Arc::new(named)))
    }
}

/// JSON values, each in a line of its own. An older Heddle wrote a value as it had been sent, and so in several
/// lines where it had line breaks: it is read as the one value that it is.
struct Lines<'e> {
    rest: &'e [u8],
    /// The number of the line in which the value that was read last begins.
    line: usize,
    /// The number of the line that comes next.
    next: usize,
}

impl<'e> Lines<'e> {
    /// The next value; nothing where only empty lines follow.
    fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ImportError> {
        while !self.rest.is_empty() {
            let (line, rest) = split(self.rest);
            self.line = self.next;
            let (value, rest, lines) = match serde_json::from_slice::<&RawValue>(line) {
                _ if line.trim_ascii().is_empty() => (None, rest, 1),
                Ok(value) => (Some(value), rest, 1),
                Err(error) => {
                    let whole = error.is_eof().then(|| in_several_lines(self.rest)).flatten();
                    let (value, rest, lines) = whole.ok_or_else(|| {
                        let said = error.to_string();
                        let said = said.split(" at line ").next().unwrap_or(&said).to_owned();
                        malformed(
                            self.line,
                            format!("not JSON at column {}: {said}", error.column()),
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

    fn admit<T: DeserializeOwned>(&self, value: &RawValue) -> Result<T, ImportError> {
        let wrong = |message: String| malformed(self.line, message);
        let text =
            admit_to_depth(value.get(), MAX_LINE_DEPTH).map_err(|refused| wrong(refused.to_string()))?;
        match kind_of(&text) {
            Some("an object") => serde_json::from_str(&text).map_err(|error| wrong(in_words_of_json(&error))),
            kind => Err(wrong(format!(
                "expected an object, got {}",
                kind.unwrap_or("nothing")
            ))),
        }
    }
}

/// What is wrong with a line that is JSON: without the place in it, and without the names of types.
fn in_words_of_json(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    let (what, expected) = said.split_once("expected ").unwrap_or((said, ""));
    let expected = match expected.split([' ', ',']).next() {
        None | Some("") => return what.to_owned(),
        Some("struct" | "map") => "an object",
        Some("u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64") => "a whole number",
        Some("tuple" | "sequence") => "an array",
        Some(_) => expected,
    };
    format!("{what}expected {expected}")
}

/// A value that goes on after the end of its first line, what follows it, and how many lines it has.
fn in_several_lines(text: &[u8]) -> Option<(&RawValue, &[u8], usize)> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    let value = values.next()?.ok()?;
    let (own, rest) = text.split_at(values.byte_offset());
    let (end, rest) = split(rest);
    let lines = own.iter().filter(|byte| **byte == b'\n').count() + 1;
    end.trim_ascii().is_empty().then_some((value, rest, lines))
}

/// The first line of a text, and what follows it.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

pub(crate) fn malformed(line: usize, message: String) -> ImportError {
    ImportError::Malformed { line, message }
}
