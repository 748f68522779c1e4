//! Where `wash` keeps its files: the usual places of the platform, each with an override.

use std::path::PathBuf;

use crate::error::{Advice, FileError};

/// The directories of one user.
#[derive(Debug, Clone)]
pub struct Dirs {
    config: PathBuf,
    data: PathBuf,
    cache: PathBuf,
}

/// There is no home directory to keep files in.
#[derive(Debug, thiserror::Error)]
#[error("there is no home directory to keep files in")]
pub struct NoHome;

impl Advice for NoHome {
    fn hint(&self) -> Option<String> {
        Some("set HOME, or WASH_CONFIG_DIR, WASH_DATA_DIR and WASH_CACHE_DIR".into())
    }
}

fn overridden(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

impl Dirs {
    /// Reads the environment.
    pub fn from_env() -> Result<Self, NoHome> {
        let base = directories::BaseDirs::new();
        let find = |variable: &str, usual: fn(&directories::BaseDirs) -> &std::path::Path| {
            overridden(variable)
                .or_else(|| base.as_ref().map(|base| usual(base).join("wash")))
                .ok_or(NoHome)
        };
        Ok(Self {
            config: find("WASH_CONFIG_DIR", |base| base.config_dir())?,
            data: find("WASH_DATA_DIR", |base| base.data_dir())?,
            cache: find("WASH_CACHE_DIR", |base| base.cache_dir())?,
        })
    }

    /// What must survive.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// What can be made again.
    pub fn cache(&self) -> PathBuf {
        self.cache.clone()
    }

    /// Connection contexts, one JSON file each.
    pub fn contexts(&self) -> PathBuf {
        overridden("WASH_CONTEXT_DIR")
            .or_else(|| overridden("WASH_CONTEXTS"))
            .unwrap_or_else(|| self.config.join("contexts"))
    }

    /// Seeds, one file each.
    pub fn keys(&self) -> PathBuf {
        overridden("WASH_KEYS_DIR")
            .or_else(|| overridden("WASH_KEYS"))
            .unwrap_or_else(|| self.data.join("keys"))
    }

    /// Programs fetched from elsewhere.
    pub fn downloads(&self) -> PathBuf {
        overridden("WASH_DOWNLOADS_DIR").unwrap_or_else(|| self.data.join("downloads"))
    }

    /// State, logs and JetStream files of what `wash up` started, by NATS port.
    pub fn up(&self) -> PathBuf {
        self.data.join("up")
    }
}

/// Makes a directory that only its owner may enter.
pub fn create_private(path: &std::path::Path) -> Result<(), FileError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)))
        .map_err(|source| FileError::new("create directory", path, source))
}

/// Writes a file whole or not at all, with the given mode.
pub fn write_atomically(path: &std::path::Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(std::path::Path::new("."));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source| FileError::new("write", path, source))
}
