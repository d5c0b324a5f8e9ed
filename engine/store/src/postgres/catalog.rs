//! Graphs and plugins. Each change increases the counter of its kind in the same statement, so that other engines read
//! the changed rows again.

use heddle_kernel::{Digest, GraphId, RunId};
use heddle_runtime::ports::{GraphRow, GraphSummary, PluginRow, PluginSummary, StoreError, Usage};

use super::{
    connect::Readers,
    read::count,
    rows::{GRAPH, PLUGIN, get, graph_row, graph_summary, plugin_row, run_id, text},
};
use crate::codec;

/// Inserts a graph, or completes the row that is there. Returns whether it is new.
pub(super) async fn put_graph(readers: &Readers, graph: GraphRow) -> Result<bool, StoreError> {
    let functions = (!graph.functions.is_empty()).then(|| serde_json::to_string(&graph.functions));
    let functions = functions
        .transpose()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    let sql = "WITH changed AS (UPDATE changes SET counter = counter + 1 WHERE name = 'graphs')
        INSERT INTO graphs AS g (id, name, definition, created_at, functions) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (id) DO UPDATE SET
            created_at = CASE WHEN g.name IS NULL AND excluded.name IS NOT NULL THEN excluded.created_at
                         ELSE g.created_at END,
            name = coalesce(g.name, excluded.name),
            functions = coalesce(excluded.functions, g.functions)
        RETURNING (g.xmax = 0)";
    let (id, name, definition) = (&*graph.id.0, graph.name.as_deref(), &*graph.definition);
    let rows = readers
        .write(sql, &[&id, &name, &definition, &graph.created_at.0, &functions])
        .await?;
    // A row that was just inserted has no deleting or locking transaction.
    rows.first().map_or(Ok(false), |row| get(row, 0))
}

pub(super) async fn graph(readers: &Readers, id: &GraphId) -> Result<Option<GraphRow>, StoreError> {
    let sql = format!("SELECT {GRAPH} FROM graphs WHERE id = $1");
    let row = readers.row(&sql, &[&&*id.0]).await?;
    row.map(|row| graph_row(&row)).transpose()
}

pub(super) async fn graph_named(readers: &Readers, name: &str) -> Result<Option<GraphRow>, StoreError> {
    let sql =
        format!("SELECT {GRAPH} FROM graphs WHERE name = $1 ORDER BY created_at DESC, position DESC LIMIT 1");
    let row = readers.row(&sql, &[&name]).await?;
    row.map(|row| graph_row(&row)).transpose()
}

pub(super) async fn graphs(
    readers: &Readers,
    after: Option<i64>,
    limit: usize,
) -> Result<Vec<(i64, GraphSummary)>, StoreError> {
    let sql = "SELECT position, id, name, created_at FROM graphs WHERE position < $1 ORDER BY position DESC LIMIT $2";
    let rows = readers
        .rows(sql, &[&after.unwrap_or(i64::MAX), &count(limit)])
        .await?;
    rows.iter().map(graph_summary).collect()
}

