//! Turns the cause that ended a call into a failure for people: which function, what happened, which limit.

use std::time::Duration;

use heddle_display as display;
use heddle_json::object::{self, clip};
use heddle_kernel::{Failure, FailureKind};
use wasmtime::{PoolConcurrencyLimitError, Trap, component::ResourceTableError};
use wasmtime_wasi::I32Exit;

use crate::{
    contract::types::GuestError,
    error::{HANDLES, NotDurable, TimeOver, TooLarge, TooManyFiles, TooManyValues, is_too_much_at_once},
    memory::{self, MemoryRefusal},
    policy::{CallLimits, Limit},
    threads::ThreadError,
    units::Bytes,
};

/// The longest message of a failure, in bytes.
const MESSAGE_LEN: usize = 8 << 10;

/// The text of wasmtime's error if a guest holds too many handles of its own resources.
const TOO_MANY_HANDLES: &str = "store handle limit exceeded";

/// The call may have no side effect.
pub(crate) fn not_durable(function: &str) -> Failure {
    let message = format!("`{function}` was ended before a side effect: {NotDurable}");
    Failure::new(FailureKind::Unavailable, message)
}

/// The guest exited without the result that it should return.
fn exited(function: &str, status: i32, guest_output: &str) -> Failure {
    let message = match status {
        0 => format!("`{function}` exited with status 0 before it returned its result{guest_output}"),
        _ => format!("`{function}` exited with status {status}{guest_output}"),
    };
    Failure::new(
        FailureKind::Permanent,
        clip(&display::redact(&message), MESSAGE_LEN),
    )
}

/// The call exceeded its time limit.
pub(crate) fn timeout(function: &str, limit: &Limit<Duration>) -> Failure {
    Failure::new(
        FailureKind::Timeout,
        format!("`{function}` ran longer than its limit of {}", limit.span()),
    )
}

/// The call reached its deadline while it waited for memory that other calls had.
pub(crate) fn no_memory_in_time(function: &str, limit: &Limit<Duration>) -> Failure {
    let mut failure = timeout(function, limit);
    failure.message = format!(
        "{}: it waited for memory that other calls had (total_memory)",
        failure.message
    )
    .into();
    failure
}

/// The call exceeded a limit of its output; `what` names the limit.
pub(crate) fn exceeded(function: &str, what: &str) -> Failure {
    Failure::new(FailureKind::Limit, format!("`{function}` {what}"))
}

/// Makes a failure of the error that ended an instance.
///
/// `error_excerpt` is what the guest logged about an error; `refused` is the last growth of memory or tables that was
/// refused; `time` is the limit that set the deadline.
pub(crate) fn from_error(
    function: &str,
    error: &wasmtime::Error,
    error_excerpt: Option<&str>,
    refused: Option<MemoryRefusal>,
    time: &Limit<Duration>,
    limits: &CallLimits,
) -> Failure {
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) || error.is::<TimeOver>() {
        return timeout(function, time);
    }
    if error.is::<NotDurable>() {
        return not_durable(function);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        let message = format!("`{function}` could not be called: all instance slots are in use ({error})");
        return Failure::new(FailureKind::Unavailable, message);
    }
    if let Some(none) = error.downcast_ref::<ThreadError>() {
        let message = format!("`{function}` was ended when it used a file: {none}");
        return Failure::new(FailureKind::Unavailable, message);
    }
    if let Some(TooManyFiles(limit)) = error.downcast_ref() {
        let message = format!("`{function}` had more files open than its limit of {limit} (open_files)");
        return Failure::new(FailureKind::Limit, message);
    }
    if let Some(TooLarge(size)) = error.downcast_ref() {
        return too_large(function, *size, &limits.result);
    }
    if let Some(TooManyValues(limit)) = error.downcast_ref() {
        let limit = Bytes(*limit);
        let message =
            format!("`{function}` passed more values than its limit of {limit} allows (value_bytes)");
        return Failure::new(FailureKind::Limit, message);
    }
    if is_too_much_at_once(error) {
        let limit = limits.result.bytes("result");
        let message = format!("`{function}` passed more at once than its limit of {limit}");
        return Failure::new(FailureKind::Limit, message);
    }
    let guest_output = |text: &str| {
        error_excerpt
            .map(|excerpt| format!("; {text}: {excerpt}"))
            .unwrap_or_default()
    };
    let full = error.downcast_ref::<ResourceTableError>();
    if matches!(full, Some(ResourceTableError::Full)) || format!("{error:#}").contains(TOO_MANY_HANDLES) {
        let message = format!("`{function}` held more handles than its limit of {HANDLES} (handles)");
        return Failure::new(FailureKind::Limit, message);
    }
    if let (Some(Trap::OutOfFuel), Some(fuel)) = (trap, limits.fuel) {
        let message = format!("`{function}` computed more than its limit of {}", fuel.fuel());
        return Failure::new(FailureKind::Limit, message);
    }
    if let Some(refused) = refused {
        let what = refused_memory(&refused, limits);
        let excerpt = guest_output("last error output");
        return Failure::new(
            FailureKind::Limit,
            format!("`{function}` needed more {what}{excerpt}"),
        );
    }
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return exited(function, *status, &guest_output("last error output"));
    }
    let message = match trap {
        Some(trap) => trapped(function, trap, error_excerpt),
        None => format!(
            "`{function}` broke the contract: {}",
            clip(&format!("{error:#}"), 600)
        ),
    };
    Failure::new(FailureKind::Trap, clip(&display::redact(&message), MESSAGE_LEN))
}

