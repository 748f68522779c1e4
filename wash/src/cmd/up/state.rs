//! What an `up` leaves for `down` and for the next `up`: a lock that lives as long as the
//! supervisor, and a file that says what it started.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::UpError;
use crate::dirs;
use crate::error::FileError;
use crate::process::ProcessId;

/// One host of an `up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// Its process.
    pub process: ProcessId,
    /// Its id.
    pub id: String,
    /// What it calls itself, once it has said so.
    #[serde(default)]
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it serves HTTP.
    pub http: String,
}

/// What an `up` started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The supervisor.
    pub supervisor: ProcessId,
    /// The lattice.
    pub lattice: String,
    /// Where NATS is.
    pub nats_url: String,
    /// What NATS says its version is.
    #[serde(default)]
    pub nats_version: String,
    /// NATS, if it is ours.
    pub nats: Option<ProcessId>,
    /// wadm, if it is ours.
    pub wadm: Option<ProcessId>,
    /// The hosts.
    pub hosts: Vec<HostState>,
    /// Whether all were seen ready.
    pub ready: bool,
}

/// The directory of one `up`, by NATS port.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
}

/// The right to run an `up` in a place; ends with the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Place {
    /// The place of the `up` on this port; a second one beside it (`--multi-local`) has its own.
    pub fn new(up: &Path, port: u16, beside: Option<u32>) -> Self {
        Self {
            dir: match beside {
                None => up.join(port.to_string()),
                Some(pid) => up.join(format!("{port}-{pid}")),
            },
        }
    }

    /// All places that exist.
    pub fn all(up: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(up).into_iter().flatten().flatten();
        let mut dirs: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect();
        dirs.sort();
        dirs.into_iter().map(|dir| Self { dir }).collect()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The port it is for.
    pub fn port(&self) -> Option<u16> {
        self.dir
            .file_name()?
            .to_str()?
            .split('-')
            .next()?
            .parse()
            .ok()
    }

    fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// Takes the lock, or says who has it.
    pub fn lock(&self) -> Result<Lock, UpError> {
        dirs::create_private(&self.dir)?;
        let path = self.dir.join("lock");
        let failed = |source| FileError::new("lock", &path, source);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(UpError::AlreadyUp {
                port: self.port().unwrap_or_default(),
                pid: self.read().map(|state| state.supervisor.pid),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source).into()),
        }
    }

    /// Whether an `up` runs here.
    pub fn is_locked(&self) -> bool {
        let Ok(file) = File::options().write(true).open(self.dir.join("lock")) else {
            return false;
        };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// What was started here, if anything.
    pub fn read(&self) -> Option<State> {
        serde_json::from_slice(&std::fs::read(self.state_file()).ok()?).ok()
    }

    /// Writes what was started.
    pub fn write(&self, state: &State) -> Result<(), FileError> {
        let bytes = serde_json::to_vec_pretty(state)
            .map_err(|error| FileError::new("write", self.state_file(), error.into()))?;
        dirs::write_atomically(&self.state_file(), &bytes, 0o600)
    }

    /// Forgets what was started.
    pub fn clear(&self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(self.state_file());
    }
}

impl State {
    /// Every process, in the order in which they are to end.
    pub fn children(&self) -> Vec<ProcessId> {
        let hosts = self.hosts.iter().map(|host| host.process);
        hosts.chain(self.wadm).chain(self.nats).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path(), 4222, None);
        let lock = place.lock().unwrap();
        assert!(place.is_locked());
        assert!(matches!(
            place.lock(),
            Err(UpError::AlreadyUp { port: 4222, .. })
        ));
        drop(lock);
        assert!(!place.is_locked());
        place.lock().unwrap();
    }

    #[test]
    fn what_was_started_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path(), 4222, None);
        let _lock = place.lock().unwrap();
        let own = ProcessId::own();
        let state = State {
            supervisor: own,
            lattice: "default".into(),
            nats_url: "nats://127.0.0.1:4222".into(),
            nats_version: "2.11.8".into(),
            nats: Some(own),
            wadm: None,
            hosts: vec![],
            ready: true,
        };
        place.write(&state).unwrap();
        assert_eq!(place.read(), Some(state));
        place.clear();
        assert_eq!(place.read(), None);
    }
}
