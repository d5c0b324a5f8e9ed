//! The settings of a host, with their defaults. The limits of one call apply if neither the policy nor a node sets
//! others; docs/limits.md describes all of them.

use std::{path::PathBuf, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    cache::CacheSettings,
    compile::{CompileLimits, Compiler},
    fair_pool::total_for_one,
    policy::{CallLimits, Limit, MEMORY_CEILING, Policy, Protected},
    system_limits,
    units::Bytes,
};

/// The settings of a [`Host`](crate::Host).
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// The cache of compiled components. Without one, components are compiled at every start.
    pub cache: Option<CacheSettings>,
    /// Where components are compiled. Default: in this process, without limits of time and memory.
    pub compiler: Compiler,
    /// The time limit of compiling one component. Default: 120 s.
    pub compile_timeout: Duration,
    /// The memory limit of compiling one component. Default: 1 GiB.
    pub compile_memory_bytes: usize,
    /// How many components are compiled at once. Default: 1.
    pub compile_at_once: usize,
    /// How many requests with a component may wait to be compiled; further ones are refused. Default: 16.
    pub compile_queue: usize,
    /// The largest component file. Default: 64 MiB.
    pub max_component_bytes: usize,
    /// The linear memories of one instance, together. Default: 64 MiB; at most 4 GiB.
    pub max_memory_bytes: usize,
    /// The memory of all calls together, with what the host holds for them. Default: three eighths of the memory that
    /// the system allows this process.
    pub total_memory_bytes: Option<usize>,
    /// The time limit of a call with the tools that it calls. Default: 30 s.
    pub call_timeout: Duration,
    /// How many calls of one plugin may be active at once. All plugins together may have a quarter more; further calls
    /// wait. Calls of tools by plugins do not count, since each belongs to a call that does. Default: 256, or fewer if
    /// `total_memory_bytes` has less than 3 MiB for each.
    pub calls_at_once: usize,
    /// How many calls may be nested, the outermost included. Default: 8.
    pub call_depth: usize,
    /// How often one tool may occur in a chain of nested calls. Default: 3.
    pub call_repeats: usize,
    /// The largest result of a call, as text. Default: 8 MiB.
    pub result_bytes: usize,
    /// The memory that the values of a typed function's input may take in the host, and those of its result. A number
    /// takes 40 bytes, whatever its type. Default: 32 MiB.
    pub value_bytes: usize,
    /// How many bytes a call with the tools that it calls may log. Each line counts 64 bytes on top. Default: 256 KiB.
    pub log_bytes: usize,
    /// The longest log line; longer ones are cut. Default: 8 KiB.
    pub log_line_bytes: usize,
    /// How many bytes a call with the tools that it calls may emit. Default: 4 MiB.
    pub emit_bytes: usize,
    /// The policy: grants and limits of plugins. Default: no grants.
    pub policy: Policy,
    /// Files and folders that no granted folder may overlap, besides the files of secrets. Default: none.
    pub protected: Vec<Protected>,
    /// How many HTTP requests a call with the tools that it calls may make. Default: 256.
    pub http_requests: usize,
    /// The bodies of all requests of a call with the tools that it calls, in bytes. Default: 64 MiB.
    pub outgoing_bytes: usize,
    /// How many requests of one instance may be active at once. Default: 16.
    pub http_at_once: usize,
    /// The largest body of a request. Default: 8 MiB.
    pub http_request_bytes: usize,
    /// The largest body of a response. Default: 8 MiB.
    pub http_response_bytes: usize,
    /// How many files, folders and folder listings one instance may have open. Default: 256.
    pub open_files: usize,
    /// How many threads may work with files for guests. A thread stays busy after its call has ended until the file
    /// system answers. Default: 64.
    pub file_threads: usize,
    /// How many of these threads one plugin may use. Default: 16.
    pub file_threads_per_plugin: usize,
    /// How many threads may read and check large inputs. A check continues after its call has ended. Default: 16.
    pub input_threads: usize,
    /// How many of these threads one plugin may use. Default: 8.
    pub input_threads_per_plugin: usize,
    /// The descriptions of all plugins with their schemas, together, in bytes. Default: 32 MiB.
    pub max_description_bytes: usize,
    /// A PEM file of certificate authorities that are trusted instead of the machine's own.
    pub http_authorities: Option<PathBuf>,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            cache: None,
            compiler: Compiler::InProcess,
            compile_timeout: Duration::from_secs(120),
            compile_memory_bytes: 1 << 30,
            compile_at_once: 1,
            compile_queue: 16,
            max_component_bytes: 64 << 20,
            max_memory_bytes: 64 << 20,
            total_memory_bytes: None,
            call_timeout: Duration::from_secs(30),
            calls_at_once: 256,
            call_depth: 8,
            call_repeats: 3,
            result_bytes: 8 << 20,
            value_bytes: 32 << 20,
            log_bytes: 256 << 10,
            log_line_bytes: 8 << 10,
            emit_bytes: 4 << 20,
            policy: Policy::default(),
            protected: Vec::new(),
            http_requests: 256,
            outgoing_bytes: 64 << 20,
            http_at_once: 16,
            http_request_bytes: 8 << 20,
            http_response_bytes: 8 << 20,
            open_files: 256,
            file_threads: 64,
            file_threads_per_plugin: 16,
            input_threads: 16,
            input_threads_per_plugin: 8,
            max_description_bytes: 32 << 20,
            http_authorities: None,
        }
    }
}

