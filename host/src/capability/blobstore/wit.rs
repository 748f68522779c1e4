//! Guest calls of `wasi:blobstore`.

use std::sync::Arc;

use futures::stream::Peekable;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use super::streams::{Reader, Writer, body};
use super::{BLOBSTORE, Backend, ByteStream, Error, Linked, NameStream, ObjectId};
use crate::runtime::Ctx;

mod draft {
    wasmtime::component::bindgen!({
        path: [
            "../proto/wit/deps/wasi-io-0.2.6",
            "../proto/wit/deps/wasi-blobstore-0.2.0-draft",
        ],
        inline: "
            package lattice:host;
            world guest { import wasi:blobstore/blobstore@0.2.0-draft; }
        ",
        world: "lattice:host/guest",
        imports: { default: async | trappable },
        with: {
            "wasi:io": wasmtime_wasi_io::bindings::wasi::io,
            "wasi:blobstore/container.container": super::Container,
            "wasi:blobstore/container.stream-object-names": super::Names,
            "wasi:blobstore/types.incoming-value": super::IncomingValue,
            "wasi:blobstore/types.outgoing-value": super::OutgoingValue,
        },
    });
    pub(super) use self::wasi::blobstore::{blobstore, container, types};
}

use draft::types;

/// Most bytes that a guest gets in one piece.
const SYNC_BYTES_MAX: usize = 64 << 20;

/// Most names that a guest gets at a time.
const NAMES_MAX: u64 = 10_000;

/// What the interface returns: an answer or a text; a trap only for a handle that is not there.
type Answer<T> = wasmtime::Result<Result<T, String>>;

/// Adds the interfaces.
pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    draft::types::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    draft::container::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    draft::blobstore::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
}

/// A container that a guest has open.
#[derive(Clone)]
pub struct Container {
    name: String,
    store: Arc<dyn Backend>,
}

impl Container {
    fn object(&self, object: String) -> ObjectId {
        ObjectId {
            container: self.name.clone(),
            object,
        }
    }
}

/// Names of objects, being listed.
pub struct Names(Peekable<NameStream>);

/// An object, or part of one, to be read.
pub struct IncomingValue {
    stream: ByteStream,
    store: Arc<dyn Backend>,
    id: ObjectId,
    start: u64,
    end: u64,
}

/// An object to be written.
pub struct OutgoingValue {
    writer: Option<Writer>,
    body: Option<ByteStream>,
    complete: oneshot::Sender<()>,
    /// Ends by itself once the body ends; a body that is given up ends with an error.
    writing: Option<JoinHandle<Result<(), Error>>>,
}

impl Ctx {
    fn blobstore(&self) -> Result<Arc<dyn Backend>, Error> {
        let Some(link) = self.link(BLOBSTORE) else {
            self.missing_link(BLOBSTORE);
            return Err(Error::new(format!(
                "access denied: no link for `{BLOBSTORE}`"
            )));
        };
        let Some(linked) = link.binding.get::<Linked>() else {
            let target = self.grants.remote_target(&link);
            return Ok(self.grants.remote().blobstore(target));
        };
        Ok(linked.store())
    }

    fn container(&self, container: &Resource<Container>) -> wasmtime::Result<Container> {
        Ok(self.table.get(container)?.clone())
    }
}

fn text(error: Error) -> String {
    error.0
}

impl From<types::ObjectId> for ObjectId {
    fn from(id: types::ObjectId) -> Self {
        Self {
            container: id.container,
            object: id.object,
        }
    }
}

impl draft::blobstore::Host for Ctx {
    async fn create_container(&mut self, name: String) -> Answer<Resource<Container>> {
        let store = self.blobstore();
        let created = async {
            let store = store?;
            store.create_container(&name).await?;
            Ok(Container { name, store })
        };
        match created.await {
            Ok(container) => Ok(Ok(self.table.push(container)?)),
            Err(error) => Ok(Err(text(error))),
        }
    }

    async fn get_container(&mut self, name: String) -> Answer<Resource<Container>> {
        let store = self.blobstore();
        let found = async {
            let store = store?;
            if !store.container_exists(&name).await? {
                return Err(Error::new(format!("no container `{name}`")));
            }
            Ok(Container { name, store })
        };
        match found.await {
            Ok(container) => Ok(Ok(self.table.push(container)?)),
            Err(error) => Ok(Err(text(error))),
        }
    }

