//! Policies, secrets and schedules in memory.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use heddle_runtime::ports::{Configuration, PolicyRow, ScheduleRow, SecretText, StoreError};

use super::MemoryJournal;

impl Configuration for MemoryJournal {
    fn put_schedule(&self, schedule: ScheduleRow) -> BoxFuture<'_, Result<(), StoreError>> {
        self.put(|tables| drop(tables.schedules.insert(schedule.name, schedule.body)))
    }

    fn delete_schedule(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        let name: Arc<str> = name.into();
        self.change(move |tables| tables.schedules.remove(&name).is_some())
    }

    fn schedules(&self) -> BoxFuture<'_, Result<Vec<ScheduleRow>, StoreError>> {
        self.read(|tables| {
            let rows = tables.schedules.iter().map(|(name, body)| ScheduleRow {
                name: name.clone(),
                body: body.clone(),
            });
            Ok(rows.collect())
        })
    }

    fn put_secret(&self, name: &str, value: SecretText) -> BoxFuture<'_, Result<(), StoreError>> {
        let name = name.into();
        self.put(|tables| drop(tables.secrets.insert(name, value)))
    }

    fn secret(&self, name: &str) -> BoxFuture<'_, Result<Option<SecretText>, StoreError>> {
        let name = name.to_owned();
        self.read(move |tables| Ok(tables.secrets.get(&*name).cloned()))
    }

    fn put_policy(&self, policy: PolicyRow) -> BoxFuture<'_, Result<(), StoreError>> {
        self.put(|tables| drop(tables.policies.insert(policy.name, policy.body)))
    }

    fn delete_policy(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        let name: Arc<str> = name.into();
        self.change(move |tables| tables.policies.remove(&name).is_some())
    }

    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRow>, StoreError>> {
        self.read(|tables| {
            let rows = tables.policies.iter().map(|(name, body)| PolicyRow {
                name: name.clone(),
                body: body.clone(),
            });
            Ok(rows.collect())
        })
    }
}
