//! Starting processes that end with this host.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{OnceLock, mpsc};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::leftover::end_group;

/// A provider's process. Dropped, it is ended.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: i32,
}

impl Process {
    /// Starts an executable with a cleared environment and hands it one line on its standard
    /// input.
    pub(super) async fn start(executable: &Path, line: &str) -> Result<Self, StartError> {
        let mut command = Command::new(executable);
        command
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| passes(name)))
            .stdin(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        end_with_parent(&mut command);
        let mut child = spawn(command).await.map_err(StartError::Spawn)?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .ok_or_else(gone)?;
        let stdin = child.stdin.take();
        let process = Self { child, pid };
        if let Some(mut stdin) = stdin {
            stdin
                .write_all(line.as_bytes())
                .await
                .map_err(StartError::Data)?;
            stdin.shutdown().await.map_err(StartError::Data)?;
        }
        Ok(process)
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until it has ended; says how.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Ends it with all that it started, and waits until it is gone.
    pub(super) async fn end(mut self) {
        end_group(self.pid);
        let _ = self.child.wait().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only while it has not been waited for is the number still its own.
        if self.child.id().is_some() {
            end_group(self.pid);
        }
    }
}

/// Why a process did not start.
#[derive(Debug)]
pub(super) enum StartError {
    Spawn(io::Error),
    Data(io::Error),
}

fn gone() -> StartError {
    StartError::Spawn(io::ErrorKind::NotFound.into())
}

/// The few variables that a provider gets from the host's environment.
fn passes(name: &str) -> bool {
    name == "RUST_LOG" || name.starts_with("OTEL_")
}

/// Asks the kernel to end the process when this one ends, however it ends.
fn end_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let set = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before the line above took effect.
        if getppid() == parent {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; `set` makes two
    // plain system calls and allocates nothing.
    #[expect(
        unsafe_code,
        reason = "there is no safe way to ask for a parent-death signal"
    )]
    unsafe {
        command.pre_exec(set);
    }
}

/// Spawns from a thread that lives as long as the host: the signal of [`end_with_parent`] comes
/// when the *thread* that spawned ends, and the runtime's threads come and go.
async fn spawn(command: Command) -> io::Result<Child> {
    type Request = (
        Command,
        tokio::runtime::Handle,
        oneshot::Sender<io::Result<Child>>,
    );
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, receiver) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, runtime, answer) in receiver {
                let _in_runtime = runtime.enter();
                // Nobody waiting any more: the child is ended as it is dropped.
                let _ = answer.send(command.spawn());
            }
        });
        requests
    });
    let (answer, child) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let lost = |_| io::Error::other("the thread that starts processes has ended");
    spawner
        .send((command, runtime, answer))
        .map_err(|_| lost(()))?;
    child.await.map_err(|_| lost(()))?
}
