//! A child process that cannot outlive the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::until;

/// The lines of a log that a failed test prints.
const LOG_TAIL_LINES: usize = 40;

/// A running program with its output in a file. Killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output appended to `{folder}/{name}.log`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .env("RUST_BACKTRACE", "0")
            .spawn()
            .with_context(|| format!("starting {name}: {:?}", command.get_program()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All output so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).context("process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Ends it outright, as a power cut would.
    pub fn kill(&mut self) {
        // Fails only for a process that is gone already, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for it to end by itself; its exit code.
    ///
    /// # Errors
    /// When it still runs at the deadline.
    pub async fn ended(&mut self, deadline: Duration) -> anyhow::Result<Option<i32>> {
        let mut status = None;
        until(&format!("the end of {}", self.name), deadline, || {
            status = self.child.try_wait().ok().flatten();
            std::future::ready(status.is_some())
        })
        .await?;
        Ok(status.and_then(|status| status.code()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            eprintln!(
                "--- {} ({} lines in all)\n{}",
                self.name,
                lines.len(),
                tail.join("\n")
            );
        }
    }
}
