//! `blobstore-nats`: containers are object stores of JetStream.

use std::time::Duration;

use async_nats::jetstream::context::{ObjectStoreError, ObjectStoreErrorKind};
use async_nats::jetstream::object_store::{
    Config, DeleteErrorKind, InfoErrorKind, ObjectMetadata, ObjectStore,
};
use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{self, Context};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::{ReaderStream, StreamReader};

use super::{Backend, ByteStream, ContainerInfo, Error, NameStream, ObjectId, ObjectInfo};
use crate::capability::nats::LazyClient;

/// Bytes of an object that NATS keeps in one message.
const CHUNK_BYTES: usize = 128 << 10;

/// How new containers are kept, and how long a write may take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatsStoreSettings {
    /// `js_domain`.
    pub js_domain: Option<String>,
    /// `max_write_wait`.
    pub write_within: Duration,
    /// `max_age` of objects; zero keeps them.
    pub max_age: Duration,
    /// `storage_type`: in memory instead of files.
    pub in_memory: bool,
    /// `num_replicas`.
    pub replicas: usize,
    /// `compression`.
    pub compression: bool,
}

/// Object stores of a NATS system.
pub struct NatsStore {
    client: LazyClient,
    settings: NatsStoreSettings,
}

impl NatsStore {
    /// A store that connects at the first call.
    pub fn lazy(client: LazyClient, settings: NatsStoreSettings) -> Self {
        Self { client, settings }
    }

    async fn context(&self) -> Result<Context, Error> {
        let client = self.client.get().await.map_err(refused)?;
        Ok(match &self.settings.js_domain {
            Some(domain) => jetstream::with_domain(client, domain),
            None => jetstream::new(client),
        })
    }

    async fn container(&self, name: &str) -> Result<ObjectStore, Error> {
        let found = self.context().await?.get_object_store(checked(name)?).await;
        found.map_err(|error| match is_missing(&error) {
            true => Error::new(format!("no container `{name}`")),
            false => refused(error),
        })
    }

    /// The object's description, unless there is none.
    async fn find(&self, id: &ObjectId) -> Result<Option<ObjectInfo>, Error> {
        match self.container(&id.container).await?.info(&id.object).await {
            Ok(info) if info.deleted => Ok(None),
            Ok(info) => Ok(Some(ObjectInfo {
                created_at: info
                    .modified
                    .map_or(0, |time| seconds(time.unix_timestamp())),
                size: info.size as u64,
            })),
            Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }
}

fn refused(error: impl std::error::Error) -> Error {
    let cause = error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    Error::new(format!("nats: {error}{cause}"))
}

fn seconds(since_1970: i64) -> u64 {
    u64::try_from(since_1970).unwrap_or(0)
}

fn checked(container: &str) -> Result<&str, Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if container.is_empty() || !container.chars().all(plain) {
        let rule = "letters, digits, `-` and `_` are allowed";
        return Err(Error::new(format!(
            "`{container}` cannot be the name of a container: {rule}"
        )));
    }
    Ok(container)
}

/// NATS reports a store that is not there as one that could not be got.
fn is_missing(error: &ObjectStoreError) -> bool {
    let cause = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    error.kind() == ObjectStoreErrorKind::GetStore && cause.contains("not found")
}

fn no_object(id: &ObjectId) -> Error {
    Error::new(format!("no object `{}` in `{}`", id.object, id.container))
}

/// Reads `data` in pieces of [`CHUNK_BYTES`], whatever size they arrive in: NATS is told of each.
fn chunked(mut data: ByteStream) -> impl AsyncRead + Send + Unpin {
    let stream = async_stream::stream! {
        let mut gathered = BytesMut::with_capacity(CHUNK_BYTES);
        while let Some(chunk) = data.next().await {
            match chunk {
                Ok(chunk) => gathered.extend_from_slice(&chunk),
                Err(error) => return yield Err(std::io::Error::other(error)),
            }
            while gathered.len() >= CHUNK_BYTES {
                yield Ok(gathered.split_to(CHUNK_BYTES).freeze());
            }
        }
        if !gathered.is_empty() {
            yield Ok::<Bytes, std::io::Error>(gathered.freeze());
        }
    };
    StreamReader::new(Box::pin(stream))
}

#[async_trait]
impl Backend for NatsStore {
    async fn ready(&self) -> Result<(), Error> {
        self.context()
            .await?
            .query_account()
            .await
            .map(drop)
            .map_err(refused)
    }

