//! The memory and the number of open files that the system allows this process.

use std::path::{Path, PathBuf};

/// The value if the system does not report its memory.
const MEMORY: usize = 4 << 30;

/// The memory of this process in bytes: that of the machine, or less if a control group limits it.
pub(crate) fn memory() -> usize {
    let found = [of_machine(), of_group()];
    found.into_iter().flatten().min().unwrap_or(MEMORY)
}

fn of_machine() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(kib << 10)
}

/// The smallest limit of this process's control groups.
fn of_group() -> Option<usize> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(limit_of_line).min()
}

/// Reads a line of `/proc/self/cgroup`: `0::/path` of version 2, `4:memory:/path` of version 1.
fn limit_of_line(line: &str) -> Option<usize> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let within = PathBuf::from(path.trim_start_matches('/'));
    // In a container the path may be that of the machine, while only the root is visible.
    let folders = within.ancestors().map(|part| Path::new(root).join(part));
    let limits = folders.filter_map(|folder| {
        let limit = std::fs::read_to_string(folder.join(file)).ok()?;
        limit.trim().parse().ok()
    });
    limits.min()
}

/// Raises this process's limit of open files to its maximum, and returns the limit.
#[cfg(unix)]
pub(crate) fn open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum;
    let raised = Rlimit {
        current: most,
        maximum: most,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(_) => limit.current,
    };
    now.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
pub(crate) fn open_files() -> usize {
    8192
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_memory_and_no_more_than_the_machine_has() {
        let memory = memory();
        assert!(memory > 16 << 20, "{memory}");
        assert!(of_machine().is_none_or(|machine| memory <= machine), "{memory}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn as_many_files_may_be_opened_as_the_system_allows() {
        use rustix::process::{Resource, getrlimit};

        assert!(open_files() > 100);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
