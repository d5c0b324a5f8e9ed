//! Recovery: what an engine does before it serves requests.

use std::collections::VecDeque;

use crate::{
    engine::Engine,
    ports::{PluginSummary, ReadError, RegisterError, StoreError},
    results::RecoveryReport,
};

impl Engine {
    /// Registers the stored plugins, continues every unfinished run, and starts the background tasks.
    ///
    /// # Errors
    /// If the store cannot be read. Damaged runs and plugins are listed in the report and do not stop the others.
    pub async fn recover(&self) -> Result<RecoveryReport, StoreError> {
        let mut report = RecoveryReport::default();
        self.register_stored_plugins(&mut report).await?;
        let core = &self.core;
        let journal = &core.ports.store;
        let (groups, queued) = (journal.groups().await?, journal.queued().await?);
        report.queued = queued.len();
        core.admission.restore(groups, queued);
        let mut postponed = VecDeque::new();
        for id in journal.unfinished().await? {
            match core.load_and_drive(id).await {
                Ok(Some(_)) => report.runs += 1,
                Err(ReadError::Busy { .. }) => {
                    report.runs += 1;
                    postponed.push_back(id);
                }
                Ok(None) => {}
                Err(ReadError::Store(error)) => return Err(error),
                Err(error) => report.damaged.push((id, error.to_string())),
            }
        }
        if !postponed.is_empty() {
            core.spawn_background(core.clone().load_postponed(postponed));
        }
        core.spawn_background(core.clone().run_timers());
        core.spawn_background(core.clone().start_queued_runs());
        core.spawn_background(self.clone().run_scheduler());
        Ok(report)
    }

    async fn register_stored_plugins(&self, report: &mut RecoveryReport) -> Result<(), StoreError> {
        let journal = &self.core.ports.store;
        for PluginSummary { digest, name, .. } in journal.active_plugins().await? {
            // One component at a time: all of them may be larger than the memory.
            let registered = match journal.plugin(&digest).await {
                Ok(Some(plugin)) => self.core.register_stored(plugin, false).await.map(|_| ()),
                Ok(None) => Ok(()),
                Err(StoreError::Damaged(error)) => Err(RegisterError::Refused(error)),
                Err(error) => return Err(error),
            };
            if let Err(error) = registered {
                report.plugins.push((name, error.to_string()));
            }
        }
        Ok(())
    }
}
