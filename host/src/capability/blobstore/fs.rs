//! `blobstore-fs`: containers are folders, objects are files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio_util::io::ReaderStream;

use super::{Backend, ByteStream, ContainerInfo, Error, NameStream, ObjectId, ObjectInfo};

/// Where objects are put together before they take their place; no container may be called so.
const UNFINISHED: &str = ".unfinished";

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// A folder of containers.
pub struct FsStore {
    root: PathBuf,
}

impl FsStore {
    /// A store in `root`, which is made when something is written.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn container(&self, name: &str) -> Result<PathBuf, Error> {
        let plain = parts(name).is_some_and(|parts| parts.len() == 1) && name != UNFINISHED;
        if !plain {
            return Err(Error::new(format!(
                "`{name}` cannot be the name of a container"
            )));
        }
        Ok(self.root.join(name))
    }

    fn object(&self, id: &ObjectId) -> Result<PathBuf, Error> {
        let container = self.container(&id.container)?;
        let Some(parts) = parts(&id.object) else {
            return Err(Error::new(format!(
                "`{}` cannot be the name of an object",
                id.object
            )));
        };
        Ok(parts.iter().fold(container, |path, part| path.join(part)))
    }

    /// Writes a new file beside the containers and moves it to its place when it is whole.
    async fn place(&self, id: &ObjectId, mut data: ByteStream) -> Result<(), Error> {
        let target = self.object(id)?;
        if !exists(&self.container(&id.container)?).await? {
            return Err(no_container(&id.container));
        }
        let unfinished = self.root.join(UNFINISHED);
        fs::create_dir_all(&unfinished)
            .await
            .map_err(failed(&unfinished))?;
        let new = tempfile::Builder::new()
            .tempfile_in(&unfinished)
            .map_err(failed(&unfinished))?;
        let (file, path) = new.into_parts();
        let mut file = fs::File::from_std(file);
        while let Some(chunk) = data.next().await {
            file.write_all(&chunk?).await.map_err(failed(&path))?;
        }
        file.sync_all().await.map_err(failed(&path))?;
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).await.map_err(failed(folder))?;
        }
        path.persist(&target)
            .map_err(|error| failed(&target)(error.error))
    }
}

/// The parts of a name between slashes; `None` if one of them would lead elsewhere.
fn parts(name: &str) -> Option<Vec<&str>> {
    let plain = |part: &&str| {
        !part.is_empty() && *part != "." && *part != ".." && !part.contains(['\\', '\0'])
    };
    let parts: Vec<_> = name.split('/').collect();
    parts.iter().all(plain).then_some(parts)
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| {
        let name = path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into());
        Error::new(format!("`{name}`: {error}"))
    }
}

fn no_container(name: &str) -> Error {
    Error::new(format!("no container `{name}`"))
}

async fn exists(path: &Path) -> Result<bool, Error> {
    fs::try_exists(path).await.map_err(failed(path))
}

fn created_at(metadata: &std::fs::Metadata) -> u64 {
    // Not every file system keeps the time of creation.
    let time = metadata.created().or_else(|_| metadata.modified()).ok();
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |age| age.as_secs())
}