/// The smallest memory of all calls together.
const MIN_TOTAL: usize = 16 << 20;

/// The smallest own part of a call.
const MIN_OWN: usize = 3 << 19;

impl HostSettings {
    /// The default memory of all calls together.
    pub(crate) fn default_total_memory() -> usize {
        system_limits::memory() / 8 * 3
    }

    /// The memory of all calls together.
    pub(crate) fn total_memory(&self) -> usize {
        self.total_memory_bytes.unwrap_or_else(Self::default_total_memory)
    }

    /// How many outermost calls of all plugins may be active at once.
    pub(crate) fn max_total_calls(&self) -> usize {
        let have_memory = self.total_memory() / 2 / MIN_OWN;
        total_for_one(self.calls_at_once).min(have_memory).max(2)
    }

    /// The limits of one compilation.
    pub(crate) fn compile_limits(&self) -> CompileLimits {
        CompileLimits {
            time: self.compile_timeout,
            memory: self.compile_memory_bytes,
        }
    }

    /// The limits of a call that neither the policy nor a node limits.
    pub(crate) fn call_limits(&self) -> CallLimits {
        CallLimits {
            memory: Limit::default(self.max_memory_bytes),
            time: Limit::default(self.call_timeout),
            fuel: None,
            log: Limit::default(self.log_bytes),
            emit: Limit::default(self.emit_bytes),
            result: Limit::default(self.result_bytes),
            outgoing: Limit::default(self.outgoing_bytes),
            http_requests: Limit::default(self.http_requests),
            http_request_bytes: Limit::default(self.http_request_bytes),
            http_response_bytes: Limit::default(self.http_response_bytes),
        }
    }

    /// How many files guests may have open, if the process may have `of_process`: the engine needs the rest.
    pub(crate) fn max_total_open_files(of_process: usize) -> usize {
        (of_process / 2).clamp(16, 1 << 20)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The first setting with an invalid value.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self {
            compile_at_once,
            compile_queue,
            max_memory_bytes,
            calls_at_once,
            open_files,
            call_depth,
            call_repeats,
            http_at_once,
            file_threads,
            file_threads_per_plugin,
            input_threads,
            input_threads_per_plugin,
            ..
        } = *self;
        let threads = [
            file_threads,
            file_threads_per_plugin,
            input_threads,
            input_threads_per_plugin,
        ];
        let most_calls = Semaphore::MAX_PERMITS.min(1 << 20);
        let problem = match () {
            () if max_memory_bytes == 0 || max_memory_bytes > MEMORY_CEILING => {
                "max_memory_bytes must be above 0 and at most 4 GiB".to_owned()
            }
            () if self.total_memory() < MIN_TOTAL => {
                format!("total_memory_bytes must be at least {}", Bytes(MIN_TOTAL))
            }
            () if open_files == 0 => "open_files must be above 0".to_owned(),
            () if compile_at_once == 0 || compile_at_once > MAX_COMPILERS => {
                format!("compile_at_once must be above 0 and at most {MAX_COMPILERS}")
            }
            () if compile_queue > MAX_WAITING => format!("compile_queue must be at most {MAX_WAITING}"),
            () if calls_at_once == 0 || calls_at_once > most_calls => {
                format!("calls_at_once must be above 0 and at most {most_calls}")
            }
            () if call_depth == 0 || call_depth > 100 => {
                "call_depth must be above 0 and at most 100".to_owned()
            }
            () if call_repeats == 0 => "call_repeats must be above 0".to_owned(),
            () if http_at_once == 0 || http_at_once > most_calls => {
                format!("http_at_once must be above 0 and at most {most_calls}")
            }
            () if threads
                .iter()
                .any(|&threads| threads == 0 || threads > MAX_THREADS) =>
            {
                format!("each number of threads must be above 0 and at most {MAX_THREADS}")
            }
            () => return Ok(()),
        };
        Err(problem)
    }
}

/// The most components that are compiled at once, and the most requests that may wait.
const MAX_COMPILERS: usize = 64;
const MAX_WAITING: usize = 10_000;

/// The most threads of one kind.
const MAX_THREADS: usize = 4096;
