//! The size of plugins' descriptions, one by one and together.

use heddle_runtime::ports::{FunctionInfo, PluginInfo, RegisterError};

use crate::units::Bytes;

/// The overhead of a text in a description, in bytes.
const TEXT_BYTES: usize = 32;

/// The size of a plugin's description in a list of plugins, in bytes.
pub(super) fn bytes(info: &PluginInfo) -> usize {
    let texts = |texts: &[String]| texts.iter().map(|text| text.len() + TEXT_BYTES).sum::<usize>();
    info.functions.iter().map(of_function).sum::<usize>()
        + [
            &info.imports,
            &info.requested_permissions,
            &info.left_out,
            &info.grants,
            &info.limits,
        ]
        .into_iter()
        .map(|lines| texts(lines))
        .sum::<usize>()
}

fn of_function(function: &FunctionInfo) -> usize {
    let config = function.config.as_ref().map_or(0, |config| config.get().len());
    let routes: usize = function.routes.iter().map(|route| route.len() + TEXT_BYTES).sum();
    function.name.len()
        + function.summary.len()
        + function.input.get().len()
        + function.output.get().len()
        + config
        + routes
}

/// Checks the size of the descriptions of all plugins.
pub(super) fn check(bytes: usize, limit: usize) -> Result<(), RegisterError> {
    if bytes <= limit {
        return Ok(());
    }
    Err(RegisterError::Refused(format!(
        "with this plugin the descriptions of all plugins (summaries, schemas, routes) would take {}, more than the \
         limit of {} (max_description_bytes): remove plugins or versions that nothing uses",
        Bytes(bytes),
        Bytes(limit)
    )))
}