    async fn delete_container(&mut self, name: String) -> Answer<()> {
        let store = self.blobstore();
        let deleted = async { store?.delete_container(&name).await };
        Ok(deleted.await.map_err(text))
    }

    async fn container_exists(&mut self, name: String) -> Answer<bool> {
        let store = self.blobstore();
        let exists = async { store?.container_exists(&name).await };
        Ok(exists.await.map_err(text))
    }

    async fn copy_object(&mut self, src: types::ObjectId, dest: types::ObjectId) -> Answer<()> {
        let store = self.blobstore();
        let copied = async { store?.copy_object(&src.into(), &dest.into()).await };
        Ok(copied.await.map_err(text))
    }

    async fn move_object(&mut self, src: types::ObjectId, dest: types::ObjectId) -> Answer<()> {
        let store = self.blobstore();
        let moved = async { store?.move_object(&src.into(), &dest.into()).await };
        Ok(moved.await.map_err(text))
    }
}

impl draft::container::Host for Ctx {}

impl draft::container::HostContainer for Ctx {
    async fn name(&mut self, container: Resource<Container>) -> Answer<String> {
        Ok(Ok(self.container(&container)?.name))
    }

    async fn info(&mut self, container: Resource<Container>) -> Answer<types::ContainerMetadata> {
        let Container { name, store } = self.container(&container)?;
        let info = store.container_info(&name).await.map_err(text);
        Ok(info.map(|info| types::ContainerMetadata {
            name,
            created_at: info.created_at,
        }))
    }

    async fn get_data(
        &mut self,
        container: Resource<Container>,
        name: String,
        start: u64,
        end: u64,
    ) -> Answer<Resource<IncomingValue>> {
        let container = self.container(&container)?;
        let id = container.object(name);
        let store = container.store;
        match store.get_data(&id, start, end).await {
            Ok(stream) => Ok(Ok(self.table.push(IncomingValue {
                stream,
                store,
                id,
                start,
                end,
            })?)),
            Err(error) => Ok(Err(text(error))),
        }
    }

    async fn write_data(
        &mut self,
        container: Resource<Container>,
        name: String,
        data: Resource<OutgoingValue>,
    ) -> Answer<()> {
        let container = self.container(&container)?;
        let value = self.table.get_mut(&data)?;
        let Some(body) = value.body.take() else {
            return Ok(Err("this value is already being written".into()));
        };
        let id = container.object(name);
        value.writing = Some(tokio::spawn(async move {
            container.store.write_data(&id, body).await
        }));
        Ok(Ok(()))
    }

    async fn list_objects(&mut self, container: Resource<Container>) -> Answer<Resource<Names>> {
        let Container { name, store } = self.container(&container)?;
        match store.list_objects(&name, None, None).await {
            Ok(names) => Ok(Ok(self.table.push(Names(names.peekable()))?)),
            Err(error) => Ok(Err(text(error))),
        }
    }

    async fn delete_object(&mut self, container: Resource<Container>, name: String) -> Answer<()> {
        let container = self.container(&container)?;
        let id = container.object(name);
        Ok(container.store.delete_object(&id).await.map_err(text))
    }

    async fn delete_objects(
        &mut self,
        container: Resource<Container>,
        names: Vec<String>,
    ) -> Answer<()> {
        let Container { name, store } = self.container(&container)?;
        Ok(store.delete_objects(&name, names).await.map_err(text))
    }

    async fn has_object(&mut self, container: Resource<Container>, name: String) -> Answer<bool> {
        let container = self.container(&container)?;
        let id = container.object(name);
        Ok(container.store.has_object(&id).await.map_err(text))
    }

    async fn object_info(
        &mut self,
        container: Resource<Container>,
        name: String,
    ) -> Answer<types::ObjectMetadata> {
        let container = self.container(&container)?;
        let id = container.object(name);
        let info = container.store.object_info(&id).await.map_err(text);
        Ok(info.map(|info| types::ObjectMetadata {
            name: id.object,
            container: id.container,
            created_at: info.created_at,
            size: info.size,
        }))
    }

    async fn clear(&mut self, container: Resource<Container>) -> Answer<()> {
        let Container { name, store } = self.container(&container)?;
        Ok(store.clear_container(&name).await.map_err(text))
    }

    async fn drop(&mut self, container: Resource<Container>) -> wasmtime::Result<()> {
        self.table.delete(container)?;
        Ok(())
    }
}

