//! Returns freed memory to the system, so that a server becomes small again after it was busy.
//!
//! glibc keeps freed memory in arenas, one for every few threads. Checks of large graphs, imports and large responses
//! allocate many small blocks on many threads, and each arena keeps its largest size.

use std::time::Duration;

use crate::allocator::trim;

/// How often the resident size of the process is checked.
const INTERVAL: Duration = Duration::from_secs(5);
/// Freed memory is returned when the process has grown by this many bytes.
const GROWTH: usize = 32 << 20;
/// Freed memory is also returned from time to time if the process is larger than its smallest size by this many bytes.
const LARGE: usize = 64 << 20;
/// After how many checks freed memory is returned again although the process has not grown.
const CHECKS: u32 = 6;

/// Returns freed memory to the system for as long as the process runs. With allocators other than glibc's the function
/// returns at once.
pub async fn return_freed_memory() {
    let Some(mut smallest) = resident() else {
        return;
    };
    let (mut returned_at, mut checks) = (smallest, 0);
    loop {
        tokio::time::sleep(INTERVAL).await;
        checks += 1;
        let now = resident().unwrap_or(0);
        if now < smallest + LARGE || (now < returned_at + GROWTH && checks < CHECKS) {
            continue;
        }
        // This takes milliseconds.
        let trimmed = tokio::task::spawn_blocking(|| {
            trim();
            resident()
        });
        returned_at = trimmed.await.ok().flatten().unwrap_or(now);
        smallest = smallest.min(returned_at);
        checks = 0;
    }
}

/// The resident size of the process in bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn resident() -> Option<usize> {
    None
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn memory_that_many_threads_freed_is_returned() {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                std::thread::spawn(|| {
                    let mut blocks: Vec<Vec<u8>> = (0..40_000).map(|_| vec![1; 1000]).collect();
                    // The last one keeps the arena from shrinking by itself.
                    blocks.pop()
                })
            })
            .collect();
        let kept: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let before = resident().unwrap();
        trim();
        let after = resident().unwrap();
        assert!(after + (100 << 20) < before, "{before} bytes, then {after}");
        assert!(kept.iter().all(Option::is_some));
    }
}
