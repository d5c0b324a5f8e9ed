//! The policies of plugins that operators set while the engine runs. They are stored and survive restarts.

use std::sync::Arc;

use heddle_json::{Json, object};

use crate::{
    engine::Engine,
    errors::PolicyError,
    ports::{PluginPolicyInfo, PolicyRefused, PolicyRow, PolicySource, StoreError},
};

impl Engine {
    /// The policy of the plugins with this name, and its source.
    pub fn policy(&self, name: &str) -> PluginPolicyInfo {
        self.core.ports.functions.policy(name)
    }

    /// Sets and stores the policy of the plugins with this name. It applies to every call that starts afterwards.
    ///
    /// # Errors
    /// If the policy was refused or could not be stored.
    pub async fn set_policy(&self, name: &str, body: Json) -> Result<PluginPolicyInfo, PolicyError> {
        let (engine, name) = (self.clone(), Arc::<str>::from(name));
        let change = async move {
            let ports = &engine.core.ports;
            let _change = engine.core.plugin_change.lock().await;
            ports.functions.check_policy(&name, body.clone()).await?;
            let row = PolicyRow {
                name: name.clone(),
                body: body.get().into(),
            };
            ports.store.put_policy(row).await?;
            ports.functions.set_policy(&name, Some(body)).await?;
            Ok(engine.policy(&name))
        };
        self.core.complete(change).await
    }

    /// Removes the policy that was set for the plugins with this name. Returns whether there was one.
    ///
    /// # Errors
    /// If the removal was refused or could not be stored.
    pub async fn unset_policy(&self, name: &str) -> Result<bool, PolicyError> {
        let (core, name) = (self.core.clone(), name.to_owned());
        let change = async move {
            let ports = &core.ports;
            let _change = core.plugin_change.lock().await;
            if ports.functions.policy(&name).source == PolicySource::File {
                return Err(PolicyRefused::Fixed(name).into());
            }
            // The stored policy goes first: it would be in force again after a restart.
            let was_stored = ports.store.delete_policy(&name).await?;
            ports.functions.set_policy(&name, None).await?;
            Ok(was_stored)
        };
        self.core.complete(change).await
    }

    /// Restores the stored policies when the engine starts. Returns those that were refused, each with the reason.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn recover_policies(&self) -> Result<Vec<(Arc<str>, String)>, StoreError> {
        let ports = &self.core.ports;
        let _change = self.core.plugin_change.lock().await;
        let mut failed = Vec::new();
        for PolicyRow { name, body } in ports.store.policies().await? {
            let set = match object::json(&body) {
                Ok(body) => ports.functions.set_policy(&name, Some(body)).await,
                Err(error) => {
                    failed.push((name, format!("the policy is not valid JSON: {error}")));
                    continue;
                }
            };
            if let Err(error) = set {
                failed.push((name, error.to_string()));
            }
        }
        Ok(failed)
    }

    /// The number of stored policies.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn stored_policy_count(&self) -> Result<usize, StoreError> {
        Ok(self.core.ports.store.policies().await?.len())
    }
}
