//! How much memory this process may use: the machine's, or less where a control group says so.

use std::path::{Path, PathBuf};

/// The memory assumed where the system tells nothing.
const UNKNOWN: u64 = 1 << 30;

/// Bytes that this process may use.
pub(super) fn available() -> u64 {
    let machine = read_machine(Path::new("/proc/meminfo"));
    let group = group_limits(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup"));
    group.into_iter().chain(machine).min().unwrap_or(UNKNOWN)
}

/// `MemTotal`, in bytes.
fn read_machine(path: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// The limits of this process's control group and of all groups around it.
fn group_limits(root: &Path, membership: &Path) -> Vec<u64> {
    let Ok(text) = std::fs::read_to_string(membership) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for line in text.lines() {
        // `hierarchy:controllers:path`; version 2 has no controllers.
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (base, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let own = base.join(path.trim_start_matches('/'));
        files.extend(
            own.ancestors()
                .take_while(|dir| dir.starts_with(&base))
                .map(|dir| dir.join(file)),
        );
        files.push(base.join(file));
    }
    files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_around_the_process_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cgroup");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/memory.max"), "536870912\n").unwrap();
        std::fs::write(root.join("a/b/memory.max"), "max\n").unwrap();
        let membership = dir.path().join("self");
        std::fs::write(&membership, "0::/a/b\n").unwrap();
        assert_eq!(group_limits(&root, &membership), [536_870_912]);
    }

    #[test]
    fn a_machine_without_control_groups_tells_its_memory() {
        let dir = tempfile::tempdir().unwrap();
        let meminfo = dir.path().join("meminfo");
        std::fs::write(&meminfo, "MemTotal:         500000 kB\nMemFree: 1 kB\n").unwrap();
        assert_eq!(read_machine(&meminfo), Some(512_000_000));
        assert!(group_limits(dir.path(), &dir.path().join("none")).is_empty());
    }
}
