//! A CSV (RFC 4180) in memory.

use heddle_plugin::{Error, Result};

/// A header and rows, all of the header's width.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The names of the columns.
    pub header: Vec<String>,
    /// The rows as they came, without any trimming.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads a CSV with a header. A row that is too short is filled up with empty cells; one that is
    /// too long is refused, because the superfluous cell cannot be identified.
    pub fn read(text: &str) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(text.as_bytes());
        let header: Vec<String> = reader.headers()?.iter().map(str::to_string).collect();
        if header.is_empty() {
            return Err(Error::invalid_input("`csv` is empty: give a header and rows"));
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record?;
            if record.len() > header.len() {
                let line = record.position().map_or(0, csv::Position::line);
                let (cells, columns) = (record.len(), header.len());
                return Err(Error::invalid_input(format!(
                    "line {line} of `csv` has {cells} cells, and the header has {columns}"
                )));
            }
            let mut row: Vec<String> = record.iter().map(str::to_string).collect();
            row.resize(header.len(), String::new());
            rows.push(row);
        }
        Ok(Self { header, rows })
    }

    /// Writes it as a CSV, quoting where it must.
    pub fn write(&self) -> Result<String> {
        let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
        writer.write_record(&self.header)?;
        for row in &self.rows {
            writer.write_record(row)?;
        }
        let bytes = writer
            .into_inner()
            .map_err(|error| Error::permanent(error.error()))?;
        Ok(String::from_utf8(bytes)?)
    }

    /// The index of the column with this name, from 0.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    /// For each row, whether an earlier row is the same in every cell.
    pub fn repeats(&self) -> Vec<bool> {
        let mut seen = std::collections::HashSet::new();
        self.rows.iter().map(|row| !seen.insert(row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_read_is_written_unchanged() {
        let text = "a,b\n1,\"x, \"\"y\"\"\"\n2,\n";
        let table = Table::read(text).expect("it is a CSV");
        assert_eq!(table.rows, [["1", "x, \"y\""], ["2", ""]]);
        assert_eq!(table.write().expect("it can be written"), text);
    }

    #[test]
    fn a_short_row_is_filled_up_and_a_long_one_is_refused() {
        assert_eq!(Table::read("a,b\n1\n").expect("short is fine").rows, [["1", ""]]);
        let error = Table::read("a,b\n1,2\n1,2,3\n").expect_err("long is not");
        assert_eq!(error.message, "line 3 of `csv` has 3 cells, and the header has 2");
    }

    #[test]
    fn a_row_repeats_the_first_of_its_kind() {
        let table = Table::read("a\n1\n2\n1\n1\n").expect("it is a CSV");
        assert_eq!(table.repeats(), [false, false, true, true]);
    }
}
