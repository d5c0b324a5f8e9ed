//! What plugins are granted while the engine runs, kept across restarts.

use std::sync::Arc;

use heddle_json::{Json, object};

use crate::{
    answer::PolicyError,
    engine::Engine,
    ports::{PluginPolicyInfo, PolicyRow, StoreError},
};

impl Engine {
    /// What the plugins of a name are granted, and who says so.
    pub fn policy(&self, name: &str) -> PluginPolicyInfo {
        self.inner.ports.functions.policy(name)
    }

    /// Sets what the plugins of a name are granted, and keeps it. It holds for every call that begins from
    /// here on.
    ///
    /// # Errors
    /// Where it cannot be, or could not be kept.
    pub async fn set_policy(&self, name: &str, body: Json) -> Result<PluginPolicyInfo, PolicyError> {
        let ports = &self.inner.ports;
        let _setting = self.inner.setting_policies.lock().await;
        ports.functions.check_policy(name, body.clone()).await?;
        let row = PolicyRow {
            name: name.into(),
            body: body.get().into(),
        };
        ports.journal.put_policy(row).await?;
        ports.functions.set_policy(name, Some(body)).await?;
        Ok(self.policy(name))
    }

    /// Takes back what was set for the plugins of a name. Answers whether anything was.
    ///
    /// # Errors
    /// Where that cannot be, or could not be kept.
    pub async fn unset_policy(&self, name: &str) -> Result<bool, PolicyError> {
        let ports = &self.inner.ports;
        let _setting = self.inner.setting_policies.lock().await;
        ports.functions.set_policy(name, None).await?;
        Ok(ports.journal.delete_policy(name).await?)
    }

    /// Sets again what was set before this start. Answers what could not be, each with the reason.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn recover_policies(&self) -> Result<Vec<(Arc<str>, String)>, StoreError> {
        let ports = &self.inner.ports;
        let _setting = self.inner.setting_policies.lock().await;
        let mut failed = Vec::new();
        for PolicyRow { name, body } in ports.journal.policies().await? {
            let set = match object::json(&body) {
                Ok(body) => ports.functions.set_policy(&name, Some(body)).await,
                Err(error) => {
                    failed.push((name, format!("it is no JSON: {error}")));
                    continue;
                }
            };
            if let Err(error) = set {
                failed.push((name, error.to_string()));
            }
        }
        Ok(failed)
    }

    /// How many plugins something was set for, by this start or those before.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn kept_policies(&self) -> Result<usize, StoreError> {
        Ok(self.inner.ports.journal.policies().await?.len())
    }
}
