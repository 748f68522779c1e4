//! `wrpc:blobstore` as a store of blobs.

use async_trait::async_trait;
use futures::StreamExt;

use super::{Client, Function, error_text};
use crate::capability::RemoteTarget;
use crate::capability::blobstore::{
    Backend, ByteStream, ContainerInfo, Error, NameStream, ObjectId, ObjectInfo,
};
use crate::rpc::body::{ByteReader, ByteWriter, NameReader, read_future};
use crate::rpc::codec::{Path, Wire};
use crate::rpc::http_types::Now;
use crate::rpc::store_types::{BLOBSTORE, Pending};
use crate::rpc::transport::{Call, RpcError};

/// Bytes of an error text that comes as a future.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// A store of blobs that a provider elsewhere serves.
pub(super) struct Remote {
    pub(super) client: Client,
    pub(super) to: RemoteTarget,
}

/// `tuple<stream, future<result<_, string>>>`.
type Streamed = (Pending, Pending);

impl Remote {
    fn function(&self, name: &'static str) -> Function<'_> {
        Function {
            to: &self.to,
            instance: BLOBSTORE,
            name,
        }
    }

    fn error(&self, error: RpcError) -> Error {
        Error(error_text(&self.to, error))
    }

    async fn ask<P: Wire, R: Wire>(&self, name: &'static str, params: P) -> Result<R, Error> {
        let answer: Result<Result<R, String>, _> =
            self.client.invoke(self.function(name), &params).await;
        answer.map_err(|e| self.error(e))?.map_err(Error)
    }

    /// Calls a function that answers with a stream and a future of its outcome.
    async fn open<P: Wire>(&self, name: &'static str, params: P) -> Result<Call, Error> {
        let answer: Result<(Result<Streamed, String>, Call), RpcError> = self
            .client
            .begin(self.function(name), &params, &[], |_| Ok(()))
            .await;
        let (answer, call) = answer.map_err(|e| self.error(e))?;
        answer.map_err(Error)?;
        Ok(call)
    }
}

/// Where the outcome of a streamed answer comes.
fn outcome_path() -> Path {
    Path::from(&[0, 1][..])
}

/// Where the elements of a streamed answer come.
fn stream_path() -> Path {
    Path::from(&[0, 0][..])
}

/// Waits for the outcome of a streamed answer, and ends the call.
async fn outcome(call: Call) -> Result<(), Error> {
    let mut reader = call.result(&outcome_path());
    let outcome: Result<(), String> = read_future(&mut reader, ERROR_BYTES_MAX)
        .await
        .map_err(|e| Error(e.to_string()))?;
    call.finish();
    outcome.map_err(Error)
}

fn own(text: &str) -> (String,) {
    (text.to_owned(),)
}

#[async_trait]
impl Backend for Remote {
    async fn clear_container(&self, container: &str) -> Result<(), Error> {
        self.ask("clear-container", own(container)).await
    }

    async fn container_exists(&self, container: &str) -> Result<bool, Error> {
        self.ask("container-exists", own(container)).await
    }

    async fn create_container(&self, container: &str) -> Result<(), Error> {
        self.ask("create-container", own(container)).await
    }

    async fn delete_container(&self, container: &str) -> Result<(), Error> {
        self.ask("delete-container", own(container)).await
    }

    async fn container_info(&self, container: &str) -> Result<ContainerInfo, Error> {
        self.ask("get-container-info", own(container)).await
    }

    async fn list_objects(
        &self,
        container: &str,
        limit: Option<u64>,
        offset: Option<u64>,
    ) -> Result<NameStream, Error> {
        let params = (container.to_owned(), limit, offset);
        let call = self.open("list-container-objects", params).await?;
        let mut names = NameReader::new(call.result(&stream_path()));
        Ok(Box::pin(async_stream::stream! {
            loop {
                match names.next().await {
                    Ok(Some(batch)) => for name in batch { yield Ok(name) },
                    Ok(None) => break,
                    Err(error) => {
                        yield Err(Error(error.to_string()));
                        return;
                    }
                }
            }
            if let Err(error) = outcome(call).await {
                yield Err(error);
            }
        }))
    }

    async fn copy_object(&self, src: &ObjectId, dest: &ObjectId) -> Result<(), Error> {
        self.ask("copy-object", (src.clone(), dest.clone())).await
    }

    async fn move_object(&self, src: &ObjectId, dest: &ObjectId) -> Result<(), Error> {
        self.ask("move-object", (src.clone(), dest.clone())).await
    }

    async fn delete_object(&self, id: &ObjectId) -> Result<(), Error> {
        self.ask("delete-object", id.clone()).await
    }

    async fn delete_objects(&self, container: &str, objects: Vec<String>) -> Result<(), Error> {
        self.ask("delete-objects", (container.to_owned(), objects))
            .await
    }

    async fn has_object(&self, id: &ObjectId) -> Result<bool, Error> {
        self.ask("has-object", id.clone()).await
    }

    async fn object_info(&self, id: &ObjectId) -> Result<ObjectInfo, Error> {
        self.ask("get-object-info", id.clone()).await
    }

    async fn get_data(&self, id: &ObjectId, start: u64, end: u64) -> Result<ByteStream, Error> {
        let call = self
            .open("get-container-data", (id.clone(), start, end))
            .await?;
        let mut bytes = ByteReader::new(Now::Pending, call.result(&stream_path()));
        Ok(Box::pin(async_stream::stream! {
            loop {
                match bytes.next().await {
                    Ok(Some(bytes)) => yield Ok(bytes),
                    Ok(None) => break,
                    Err(error) => {
                        yield Err(Error(error.to_string()));
                        return;
                    }
                }
            }
            if let Err(error) = outcome(call).await {
                yield Err(error);
            }
        }))
    }

    async fn write_data(&self, id: &ObjectId, mut data: ByteStream) -> Result<(), Error> {
        // The data is the second parameter, the outcome the only result.
        let path = Path::from(&[1][..]);
        let mut writer = None;
        let started = |call: &mut Call| {
            writer = Some(ByteWriter(call.param(&path)?));
            Ok(())
        };
        let params = (id.clone(), Pending);
        let begun = self.client.begin(
            self.function("write-container-data"),
            &params,
            std::slice::from_ref(&path),
            started,
        );
        let (answer, call): (Result<Pending, String>, Call) =
            begun.await.map_err(|e| self.error(e))?;
        answer.map_err(Error)?;
        let mut outcome = call.result(&Path::from(&[0][..]));
        let written = async {
            let Some(mut writer) = writer else {
                return Ok(());
            };
            while let Some(bytes) = data.next().await {
                writer.write(bytes?).await.map_err(|e| self.error(e))?;
            }
            writer.end().await.map_err(|e| self.error(e))
        };
        let stored = read_future::<Result<(), String>>(&mut outcome, ERROR_BYTES_MAX);
        // A store that refuses says so before it has all of the data.
        tokio::pin!(written, stored);
        let result = tokio::select! {
            biased;
            stored = &mut stored => stored,
            written = &mut written => {
                written?;
                stored.await
            }
        };
        let result = result.map_err(|e| self.error(e))?;
        call.finish();
        result.map_err(Error)
    }
}
