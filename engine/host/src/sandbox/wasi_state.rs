//! What an instance used of WASI: for its log lines, for the hints in its failures, and for closing its files.

use std::{collections::HashMap, sync::Arc, time::Instant};

use heddle_kernel::Level;

use crate::{
    fair_pool::PoolPermit,
    output::Output,
    policy::{Rules, dir_policy_entry},
};

/// An open file, folder, file stream or folder listing.
#[derive(Clone)]
pub(crate) struct OpenFile {
    /// Its unit of the open files of all calls.
    permit: Arc<PoolPermit>,
    /// Counts as one of the instance's open files until drop.
    _of_instance: Arc<()>,
}

impl OpenFile {
    pub(crate) fn new(permit: PoolPermit, of_instance: &Arc<()>) -> Self {
        Self {
            permit: Arc::new(permit),
            _of_instance: of_instance.clone(),
        }
    }

    /// Stops counting as one of the instance's files. The unit of all calls is returned when the result is dropped.
    pub(crate) fn closing(self) -> Arc<PoolPermit> {
        self.permit
    }
}

/// An open folder or file, with its path as the guest names it.
pub(crate) struct OpenedPath {
    pub(crate) shown: String,
    pub(crate) open: OpenFile,
}

/// How many lines about files one instance may cause.
const MAX_FILE_LINES: usize = 100;

/// What an instance opened and used of WASI.
pub(crate) struct WasiState {
    /// The start of the real monotonic clock.
    pub(crate) began: Instant,
    pub(crate) used: UsedGrants,
    /// The open folders and files by their handles.
    pub(crate) opened_paths: HashMap<u32, OpenedPath>,
    /// Each open file holds one clone.
    pub(crate) open: Arc<()>,
    /// How many files were opened or refused.
    files: usize,
    /// The last refusal of something that is neither a file nor a directory, as a message.
    pub(crate) refused_special: Option<String>,
}

/// What an instance asked for at least once.
#[derive(Clone, Copy, Default)]
pub(crate) struct UsedGrants {
    pub(crate) clock: bool,
    pub(crate) random: bool,
    pub(crate) environment: bool,
    pub(crate) folders: bool,
    pub(crate) sockets: bool,
}

impl WasiState {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            used: UsedGrants::default(),
            opened_paths: HashMap::new(),
            open: Arc::default(),
            files: 0,
            refused_special: None,
        }
    }

    /// Logs a line about a file. After [`MAX_FILE_LINES`] lines of one instance no more are logged.
    pub(crate) fn log_file(&mut self, output: &Output, level: Level, line: &str) {
        self.files += 1;
        match self.files {
            n if n <= MAX_FILE_LINES => output.log_host_line(level, line),
            n if n == MAX_FILE_LINES + 1 => {
                let line =
                    format!("this instance opened more than {MAX_FILE_LINES} files: the rest is not logged");
                output.log_host_line(Level::Info, &line);
            }
            _ => {}
        }
    }

    /// A hint for a failure that a missing grant may explain: what to add to the policy. `message` is the failure's
    /// message.
    pub(crate) fn hint(&self, rules: &Rules, message: &str) -> Option<String> {
        let mentions = |phrases: &[&str]| phrases.iter().any(|word| message.contains(word));
        let (plugin, grants) = (&rules.plugin, &rules.grants);
        let of_files = self.used.folders && mentions(&NO_FILE);
        let of_environment = self.used.environment && grants.env.is_empty() && mentions(&NO_VARIABLE);
        let narrowed = match grants.is_narrowed() {
            true => " (the node's `grants` narrow what it has)",
            false => "",
        };
        match () {
            () if self.used.sockets => Some(format!("plugin `{plugin}` {NO_SOCKETS}")),
            () if mentions(&NO_WRITING) && self.refused_special.is_some() => self.refused_special.clone(),
            () if of_files && grants.dirs.is_empty() => Some(format!(
                "plugin `{plugin}` has no folder{narrowed}. To grant one, add to the policy: {}",
                dir_policy_entry(plugin)
            )),
            () if self.used.folders && grants.dirs.iter().any(|dir| !dir.write) && mentions(&NO_WRITING) => {
                let shown: Vec<_> = grants.dirs.iter().map(ToString::to_string).collect();
                Some(format!(
                    "plugin `{plugin}` has {}{narrowed}. To let it write, add `write: true` to the folder in the \
                     policy",
                    shown.join("; ")
                ))
            }
            () if of_environment => Some(format!(
                "plugin `{plugin}` has an empty environment{narrowed}. To grant a variable, add to the policy: \
                 plugins: {{\"{plugin}\": {{env: {{NAME: value}}}}}}"
            )),
            () => None,
        }
    }
}

/// How guests of common toolchains report a missing file.
const NO_FILE: [&str; 5] = [
    "pre-opened file descriptor",
    "No such file or directory",
    "ENOENT",
    "os error 44",
    "Capabilities insufficient",
];

/// How they report a file that cannot be written.
const NO_WRITING: [&str; 5] = [
    "Operation not permitted",
    "Permission denied",
    "Read-only file system",
    "EPERM",
    "EROFS",
];

/// How they report a missing variable.
const NO_VARIABLE: [&str; 2] = ["environment variable", "environ"];

/// The message for a guest that opens a socket.
pub(crate) const NO_SOCKETS: &str = "asked for a socket, which no policy can grant: make HTTP requests by \
                                     wasi:http, and grant them by `http` in the policy";
