//! Keeps the cache on disk within its limit.
//!
//! The cache holds images by digest, and code compiled from them. Hosts of one machine may share
//! it: each leaves a note of its data directory there, so that whoever trims knows what every one
//! of them runs or would bring back.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::task::{OnFailure, Task, TaskError};
use crate::workload::{StateFile, Workloads};
use crate::{oci, runtime};

/// How often the cache is looked at.
const EVERY: Duration = Duration::from_secs(300);
/// What was used within this time stays: somebody may be about to use it again.
const FRESH: Duration = Duration::from_secs(600);
/// A use is not noted again within this time.
const NOTED: Duration = Duration::from_secs(60);
/// Where the hosts that share a cache leave their notes.
const NOTES: &str = "hosts";

/// A file in the cache.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it holds, or was compiled from: `sha256:…`.
    pub digest: String,
    /// Where it is.
    pub path: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// When it was used last.
    pub used: SystemTime,
}

impl Entry {
    /// A file as it lies on disk; `None` when it has gone meanwhile.
    pub fn read(digest: String, path: PathBuf) -> Option<Self> {
        let about = path.metadata().ok().filter(|about| about.is_file())?;
        Some(Self {
            digest,
            bytes: about.len(),
            used: about.modified().ok()?,
            path,
        })
    }
}

/// Notes that a file of the cache was used.
pub fn touch(path: &Path) {
    let note = |file: std::fs::File| {
        let (noted, now) = (file.metadata()?.modified()?, SystemTime::now());
        match now.duration_since(noted) {
            Ok(age) if age < NOTED => Ok(()),
            _ => file.set_modified(now),
        }
    };
    if let Err(error) = std::fs::File::open(path).and_then(note) {
        tracing::debug!(path = %path.display(), %error, "the use of a cached file was not noted");
    }
}

/// Where the parts of a cache directory are.
#[derive(Clone, Debug)]
pub struct CacheDir(PathBuf);

impl CacheDir {
    /// The cache in this directory.
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Where images are.
    pub fn images(&self) -> PathBuf {
        self.0.join("oci")
    }

    /// Where compiled code is.
    pub fn compiled(&self) -> PathBuf {
        self.0.join("compiled")
    }

    /// Notes that the host of this data directory uses the cache.
    fn note(&self, data_dir: &Path) -> io::Result<()> {
        let data_dir = std::path::absolute(data_dir)?;
        let text = data_dir.to_string_lossy().into_owned();
        let dir = self.0.join(NOTES);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join(hex::encode(Sha256::digest(&text))), text)
    }

    /// The data directories of the hosts that use the cache; notes of those that are gone go, too.
    fn hosts(&self) -> Vec<PathBuf> {
        let notes = std::fs::read_dir(self.0.join(NOTES)).into_iter().flatten();
        let mut hosts = Vec::new();
        for note in notes.flatten() {
            let Ok(dir) = std::fs::read_to_string(note.path()).map(PathBuf::from) else {
                continue;
            };
            if dir.is_dir() {
                hosts.push(dir);
            } else {
                let _ = std::fs::remove_file(note.path());
            }
        }
        hosts
    }

    /// Removes what was not used for longest until the rest fits into `limit`, but nothing that
    /// holds a digest in `kept` and nothing used after `fresh`. Says how many bytes went and stay.
    fn trim(&self, limit: u64, kept: &BTreeSet<String>, fresh: SystemTime) -> (u64, u64) {
        let mut entries = oci::cached_files(&self.images());
        entries.extend(runtime::cached_files(&self.compiled()));
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let before = total;
        entries.sort_by_key(|entry| entry.used);
        for entry in entries {
            if total <= limit {
                break;
            }
            if kept.contains(&entry.digest) || entry.used > fresh {
                continue;
            }
            match std::fs::remove_file(&entry.path) {
                Ok(()) => total -= entry.bytes,
                // Another host of this machine was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => total -= entry.bytes,
                Err(error) => {
                    tracing::warn!(path = %entry.path.display(), %error, "a cached file cannot be removed");
                }
            }
        }
        if total < before {
            oci::forget_gone(&self.images());
            runtime::forget_gone(&self.compiled());
        }
        (before - total, total)
    }
}

/// Trims the cache again and again.
pub struct Trimmer {
    /// The cache.
    pub cache: CacheDir,
    /// Bytes it may hold; 0 for as many as come.
    pub limit: u64,
    /// This host's data directory.
    pub data_dir: PathBuf,
    /// What runs here.
    pub workloads: Arc<Workloads>,
}