/// What a call needed more of, with the limit that refused it.
fn refused_memory(refused: &MemoryRefusal, limits: &CallLimits) -> String {
    match *refused {
        MemoryRefusal::Memory { own, by_host } => format!(
            "memory than its limit of {}{}",
            limits.memory.bytes("memory"),
            memory::host_share(own, by_host)
        ),
        MemoryRefusal::Total(limit) => format!(
            "memory than one call and its tools may use of the memory of all calls, which is {} (total_memory)",
            Bytes(limit)
        ),
        MemoryRefusal::Table(limit) => {
            format!("table elements than its limit of {limit} (table_elements)")
        }
    }
}

/// The message for a trap, with the guest's last error output if there is any.
fn trapped(function: &str, trap: &Trap, error_excerpt: Option<&str>) -> String {
    let cause = trap.to_string();
    let cause = cause.strip_prefix("wasm trap: ").unwrap_or(&cause);
    match error_excerpt {
        Some(excerpt) => format!("`{function}` trapped: {excerpt} ({cause})"),
        // A guest that keeps its stack in linear memory traps so when the stack overflows.
        None if trap == &Trap::MemoryOutOfBounds => {
            format!("`{function}` trapped: {cause}, as in unbounded recursion")
        }
        None => format!("`{function}` trapped: {cause}"),
    }
}

/// Makes a failure of the error that a guest returned. The failure is recorded, so secrets in URLs are redacted.
pub(crate) fn from_guest_error(error: GuestError, limits: &CallLimits) -> Failure {
    let mut failure = Failure::new(error.kind, clip(&display::redact(&error.message), MESSAGE_LEN));
    failure.data = error
        .data
        .filter(|data| data.len() <= limits.result.value)
        .and_then(|data| object::admit(&data).ok());
    failure
}

/// The result is larger than its limit.
pub(crate) fn too_large(function: &str, size: usize, limit: &Limit<usize>) -> Failure {
    let limit = limit.bytes("result");
    Failure::new(
        FailureKind::Limit,
        format!("`{function}` returned {size} bytes, more than its limit of {limit}"),
    )
}

/// The result is not valid.
pub(crate) fn unusable(function: &str, what: &str, problem: impl std::fmt::Display, got: &str) -> Failure {
    let shown = clip(got, 80);
    let more = if shown.len() < got.len() { "…" } else { "" };
    Failure::new(
        FailureKind::InvalidOutcome,
        format!("`{function}` returned {what} that cannot be used: {problem}; it was {shown:?}{more}"),
    )
}
