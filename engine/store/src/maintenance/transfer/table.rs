//! The tables of a store as a copy sees them: the same columns, whichever database the store is in.

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Id([u8; 16]),
    Int(i64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    /// The approximate size in memory.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Null | Self::Id(_) | Self::Int(_) | Self::Bool(_) => 16,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The id of a run.
    Id,
    /// The id of a run, or none: an empty blob in SQLite, the nil UUID in PostgreSQL.
    Scope,
    /// A number of 64 bits, or of 32 bits in PostgreSQL.
    Int,
    Short,
    Bool,
    Text,
    Bytes,
}

/// A table of a copy.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// The rows that are copied, and their order.
    pub(super) condition: &'static str,
    pub(super) order: &'static str,
    /// How many rows are read at once.
    pub(super) rows: usize,
}

use Kind::{Bool, Bytes, Id, Int, Scope, Short, Text};

const NOT_IN_TRASH: &str = "run NOT IN (SELECT run FROM trash)";

/// All tables in the order in which they are copied.
pub(super) const TABLES: [Table; 9] = [
    Table {
        name: "graphs",
        columns: &[
            ("id", Text),
            ("name", Text),
            ("definition", Text),
            ("created_at", Int),
            ("functions", Text),
        ],
        condition: "true",
        order: "position",
        rows: 64,
    },
    Table {
        name: "plugins",
        columns: &[
            ("digest", Text),
            ("name", Text),
            ("version", Text),
            ("active", Bool),
            ("added_at", Int),
            ("component", Bytes),
        ],
        condition: "true",
        order: "position",
        rows: 1,
    },
    texts("schedules"),
    texts("policies"),
    texts("secrets"),
    Table {
        name: "runs",
        columns: &[
            ("id", Id),
            ("graph", Text),
            ("status", Text),
            ("created_at", Int),
            ("finished_at", Int),
            ("error", Text),
            ("wake_at", Int),
            ("priority", Short),
            ("grp", Text),
            ("group_limit", Short),
            ("origin", Text),
        ],
        condition: "true",
        order: "id",
        rows: 500,
    },
    Table {
        name: "events",
        columns: &[
            ("run", Id),
            ("first_seq", Int),
            ("last_seq", Int),
            ("sum", Int),
            ("body", Bytes),
        ],
        condition: NOT_IN_TRASH,
        order: "run, first_seq",
        rows: 200,
    },
    Table {
        name: "snapshots",
        columns: &[("run", Id), ("seq", Int), ("sum", Int), ("body", Bytes)],
        condition: NOT_IN_TRASH,
        order: "run, seq",
        rows: 50,
    },
    Table {
        name: "requests",
        columns: &[
            ("scope", Scope),
            ("key", Text),
            ("digest", Text),
            ("run", Id),
            ("seq", Int),
        ],
        condition: "true",
        order: "scope, key",
        rows: 500,
    },
];

const fn texts(name: &'static str) -> Table {
    Table {
        name,
        columns: &[("name", Text), ("body", Text)],
        condition: "true",
        order: "name",
        rows: 100,
    }
}

impl Table {
    /// The query for all rows.
    pub(super) fn select(&self) -> String {
        let Self {
            name,
            condition,
            order,
            ..
        } = self;
        format!(
            "SELECT {} FROM {name} WHERE {condition} ORDER BY {order}",
            self.names()
        )
    }

    /// The names of the columns.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}
