//! Ctrl-C: ends a command with exit code 130, and prints a hint if the command has set one.

use std::sync::Mutex;

use crate::output;

/// The exit code that shells report for a command that an interrupt ended.
const EXIT_CODE: i32 = 130;

/// The message to print when the command is interrupted.
static HINT: Mutex<Option<String>> = Mutex::new(None);

/// Makes Ctrl-C end this process from now on.
///
/// # Errors
/// If the system does not allow to listen for the signal.
pub(crate) fn exit_on_interrupt() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let interrupted = {
        let _entered = runtime.enter();
        interrupted()?
    };
    // Commands are not asynchronous, so a separate thread waits.
    std::thread::Builder::new()
        .name("interrupt".to_owned())
        .spawn(move || {
            runtime.block_on(interrupted);
            if let Some(hint) = HINT.lock().ok().and_then(|mut hint| hint.take()) {
                output::message(format_args!("\n{hint}"));
            }
            std::process::exit(EXIT_CODE);
        })?;
    Ok(())
}

/// Completes at the next interrupt. Listens from now on, not only from the first poll of the future.
#[cfg(unix)]
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupts = signal(SignalKind::interrupt())?;
    Ok(async move {
        interrupts.recv().await;
    })
}

/// Completes at the next interrupt.
#[cfg(not(unix))]
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// Sets the message to print when the command is interrupted.
pub(crate) fn set_hint(text: String) {
    if let Ok(mut hint) = HINT.lock() {
        *hint = Some(text);
    }
}