    async fn clear_container(&self, container: &str) -> Result<(), Error> {
        let names: Vec<_> = self
            .list_objects(container, None, None)
            .await?
            .try_collect()
            .await?;
        self.delete_objects(container, names).await
    }

    async fn container_exists(&self, container: &str) -> Result<bool, Error> {
        match self
            .context()
            .await?
            .get_object_store(checked(container)?)
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }

    async fn create_container(&self, container: &str) -> Result<(), Error> {
        if self.container_exists(container).await? {
            return Ok(());
        }
        let config = Config {
            bucket: container.to_owned(),
            max_age: self.settings.max_age,
            storage: match self.settings.in_memory {
                true => StorageType::Memory,
                false => StorageType::File,
            },
            num_replicas: self.settings.replicas,
            compression: self.settings.compression,
            ..Config::default()
        };
        self.context()
            .await?
            .create_object_store(config)
            .await
            .map(drop)
            .map_err(refused)
    }

    async fn delete_container(&self, container: &str) -> Result<(), Error> {
        if !self.container_exists(container).await? {
            return Ok(());
        }
        self.context()
            .await?
            .delete_object_store(container)
            .await
            .map_err(refused)
    }

    async fn container_info(&self, container: &str) -> Result<ContainerInfo, Error> {
        self.container(container).await?;
        let stream = format!("OBJ_{}", checked(container)?);
        let stream = self
            .context()
            .await?
            .get_stream(stream)
            .await
            .map_err(refused)?;
        let created = stream.cached_info().created.unix_timestamp();
        Ok(ContainerInfo {
            created_at: seconds(created),
        })
    }

    async fn list_objects(
        &self,
        container: &str,
        limit: Option<u64>,
        offset: Option<u64>,
    ) -> Result<NameStream, Error> {
        let objects = self
            .container(container)
            .await?
            .list()
            .await
            .map_err(refused)?;
        let count =
            |n: Option<u64>, none| n.map_or(none, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let names = objects
            .map(|object| object.map(|object| object.name).map_err(refused))
            .skip(count(offset, 0))
            .take(count(limit, usize::MAX));
        Ok(Box::pin(names))
    }

    async fn copy_object(&self, src: &ObjectId, dest: &ObjectId) -> Result<(), Error> {
        let data = self.get_data(src, 0, u64::MAX).await?;
        self.write_data(dest, data).await
    }

    async fn delete_object(&self, id: &ObjectId) -> Result<(), Error> {
        if self.find(id).await?.is_none() {
            return Ok(());
        }
        match self
            .container(&id.container)
            .await?
            .delete(&id.object)
            .await
        {
            Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
            result => result.map_err(refused),
        }
    }

    async fn has_object(&self, id: &ObjectId) -> Result<bool, Error> {
        Ok(self.find(id).await?.is_some())
    }

    async fn object_info(&self, id: &ObjectId) -> Result<ObjectInfo, Error> {
        self.find(id).await?.ok_or_else(|| no_object(id))
    }

    async fn get_data(&self, id: &ObjectId, start: u64, end: u64) -> Result<ByteStream, Error> {
        if end < start {
            return Err(Error::new(format!(
                "the range ends ({end}) before it starts ({start})"
            )));
        }
        let size = self.find(id).await?.ok_or_else(|| no_object(id))?.size;
        if size == 0 || start >= size {
            return Ok(Box::pin(futures::stream::empty()));
        }
        let container = self.container(&id.container).await?;
        let mut object = container.get(&id.object).await.map_err(refused)?;
        // NATS keeps no positions within an object: what comes before the range is read past.
        let mut before = (&mut object).take(start);
        tokio::io::copy(&mut before, &mut tokio::io::sink())
            .await
            .map_err(refused)?;
        let part = object.take((end - start).saturating_add(1));
        let stream = ReaderStream::with_capacity(part, CHUNK_BYTES);
        Ok(Box::pin(stream.map(|chunk| chunk.map_err(refused))))
    }

    async fn write_data(&self, id: &ObjectId, data: ByteStream) -> Result<(), Error> {
        let container = self.container(&id.container).await?;
        let metadata = ObjectMetadata {
            name: id.object.clone(),
            chunk_size: Some(CHUNK_BYTES),
            ..ObjectMetadata::default()
        };
        let mut data = chunked(data);
        let written = container.put(metadata, &mut data);
        match tokio::time::timeout(self.settings.write_within, written).await {
            Ok(result) => result.map(drop).map_err(refused),
            Err(_) => {
                let waited = self.settings.write_within;
                Err(Error::new(format!(
                    "not written within {waited:?}; raise `max_write_wait`"
                )))
            }
        }
    }
}
