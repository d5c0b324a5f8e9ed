//! Lists of runs: the filters, the order, and pages.

use std::{collections::BTreeMap, sync::Arc};

use heddle_kernel::{Event, FailureKind, GraphId, RunError, RunId, Status, Timestamp};
use heddle_runtime::ports::{
    GraphRow, OriginFilter, OriginKind, RunDisposition, RunFilter, RunPosition, RunRow, Store,
};

use crate::{
    damage::Random,
    world::{RunWriter, World, graph_id, log, run_id},
};

contract! {
    a_graphs_name_stands_for_all_of_its_versions,
    a_run_is_listed_under_the_graph_that_it_was_upgraded_to,
    runs_are_listed_by_what_started_them,
    runs_are_listed_by_their_start_not_by_their_ids,
    errors_are_found_by_a_part_of_their_message,
    a_list_in_pages_is_the_whole_list_for_every_filter,
}

/// A run that a test describes.
struct AckReceiver<'t> {
    number: u64,
    graph: u64,
    created_at: i64,
    origin: Option<&'t str>,
    /// The message of its error, or its status.
    ends: Result<Status, &'t str>,
}

impl AckReceiver<'_> {
    fn of(number: u64) -> Self {
        Self {
            number,
            graph: 0,
            created_at: 1_000,
            origin: None,
            ends: Ok(Status::Running),
        }
    }

    async fn append(&self, journal: &dyn Store) {
        let mut writer = RunWriter::new(self.number);
        writer.graph = graph_id(self.graph);
        let (mut append, result) = match self.ends {
            Ok(Status::Queued) => writer.draft(vec![writer.started()], RunDisposition::Queued),
            _ => writer.draft(vec![writer.started()], RunDisposition::Running),
        };
        let begins = append.begins.as_mut().unwrap();
        begins.created_at = Timestamp(self.created_at);
        begins.origin = self.origin.map(Into::into);
        journal.append(append);
        result.await.unwrap().unwrap();
        let result = match self.ends {
            Ok(Status::Queued | Status::Running) => return,
            Ok(Status::Waiting) => writer.park(journal, Some(5)),
            Ok(Status::Paused) => writer.pause(journal),
            Ok(Status::Cancelled) => writer.cancel(journal),
            Ok(_) => writer.finish(journal),
            Err(message) => writer.append(journal, vec![failed_with(message)]),
        };
        result.await.unwrap().unwrap();
    }
}

fn failed_with(message: &str) -> Event {
    Event::RunFailed {
        error: RunError {
            kind: FailureKind::Permanent,
            message: message.into(),
            node: "charge".into(),
            step: Some(7),
            attempt: Some(2),
            data: None,
        },
    }
}

async fn put_graph(journal: &dyn Store, number: u64, name: Option<&str>) {
    let graph = GraphRow {
        id: graph_id(number),
        name: name.map(Into::into),
        definition: "{}".into(),
        created_at: Timestamp(5),
        functions: BTreeMap::new(),
    };
    journal.put_graph(graph).await.unwrap();
}

