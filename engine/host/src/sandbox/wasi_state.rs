//! What an instance used of WASI: for its log lines, for the hints in its failures, and for closing its files.

use std::{collections::HashMap, sync::Arc, time::Instant};

use heddle_kernel::Level;

use crate::{
    fair_pool::PoolPermit,
    output::Output,
    policy::{Rules, dir_policy_entry},
};

/// Something that is open: a file, a folder, a stream of a file, a list of a folder.
#[derive(Clone)]
pub(crate) struct OpenFile {
    /// Its place among the open files of all calls.
    taken: Arc<PoolPermit>,
    /// It counts as one of its instance's for as long as this is there.
    _of_instance: Arc<()>,
}

impl OpenFile {
    pub(crate) fn new(taken: PoolPermit, of_instance: &Arc<()>) -> Self {
        Self {
            taken: Arc::new(taken),
            _of_instance: of_instance.clone(),
        }
    }

    /// It is about to be closed: it is no longer one of its instance's, and is open until what is returned is dropped.
    pub(crate) fn closing(self) -> Arc<PoolPermit> {
        self.taken
    }
}

/// Where a folder or file is, as the guest names it.
pub(crate) struct OpenedPath {
    pub(crate) shown: String,
    pub(crate) open: OpenFile,
}

/// How many files of one call are told of when they are opened.
const MAX_FILE_LINES: usize = 100;

/// What an instance has of the world, and what is known of its use.
pub(crate) struct WasiState {
    /// When the real monotonic clock showed nothing.
    pub(crate) began: Instant,
    pub(crate) used: UsedGrants,
    /// Where its folders and files are, as it names them, by their handles.
    pub(crate) opened_paths: HashMap<u32, OpenedPath>,
    /// One reference more than it has files open.
    pub(crate) open: Arc<()>,
    /// How many files were opened or refused.
    files: usize,
    /// The last thing that is neither a file nor a directory and was not opened, and why.
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

    /// What may have made a guest fail that had no grant for what it asked for: a sentence that says what
    /// to add to the policy. `said` is what it failed with.
    pub(crate) fn hint(&self, rules: &Rules, said: &str) -> Option<String> {
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        let (plugin, grants) = (&rules.plugin, &rules.grants);
        let of_files = self.used.folders && says(&NO_FILE);
        let of_environment = self.used.environment && grants.env.is_empty() && says(&NO_VARIABLE);
        let narrowed = match grants.is_narrowed() {
            true => " (the node's `grants` narrow what it has)",
            false => "",
        };
        match () {
            () if self.used.sockets => Some(format!("plugin `{plugin}` {NO_SOCKETS}")),
            () if says(&NO_WRITING) && self.refused_special.is_some() => self.refused_special.clone(),
            () if of_files && grants.dirs.is_empty() => Some(format!(
                "plugin `{plugin}` has no folder{narrowed}. To grant one, add to the policy: {}",
                dir_policy_entry(plugin)
            )),
            () if self.used.folders && grants.dirs.iter().any(|dir| !dir.write) && says(&NO_WRITING) => {
                let shown: Vec<_> = grants.dirs.iter().map(ToString::to_string).collect();
                Some(format!(
                    "plugin `{plugin}` has {}{narrowed}. To let it write, add `write: true` to the folder in the policy",
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

/// How guests of common toolchains say that there is no such file.
const NO_FILE: [&str; 5] = [
    "pre-opened file descriptor",
    "No such file or directory",
    "ENOENT",
    "os error 44",
    "Capabilities insufficient",
];

/// How they say that a file cannot be written to.
const NO_WRITING: [&str; 5] = [
    "Operation not permitted",
    "Permission denied",
    "Read-only file system",
    "EPERM",
    "EROFS",
];

/// How they say that there is no such variable.
const NO_VARIABLE: [&str; 2] = ["environment variable", "environ"];

/// What is said to whoever asks for a socket.
pub(crate) const NO_SOCKETS: &str = "asked for a socket, which no policy grants: requests over HTTP are made by wasi:http, and \
                          granted by `http` in the policy";
