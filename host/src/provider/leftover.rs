//! Processes that outlived a host: found by the notes it kept, ended by the next one.
//!
//! The kernel ends a provider with its host, but not always with everything that the provider
//! started. A note names process, start time and boot, so that a process that only has the same
//! number is left alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use proto::id::ComponentId;
use serde::{Deserialize, Serialize};

/// Suffix of notes.
const SUFFIX: &str = "pid.json";

/// A running process, so that it can be told from others with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    pid: i32,
    /// When it started, in clock ticks since the boot.
    started: u64,
    /// Which boot.
    boot: String,
}

impl Note {
    /// A note of a process that runs now.
    fn of(pid: i32) -> io::Result<Self> {
        let started = start_time(pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            pid,
            started,
            boot: boot_id()?,
        })
    }

    fn is_running(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot) && start_time(self.pid) == Some(self.started)
    }
}

fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

/// Field 22 of `/proc/{pid}/stat`; the second field may hold spaces and brackets.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

fn path(dir: &Path, id: &ComponentId) -> PathBuf {
    dir.join(format!("{id}.{SUFFIX}"))
}

/// Notes that a provider's process runs.
///
/// # Errors
/// The note cannot be written, or the process has ended already.
pub(super) fn note(dir: &Path, id: &ComponentId, pid: i32) -> io::Result<PathBuf> {
    let path = path(dir, id);
    fs::create_dir_all(dir)?;
    let file = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer(&file, &Note::of(pid)?)?;
    file.persist(&path).map_err(|e| e.error)?;
    Ok(path)
}

/// Forgets a provider's process.
pub(super) fn forget(dir: &Path, id: &ComponentId) {
    let _ = fs::remove_file(path(dir, id));
}

/// Ends every process that a host with this directory left running; their names are returned.
///
/// Blocks shortly: call it before anything is started.
#[must_use]
pub fn end_all(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut ended = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            continue;
        };
        let Some(id) = name.strip_suffix(SUFFIX).map(|id| id.trim_end_matches('.')) else {
            continue;
        };
        let note: Option<Note> = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(note) = note.filter(Note::is_running) {
            tracing::info!(
                provider = id,
                pid = note.pid,
                "ending what an earlier run left behind"
            );
            end_group(note.pid);
            ended.push(id.to_owned());
        }
        let _ = fs::remove_file(&path);
    }
    ended
}

/// Ends a provider's process and what it started.
pub(super) fn end_group(pid: i32) {
    // A provider leads a group of its own; one that left it is ended alone.
    let pid = Pid::from_raw(pid);
    if killpg(pid, Signal::SIGKILL).is_err() {
        let _ = kill(pid, Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_the_noted_process_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let id = |text| ComponentId::new(text).unwrap();
        let sleeper = || {
            Command::new("sleep")
                .arg("600")
                .process_group(0)
                .spawn()
                .unwrap()
        };
        let (mut ours, mut foreign) = (sleeper(), sleeper());
        note(dir.path(), &id("ours"), ours.id() as i32).unwrap();
        // A note of a process that had this number in another life.
        let note = Note {
            started: 1,
            ..Note::of(foreign.id() as i32).unwrap()
        };
        fs::write(
            path(dir.path(), &id("old")),
            serde_json::to_vec(&note).unwrap(),
        )
        .unwrap();
        fs::write(dir.path().join("bad.pid.json"), "nonsense").unwrap();

        assert_eq!(end_all(dir.path()), ["ours"]);
        assert!(!ours.wait().unwrap().success());
        assert!(foreign.try_wait().unwrap().is_none());
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        foreign.kill().unwrap();
        foreign.wait().unwrap();
    }
}
