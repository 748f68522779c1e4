//! The host's own directory: one host at a time, found by itself where none is named.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use fs2::FileExt as _;

use crate::cache::CacheDir;

/// Hosts of one lattice that may share a machine without naming their directories.
const SLOTS: usize = 64;

/// A directory that this process alone uses.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    cache: PathBuf,
    /// Held as long as the host lives; the system lets go of it when the process ends.
    _lock: File,
}

/// Why there is no directory to use.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another host uses it.
    #[error("the data directory `{}` is in use by another host; name another with `--data-dir`", .0.display())]
    InUse(PathBuf),
    /// It cannot be made or written to.
    #[error("the data directory `{}` cannot be used; name another with `--data-dir`", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl DataDir {
    /// Takes the named directory, or the first free one of the lattice's on this machine.
    ///
    /// Artifacts and compiled code go to `cache`, which hosts may share; by default within the
    /// named directory, or beside those that were not named.
    ///
    /// # Errors
    /// [`DataDirError`] names the directory.
    pub fn take(
        named: Option<&Path>,
        cache: Option<&Path>,
        lattice: &str,
    ) -> Result<Self, DataDirError> {
        let dir = match named {
            Some(path) => Self::lock(path, &path.join("cache"))?,
            None => Self::free(&base().join(lattice))?,
        };
        let cache = cache.map_or_else(|| dir.cache.clone(), Path::to_owned);
        Ok(Self { cache, ..dir })
    }

    /// Where the host's state is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where artifacts and compiled code are.
    pub fn cache(&self) -> CacheDir {
        CacheDir::new(&self.cache)
    }

    fn free(base: &Path) -> Result<Self, DataDirError> {
        for slot in 0..SLOTS {
            match Self::lock(&base.join(format!("host-{slot}")), &base.join("cache")) {
                Err(DataDirError::InUse(_)) => {}
                taken => return taken,
            }
        }
        Err(DataDirError::InUse(base.to_owned()))
    }

    fn lock(path: &Path, cache: &Path) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Unusable {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(path).map_err(failed)?;
        let file = File::options()
            .create(true)
            .append(true)
            .open(path.join("lock"))
            .map_err(failed)?;
        match file.try_lock_exclusive() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                cache: cache.to_owned(),
                _lock: file,
            }),
            Err(error) if error.kind() == fs2::lock_contended_error().kind() => {
                Err(DataDirError::InUse(path.to_owned()))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Where hosts keep their directories when nothing else is said.
fn base() -> PathBuf {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(dir) = variable("STATE_DIRECTORY") {
        return dir;
    }
    let home = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    home.unwrap_or_else(std::env::temp_dir).join("lattice")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_host() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = DataDir::take(Some(dir.path()), None, "l").expect("free");
        assert!(matches!(
            DataDir::take(Some(dir.path()), None, "l"),
            Err(DataDirError::InUse(_))
        ));
        drop(first);
        DataDir::take(Some(dir.path()), None, "l").expect("free again");
    }

    #[test]
    fn unnamed_hosts_take_the_next_free_slot_and_share_the_cache() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = DataDir::free(dir.path()).expect("free");
        let second = DataDir::free(dir.path()).expect("free");
        assert_ne!(first.path(), second.path());
        assert_eq!(first.cache().images(), second.cache().images());
    }
}
