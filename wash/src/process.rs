//! Processes of ours: who they are, whether they live, how they end.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How often we look whether a process is gone.
const LOOK: Duration = Duration::from_millis(20);

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number.
    pub pid: i32,
    /// When it started, in the kernel's clock ticks; unknown where there is no `/proc`.
    pub started: Option<u64>,
}

impl ProcessId {
    /// This process.
    pub fn own() -> Self {
        Self::of(std::process::id())
    }

    /// A process that runs now.
    pub fn of(pid: u32) -> Self {
        let pid = i32::try_from(pid).unwrap_or(i32::MAX);
        Self {
            pid,
            started: started(pid),
        }
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(self) -> bool {
        if std::path::Path::new("/proc/self/stat").exists() {
            let Some(stat) = Stat::read(self.pid) else {
                return false;
            };
            return stat.state != 'Z' && self.started.is_none_or(|started| started == stat.started);
        }
        kill(Pid::from_raw(self.pid), None).is_ok()
    }

    /// Sends a signal, unless it is gone already.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may end between the look and the signal; then there is nothing to do.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Sends a signal to it and to what it started, if it leads a group of its own.
    pub fn signal_group(self, signal: Signal) {
        if !self.is_alive() {
            return;
        }
        let pid = Pid::from_raw(self.pid);
        if nix::unistd::getpgid(Some(pid)).is_ok_and(|group| group == pid) {
            let _ = killpg(pid, signal);
        } else {
            let _ = kill(pid, signal);
        }
    }

    /// Waits until it is gone; false when it is not within the time.
    pub async fn gone_within(self, limit: Duration) -> bool {
        tokio::time::timeout(limit, async {
            while self.is_alive() {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await
        .is_ok()
    }

    /// Asks it to end, and ends it when it does not within `grace`.
    pub async fn end(self, grace: Duration) {
        self.signal(Signal::SIGTERM);
        if !self.gone_within(grace).await {
            self.signal_group(Signal::SIGKILL);
            self.gone_within(Duration::from_secs(2)).await;
        }
    }
}

struct Stat {
    state: char,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        let text = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
        // The name in parentheses may hold anything; what follows the last one does not.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { state, started })
    }
}

fn started(pid: i32) -> Option<u64> {
    Stat::read(pid).map(|stat| stat.started)
}

/// The last lines of a log file, for an error message.
pub fn tail(path: &std::path::Path, lines: usize) -> String {
    let text = std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let own = ProcessId::own();
        assert!(own.is_alive());
        let earlier = ProcessId {
            started: own.started.map(|started| started - 1),
            ..own
        };
        assert!(!earlier.is_alive());
    }

    #[tokio::test]
    async fn a_child_that_ignores_us_is_ended_anyway() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; read -r never"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        let id = ProcessId::of(child.id());
        id.end(Duration::from_millis(100)).await;
        assert!(!id.is_alive());
        child.wait().unwrap();
    }
}
