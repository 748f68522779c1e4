//! Content on disk, by digest: `blobs/sha256/{hex}`, and what tags meant: `refs/{hash}.json`.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::manifest::Manifest;
use crate::cache::{Entry, touch};

/// `sha256:…` of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// True for `sha256:` and 64 lower-case hexadecimal digits: safe as a file name.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// A content-addressed directory. Files appear whole or not at all.
pub struct Store {
    dir: PathBuf,
}

/// Every blob in the store of a directory.
pub fn files(dir: &Path) -> Vec<Entry> {
    let blobs = std::fs::read_dir(dir.join("blobs/sha256"));
    let entry = |file: std::fs::DirEntry| {
        let digest = format!("sha256:{}", file.file_name().to_str()?);
        Entry::read(digest, file.path())
    };
    let blobs = blobs.into_iter().flatten().flatten();
    blobs.filter_map(entry).collect()
}

/// Forgets what references meant whose content is gone.
pub fn forget_gone(dir: &Path) {
    let references = std::fs::read_dir(dir.join("refs"));
    for file in references.into_iter().flatten().flatten() {
        let seen = std::fs::read(file.path())
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Seen>(&bytes).ok());
        let blobs = dir.join("blobs/sha256");
        let is_there = seen.is_some_and(|seen| {
            blobs
                .join(seen.digest.trim_start_matches("sha256:"))
                .exists()
        });
        if !is_there {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

/// What a reference meant when it was last seen.
#[derive(Serialize, Deserialize)]
struct Seen {
    reference: String,
    digest: String,
}

impl Store {
    /// Opens, and makes if need be, the store in `dir`.
    pub fn open(dir: &Path) -> io::Result<Self> {
        for part in ["blobs/sha256", "refs", "drafts"] {
            std::fs::create_dir_all(dir.join(part))?;
        }
        let store = Self {
            dir: dir.to_owned(),
        };
        // Drafts of an earlier run were never finished.
        for draft in std::fs::read_dir(store.dir.join("drafts"))?.flatten() {
            let old = draft
                .metadata()
                .and_then(|data| data.modified())
                .is_ok_and(|at| {
                    at.elapsed()
                        .is_ok_and(|age| age > std::time::Duration::from_secs(3600))
                });
            if old {
                let _ = std::fs::remove_file(draft.path());
            }
        }
        Ok(store)
    }

    /// Where the store is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the blob of a digest is, or would be.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.dir
            .join("blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    }

    /// Stores bytes, answers their digest.
    pub async fn put(&self, bytes: Vec<u8>) -> io::Result<String> {
        let digest = digest_of(&bytes);
        if self.is_intact(&digest).await {
            return Ok(digest);
        }
        let mut draft = self.draft()?;
        draft.write(&bytes).await?;
        draft.keep(&digest).await?;
        Ok(digest)
    }

    /// Opens a file that becomes a blob when it is complete.
    pub fn draft(&self) -> io::Result<Draft> {
        let file = tempfile::Builder::new()
            .prefix("draft-")
            .tempfile_in(self.dir.join("drafts"))?;
        let (file, path) = file.into_parts();
        Ok(Draft {
            file: tokio::fs::File::from_std(file),
            path,
            hash: Sha256::new(),
            blobs: self.dir.join("blobs/sha256"),
        })
    }

    /// True if the blob is there and still has its digest; a damaged one is removed.
    pub async fn is_intact(&self, digest: &str) -> bool {
        if !is_digest(digest) {
            return false;
        }
        let path = self.blob_path(digest);
        let expected = digest.to_owned();
        let check = move || match hash_file(&path) {
            Ok(actual) if actual == expected => {
                touch(&path);
                true
            }
            Ok(actual) => {
                tracing::warn!(path = %path.display(), actual, "cached content is damaged; fetching it again");
                let _ = std::fs::remove_file(&path);
                false
            }
            Err(_) => false,
        };
        tokio::task::spawn_blocking(check).await.unwrap_or(false)
    }

    /// The manifest of a digest, if it is here and intact; an index leads to its entry.
    pub async fn manifest(&self, digest: &str) -> Option<Manifest> {
        let digest = match self.recall(digest).await {
            Some(entry) => entry,
            None => digest.to_owned(),
        };
        if !is_digest(&digest) {
            return None;
        }
        let path = self.blob_path(&digest);
        let bytes = tokio::fs::read(&path).await.ok()?;
        // A failure to note the use is logged there.
        let _ = tokio::task::spawn_blocking(move || touch(&path)).await;
        (digest_of(&bytes) == digest).then(|| Manifest {
            bytes: bytes.into(),
            digest,
            url: String::new(),
        })
    }

    /// Notes what a reference means now.
    pub async fn remember(&self, reference: &str, digest: &str) {
        let seen = Seen {
            reference: reference.to_owned(),
            digest: digest.to_owned(),
        };
        let path = self.ref_path(reference);
        let write = async {
            let bytes = serde_json::to_vec(&seen)?;
            let draft = tempfile::Builder::new()
                .prefix("ref-")
                .tempfile_in(self.dir.join("drafts"))?;
            tokio::fs::write(draft.path(), bytes).await?;
            draft.persist(&path).map_err(|error| error.error)?;
            io::Result::Ok(())
        };
        if let Err(error) = write.await {
            tracing::warn!(reference, %error, "cannot note what the reference means");
        }
    }

    /// What a reference meant when it was last noted.
    pub async fn recall(&self, reference: &str) -> Option<String> {
        let bytes = tokio::fs::read(self.ref_path(reference)).await.ok()?;
        let seen: Seen = serde_json::from_slice(&bytes).ok()?;
        (seen.reference == reference && is_digest(&seen.digest)).then_some(seen.digest)
    }

    fn ref_path(&self, reference: &str) -> PathBuf {
        let name = hex::encode(Sha256::digest(reference.as_bytes()));
        self.dir.join("refs").join(format!("{name}.json"))
    }
}

fn hash_file(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
    Ok(format!("sha256:{}", hex::encode(hash.finalize())))
}

/// A blob being written. Dropped before it is kept, it is gone.
pub struct Draft {
    file: tokio::fs::File,
    path: tempfile::TempPath,
    hash: Sha256,
    blobs: PathBuf,
}

impl Draft {
    /// Appends bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes).await
    }

    /// Digest of what was written so far.
    pub fn digest(&self) -> String {
        format!("sha256:{}", hex::encode(self.hash.clone().finalize()))
    }

    /// Makes it the blob of `digest`, on disk before this answers.
    pub async fn keep(mut self, digest: &str) -> io::Result<()> {
        if self.digest() != digest || !is_digest(digest) {
            return Err(io::Error::other(format!(
                "content has digest {}, not {digest}",
                self.digest()
            )));
        }
        self.file.flush().await?;
        self.file.sync_all().await?;
        let path = self.blobs.join(digest.trim_start_matches("sha256:"));
        self.path.persist(path).map_err(|error| error.error)
    }
}