/// The names of all files below `container`, in order.
fn walk(container: &Path) -> std::io::Result<Vec<String>> {
    let (mut folders, mut names) = (vec![container.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if let Ok(name) = entry.path().strip_prefix(container)
                && let Some(name) = name.to_str()
            {
                names.push(name.to_owned());
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[async_trait]
impl Backend for FsStore {
    async fn ready(&self) -> Result<(), Error> {
        fs::create_dir_all(&self.root)
            .await
            .map_err(failed(&self.root))
    }

    async fn clear_container(&self, container: &str) -> Result<(), Error> {
        self.delete_container(container).await?;
        self.create_container(container).await
    }

    async fn container_exists(&self, container: &str) -> Result<bool, Error> {
        exists(&self.container(container)?).await
    }

    async fn create_container(&self, container: &str) -> Result<(), Error> {
        let path = self.container(container)?;
        fs::create_dir_all(&path).await.map_err(failed(&path))
    }

    async fn delete_container(&self, container: &str) -> Result<(), Error> {
        let path = self.container(container)?;
        match fs::remove_dir_all(&path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(failed(&path)),
        }
    }

    async fn container_info(&self, container: &str) -> Result<ContainerInfo, Error> {
        let path = self.container(container)?;
        let metadata = fs::metadata(&path).await.map_err(failed(&path))?;
        Ok(ContainerInfo {
            created_at: created_at(&metadata),
        })
    }

    async fn list_objects(
        &self,
        container: &str,
        limit: Option<u64>,
        offset: Option<u64>,
    ) -> Result<NameStream, Error> {
        let path = self.container(container)?;
        if !exists(&path).await? {
            return Err(no_container(container));
        }
        let folder = path.clone();
        let names = tokio::task::spawn_blocking(move || walk(&folder)).await;
        let names = names
            .map_err(|error| Error::new(error.to_string()))?
            .map_err(failed(&path))?;
        let count =
            |n: Option<u64>, none| n.map_or(none, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let some = names
            .into_iter()
            .skip(count(offset, 0))
            .take(count(limit, usize::MAX));
        Ok(Box::pin(futures::stream::iter(some.map(Ok))))
    }

    async fn copy_object(&self, src: &ObjectId, dest: &ObjectId) -> Result<(), Error> {
        let data = self.get_data(src, 0, u64::MAX).await?;
        self.place(dest, data).await
    }

    async fn move_object(&self, src: &ObjectId, dest: &ObjectId) -> Result<(), Error> {
        let (from, to) = (self.object(src)?, self.object(dest)?);
        if !exists(&self.container(&dest.container)?).await? {
            return Err(no_container(&dest.container));
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).await.map_err(failed(folder))?;
        }
        fs::rename(&from, &to).await.map_err(failed(&from))
    }

    async fn delete_object(&self, id: &ObjectId) -> Result<(), Error> {
        let path = self.object(id)?;
        match fs::remove_file(&path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(failed(&path)),
        }
    }

    async fn has_object(&self, id: &ObjectId) -> Result<bool, Error> {
        let path = self.object(id)?;
        Ok(fs::metadata(&path)
            .await
            .is_ok_and(|metadata| metadata.is_file()))
    }

    async fn object_info(&self, id: &ObjectId) -> Result<ObjectInfo, Error> {
        let path = self.object(id)?;
        let metadata = fs::metadata(&path).await.map_err(failed(&path))?;
        Ok(ObjectInfo {
            created_at: created_at(&metadata),
            size: metadata.len(),
        })
    }

    async fn get_data(&self, id: &ObjectId, start: u64, end: u64) -> Result<ByteStream, Error> {
        if end < start {
            return Err(Error::new(format!(
                "the range ends ({end}) before it starts ({start})"
            )));
        }
        let path = self.object(id)?;
        let mut file = fs::File::open(&path).await.map_err(failed(&path))?;
        file.seek(SeekFrom::Start(start))
            .await
            .map_err(failed(&path))?;
        let part = file.take((end - start).saturating_add(1));
        let stream = ReaderStream::with_capacity(part, READ_BYTES);
        Ok(Box::pin(stream.map(|chunk| {
            chunk.map_err(|error| Error::new(error.to_string()))
        })))
    }

    async fn write_data(&self, id: &ObjectId, data: ByteStream) -> Result<(), Error> {
        self.place(id, data).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_lead_out_of_the_store() {
        let store = FsStore::new("/store".into());
        for name in ["", ".", "..", "a/b", "/a", "a\\b", "a\0", UNFINISHED] {
            assert!(store.container(name).is_err(), "{name:?}");
        }
        for name in ["", "..", "a/../b", "/a", "a//b", "a/", "./a"] {
            let id = ObjectId {
                container: "c".into(),
                object: name.into(),
            };
            assert!(store.object(&id).is_err(), "{name:?}");
        }
        let id = ObjectId {
            container: "c".into(),
            object: "a/b.txt".into(),
        };
        assert_eq!(store.object(&id), Ok("/store/c/a/b.txt".into()));
    }
}
