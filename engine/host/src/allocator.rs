//! How the process gives memory back.

/// From how many bytes on a block of memory has a mapping of its own, and is given back when it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 1 << 20;

/// Has large blocks of memory given back to the system as soon as they are freed.
///
/// glibc raises the size from which a block has a mapping of its own each time that such a block is freed, up to 32 MiB.
/// From then on states, bodies and answers of many MiB come from arenas, which keep their room once something small lies
/// behind it: so a server that was flooded once would never be small again. A fixed size switches that off. Elsewhere than
/// with glibc nothing is to be done.
pub fn give_large_blocks_back() {
    // SAFETY: `mallopt` takes two numbers and changes how glibc allocates from then on; it may be called at any time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if is_set == 0 {
        tracing::warn!(
            "memory that was freed may be kept by the process: glibc does not take a fixed size for large blocks"
        );
    }
}
