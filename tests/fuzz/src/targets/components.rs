//! Components as bytes or as text, which is assembled first. They are inspected like `POST /v1/plugins:inspect`, which
//! does everything of a registration except storing it.
//!
//! For any bytes the answer comes soon and the memory is bounded. An accepted component has a name, a version and
//! functions with JSON schemas, and is accepted again with the same answer.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use heddle_host::{Host, HostSettings};
use heddle_runtime::ports::{Functions, NewPlugin, PluginInfo, RegisterError};
use tokio::runtime::Runtime;

use super::{Target, Verdict, served};
use crate::{
    mutate::{bytes, text, wasm},
    pool::Pool,
    random::Random,
};

/// The longest input in bytes.
const MAX_INPUT: usize = 256 << 10;

pub(crate) struct Components {
    runtime: Runtime,
    host: Host,
}

impl Components {
    pub(crate) fn new() -> Result<Self> {
        // Nothing is cached: every inspection compiles again.
        let host = Host::new(HostSettings {
            calls_at_once: 4,
            call_timeout: Duration::from_secs(2),
            ..HostSettings::default()
        })?;
        Ok(Self {
            runtime: served::runtime()?,
            host,
        })
    }

    fn inspect(&self, bytes: &[u8]) -> Result<PluginInfo, RegisterError> {
        let plugin = NewPlugin {
            fallback_name: Some("fuzzed".to_owned()),
            ..NewPlugin::of(Arc::from(bytes))
        };
        self.runtime.block_on(self.host.inspect(plugin))
    }
}

impl Target for Components {
    fn seeds(&self) -> Result<Vec<Vec<u8>>> {
        Ok(vec![served::test_component("elsewhere/adder.wasm")?.to_vec()])
    }

    fn mutate(&self, random: &mut Random, pool: &Pool) -> Vec<u8> {
        let (mut own, donor) = (pool.any(random).to_vec(), pool.any(random));
        if own.starts_with(b"(") {
            if random.one_in(3) {
                let (text, other) = (String::from_utf8_lossy(&own), String::from_utf8_lossy(donor));
                return text::mutate(random, &text, &other, MAX_INPUT).into_bytes();
            }
            own = assembled(&own).unwrap_or(own);
        }
        let assembled = assembled(donor);
        let donor = assembled.as_deref().unwrap_or(donor);
        if !random.one_in(4)
            && let Some(changed) = wasm::mutate(random, &own, donor, MAX_INPUT)
        {
            return changed;
        }
        let mut changed = own;
        bytes::mutate(random, &mut changed, donor, MAX_INPUT);
        changed
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        let assembled = assembled(input);
        let input = assembled.as_deref().unwrap_or(input);
        let info = match self.inspect(input) {
            Ok(info) => info,
            Err(error) => {
                let message = error.to_string();
                assert!(!message.is_empty());
                return Verdict::refused(message);
            }
        };
        assert!(!info.name.is_empty() && !info.version.is_empty());
        for function in &info.functions {
            assert!(served::is_json(function.input.get()), "{function:?}");
            assert!(served::is_json(function.output.get()), "{function:?}");
        }
        let again = self.inspect(input).expect("it was accepted before");
        assert_eq!(format!("{info:?}"), format!("{again:?}"));
        Verdict::accepted(format!(
            "{} {:?} {:?}",
            info.functions.len(),
            info.imports,
            info.left_out
        ))
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// Assembles a text. None if it is not WebAssembly text.
fn assembled(input: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(input).ok().filter(|text| text.starts_with('('))?;
    wat::parse_str(text).ok()
}
