//! Ctrl-C: a command ends with exit code 130, and says what goes on without it.

use std::sync::Mutex;

use crate::output;

/// What shells report of a command that an interrupt ended.
const EXIT_CODE: i32 = 130;

/// What to say when the command is interrupted.
static HINT: Mutex<Option<String>> = Mutex::new(None);

/// Has Ctrl-C end this process from here on.
///
/// # Errors
/// Where the system does not let a process listen for it.
pub(crate) fn exit_on_interrupt() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let interrupted = {
        let _entered = runtime.enter();
        interrupted()?
    };
    // The command itself is not asynchronous, so a thread of its own waits.
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

/// Ends with the next interrupt. It is listened for from here on, not from when the future is first polled.
#[cfg(unix)]
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupts = signal(SignalKind::interrupt())?;
    Ok(async move {
        interrupts.recv().await;
    })
}

/// Ends with the next interrupt.
#[cfg(not(unix))]
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// Sets what is said when the command is interrupted.
pub(crate) fn hint(text: String) {
    if let Ok(mut hint) = HINT.lock() {
        *hint = Some(text);
    }
}
