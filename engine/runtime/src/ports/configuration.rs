//! The port to the stored policies, secrets and schedules.

use futures_util::future::BoxFuture;

use super::{
    errors::StoreError,
    rows::{PolicyRow, ScheduleRow, SecretText},
};

/// Stores policies, secrets and schedules across crashes. Reads return only durable data.
pub trait Configuration: Send + Sync + 'static {
    /// Stores a plugin's policy, replacing the one with the same plugin name.
    fn put_policy(&self, policy: PolicyRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Deletes the policy of the plugin with this name. Returns whether it existed.
    fn delete_policy(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// All stored policies, by plugin name.
    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRow>, StoreError>>;

    /// Stores a secret of the engine, replacing the one with the same name.
    fn put_secret(&self, name: &str, value: SecretText) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The engine's secret with this name. Exports, lists and copies of the store do not contain secrets.
    fn secret(&self, name: &str) -> BoxFuture<'_, Result<Option<SecretText>, StoreError>>;

    /// Stores a schedule, replacing the one with the same name.
    fn put_schedule(&self, schedule: ScheduleRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Deletes the schedule with this name. Returns whether it existed.
    fn delete_schedule(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// All schedules, by name.
    fn schedules(&self) -> BoxFuture<'_, Result<Vec<ScheduleRow>, StoreError>>;
}