impl Task for Trimmer {
    const NAME: &'static str = "cache";
    const ON_FAILURE: OnFailure = OnFailure::Restart;

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let (cache, data_dir) = (self.cache.clone(), self.data_dir.clone());
        let noted = tokio::task::spawn_blocking(move || cache.note(&data_dir)).await;
        let noted = noted.unwrap_or_else(|error| Err(io::Error::other(error)));
        noted.map_err(|error| TaskError::from_error(&error))?;
        loop {
            if self.limit > 0 {
                self.trim().await?;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}

impl Trimmer {
    async fn trim(&self) -> Result<(), TaskError> {
        let cache = self.cache.clone();
        let saved = move || -> Vec<String> {
            let states = cache.hosts().into_iter();
            let saved = states.map(|dir| StateFile::in_dir(&dir).read());
            saved.flat_map(|saved| saved.images()).collect()
        };
        let failed = |error: tokio::task::JoinError| TaskError::from_error(&error);
        let mut images = tokio::task::spawn_blocking(saved).await.map_err(failed)?;
        images.extend(self.workloads.images());
        let mut kept = BTreeSet::new();
        for image in images {
            kept.extend(self.workloads.parts().fetcher.digests(&image).await);
        }
        let (cache, limit) = (self.cache.clone(), self.limit);
        let fresh = SystemTime::now() - FRESH;
        let trimmed = tokio::task::spawn_blocking(move || cache.trim(limit, &kept, fresh));
        let (gone, left) = trimmed.await.map_err(failed)?;
        if gone > 0 {
            tracing::info!(bytes = gone, left, limit, "the cache was trimmed");
        } else if left > limit {
            tracing::debug!(
                left,
                limit,
                "the cache holds more than its limit: all of it is in use"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{ArtifactKind, FetchOptions, Fetcher};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A cached file of ten bytes, last used so many hours ago.
    fn put(path: &Path, hours: u32) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, [0; 10]).expect("a write");
        let used = SystemTime::now() - HOUR * hours;
        let file = std::fs::File::open(path).expect("the file");
        file.set_modified(used).expect("a time");
    }

    fn name(digit: char) -> String {
        std::iter::repeat_n(digit, 64).collect()
    }

    #[test]
    fn the_longest_unused_go_first_and_what_is_kept_or_fresh_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = CacheDir::new(dir.path());
        let blob = |digit| cache.images().join("blobs/sha256").join(name(digit));
        let code = |digit| cache.compiled().join(format!("v1/{}.cwasm", name(digit)));
        for (hours, digit) in [(9, 'a'), (8, 'b'), (7, 'c'), (0, 'd')] {
            put(&blob(digit), hours);
        }
        put(&code('a'), 9);
        put(&code('e'), 6);
        std::fs::write(code('e').with_extension("sha256"), "hash").expect("a write");
        let kept = BTreeSet::from([format!("sha256:{}", name('a'))]);
        let fresh = SystemTime::now() - FRESH;
        let left = || {
            let mut left: Vec<_> = ['a', 'b', 'c', 'd', 'e']
                .into_iter()
                .flat_map(|digit| [(blob(digit), digit), (code(digit), digit)])
                .filter(|(path, _)| path.exists())
                .map(|(_, digit)| digit)
                .collect();
            left.sort_unstable();
            left.iter().collect::<String>()
        };
        for (limit, expected) in [(60, "aabcde"), (50, "aacde"), (45, "aade"), (0, "aad")] {
            cache.trim(limit, &kept, fresh);
            assert_eq!(left(), expected, "limit {limit}");
        }
        assert!(!code('e').with_extension("sha256").exists());
    }

    #[test]
    fn hosts_that_are_gone_keep_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = CacheDir::new(&dir.path().join("cache"));
        let hosts = [dir.path().join("one"), dir.path().join("two")];
        for host in &hosts {
            std::fs::create_dir(host).expect("a folder");
            cache.note(host).expect("noted");
            cache.note(host).expect("noted once more");
        }
        assert_eq!(cache.hosts().len(), 2);
        std::fs::remove_dir(&hosts[0]).expect("removed");
        assert_eq!(cache.hosts(), hosts[1..]);
        let notes = dir.path().join("cache").join(NOTES);
        assert_eq!(notes.read_dir().expect("notes").count(), 1);
    }

    #[tokio::test]
    async fn using_a_file_makes_it_fresh() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = CacheDir::new(dir.path());
        let source = dir.path().join("source.wasm");
        std::fs::write(&source, b"component").expect("a write");
        let options = FetchOptions {
            allow_file_load: true,
            ..FetchOptions::default()
        };
        let fetcher = Fetcher::new(options, &cache.images()).expect("a fetcher");
        let reference = format!("file://{}", source.display());
        let fetch = || fetcher.fetch(&reference, ArtifactKind::Component);
        let path = fetch().await.expect("fetched").path;
        let old = SystemTime::now() - HOUR;
        let file = std::fs::File::open(&path).expect("the blob");
        file.set_modified(old).expect("a time");
        fetch().await.expect("fetched again");
        let used = oci::cached_files(&cache.images())[0].used;
        assert!(used > old + HOUR / 2, "{used:?}");
    }
}
