//! Durable appends through the SQLite journal: `cargo bench -p heddle-store`.
//!
//! Each writer appends one event of about 200 bytes, waits until it is durable, and appends the next. Every writer has a
//! separate run, which ends after a number of events; then the writer begins another run. CPU time and written bytes are
//! those of the whole process. The first line measures the disk alone: one writer cannot commit more often than the disk
//! syncs. `HEDDLE_BENCH_DIR` is the folder of the file, on the disk to measure.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and stops at the first fault"
)]

use std::{
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use heddle_kernel::{Event, EventRecord, GraphId, Level, RunId, Status, Timestamp};
use heddle_runtime::ports::{
    Ack, Append, AppendError, EngineId, Journal, NewRun, RunDisposition, RunEnd, Store,
};
use heddle_store::{SqliteJournal, SqliteSettings};
use tokio::sync::oneshot;

const TIME: Duration = Duration::from_secs(3);

struct ChannelAck(Mutex<Option<oneshot::Sender<()>>>);

impl Ack for ChannelAck {
    fn durable(&self, _seq: u64) {
        if let Some(waiting) = self.0.lock().unwrap().take() {
            let _ = waiting.send(());
        }
    }

    fn failed(&self, error: AppendError) {
        panic!("{error}");
    }
}

fn main() {
    let folder = std::env::var_os("HEDDLE_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    println!(
        "the disk alone: {:.0} synced writes of 4 KiB per second\n",
        syncs(&folder)
    );
    println!("events/run  writers   appends/s  µs CPU/append  bytes written/append  file bytes/append");
    for length in [10, 1_000_000] {
        for writers in [1, 64, 512] {
            let folder = tempfile::tempdir_in(&folder).unwrap();
            runtime.block_on(measure(folder.path(), writers, length));
        }
    }
}

/// How many synced writes of one page per second the disk can do.
fn syncs(folder: &Path) -> f64 {
    let mut file = tempfile::tempfile_in(folder).unwrap();
    let (began, mut count) = (Instant::now(), 0.0);
    while began.elapsed() < Duration::from_secs(1) {
        file.write_all(&[1; 4096]).unwrap();
        file.sync_data().unwrap();
        count += 1.0;
    }
    count / began.elapsed().as_secs_f64()
}

async fn measure(folder: &Path, writers: u64, length: u64) {
    let path = folder.join("store.db");
    let journal = Arc::new(SqliteJournal::open(SqliteSettings::new(&path)).unwrap());
    let (cpu, disk, began) = (cpu_seconds(), written_bytes(), Instant::now());
    let tasks = (0..writers).map(|writer| tokio::spawn(write(journal.clone(), writer, length, began + TIME)));
    let mut appends = 0;
    for task in tasks.collect::<Vec<_>>() {
        appends += task.await.unwrap();
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    journal.close().await.unwrap();
    let (count, disk) = (appends as f64, (written_bytes() - disk) as f64);
    let size = path.metadata().unwrap().len() as f64;
    println!(
        "{length:>10}  {writers:>7}  {:>10.0}  {:>13.1}  {:>20.0}  {:>17.0}",
        count / seconds,
        cpu * 1e6 / count,
        disk / count,
        size / count,
    );
}

/// Appends until `until`, and returns the number of appends.
async fn write(journal: Arc<SqliteJournal>, writer: u64, length: u64, until: Instant) -> u64 {
    let graph = GraphId("0123456789abcdef0123456789abcdef".into());
    let (mut appends, mut seq, mut run) = (0, 0, id(writer, 0));
    while Instant::now() < until {
        seq += 1;
        let at = Timestamp(1_700_000_000_000);
        let over = seq == length;
        let event = if over { Event::RunFinished } else { log(seq) };
        let (sender, durable) = oneshot::channel();
        journal.append(Append {
            run,
            owner: EngineId::EXCLUSIVE,
            begins: (seq == 1).then(|| NewRun {
                graph: graph.clone(),
                created_at: at,
                priority: 0,
                group: None,
                group_limit: None,
                origin: None,
            }),
            reopens: false,
            events: vec![Arc::new(EventRecord { seq, at, event })],
            disposition: match over {
                true => RunDisposition::Over(RunEnd {
                    status: Status::Finished,
                    at,
                    error: None,
                }),
                false => RunDisposition::Running,
            },
            requests: Vec::new(),
            commands: Vec::new(),
            snapshot: None,
            ack: Arc::new(ChannelAck(Mutex::new(Some(sender)))),
        });
        durable.await.unwrap();
        appends += 1;
        if over {
            (seq, run) = (0, id(writer, appends));
        }
    }
    appends
}

/// An id that sorts like a UUID of version 7: by time first.
fn id(writer: u64, number: u64) -> RunId {
    RunId(uuid::Uuid::from_u128(
        (u128::from(number) << 64) | u128::from(writer.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    ))
}

fn log(seq: u64) -> Event {
    let message =
        "a line of a log, long enough that the whole event has about two hundred bytes of JSON".into();
    Event::Log {
        step: seq,
        node: "node".into(),
        attempt: 1,
        level: Level::Info,
        message,
    }
}

/// The CPU time of the process in seconds, with a resolution of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// How many bytes the process has written.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines()
        .find_map(|line| line.strip_prefix("wchar: "))
        .unwrap()
        .parse()
        .unwrap()
}