impl draft::container::HostStreamObjectNames for Ctx {
    async fn read_stream_object_names(
        &mut self,
        names: Resource<Names>,
        len: u64,
    ) -> Answer<(Vec<String>, bool)> {
        let Names(stream) = self.table.get_mut(&names)?;
        let some = usize::try_from(len.min(NAMES_MAX)).unwrap_or(usize::MAX);
        let read: Result<Vec<_>, _> = stream.by_ref().take(some).try_collect().await;
        let names = match read {
            Ok(names) => names,
            Err(error) => return Ok(Err(text(error))),
        };
        let end = std::pin::Pin::new(stream).peek().await.is_none();
        Ok(Ok((names, end)))
    }

    async fn skip_stream_object_names(
        &mut self,
        names: Resource<Names>,
        num: u64,
    ) -> Answer<(u64, bool)> {
        let Names(stream) = self.table.get_mut(&names)?;
        let mut skipped = 0;
        while skipped < num {
            match stream.next().await {
                Some(Ok(_)) => skipped += 1,
                Some(Err(error)) => return Ok(Err(text(error))),
                None => return Ok(Ok((skipped, true))),
            }
        }
        let end = std::pin::Pin::new(stream).peek().await.is_none();
        Ok(Ok((skipped, end)))
    }

    async fn drop(&mut self, names: Resource<Names>) -> wasmtime::Result<()> {
        self.table.delete(names)?;
        Ok(())
    }
}

impl types::Host for Ctx {}

impl types::HostOutgoingValue for Ctx {
    async fn new_outgoing_value(&mut self) -> wasmtime::Result<Resource<OutgoingValue>> {
        let (writer, body, complete) = body();
        let (writer, body) = (Some(writer), Some(body));
        Ok(self.table.push(OutgoingValue {
            writer,
            body,
            complete,
            writing: None,
        })?)
    }

    async fn outgoing_value_write_body(
        &mut self,
        value: Resource<OutgoingValue>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let Some(writer) = self.table.get_mut(&value)?.writer.take() else {
            return Ok(Err(()));
        };
        let writer: DynOutputStream = Box::new(writer);
        Ok(Ok(self.table.push(writer)?))
    }

    async fn finish(&mut self, value: Resource<OutgoingValue>) -> Answer<()> {
        let OutgoingValue {
            writer,
            body,
            complete,
            writing,
        } = self.table.delete(value)?;
        drop((writer, body));
        let Some(writing) = writing else {
            return Ok(Err("`write-data` was not called with this value".into()));
        };
        // Nobody listens any more where the backend failed early; its error is the answer then.
        let _ = complete.send(());
        Ok(match writing.await {
            Ok(written) => written.map_err(text),
            Err(_) => Err("the write was cut off".into()),
        })
    }

    async fn drop(&mut self, value: Resource<OutgoingValue>) -> wasmtime::Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}

impl types::HostIncomingValue for Ctx {
    async fn incoming_value_consume_sync(
        &mut self,
        value: Resource<IncomingValue>,
    ) -> Answer<Vec<u8>> {
        let mut stream = self.table.delete(value)?.stream;
        let mut all = Vec::new();
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) if all.len() + chunk.len() > SYNC_BYTES_MAX => {
                    let advice = "read it with `incoming-value-consume-async`";
                    let error = format!("more than {SYNC_BYTES_MAX} bytes; {advice}");
                    return Ok(Err(error));
                }
                Ok(chunk) => all.extend_from_slice(&chunk),
                Err(error) => return Ok(Err(text(error))),
            }
        }
        Ok(Ok(all))
    }

    async fn incoming_value_consume_async(
        &mut self,
        value: Resource<IncomingValue>,
    ) -> Answer<Resource<DynInputStream>> {
        let reader: DynInputStream = Box::new(Reader::new(self.table.delete(value)?.stream));
        Ok(Ok(self.table.push(reader)?))
    }

    async fn size(&mut self, value: Resource<IncomingValue>) -> wasmtime::Result<u64> {
        let value = self.table.get(&value)?;
        let (store, id) = (value.store.clone(), value.id.clone());
        let (start, end) = (value.start, value.end);
        // The interface has no error here; an object that is gone has no bytes.
        let size = store.object_info(&id).await.map_or(0, |info| info.size);
        Ok(size.min(end.saturating_add(1)).saturating_sub(start))
    }

    async fn drop(&mut self, value: Resource<IncomingValue>) -> wasmtime::Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}
