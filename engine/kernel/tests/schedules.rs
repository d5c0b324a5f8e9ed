//! Schedules: when they are due, and which starts they decide.
#![allow(clippy::unwrap_used)]

use expect_test::{Expect, expect};
use heddle_kernel::{
    Timestamp,
    schedule::{CatchUp, Decision, Overlap, Progress, Schedule, When, check_name, decide},
};

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn show(at: &Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).unwrap().to_string()
}

/// The next times of a rule after a time.
fn check(when: Result<When, impl std::fmt::Display>, after: &str, expect: Expect) {
    let report = match when {
        Err(error) => error.to_string(),
        Ok(when) => {
            let next: Vec<String> = when.next(at(after), 4).iter().map(show).collect();
            next.join(" ")
        }
    };
    expect.assert_eq(&report);
}

fn zurich(cron: &str) -> Result<When, impl std::fmt::Display + use<>> {
    When::cron(cron, "Europe/Zurich")
}

#[test]
fn a_cron_expression_names_times_as_its_zones_clocks_show_them() {
    check(
        zurich("0 9 * * 1-5"),
        "2026-11-20T12:00:00Z",
        expect!["2026-11-23T08:00:00Z 2026-11-24T08:00:00Z 2026-11-25T08:00:00Z 2026-11-26T08:00:00Z"],
    );
    check(
        When::cron("*/20 * * * *", "UTC"),
        "2026-11-20T12:10:00Z",
        expect!["2026-11-20T12:20:00Z 2026-11-20T12:40:00Z 2026-11-20T13:00:00Z 2026-11-20T13:20:00Z"],
    );
    check(
        When::cron("@monthly", "America/New_York"),
        "2026-10-20T00:00:00Z",
        expect!["2026-11-01T04:00:00Z 2026-12-01T05:00:00Z 2027-01-01T05:00:00Z 2027-02-01T05:00:00Z"],
    );
    check(
        When::cron("0 0 29 2 *", "UTC"),
        "2026-01-01T00:00:00Z",
        expect!["2028-02-29T00:00:00Z 2032-02-29T00:00:00Z 2036-02-29T00:00:00Z 2040-02-29T00:00:00Z"],
    );
}

#[test]
fn a_time_that_the_change_to_summer_leaves_out_is_made_up_for_right_after_it() {
    // In Zurich 02:00 is followed by 03:00 on 28 March 2027.
    check(
        zurich("30 2 * * *"),
        "2027-03-27T00:00:00Z",
        expect!["2027-03-27T01:30:00Z 2027-03-28T01:00:00Z 2027-03-29T00:30:00Z 2027-03-30T00:30:00Z"],
    );
    // A scheduler that never stops misses no times.
    check(
        zurich("*/30 * * * *"),
        "2027-03-28T00:15:00Z",
        expect!["2027-03-28T00:30:00Z 2027-03-28T01:00:00Z 2027-03-28T01:30:00Z 2027-03-28T02:00:00Z"],
    );
}

#[test]
fn a_time_that_comes_twice_with_the_change_to_winter_counts_once_unless_it_is_repeated_anyway() {
    // In Zurich 03:00 is followed by 02:00 on 31 October 2027.
    check(
        zurich("30 2 * * *"),
        "2027-10-30T12:00:00Z",
        expect!["2027-10-31T00:30:00Z 2027-11-01T01:30:00Z 2027-11-02T01:30:00Z 2027-11-03T01:30:00Z"],
    );
    check(
        zurich("*/30 * * * *"),
        "2027-10-31T00:15:00Z",
        expect!["2027-10-31T00:30:00Z 2027-10-31T01:00:00Z 2027-10-31T01:30:00Z 2027-10-31T02:00:00Z"],
    );
}