async fn list(journal: &dyn Store, filter: &RunFilter) -> Vec<RunId> {
    let rows = journal.runs(filter.clone(), None, 1_000).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<RunId> {
    numbers.into_iter().map(run_id).collect()
}

async fn a_graphs_name_stands_for_all_of_its_versions(mut world: impl World) {
    let journal = world.open();
    for (number, name) in [
        (1, Some("greet")),
        (2, Some("part")),
        (3, None),
        (4, Some("greet")),
    ] {
        put_graph(&*journal, number, name).await;
    }
    for number in 1..=8 {
        let ends = [Ok(Status::Finished), Err("it broke")][number as usize % 2];
        let graph = 1 + number % 4;
        AckReceiver {
            graph,
            ends,
            ..AckReceiver::of(number)
        }
        .append(&*journal)
        .await;
    }
    let of = |graph: &str| RunFilter::of_graph(graph);
    assert_eq!(list(&*journal, &of("greet")).await, ids([8, 7, 4, 3]));
    assert_eq!(list(&*journal, &of("part")).await, ids([5, 1]));
    assert_eq!(list(&*journal, &of(&graph_id(1).0)).await, ids([8, 4]));
    assert_eq!(list(&*journal, &of(&graph_id(3).0)).await, ids([6, 2]));
    for nothing in ["", "gree", "Greet", "greet%"] {
        assert_eq!(list(&*journal, &of(nothing)).await, []);
    }
    let failed = RunFilter {
        statuses: vec![Status::Failed],
        ..of("greet")
    };
    assert_eq!(list(&*journal, &failed).await, ids([7, 3]));
    let names = journal.runs(RunFilter::default(), None, 4).await.unwrap();
    let names: Vec<_> = names.iter().map(|row| row.graph_name.as_deref()).collect();
    assert_eq!(names, [Some("greet"), Some("greet"), None, Some("part")]);
    let row = journal.run(run_id(7)).await.unwrap().unwrap();
    assert_eq!(row.graph_name.as_deref(), Some("greet"));
}

async fn a_run_is_listed_under_the_graph_that_it_was_upgraded_to(mut world: impl World) {
    let journal = world.open();
    put_graph(&*journal, 0, Some("before")).await;
    put_graph(&*journal, 1, Some("after")).await;
    let upgraded = |graph| Event::RunUpgraded {
        graph,
        functions: BTreeMap::new(),
        graphs: BTreeMap::new(),
    };
    let mut lines = [2, 4, 6].map(RunWriter::new);
    for writer in &mut lines {
        writer.begin(&*journal).await.unwrap().unwrap();
    }
    // While the run is active, while it is paused, and several times in one append.
    let result = lines[0].append(&*journal, vec![upgraded(graph_id(1)), log("goes on")]);
    result.await.unwrap().unwrap();
    let result = lines[1].write(&*journal, vec![upgraded(graph_id(1))], RunDisposition::Paused);
    result.await.unwrap().unwrap();
    let result = lines[2].append(&*journal, vec![upgraded(graph_id(1)), upgraded(graph_id(0))]);
    result.await.unwrap().unwrap();
    // As an import has it: all in the first append.
    let mut all = RunWriter::new(8);
    let started = all.started();
    let result = all.append(
        &*journal,
        vec![started, upgraded(graph_id(1)), Event::RunFinished],
    );
    result.await.unwrap().unwrap();
    for _ in 0..2 {
        assert_eq!(
            list(&*journal, &RunFilter::of_graph("after")).await,
            ids([8, 4, 2])
        );
        assert_eq!(list(&*journal, &RunFilter::of_graph("before")).await, ids([6]));
        let row = journal.run(run_id(4)).await.unwrap().unwrap();
        assert_eq!(
            (row.graph, row.graph_name.as_deref()),
            (graph_id(1), Some("after"))
        );
        lines[0].append_logs(&*journal, 1).await.unwrap().unwrap();
    }
}

const FORK: &str = "fork:01890000-0000-7000-8000-000000000001";

async fn runs_are_listed_by_what_started_them(mut world: impl World) {
    let journal = world.open();
    let origins = [
        None,
        Some("schedule:nightly"),
        Some("schedule:night"),
        Some(FORK),
        Some("import"),
    ];
    for number in 0..20 {
        let (origin, graph) = (origins[number as usize % 5], number % 2);
        let ends = [Ok(Status::Finished), Ok(Status::Queued)][usize::from(number > 9)];
        AckReceiver {
            origin,
            graph,
            ends,
            ..AckReceiver::of(number)
        }
        .append(&*journal)
        .await;
    }
    let by = |origin| RunFilter {
        origin: Some(origin),
        ..RunFilter::default()
    };
    let kind = |kind| by(OriginFilter::Kind(kind));
    let exactly = |origin: &str| by(OriginFilter::Exactly(origin.into()));
    assert_eq!(list(&*journal, &kind(OriginKind::Api)).await, ids([15, 10, 5, 0]));
    let scheduled = ids([17, 16, 12, 11, 7, 6, 2, 1]);
    assert_eq!(list(&*journal, &kind(OriginKind::Schedule)).await, scheduled);
    assert_eq!(
        list(&*journal, &kind(OriginKind::Fork)).await,
        ids([18, 13, 8, 3])
    );
    assert_eq!(
        list(&*journal, &kind(OriginKind::Import)).await,
        ids([19, 14, 9, 4])
    );
    assert_eq!(
        list(&*journal, &exactly("schedule:nightly")).await,
        ids([16, 11, 6, 1])
    );
    assert_eq!(list(&*journal, &exactly(FORK)).await, ids([18, 13, 8, 3]));
    assert_eq!(list(&*journal, &exactly("schedule:nigh")).await, []);
    let with = |filter: RunFilter| RunFilter {
        graph: Some(graph_id(1).0),
        statuses: vec![Status::Queued, Status::Failed],
        ..filter
    };
    assert_eq!(
        list(&*journal, &with(kind(OriginKind::Schedule))).await,
        ids([17, 11])
    );
    assert_eq!(list(&*journal, &with(exactly("schedule:night"))).await, ids([17]));
    assert_eq!(list(&*journal, &with(kind(OriginKind::Api))).await, ids([15]));
}

async fn runs_are_listed_by_their_start_not_by_their_ids(mut world: impl World) {
    let journal = world.open();
    // An imported run has an old time, and ids of other machines sort in other ways.
    for (number, created_at) in [(1, 3_000), (2, 1_000), (3, 2_000), (4, 2_000), (5, -7)] {
        AckReceiver {
            created_at,
            ..AckReceiver::of(number)
        }
        .append(&*journal)
        .await;
    }
    assert_eq!(list(&*journal, &RunFilter::default()).await, ids([1, 4, 3, 2, 5]));
    let between = |from: Option<i64>, before: Option<i64>| RunFilter {
        started_from: from.map(Timestamp),
        started_before: before.map(Timestamp),
        ..RunFilter::default()
    };
    assert_eq!(list(&*journal, &between(Some(2_000), None)).await, ids([1, 4, 3]));
    assert_eq!(list(&*journal, &between(Some(2_001), None)).await, ids([1]));
    assert_eq!(list(&*journal, &between(None, Some(2_000))).await, ids([2, 5]));
    assert_eq!(
        list(&*journal, &between(Some(1_000), Some(3_000))).await,
        ids([4, 3, 2])
    );
    assert_eq!(list(&*journal, &between(Some(-7), Some(-6))).await, ids([5]));
    assert_eq!(list(&*journal, &between(Some(3_000), Some(2_000))).await, []);
    assert_eq!(
        list(&*journal, &between(Some(i64::MIN), Some(i64::MAX)))
            .await
            .len(),
        5
    );
    let after = |created_at, number| {
        let (created_at, id) = (Timestamp(created_at), run_id(number));
        Some(RunPosition { created_at, id })
    };
    for (place, expected) in [
        (after(2_000, 4), ids([3, 2, 5])),
        (after(2_000, 3), ids([2, 5])),
        // A place at which there is no run any more.
        (after(2_000, 9), ids([4, 3, 2, 5])),
        (after(2_000, 0), ids([2, 5])),
    ] {
        let rows = journal.runs(RunFilter::default(), place, 9).await.unwrap();
        assert_eq!(rows.into_iter().map(|row| row.id).collect::<Vec<_>>(), expected);
    }
}

async fn errors_are_found_by_a_part_of_their_message(mut world: impl World) {
    let journal = world.open();
    let messages = [
        "the card was DECLINED",
        "100% of \"it\"\nfailed",
        "a_b \\ c",
        "ÄRGER mit naïve Σίσυφος",
        "axb",
    ];
    for (number, message) in (1..).zip(messages) {
        let ends = Err(message);
        let graph = number % 2;
        AckReceiver {
            ends,
            graph,
            ..AckReceiver::of(number)
        }
        .append(&*journal)
        .await;
    }
    AckReceiver {
        ends: Ok(Status::Cancelled),
        ..AckReceiver::of(8)
    }
    .append(&*journal)
    .await;
    AckReceiver::of(9).append(&*journal).await;
    let with = |text: &str| RunFilter {
        error: Some(text.into()),
        ..RunFilter::default()
    };
    for (text, expected) in [
        ("declined", vec![1]),
        ("The Card", vec![1]),
        ("100%", vec![2]),
        ("%", vec![2]),
        ("\"it\"\n", vec![2]),
        ("a_b", vec![3]),
        ("\\", vec![3]),
        ("ärger", vec![4]),
        ("NAÏVE", vec![4]),
        // What the error has besides its message is not looked at.
        ("charge", vec![]),
        ("permanent", vec![]),
        ("nothing of the sort", vec![]),
        ("a", vec![5, 4, 3, 2, 1]),
    ] {
        assert_eq!(list(&*journal, &with(text)).await, ids(expected), "{text:?}");
    }
    let of_graph = RunFilter {
        graph: Some(graph_id(1).0),
        ..with("a")
    };
    assert_eq!(list(&*journal, &of_graph).await, ids([5, 3, 1]));
    let finished = RunFilter {
        statuses: vec![Status::Finished, Status::Running],
        ..with("a")
    };
    assert_eq!(list(&*journal, &finished).await, []);
    // An active run no longer has an error.
    RunWriter::at(1, 2).retry(&*journal).await.unwrap().unwrap();
    assert_eq!(list(&*journal, &with("declined")).await, []);
}

async fn a_list_in_pages_is_the_whole_list_for_every_filter(mut world: impl World) {
    const RUNS: u64 = 240;
    let journal = world.open();
    for (number, name) in [(0, Some("a")), (1, Some("b")), (2, Some("a")), (3, None)] {
        put_graph(&*journal, number, name).await;
    }
    let mut random = Random(11);
    let origins = [
        None,
        None,
        Some("schedule:x"),
        Some("schedule:y"),
        Some(FORK),
        Some("import"),
    ];
    for number in 0..RUNS {
        let status = Status::ALL[random.below(7)];
        let result = AckReceiver {
            number: number * 7_919 % RUNS,
            graph: random.below(5) as u64,
            created_at: random.below(60) as i64,
            origin: origins[random.below(6)],
            ends: match status {
                Status::Failed => Err(["too late", "too early"][random.below(2)]),
                other => Ok(other),
            },
        };
        result.append(&*journal).await;
    }
    let mut all = Vec::new();
    for number in 0..RUNS {
        all.push(journal.run(run_id(number)).await.unwrap().unwrap());
    }
    all.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.id)));
    let mut found = 0;
    for _ in 0..300 {
        let filter = drawn(&mut random);
        let expected: Vec<RunId> = all
            .iter()
            .filter(|row| belongs(row, &filter))
            .map(|row| row.id)
            .collect();
        let page = 1 + random.below(20);
        let (mut listed, mut before): (Vec<RunId>, _) = (Vec::new(), None);
        loop {
            let rows = journal.runs(filter.clone(), before, page).await.unwrap();
            assert!(rows.len() <= page);
            let Some(last) = rows.last() else { break };
            before = Some(last.position());
            listed.extend(rows.iter().map(|row| row.id));
        }
        assert_eq!(listed, expected, "{filter:?}, {page} a page");
        found += listed.len();
    }
    assert!(found > 1_000, "the filters find something: {found}");
}

