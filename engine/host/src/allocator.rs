//! The memory allocator of the process: its settings, and the return of freed memory to the system.

/// Blocks of at least this many bytes get a separate memory mapping, which is returned to the system when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 1 << 20;

/// Makes glibc return large blocks of memory to the system as soon as they are freed.
///
/// By default glibc raises the size from which a block gets a separate mapping each time that such a block is freed,
/// up to 32 MiB. From then on states, bodies and results of many MiB come from arenas. An arena keeps its memory while
/// any small block is behind it, so one flood of requests would keep the server large for ever. A fixed size
/// disables that behaviour. Allocators other than glibc's need no setting.
pub fn give_large_blocks_back() {
    // SAFETY: `mallopt` takes two numbers, changes how glibc allocates from then on, and may be called at any time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if is_set == 0 {
        tracing::warn!(
            "freed memory may stay with the process: glibc refused the fixed size for large blocks"
        );
    }
}

/// Returns freed memory from the allocator to the system. Takes milliseconds. Does nothing with allocators other than
/// glibc's.
pub(crate) fn trim() {
    // SAFETY: it may be called at any time and from any thread: it takes the allocator's own locks and changes only free
    // memory.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
    }
}
