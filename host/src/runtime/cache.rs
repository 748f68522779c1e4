//! Compiled code on disk, by the component's digest and the engine's fingerprint.
//!
//! Entries are written beside their place and renamed into it, so a reader sees a whole file or
//! none. Beside each lies the hash of its bytes; an entry that does not match, or that the engine
//! refuses, is removed and compiled again.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::{Entry, touch};

/// How the names of compiled code end.
const CODE: &str = "cwasm";
/// How the names of its hashes end.
const HASH: &str = "sha256";

/// A folder of compiled code that fits one engine.
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The cache under `root` for an engine of this fingerprint; only this user may enter it.
    pub(super) fn open(root: &Path, fingerprint: &str) -> io::Result<Self> {
        let dir = root.join(fingerprint);
        std::fs::create_dir_all(&dir)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))?;
        }
        Ok(Self { dir })
    }

    /// The compiled code of this component, if it is there and sound.
    pub(super) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest)?;
        if !path.exists() {
            return None;
        }
        match load_checked(engine, &path) {
            Ok(component) => {
                touch(&path);
                Some(component)
            }
            Err(reason) => {
                tracing::warn!(
                    digest,
                    reason,
                    "compiled code in the cache is damaged; compiling again"
                );
                let _ = std::fs::remove_file(&path);
                let _ = std::fs::remove_file(hash_path(&path));
                None
            }
        }
    }

    /// Keeps compiled code.
    pub(super) fn store(&self, digest: &str, code: &[u8]) -> io::Result<()> {
        let Some(path) = self.path(digest) else {
            return Ok(());
        };
        write_whole(
            &hash_path(&path),
            hex::encode(Sha256::digest(code)).as_bytes(),
        )?;
        write_whole(&path, code)
    }

    /// A digest becomes a file name; anything that is no digest has no place here.
    fn path(&self, digest: &str) -> Option<PathBuf> {
        let hash = digest.strip_prefix("sha256:")?;
        let plain = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| self.dir.join(format!("{hash}.{CODE}")))
    }
}

/// All compiled code under `root`, of this engine and of others.
pub fn files(root: &Path) -> Vec<Entry> {
    let entry = |path: PathBuf| {
        let digest = format!("sha256:{}", path.file_stem()?.to_str()?);
        let is_code = path.extension().is_some_and(|kind| kind == CODE);
        is_code.then(|| Entry::read(digest, path)).flatten()
    };
    all(root).filter_map(entry).collect()
}

/// Forgets the hashes of code that is gone.
pub fn forget_gone(root: &Path) {
    for path in all(root) {
        let is_hash = path.extension().is_some_and(|kind| kind == HASH);
        if is_hash && !path.with_extension(CODE).exists() {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn all(root: &Path) -> impl Iterator<Item = PathBuf> {
    let engines = std::fs::read_dir(root).into_iter().flatten().flatten();
    engines
        .filter_map(|engine| std::fs::read_dir(engine.path()).ok())
        .flat_map(|files| files.flatten().map(|file| file.path()))
}

fn hash_path(path: &Path) -> PathBuf {
    path.with_extension(HASH)
}

fn load_checked(engine: &Engine, path: &Path) -> Result<Component, String> {
    let expected = std::fs::read_to_string(hash_path(path)).map_err(|error| error.to_string())?;
    let actual = hash_file(path).map_err(|error| error.to_string())?;
    if expected != actual {
        return Err("its hash is another one".into());
    }
    // SAFETY: the file holds what this program compiled and wrote, as the hash beside it shows; its
    // folder is open to this user only, and entries are replaced by renaming, never written in place,
    // so the mapping does not change. wasmtime itself checks version and engine settings.
    #[allow(
        unsafe_code,
        reason = "mapping compiled code is what makes a warm start fast"
    )]
    let component = unsafe { Component::deserialize_file(engine, path) };
    component.map_err(|error| format!("{error:#}"))
}

fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