/// The graphs that use a function of this component.
pub(super) async fn graphs_with(
    readers: &Readers,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<GraphId>, StoreError> {
    let sql = "SELECT id FROM graphs WHERE strpos(functions, $1) > 0 ORDER BY position LIMIT $2";
    ids(readers, sql, &digest.0, limit).await
}

/// The graphs with a node that runs this graph, given by name or id.
pub(super) async fn graphs_naming(
    readers: &Readers,
    graph: &str,
    limit: usize,
) -> Result<Vec<GraphId>, StoreError> {
    let sql = "SELECT id, definition FROM graphs WHERE strpos(definition, $1) > 0 ORDER BY position";
    let mut found = Vec::new();
    for row in readers.rows(sql, &[&codec::graph_reference(graph)]).await? {
        // A value in a node may have the same text.
        if found.len() < limit && codec::runs_graph(get(&row, 1)?, graph) {
            found.push(GraphId(text(&row, 0)?));
        }
    }
    Ok(found)
}

async fn ids(readers: &Readers, sql: &str, value: &str, limit: usize) -> Result<Vec<GraphId>, StoreError> {
    let rows = readers.rows(sql, &[&value, &count(limit)]).await?;
    rows.iter().map(|row| text(row, 0).map(GraphId)).collect()
}

/// A run with an event that names this graph. The rows of the runs contain all graphs that their events name, so the search
/// has no position.
pub(super) async fn run_naming(
    readers: &Readers,
    graph: &GraphId,
) -> Result<(Option<RunId>, i64), StoreError> {
    let sql = "SELECT id FROM runs WHERE graph = $1 OR $1 = ANY(graphs) LIMIT 1";
    let row = readers.row(sql, &[&&*graph.0]).await?;
    Ok((row.map(|row| run_id(&row)).transpose()?, 0))
}

pub(super) async fn delete_graph(readers: &Readers, id: &GraphId) -> Result<bool, StoreError> {
    let sql = "WITH changed AS (UPDATE changes SET counter = counter + 1 WHERE name = 'graphs')
               DELETE FROM graphs WHERE id = $1 RETURNING 1";
    Ok(!readers.write(sql, &[&&*id.0]).await?.is_empty())
}

/// The count and size of graphs and plugins. Lengths are stored beside the texts, so no text or component is read.
pub(super) async fn usage(readers: &Readers) -> Result<Usage, StoreError> {
    let sql = "SELECT (SELECT count(*) FROM graphs),
                      (SELECT coalesce(sum(octet_length(definition)), 0)::bigint FROM graphs),
                      (SELECT count(*) FROM plugins),
                      (SELECT coalesce(sum(octet_length(component)), 0)::bigint FROM plugins)";
    let Some(row) = readers.row(sql, &[]).await? else {
        return Ok(Usage::default());
    };
    let number = |column| get::<i64>(&row, column).map(i64::cast_unsigned);
    Ok(Usage {
        graphs: number(0)?,
        graph_bytes: number(1)?,
        plugins: number(2)?,
        plugin_bytes: number(3)?,
    })
}

pub(super) async fn put_plugin(readers: &Readers, plugin: PluginRow) -> Result<(), StoreError> {
    let sql = "WITH changed AS (UPDATE changes SET counter = counter + 1 WHERE name = 'plugins')
        INSERT INTO plugins AS p (digest, name, version, active, added_at, component) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (digest) DO UPDATE SET active = true, name = excluded.name, version = excluded.version
        WHERE excluded.active AND NOT p.active";
    let (digest, name, version) = (&*plugin.digest.0, &*plugin.name, &*plugin.version);
    let component = &*plugin.component;
    readers
        .write(
            sql,
            &[
                &digest,
                &name,
                &version,
                &plugin.active,
                &plugin.added_at.0,
                &component,
            ],
        )
        .await
        .map(|_| ())
}

pub(super) async fn plugin(readers: &Readers, digest: &Digest) -> Result<Option<PluginRow>, StoreError> {
    let sql = format!("SELECT {PLUGIN} FROM plugins WHERE digest = $1");
    let row = readers.row(&sql, &[&&*digest.0]).await?;
    row.map(|row| plugin_row(&row)).transpose()
}

pub(super) async fn active_plugins(readers: &Readers) -> Result<Vec<PluginSummary>, StoreError> {
    let sql = "SELECT digest, name, version FROM plugins WHERE active ORDER BY position";
    let summary = |row: &tokio_postgres::Row| {
        Ok(PluginSummary {
            digest: Digest(text(row, 0)?),
            name: text(row, 1)?,
            version: text(row, 2)?,
        })
    };
    readers.rows(sql, &[]).await?.iter().map(summary).collect()
}

pub(super) async fn delete_plugin(readers: &Readers, digest: &Digest) -> Result<bool, StoreError> {
    let sql = "WITH changed AS (UPDATE changes SET counter = counter + 1 WHERE name = 'plugins')
               DELETE FROM plugins WHERE digest = $1 RETURNING 1";
    Ok(!readers.write(sql, &[&&*digest.0]).await?.is_empty())
}
