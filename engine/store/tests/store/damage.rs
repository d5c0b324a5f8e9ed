//! Damage in the file: bytes that changed after they were written.

use std::{fs, path::Path};

use heddle_json::object::json;
use heddle_kernel::{EventRecord, RunId, Status};
use heddle_runtime::ports::{
    Append, EngineId, Journal, Ownership, RunDisposition, RunFilter, RunSnapshot, Store, StoreError,
};
use heddle_store::SqliteJournal;

use crate::world::{RunWriter, Sqlite, all_events, damaged, graph_id, log, position, record, run_id};

/// The offsets of these bytes in the file. Besides the current place, an old page may have them.
fn find(file: &[u8], bytes: &[u8]) -> Vec<usize> {
    let windows = file.windows(bytes.len()).enumerate();
    let places: Vec<_> = windows
        .filter(|(_, window)| *window == bytes)
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty(), "the bytes are in the file");
    places
}

/// Changes the file of a closed store.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    assert!(!Path::new(&log).exists(), "the log is copied into the file");
    let mut file = fs::read(path).unwrap();
    change(&mut file);
    fs::write(path, file).unwrap();
}

async fn is_damaged(journal: &SqliteJournal, run: RunId) {
    match journal.events(run, 0, 100).await {
        Err(StoreError::Damaged(message)) => assert!(message.contains(&run.to_string()), "{message}"),
        other => panic!("run {run}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_byte_of_a_body_is_flipped_its_run_alone_is_damaged() {
    let world = Sqlite::new();
    let journal = world.journal();
    let event = |number: u64| log(&format!("needle {number:06}"));
    let text = |number: u64| serde_json::to_string(&*record(2, event(number))).unwrap();
    // One run for each byte of the event, and the same number of undamaged runs.
    let bytes = text(0).len() as u64 + 1;
    for number in 0..2 * bytes {
        let mut writer = RunWriter::new(number);
        writer.begin(&journal).await.unwrap().unwrap();
        writer.append(&journal, vec![event(number)]);
        writer.append_logs(&journal, 2).await.unwrap().unwrap();
    }
    drop(journal);
    change(&world.path(), |file| {
        for number in 0..bytes {
            let needle = format!("needle {number:06}");
            for place in find(file, needle.as_bytes()) {
                let begin = place - text(number).find(&needle).unwrap();
                file[begin + number as usize] ^= 1 << (number % 8);
            }
        }
    });

    let journal = world.journal();
    assert_eq!(journal.unfinished().await.unwrap().len() as u64, 2 * bytes);
    for number in 0..2 * bytes {
        let mut writer = RunWriter::at(number, 4);
        match number < bytes {
            true => is_damaged(&journal, writer.run).await,
            false => {
                assert_eq!(all_events(&journal, writer.run, 2).await.len(), 4);
                writer.append_logs(&journal, 1).await.unwrap().unwrap();
                writer.finish(&journal).await.unwrap().unwrap();
                assert_eq!(all_events(&journal, writer.run, 100).await.len(), 6);
            }
        }
    }
    // What comes before the damage can be read.
    assert_eq!(journal.events(run_id(0), 0, 1).await.unwrap().len(), 1);
    assert!(journal.health().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_the_place_of_another_is_damage() {
    let world = Sqlite::new();
    let journal = world.journal();
    for number in [1, 2] {
        let mut writer = RunWriter::new(number);
        writer.begin(&journal).await.unwrap().unwrap();
        writer
            .append(&journal, vec![log(&format!("needle {number}"))])
            .await
            .unwrap()
            .unwrap();
    }
    drop(journal);
    // Swaps the bodies with their checksums, as if a page was written to the wrong place.
    let other = rusqlite::Connection::open(world.path()).unwrap();
    let swap = "CREATE TEMP TABLE before AS SELECT run, first_seq, body, sum FROM events;
                UPDATE events SET (body, sum) = (SELECT body, sum FROM before
                WHERE before.run <> events.run AND before.first_seq = 2) WHERE first_seq = 2";
    other.execute_batch(swap).unwrap();
    drop(other);
    let journal = world.journal();
    is_damaged(&journal, run_id(1)).await;
    is_damaged(&journal, run_id(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_gives_way_to_the_one_before_it() {
    let world = Sqlite::new();
    let journal = world.journal();
    let mut writer = RunWriter::new(1);
    writer.begin(&journal).await.unwrap().unwrap();
    for number in 1..=3 {
        let (append, result) = writer.draft(vec![log("a line")], RunDisposition::Running);
        let (seq, body) = (writer.seq, json(&format!("\"needle {number}\"")).unwrap());
        journal.append(Append {
            snapshot: Some(RunSnapshot { seq, body }),
            ..append
        });
        result.await.unwrap().unwrap();
    }
    drop(journal);
    let newest = async |journal: &SqliteJournal| journal.snapshot(run_id(1), 9).await.unwrap();
    for (number, expected) in [(3, Some(3)), (2, Some(2)), (1, None)] {
        change(&world.path(), |file| {
            for at in find(file, format!("needle {number}").as_bytes()) {
                file[at] ^= 4;
            }
        });
        let journal = world.journal();
        let found = newest(&journal).await;
        assert_eq!(found.as_ref().map(|found| found.seq), expected);
        assert_eq!(all_events(&journal, writer.run, 100).await.len(), 4);
        drop(journal);
    }
    writer.append_logs(&world.journal(), 1).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_stops_its_run_alone() {
    let world = Sqlite::new();
    let journal = world.journal();
    for number in 1..=5 {
        let mut writer = RunWriter::new(number);
        writer.begin(&journal).await.unwrap().unwrap();
    }
    drop(journal);
    change(&world.path(), |file| {
        let row = [
            run_id(3).0.as_bytes().as_slice(),
            graph_id(1).0.as_bytes(),
            b"running",
        ]
        .concat();
        for at in find(file, &row) {
            file[at + row.len() - 1] ^= 1;
        }
    });
    let journal = world.journal();
    match journal.run(run_id(3)).await {
        Err(StoreError::Damaged(message)) => {
            assert!(message.contains(&run_id(3).to_string()), "{message}")
        }
        other => panic!("{other:?}"),
    }
    // The other runs are listed and continue, even in a commit that they share with it.
    let listed = journal.runs(RunFilter::default(), None, 10).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|row| row.id).collect();
    assert_eq!(listed, [5, 4, 2, 1].map(run_id));
    let result: Vec<_> = (1..=5)
        .map(|number| (number, RunWriter::at(number, 1).append_logs(&journal, 1)))
        .collect();
    for (number, result) in result {
        match number {
            3 => damaged(result.await.unwrap(), run_id(3)),
            _ => assert_eq!(result.await.unwrap().unwrap(), 2),
        }
    }
    assert_eq!(journal.delete_runs([3].map(run_id).to_vec()).await.unwrap(), 0);
    assert!(journal.health().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_damaged_keeps_no_run_from_going_on() {
    let world = Sqlite::new();
    let journal = world.journal();
    for number in 1..=5 {
        RunWriter::new(number)
            .park(&journal, Some(5))
            .await
            .unwrap()
            .unwrap();
        RunWriter::new(10 + number)
            .begin(&journal)
            .await
            .unwrap()
            .unwrap();
        let mut queued = RunWriter::new(20 + number);
        queued.queue(&journal, 0, Some("g")).await.unwrap().unwrap();
    }
    drop(journal);
    let root = |name: &str| -> usize {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let connection = rusqlite::Connection::open(world.path()).unwrap();
        connection
            .query_row(sql, [name], |row| row.get::<_, i64>(0))
            .unwrap() as usize
    };
    let roots = ["runs_by_kind", "runs_of_graph", "runs_due", "runs_in_group"].map(root);
    change(&world.path(), |file| {
        for root in roots {
            // An invalid page type.
            file[(root - 1) * 4096] = 0xff;
        }
    });
    let journal = world.journal();
    assert_eq!(
        journal.unfinished().await.unwrap(),
        [11, 12, 13, 14, 15].map(run_id)
    );
    let due = journal
        .claim_due(EngineId::EXCLUSIVE, heddle_kernel::Timestamp(9), 10)
        .await
        .unwrap();
    assert_eq!(due, [1, 2, 3, 4, 5].map(run_id));
    assert_eq!(journal.queued().await.unwrap().len(), 5);
    assert_eq!(journal.groups().await.unwrap(), []);
    // Lists read the table.
    let list = async |filter| {
        let rows = journal.runs(filter, Some(position(15)), 4).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(list(RunFilter::default()).await, [14, 13, 12, 11].map(run_id));
    assert_eq!(
        list(RunFilter::of_status(Status::Waiting)).await,
        [5, 4, 3, 2].map(run_id)
    );
    let of_graph = RunFilter::of_graph(graph_id(0).0);
    assert_eq!(list(of_graph).await, [14, 12, 4, 2].map(run_id));
    // Writes that do not use the index succeed.
    RunWriter::at(11, 1)
        .append_logs(&journal, 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        journal.run(run_id(1)).await.unwrap().unwrap().status,
        Status::Waiting
    );
}

/// A seeded random generator (SplitMix64), so that a failure can be repeated.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_that_changes_anywhere_makes_an_event_another() {
    const SEED: u64 = 4;
    let world = Sqlite::new();
    let journal = world.journal();
    for number in 0..40 {
        let mut writer = RunWriter::new(number);
        writer.begin(&journal);
        writer.append_logs(&journal, 20).await.unwrap().unwrap();
        writer
            .append(&journal, vec![log(&"x".repeat(5_000))])
            .await
            .unwrap()
            .unwrap();
    }
    let text = |events: &[std::sync::Arc<EventRecord>]| serde_json::to_string(events).unwrap();
    let mut whole = Vec::new();
    for number in 0..40 {
        whole.push(text(&all_events(&journal, run_id(number), 100).await));
    }
    drop(journal);
    let sound = fs::read(world.path()).unwrap();
    let mut random = Random(SEED);
    let (mut damaged_runs, mut opened) = (0, 0);
    for _ in 0..60 {
        let mut file = sound.clone();
        for _ in 0..8 {
            let at = random.below(file.len());
            file[at] ^= 1 << random.below(8);
        }
        fs::write(world.path(), &file).unwrap();
        let Ok(journal) = SqliteJournal::open(heddle_store::SqliteSettings::new(world.path())) else {
            continue;
        };
        opened += 1;
        for number in 0..40 {
            match journal.events(run_id(number), 0, 100).await {
                // If an index lost an entry, the events may end too early.
                Ok(events) => {
                    let text = text(&events);
                    assert!(
                        whole[number as usize].starts_with(&text[..text.len() - 1]),
                        "seed {SEED}"
                    );
                }
                Err(StoreError::Damaged(message)) => {
                    assert!(message.contains(&run_id(number).to_string()), "{message}");
                    damaged_runs += 1;
                }
                Err(other) => panic!("seed {SEED}: {other:?}"),
            }
        }
    }
    assert!(
        opened > 20 && damaged_runs > 20,
        "{opened} opened, {damaged_runs} damaged runs"
    );
}
