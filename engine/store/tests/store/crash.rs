//! Crashes during a write: acknowledged events survive every part of the write that may have reached the disk.
//!
//! Between two idle moments the store writes one commit, or a few. An image of a crash has the files of the first moment
//! with any mixture of the changes up to the second one: some sectors are new, some old, some neither.

use std::{fs, path::Path};

use heddle_runtime::ports::Journal;
use heddle_store::{SqliteJournal, SqliteSettings};
use rusqlite::Connection;

use crate::{
    damage::Random,
    world::{RunWriter, Sqlite, all_events, log, run_id},
};

const ROUNDS: usize = 24;
const IMAGES: usize = 6;
const LINES: u64 = 6;
const SECTOR: usize = 512;

/// The size of the log's header in bytes. The header is synced before the frames are written.
const HEADER: usize = 32;

/// The bytes of a store's files.
struct Files {
    file: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    fn of(path: &Path) -> Self {
        let read = |name: &str| fs::read(path.with_file_name(name)).unwrap();
        Self {
            file: read("heddle.db"),
            log: read("heddle.db-wal"),
        }
    }
}

/// Sectors of `after`, of `before` where they had not been written, and of neither where the write was torn.
fn torn(before: &[u8], after: &[u8], kind: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = after.to_vec();
    let same = |at: usize| before.get(at) == after.get(at);
    let changed = (0..after.len()).find(|at| !same(*at)).unwrap_or(after.len());
    let len = after.len() - changed;
    if len == 0 {
        return bytes;
    }
    let at = changed + random.below(len);
    let old = |at: usize| before.get(at).copied();
    match kind {
        // The end was not written: the file keeps its earlier bytes there, or has none.
        0 => {
            bytes.truncate(at);
            bytes.extend(before.get(at..).unwrap_or_default());
        }
        // The end is there as room that was never filled.
        1 => bytes[at..].fill(0),
        // One byte was changed.
        2 => bytes[at] ^= 1 << random.below(8),
        // The beginning was not written, and the end was.
        3 => (changed.max(HEADER)..at).for_each(|at| bytes[at] = old(at).unwrap_or(0)),
        // Of the sectors some were written, in whatever order.
        _ => {
            for begin in (changed - changed % SECTOR..after.len()).step_by(SECTOR) {
                let sector = begin.max(changed).max(HEADER)..(begin + SECTOR).min(after.len());
                match random.below(4) {
                    0 => sector.for_each(|at| bytes[at] = old(at).unwrap_or(0)),
                    1 if kind == 5 => sector.for_each(|at| bytes[at] = random.below(256) as u8),
                    _ => {}
                }
            }
        }
    }
    bytes
}

/// Opens the image of a crash and looks whether every line has what was acknowledged, and nothing in
/// part. `acknowledged` and `appended` are the numbers of the lines' last events at the two moments, and
/// `ends` those of all appends.
async fn check(files: &Files, acknowledged: &[u64], appended: &[u64], ends: &[Vec<u64>], at: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heddle.db");
    fs::write(&path, &files.file).unwrap();
    fs::write(folder.path().join("heddle.db-wal"), &files.log).unwrap();
    let journal =
        SqliteJournal::open(SqliteSettings::new(&path)).unwrap_or_else(|error| panic!("{at}: {error}"));
    for (number, ends) in (0..).zip(ends) {
        let run = run_id(number);
        let row = journal.run(run).await.unwrap();
        let last = row.map_or(0, |row| row.last_seq);
        assert!(
            last >= acknowledged[number as usize],
            "{at}: run {number} ends at {last}"
        );
        assert!(
            last <= appended[number as usize],
            "{at}: run {number} ends at {last}"
        );
        assert!(
            last == 0 || ends.contains(&last),
            "{at}: a part of an append, up to {last}"
        );
        assert_eq!(all_events(&journal, run, 1_000).await.len() as u64, last, "{at}");
        // The copy continues, too.
        if last > 0 {
            RunWriter::at(number, last)
                .append_logs(&journal, 1)
                .await
                .unwrap()
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_survive_every_partial_write() {
    for seed in [1, 2] {
        let mut random = Random(seed);
        let world = Sqlite::new();
        let journal = world.journal();
        let other = Connection::open(world.path()).unwrap();
        let mut lines: Vec<RunWriter> = (0..LINES).map(RunWriter::new).collect();
        let mut ends: Vec<Vec<u64>> = lines.iter().map(|_| Vec::new()).collect();
        lines[0].begin(&journal).await.unwrap().unwrap();
        ends[0].push(1);
        for round in 0..ROUNDS / 2 {
            if random.below(3) == 0 {
                // The next commit restarts the log and overwrites its content.
                let restart = "PRAGMA wal_checkpoint(RESTART)";
                other.query_row(restart, [], |_| Ok(())).unwrap();
            }
            let before = Files::of(&world.path());
            let acknowledged: Vec<u64> = lines.iter().map(|writer| writer.seq).collect();
            let mut result = Vec::new();
            for _ in 0..1 + random.below(4) {
                let number = random.below(lines.len());
                let writer = &mut lines[number];
                let size = [10, 300, 9_000][random.below(3)];
                result.push(match writer.seq {
                    0 => writer.begin(&journal),
                    _ => {
                        let events = (0..=random.below(4)).map(|_| log(&"x".repeat(size)));
                        writer.append(&journal, events.collect())
                    }
                });
                ends[number].push(writer.seq);
            }
            for result in result {
                result.await.unwrap().unwrap();
            }
            let after = Files::of(&world.path());
            let appended: Vec<u64> = lines.iter().map(|writer| writer.seq).collect();
            for image in 0..IMAGES {
                let at = format!("seed {seed}, round {round}, image {image}");
                let files = Files {
                    file: before.file.clone(),
                    log: torn(&before.log, &after.log, image, &mut random),
                };
                check(&files, &acknowledged, &appended, &ends, &at).await;
            }
            // The log is copied into the file, and a crash comes meanwhile: the log has everything.
            let passive = "PRAGMA wal_checkpoint(PASSIVE)";
            other.query_row(passive, [], |_| Ok(())).unwrap();
            let copied = Files::of(&world.path());
            for image in [0, 4] {
                let at = format!("seed {seed}, round {round}, copied {image}");
                let files = Files {
                    file: torn(&after.file, &copied.file, image, &mut random),
                    log: copied.log.clone(),
                };
                check(&files, &appended, &appended, &ends, &at).await;
            }
        }
    }
}
