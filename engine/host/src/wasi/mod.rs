//! What a guest sees of the world: of each part the sandbox's own stand-in, and the real one where its
//! plugin is granted that. Each use of a grant is told in a line of the step.

pub(crate) mod clock;
mod environment;
pub(crate) mod files;
mod http;
pub(crate) mod random;
mod sockets;

use std::{collections::HashMap, sync::Arc, time::Instant};

use heddle_kernel::{Failure, Level};
use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::{
    cli::environment as cli_environment,
    clocks::{monotonic_clock, wall_clock},
    random::{insecure, insecure_seed, random as wasi_random},
};

use crate::{
    policy::{Rules, dir_to_add},
    sandbox::{Own, Sandbox},
};

/// How many files of one call are told of when they are opened.
const FILES_TOLD: usize = 100;

/// What an instance has of the world, and what is known of its use.
pub(crate) struct World {
    /// When the real monotonic clock showed nothing.
    began: Instant,
    used: Used,
    /// Where its folders and files are, as it names them, by their handles.
    places: HashMap<u32, files::Opened>,
    /// One reference more than it has files open.
    open: Arc<()>,
    /// How many files were opened or refused.
    files: usize,
    /// The last thing that is neither a file nor a directory and was not opened, and why.
    special: Option<String>,
}

/// What an instance asked for at least once.
#[derive(Clone, Copy, Default)]
struct Used {
    clock: bool,
    random: bool,
    environment: bool,
    folders: bool,
    sockets: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            used: Used::default(),
            places: HashMap::new(),
            open: Arc::default(),
            files: 0,
            special: None,
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
            () if says(&NO_WRITING) && self.special.is_some() => self.special.clone(),
            () if of_files && grants.dirs.is_empty() => Some(format!(
                "plugin `{plugin}` has no folder{narrowed}. To grant one, add to the policy: {}",
                dir_to_add(plugin)
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
const NO_SOCKETS: &str = "asked for a socket, which no policy grants: requests over HTTP are made by wasi:http, and \
                          granted by `http` in the policy";

impl Sandbox {
    /// Tells of a use of a grant, the first time in a call.
    fn told(
        &mut self,
        used: impl FnOnce(&mut Used) -> &mut bool,
        line: impl FnOnce(&Rules) -> (Level, String),
    ) {
        let told = used(&mut self.world.used);
        if !std::mem::replace(told, true) {
            let (level, line) = line(&self.rules);
            self.frame.output.note(level, &line);
        }
    }

    /// Adds to a failure what the guest lacked, where that may be why it failed.
    pub(crate) fn explain(&self, mut failure: Failure) -> Failure {
        if let Some(hint) = self.world.hint(&self.rules, &failure.message) {
            failure.message = format!("{}; {hint}", failure.message).into();
        }
        failure
    }

    /// Tells of a use of something that may not be granted.
    fn uses(&mut self, used: impl FnOnce(&mut Used) -> &mut bool) {
        *used(&mut self.world.used) = true;
    }
}

/// Puts the sandbox's own in place of what WASI has. Shadowing must be allowed.
pub(crate) fn add_to_linker(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    wall_clock::add_to_linker::<_, Own>(linker, |sandbox| sandbox)?;
    monotonic_clock::add_to_linker::<_, Own>(linker, |sandbox| sandbox)?;
    wasi_random::add_to_linker::<_, Own>(linker, |sandbox| sandbox)?;
    insecure::add_to_linker::<_, Own>(linker, |sandbox| sandbox)?;
    insecure_seed::add_to_linker::<_, Own>(linker, |sandbox| sandbox)?;
    cli_environment::add_to_linker::<_, Own>(linker, |sandbox| sandbox)?;
    files::add_to_linker(linker)?;
    http::add_to_linker(linker)?;
    sockets::add_to_linker(linker)
}
