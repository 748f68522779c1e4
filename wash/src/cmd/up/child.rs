//! One child process of `wash up`: started on a leash, its output in a file, ended in good time.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{UpError, leash};
use crate::error::FileError;
use crate::process::ProcessId;

/// What to run, and where its output goes.
#[derive(Debug, Clone)]
pub struct Program {
    /// What a person calls it: `nats`, `wadm`, `host-1`.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment beside our own.
    pub environment: Vec<(String, OsString)>,
    /// The file for its output.
    pub log: PathBuf,
}

/// A program that runs.
pub struct Child {
    /// What it was started from, to start it again.
    pub program: Program,
    /// Which process it is.
    pub id: ProcessId,
    /// Since when.
    pub since: Instant,
    process: tokio::process::Child,
}

impl Program {
    /// Starts it. Must be called on the main thread: the leash is tied to the thread that starts.
    pub fn start(&self) -> Result<Child, UpError> {
        let own = std::env::current_exe().map_err(UpError::OwnPath)?;
        let open = |append: bool| {
            std::fs::OpenOptions::new()
                .create(true)
                .append(append)
                .open(&self.log)
                .map_err(|source| FileError::new("write", &self.log, source))
        };
        let out = open(true)?;
        let err = open(true)?;
        let mut command = std::process::Command::new(own);
        command
            .arg(leash::ARGUMENT)
            .arg(std::process::id().to_string())
            .arg(&self.path)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C goes to the terminal's group: only `wash up` shall see it, and end its children in order.
            .process_group(0);
        let mut command = tokio::process::Command::from(command);
        let process = command
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| UpError::Start {
                name: self.name.clone(),
                path: self.path.clone(),
                source,
            })?;
        let id = ProcessId::of(process.id().unwrap_or_default());
        Ok(Child {
            program: self.clone(),
            id,
            since: Instant::now(),
            process,
        })
    }
}

impl Child {
    /// Waits for its end.
    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Its end, if it has ended.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Asks it to end, and ends it and all it started when it does not within `grace`.
    pub async fn stop(mut self, grace: Duration) {
        self.id.signal(Signal::SIGTERM);
        if tokio::time::timeout(grace, self.process.wait())
            .await
            .is_err()
        {
            self.id.signal_group(Signal::SIGKILL);
            let _ = self.process.wait().await;
        }
    }
}

/// How a process ended, in words.
pub fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("signal {signal}"),
            Err(_) => format!("signal {signal}"),
        },
        (None, None) => status.to_string(),
    }
}

/// Ends a child without waiting longer than needed; for children of an `up` that did not get ready.
pub async fn stop_all(children: impl IntoIterator<Item = Child>, grace: Duration) {
    futures::future::join_all(children.into_iter().map(|child| child.stop(grace))).await;
}

/// The log file of a part.
pub fn log_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.log"))
}
