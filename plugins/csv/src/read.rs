//! CSV into rows.

use std::{collections::BTreeMap, rc::Rc};

use csv_text::{ErrorKind, ReaderBuilder, StringRecord};
use heddle_plugin::{prelude::*, serde::ser::SerializeMap};

use crate::{
    byte,
    cell::{Cell, Type},
    comma, quote, yes,
};

/// The input of `parse`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parse {
    /// The whole CSV text.
    text: String,
    /// The delimiter between two cells: one ASCII character.
    #[serde(default = "comma")]
    delimiter: String,
    /// The quote around a cell that contains delimiters or line ends: one ASCII character.
    #[serde(default = "quote")]
    quote: String,
    /// Whether the first row names the columns.
    #[serde(default = "yes")]
    header: bool,
    /// The columns' names, in order, in place of those in the header.
    columns: Option<Vec<String>>,
    /// The types of columns, by name; the others are texts.
    #[serde(default)]
    types: BTreeMap<String, Type>,
    /// Whether blanks at the ends of cells are removed.
    #[serde(default)]
    trim: bool,
}

/// A row: its cells under the names of their columns, in the order of the columns.
#[derive(JsonSchema)]
#[schemars(with = "BTreeMap<String, Value>")]
struct Row {
    /// A column has the same name in every row.
    columns: Rc<[String]>,
    cells: Vec<Cell>,
}

impl Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.cells.len()))?;
        for (column, cell) in self.columns.iter().zip(&self.cells) {
            map.serialize_entry(column, cell)?;
        }
        map.end()
    }
}

/// The content of a CSV.
#[derive(Serialize, JsonSchema)]
struct Parsed {
    /// The columns' names, in order.
    columns: Vec<String>,
    /// The rows, in order: each an object with a key for every column.
    rows: Vec<Row>,
}

/// Reads CSV into rows, each an object with a key for every column.
#[tool(name = "parse", read_only, idempotent)]
fn parse(input: Parse) -> Result<Parsed> {
    // Spreadsheets write a byte order mark.
    let text = input.text.strip_prefix('\u{feff}').unwrap_or(&input.text);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(byte("delimiter", &input.delimiter)?)
        .quote(byte("quote", &input.quote)?)
        .from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    let mut next = |record: &mut StringRecord| -> Result<bool> {
        reader.read_record(record).map_err(|error| unreadable(&error))
    };
    let header = match input.header && next(&mut record)? {
        true => record.iter().map(|name| name.trim().to_owned()).collect(),
        false => Vec::new(),
    };
    let is_first = !input.header && next(&mut record)?;
    let names = match input.columns {
        Some(columns) => columns,
        None if input.header => header,
        // Without names, the columns are numbered.
        None => (1..=if is_first { record.len() } else { 0 })
            .map(|n| n.to_string())
            .collect(),
    };
    let types = types(&names, &input.types)?;
    let columns: Rc<[String]> = names.into();
    let mut rows = Vec::new();
    let mut is_row = is_first || next(&mut record)?;
    while is_row {
        let cells = cells(&record, text, &columns, &types, input.trim)?;
        rows.push(Row {
            columns: columns.clone(),
            cells,
        });
        is_row = next(&mut record)?;
    }
    Ok(Parsed {
        columns: columns.to_vec(),
        rows,
    })
}

/// The type of each column. Names must differ, and types must be those of columns.
fn types(columns: &[String], types: &BTreeMap<String, Type>) -> Result<Vec<Type>> {
    for (at, column) in columns.iter().enumerate() {
        if let Some(first) = columns[..at].iter().position(|other| other == column) {
            return Err(Error::permanent(format!(
                "columns {} and {} are both called `{column}`: name them apart in `columns`",
                first + 1,
                at + 1
            )));
        }
    }
    if let Some(unknown) = types.keys().find(|name| !columns.contains(name)) {
        let columns = columns.join("`, `");
        return Err(Error::invalid_input(format!(
            "`types` has `{unknown}`, and the columns are `{columns}`"
        )));
    }
    Ok(columns
        .iter()
        .map(|column| types.get(column).copied().unwrap_or_default())
        .collect())
}

fn cells(
    record: &StringRecord,
    text: &str,
    columns: &[String],
    types: &[Type],
    trim: bool,
) -> Result<Vec<Cell>> {
    let line = line_of(record, text);
    if record.len() != columns.len() {
        let (has, wanted) = (record.len(), columns.len());
        let message = format!("line {line} has {has} cells, and there are {wanted} columns");
        return Err(Error::permanent(message).with_data(json!({ "line": line })));
    }
    let read = |(at, cell): (usize, &str)| {
        let cell = if trim { cell.trim() } else { cell };
        types[at].read(cell).map_err(|wanted| {
            let (column, start) = (&columns[at], cell.chars().take(40).collect::<String>());
            let message = format!(
                "line {line}, column {} (`{column}`): `{start}` is not {wanted}",
                at + 1
            );
            Error::permanent(message).with_data(json!({"line": line, "column": column}))
        })
    };
    record.iter().enumerate().map(read).collect()
}

/// The line that a row begins on. The reader counts from where the last one ended, so empty lines in between are added.
fn line_of(record: &StringRecord, text: &str) -> u64 {
    let Some(position) = record.position() else {
        return 0;
    };
    let rest = text
        .as_bytes()
        .get(position.byte() as usize..)
        .unwrap_or_default();
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + blank.filter(|byte| **byte == b'\n').count() as u64
}

/// Converts an error of the reader. Its text is UTF-8 and rows may have any width, so errors are rare.
fn unreadable(error: &csv_text::Error) -> Error {
    let line = error.position().map_or(0, csv_text::Position::line);
    match error.kind() {
        ErrorKind::Utf8 { .. } => Error::permanent(format!("line {line} is not UTF-8")),
        _ => Error::permanent(format!("line {line}: {error}")),
    }
}