#[test]
fn an_error_in_an_expression_names_the_wrong_part() {
    let now = "2026-11-20T12:00:00Z";
    check(
        zurich("0 9 * *"),
        now,
        expect![[
            r#"a cron expression has five parts (minute, hour, day of the month, month, day of the week), as in "0 9 * * 1-5"; `0 9 * *` has 4"#
        ]],
    );
    check(
        zurich("0 24 * * *"),
        now,
        expect![
            "the hour, `24`, is wrong: expected `*`, or numbers from 0 to 23, as in `5`, `1,15`, `2-6` or `*/2`"
        ],
    );
    check(
        zurich("61 9 * * 1-5"),
        now,
        expect![
            "the minute, `61`, is wrong: expected `*`, or numbers from 0 to 59, as in `5`, `1,15`, `2-6` or `*/2`"
        ],
    );
    check(
        zurich("0 9 * * mondays"),
        now,
        expect![
            "the day of the week, `mondays`, is wrong: expected `*`, or numbers from 0 to 7 (both are Sunday), or SUN to SAT, as in `5`, `1,15`, `2-6` or `*/2`"
        ],
    );
    check(
        zurich("@fortnightly"),
        now,
        expect![
            "unknown name `@fortnightly`; known names: @yearly, @annually, @monthly, @weekly, @daily, @hourly"
        ],
    );
    check(
        zurich("0 0 30 2 *"),
        now,
        expect!["`0 0 30 2 *` names no time that ever comes: check its day and month"],
    );
    check(
        When::cron("0 9 * * *", "Zurich"),
        now,
        expect!["there is no time zone `Zurich`; did you mean `Europe/Zurich`?"],
    );
    check(
        When::cron("0 9 * * *", "Europe/Zürich"),
        now,
        expect!["there is no time zone `Europe/Zürich`; did you mean `Europe/Zurich`?"],
    );
    check(
        When::cron("0 9 * * *", "home"),
        now,
        expect![
            "there is no time zone `home`; a name of the IANA time zone database is expected, as in `Europe/Zurich`"
        ],
    );
    check(
        When::every("1 fortnight", at(now)),
        now,
        expect![[r#"expected a duration such as "500ms", "10s", "1h30m" or "7d", got "1 fortnight""#]],
    );
    check(
        When::every("10ms", at(now)),
        now,
        expect![[r#""10ms" is shorter than 1s, the shortest interval"#]],
    );
}

#[test]
fn an_interval_counts_from_its_beginning() {
    let every = || When::every("15m", at("2026-11-20T12:00:00Z"));
    check(
        every(),
        "2026-11-20T11:00:00Z",
        expect!["2026-11-20T12:00:00Z 2026-11-20T12:15:00Z 2026-11-20T12:30:00Z 2026-11-20T12:45:00Z"],
    );
    check(
        every(),
        "2026-11-21T12:07:00Z",
        expect!["2026-11-21T12:15:00Z 2026-11-21T12:30:00Z 2026-11-21T12:45:00Z 2026-11-21T13:00:00Z"],
    );
}

#[test]
fn a_single_time_comes_once() {
    let once = When::At(at("2026-11-20T12:00:00Z"));
    assert_eq!(once.next(at("2026-11-20T11:00:00Z"), 3).len(), 1);
    assert_eq!(once.next_after(at("2026-11-20T12:00:00Z")), None);
}

fn every_minute(overlap: Overlap, catch_up: CatchUp) -> Schedule {
    Schedule {
        when: When::every("1m", Timestamp(0)).unwrap(),
        overlap,
        catch_up,
        paused: false,
    }
}

fn minutes(times: &[Timestamp]) -> Vec<i64> {
    times.iter().map(|at| at.0 / 60_000).collect()
}

fn minute(n: i64) -> Timestamp {
    Timestamp(n * 60_000)
}

fn ask(schedule: &Schedule, progress: &Progress, busy: bool, now: Timestamp) -> Decision {
    let decision = decide(schedule, progress, busy, now);
    let again = decide(schedule, &decision.progress, true, now);
    assert_eq!(again.progress, decision.progress, "asking again changes nothing");
    decision
}

#[test]
fn a_schedule_fires_when_its_time_comes_and_not_before() {
    let schedule = every_minute(Overlap::Skip, CatchUp::One);
    let progress = Progress::new(minute(10));
    let early = ask(&schedule, &progress, false, Timestamp(minute(11).0 - 1));
    assert_eq!((early.fire.len(), early.wake_at), (0, Some(minute(11))));
    let due = ask(&schedule, &early.progress, false, Timestamp(minute(11).0 + 5));
    assert_eq!(minutes(&due.fire), [11]);
    assert_eq!(due.wake_at, Some(minute(12)));
    let again = ask(&schedule, &due.progress, true, Timestamp(minute(11).0 + 5));
    assert!(again.fire.is_empty(), "a time is dealt with once");
}

#[test]
fn missed_times_are_skipped_or_caught_up_once_or_for_each() {
    // No check between minute 10 and a time long after minute 14.
    let progress = Progress::new(minute(10));
    let hour = Schedule {
        when: When::every("1h", minute(-10)).unwrap(),
        ..every_minute(Overlap::Allow, CatchUp::None)
    };
    let fired = |schedule: &Schedule, now| {
        let decision = ask(schedule, &progress, false, now);
        (minutes(&decision.fire), decision.progress.skipped)
    };
    // Three hours, the last of which came half an hour ago.
    let late = minute(200);
    assert_eq!(fired(&hour, late), (vec![], 3));
    let one = Schedule {
        catch_up: CatchUp::One,
        ..hour.clone()
    };
    assert_eq!(fired(&one, late), (vec![170], 2));
    let all = Schedule {
        catch_up: CatchUp::All,
        ..hour.clone()
    };
    assert_eq!(fired(&all, late), (vec![50, 110, 170], 0));
    // One that is late by less than a minute was not missed.
    assert_eq!(fired(&hour, Timestamp(minute(170).0 + 59_000)), (vec![170], 2));
    // Of very many, the latest are made up for.
    let (made_up, skipped) = fired(&every_minute(Overlap::Allow, CatchUp::All), minute(10_010));
    assert_eq!((made_up.len(), made_up[0], skipped), (100, 9_911, 9_900));
    let (made_up, skipped) = fired(&every_minute(Overlap::Allow, CatchUp::One), minute(50_000_000));
    assert_eq!((made_up, skipped > 100_000), (vec![50_000_000], true));
}

#[test]
fn a_run_that_is_not_over_is_passed_over_waited_for_or_left_alone() {
    let progress = Progress::new(minute(10));
    let skip = ask(
        &every_minute(Overlap::Skip, CatchUp::One),
        &progress,
        true,
        minute(11),
    );
    assert_eq!((skip.fire.len(), skip.progress.skipped), (0, 1));
    let allow = ask(
        &every_minute(Overlap::Allow, CatchUp::One),
        &progress,
        true,
        minute(11),
    );
    assert_eq!(minutes(&allow.fire), [11]);

    let queue = every_minute(Overlap::Queue, CatchUp::One);
    let first = ask(&queue, &progress, true, minute(11));
    assert_eq!((first.fire.len(), first.progress.skipped), (0, 0));
    let second = ask(&queue, &first.progress, true, minute(12));
    assert_eq!(
        (second.fire.len(), second.progress.skipped),
        (0, 1),
        "one start waits"
    );
    let over = ask(&queue, &second.progress, false, Timestamp(minute(12).0 + 1_000));
    assert_eq!(minutes(&over.fire), [11]);

    // With a start for each time that was missed, they wait for one another.
    let queue = every_minute(Overlap::Queue, CatchUp::All);
    let mut decision = ask(&queue, &progress, false, minute(13));
    for expected in 11..=13 {
        assert_eq!(minutes(&decision.fire), [expected]);
        let busy = ask(&queue, &decision.progress, true, minute(13));
        assert!(busy.fire.is_empty());
        decision = ask(&queue, &busy.progress, false, minute(13));
    }
    assert!(decision.fire.is_empty());
    assert_eq!(decision.progress.skipped, 0);
}

#[test]
fn a_start_that_did_not_go_through_is_made_when_its_time_comes_again() {
    let schedule = every_minute(Overlap::Skip, CatchUp::None);
    let mut progress = decide(&schedule, &Progress::new(minute(10)), false, minute(11)).progress;
    progress.waiting.push_front(minute(11));
    progress.not_before = Some(Timestamp(minute(11).0 + 7_000));
    let held = ask(&schedule, &progress, false, Timestamp(minute(11).0 + 6_999));
    assert_eq!(
        (held.fire.len(), held.wake_at),
        (0, Some(Timestamp(minute(11).0 + 7_000)))
    );
    let resumed = ask(&schedule, &held.progress, false, Timestamp(minute(11).0 + 7_000));
    assert_eq!(minutes(&resumed.fire), [11]);
    assert_eq!(resumed.wake_at, Some(minute(12)));
}

#[test]
fn a_paused_schedule_does_nothing_and_wants_not_to_be_asked() {
    let schedule = Schedule {
        paused: true,
        ..every_minute(Overlap::Allow, CatchUp::All)
    };
    let decision = ask(&schedule, &Progress::new(minute(10)), false, minute(20));
    assert_eq!((decision.fire.len(), decision.wake_at), (0, None));
}

#[test]
fn a_name_is_short_and_of_few_signs() {
    assert!(check_name("nightly-report_2.v1").is_ok());
    for wrong in ["", "a b", "a/b", "é", "..", &"x".repeat(101)] {
        assert!(check_name(wrong).is_err(), "{wrong}");
    }
}
