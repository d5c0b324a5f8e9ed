//! The environment of a guest: the granted variables. Its only argument is the plugin's name, as a program's first
//! argument is the program's name.

use heddle_kernel::Level;
use wasmtime_wasi::p2::bindings::cli::environment;

use crate::sandbox::Sandbox;

impl environment::Host for Sandbox {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        if self.rules.grants.env.is_empty() {
            // The libraries of most guests read the environment at start, so this is not logged.
            self.record_use(|used| &mut used.environment);
            return Ok(Vec::new());
        }
        self.log_first_use(
            |used| &mut used.environment,
            |rules| {
                let names = rules.grants.env.iter().map(|(name, _)| name.as_str());
                let names: Vec<_> = names.collect();
                (
                    Level::Info,
                    format!("the environment was read: {}", names.join(", ")),
                )
            },
        );
        Ok(self.rules.grants.env.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(vec![self.rules.plugin.to_string()])
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}
