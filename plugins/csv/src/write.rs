//! Rows into CSV.

use csv_text::{QuoteStyle, Terminator, WriterBuilder};
use heddle_plugin::{
    prelude::*,
    serde_json::{self, value::RawValue},
};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{byte, comma, quote, yes};

/// The input of `write`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rows {
    /// The rows, in order: objects with a key for each column, or lists of cells. A cell is a text, a number, a boolean or null.
    rows: Vec<Row>,
    /// The columns to write, in order. Default: the columns of the first row, then those that only later rows have.
    columns: Option<Vec<String>>,
    /// The delimiter between two cells: one ASCII character.
    #[serde(default = "comma")]
    delimiter: String,
    /// The quote around a cell that needs one: one ASCII character.
    #[serde(default = "quote")]
    quote: String,
    /// Whether the first row names the columns.
    #[serde(default = "yes")]
    header: bool,
    /// Whether lines end with a carriage return and a line feed, as on Windows.
    #[serde(default)]
    crlf: bool,
}

/// One row. Its cells keep their notation, so that no digit of a number is lost.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Row {
    /// Its cells by column, in the row's order.
    Named(#[schemars(with = "std::collections::BTreeMap<String, Value>")] Vec<(String, Box<RawValue>)>),
    /// Its cells in the order of the columns.
    Listed(#[schemars(with = "Vec<Value>")] Vec<Box<RawValue>>),
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Cells;
        impl<'de> Visitor<'de> for Cells {
            type Value = Row;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object or a list with the cells of a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Row, A::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = map.next_entry()? {
                    cells.push(cell);
                }
                Ok(Row::Named(cells))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Row, A::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = list.next_element()? {
                    cells.push(cell);
                }
                Ok(Row::Listed(cells))
            }
        }
        deserializer.deserialize_any(Cells)
    }
}

/// CSV.
#[derive(Serialize, JsonSchema)]
struct Written {
    /// The whole CSV text.
    text: String,
    /// The columns' names, in order; empty if the rows are lists without names.
    columns: Vec<String>,
}

/// Writes rows, which are objects or lists of cells, as the text of a CSV.
#[tool(name = "write", read_only, idempotent)]
fn write(input: Rows) -> Result<Written> {
    let columns = match input.columns {
        Some(columns) => columns,
        None => columns_of(&input.rows),
    };
    let terminator = if input.crlf {
        Terminator::CRLF
    } else {
        Terminator::Any(b'\n')
    };
    let mut writer = WriterBuilder::new()
        .flexible(true)
        .delimiter(byte("delimiter", &input.delimiter)?)
        .quote(byte("quote", &input.quote)?)
        .quote_style(QuoteStyle::Necessary)
        .terminator(terminator)
        .from_writer(Vec::new());
    if input.header && !columns.is_empty() {
        writer.write_record(&columns)?;
    }
    for (at, row) in input.rows.iter().enumerate() {
        writer.write_record(cells(at, row, &columns)?)?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| Error::permanent(error.error()))?;
    Ok(Written {
        text: String::from_utf8(bytes)?,
        columns,
    })
}

/// Every key of the rows, in the order of first occurrence.
fn columns_of(rows: &[Row]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let named = rows.iter().filter_map(|row| match row {
        Row::Named(cells) => Some(cells),
        Row::Listed(_) => None,
    });
    let names = named.flatten().map(|(name, _)| name);
    names.filter(|name| seen.insert(*name)).cloned().collect()
}

fn cells(at: usize, row: &Row, columns: &[String]) -> Result<Vec<String>> {
    match row {
        Row::Listed(cells) if !columns.is_empty() && cells.len() != columns.len() => {
            let (has, wanted) = (cells.len(), columns.len());
            let message = format!("`rows[{at}]` has {has} cells, and there are {wanted} columns");
            Err(Error::invalid_input(message))
        }
        Row::Listed(cells) => {
            let cells = cells.iter().map(|cell| &**cell).enumerate();
            let written = |(cell, value)| written(value).ok_or_else(|| refused(at, &format!("[{cell}]")));
            cells.map(written).collect()
        }
        Row::Named(cells) => {
            let of = |column: &String| {
                let cell = cells.iter().find(|(name, _)| name == column);
                let cell = cell.map_or(Some(String::new()), |(_, value)| written(value));
                cell.ok_or_else(|| refused(at, &format!("[{column:?}]")))
            };
            columns.iter().map(of).collect()
        }
    }
}

/// A cell's text; none for a list or an object.
fn written(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first() {
        Some(b'[' | b'{') => None,
        Some(b'"') => serde_json::from_str(value.get()).ok(),
        _ if value.get() == "null" => Some(String::new()),
        _ => Some(value.get().to_owned()),
    }
}

fn refused(row: usize, cell: &str) -> Error {
    Error::invalid_input(format!(
        "`rows[{row}]{cell}` is a list or an object, which a cell cannot hold: make a text of it, or leave it out with `columns`"
    ))
}
