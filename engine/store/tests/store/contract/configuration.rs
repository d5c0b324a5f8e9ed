//! The contract of the configuration: policies, secrets and schedules.

use heddle_runtime::ports::{PolicyRow, ScheduleRow, SecretText};

use crate::world::World;

contract! {
    policies_are_kept_by_name,
    secrets_are_kept_by_name,
    a_schedule_is_kept_until_it_is_deleted,
}

async fn policies_are_kept_by_name(mut world: impl World) {
    let journal = world.open();
    let policy = |name: &str, body: &str| PolicyRow {
        name: name.into(),
        body: body.into(),
    };
    journal.put_policy(policy("b", "1")).await.unwrap();
    journal.put_policy(policy("a", "2")).await.unwrap();
    journal.put_policy(policy("b", "3")).await.unwrap();
    assert_eq!(
        journal.policies().await.unwrap(),
        [policy("a", "2"), policy("b", "3")]
    );
    assert!(journal.delete_policy("a").await.unwrap());
    assert!(!journal.delete_policy("a").await.unwrap());
    assert_eq!(journal.policies().await.unwrap(), [policy("b", "3")]);
}

async fn secrets_are_kept_by_name(mut world: impl World) {
    let journal = world.open();
    let secret = |text: &str| SecretText(text.into());
    assert_eq!(journal.secret("a").await.unwrap(), None);
    for (name, text) in [("a", "1"), ("b", "2"), ("a", "3")] {
        journal.put_secret(name, secret(text)).await.unwrap();
    }
    drop(journal);
    let journal = world.open();
    assert_eq!(journal.secret("a").await.unwrap(), Some(secret("3")));
    assert_eq!(journal.secret("b").await.unwrap(), Some(secret("2")));
    assert!(!format!("{:?}", secret("value")).contains("value"));
}

async fn a_schedule_is_kept_until_it_is_deleted(mut world: impl World) {
    let journal = world.open();
    let schedule = |name: &str, body: &str| ScheduleRow {
        name: name.into(),
        body: body.into(),
    };
    assert_eq!(journal.schedules().await.unwrap(), []);
    for (name, body) in [("nightly", "{}"), ("hourly", "[1]"), ("nightly", "{\"n\": 2}")] {
        journal.put_schedule(schedule(name, body)).await.unwrap();
    }
    drop(journal);
    let journal = world.open();
    let all = [schedule("hourly", "[1]"), schedule("nightly", "{\"n\": 2}")];
    assert_eq!(journal.schedules().await.unwrap(), all);
    assert!(journal.delete_schedule("hourly").await.unwrap());
    assert!(!journal.delete_schedule("hourly").await.unwrap());
    assert_eq!(journal.schedules().await.unwrap(), all[1..]);
    journal.close().await.unwrap();
    assert!(journal.put_schedule(schedule("late", "{}")).await.is_err());
    assert!(journal.delete_schedule("nightly").await.is_err());
}