/// A filter of some kinds.
fn drawn(random: &mut Random) -> RunFilter {
    let some = |random: &mut Random| random.below(2) == 0;
    let graphs: [Arc<str>; 5] = [
        "a".into(),
        "b".into(),
        graph_id(2).0,
        graph_id(3).0,
        graph_id(4).0,
    ];
    let origins = [
        OriginFilter::Kind(OriginKind::Api),
        OriginFilter::Kind(OriginKind::Schedule),
        OriginFilter::Kind(OriginKind::Import),
        OriginFilter::Exactly("schedule:y".into()),
        OriginFilter::Exactly(FORK.into()),
    ];
    RunFilter {
        graph: some(random).then(|| graphs[random.below(5)].clone()),
        statuses: Status::ALL.into_iter().filter(|_| random.below(3) == 0).collect(),
        origin: some(random).then(|| origins[random.below(5)].clone()),
        started_from: some(random).then(|| Timestamp(random.below(40) as i64)),
        started_before: some(random).then(|| Timestamp(20 + random.below(40) as i64)),
        error: (random.below(4) == 0).then(|| "LATE".into()),
    }
}

/// What the filters mean, in other words than those of the stores.
fn belongs(row: &RunRow, filter: &RunFilter) -> bool {
    let GraphId(id) = &row.graph;
    let origin = row.origin.as_deref().unwrap_or("api");
    let by_origin = match &filter.origin {
        None => true,
        Some(OriginFilter::Kind(kind)) => origin.split(':').next() == Some(kind.as_str()),
        Some(OriginFilter::Exactly(wanted)) => origin == &**wanted,
    };
    let message = row.error.as_ref().map_or("", |error| &error.message);
    [
        filter.graph.is_none() || filter.graph.as_ref() == Some(id) || filter.graph == row.graph_name,
        filter.statuses.is_empty() || filter.statuses.contains(&row.status),
        by_origin,
        filter.started_from.is_none_or(|from| from <= row.created_at),
        filter.started_before.is_none_or(|before| before > row.created_at),
        filter.error.is_none() || message == "too late",
    ]
    .into_iter()
    .all(|fits| fits)
}
