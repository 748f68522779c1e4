//! `wash drain`: removes what is kept on disk.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::up::state::Place;
use crate::cli::Outcome;
use crate::dirs::Dirs;
use crate::error::{Advice, FileError, WashError};
use crate::output::{Answer, Style, keys};

/// Remove what is kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
pub enum DrainCommand {
    /// All of the below
    All,
    /// Images that were fetched
    Oci,
    /// Libraries that were unpacked
    Lib,
    /// What was kept of development sessions
    Dev,
    /// Programs that were fetched
    Downloads,
}

/// A lattice of this machine still uses it.
#[derive(Debug, thiserror::Error)]
#[error("a lattice that `wash up` started is running on port {0}")]
pub struct InUse(u16);

impl Advice for InUse {
    fn hint(&self) -> Option<String> {
        Some("stop it first with `wash down`".into())
    }
}

/// What was removed.
pub struct Drained {
    paths: Vec<PathBuf>,
}

impl Answer for Drained {
    fn text(&self, _: &Style) -> String {
        match self.paths.as_slice() {
            [] => "There was nothing to remove".into(),
            paths => {
                let each: Vec<String> = paths
                    .iter()
                    .map(|path| format!("Removed {}", path.display()))
                    .collect();
                each.join("\n")
            }
        }
    }

    fn json(&self) -> Map<String, Value> {
        keys([("drained", json!(self.paths))])
    }
}

impl DrainCommand {
    /// Does it.
    pub fn run(self) -> Result<Outcome, WashError> {
        let dirs = Dirs::from_env()?;
        if matches!(self, Self::All | Self::Downloads)
            && let Some(place) = Place::all(&dirs.up()).into_iter().find(Place::is_locked)
        {
            return Err(InUse(place.port().unwrap_or_default()).into());
        }
        let mut paths = Vec::new();
        for path in self.targets(&dirs) {
            if remove(&path)? {
                paths.push(path);
            }
        }
        Ok(Drained { paths }.into())
    }

    fn targets(self, dirs: &Dirs) -> Vec<PathBuf> {
        let temporary = std::env::temp_dir();
        let one =
            |wanted: Self, path: PathBuf| (self == wanted || self == Self::All).then_some(path);
        [
            one(Self::Oci, temporary.join("wasmcloud_ocicache")),
            one(Self::Oci, dirs.cache()),
            one(Self::Lib, temporary.join("wasmcloudcache")),
            one(Self::Dev, dirs.data().join("dev")),
            one(Self::Downloads, dirs.downloads()),
            (self == Self::All).then(|| dirs.up()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Whether there was something.
fn remove(path: &Path) -> Result<bool, FileError> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FileError::new("remove", path, source)),
    }
}
