//! Serving a built-in store of blobs as `wrpc:blobstore`.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;

use super::builtin::{Links, instance, params, reply, respond};
use super::{Endpoint, Handler, Refusal, ServerOptions};
use crate::capability::blobstore::{Backend, ByteStream, Error, Linked, NameStream, ObjectId};
use crate::rpc::body::{ByteReader, ByteWriter, NameWriter, write_future};
use crate::rpc::codec::{Path, encode_to_vec};
use crate::rpc::http_types::Now;
use crate::rpc::store_types::{BLOBSTORE, Pending};
use crate::rpc::transport::{Incoming, RpcError, Sender};

struct Function {
    links: Arc<Links>,
    name: &'static str,
}

const FUNCTIONS: [&str; 14] = [
    "clear-container",
    "container-exists",
    "create-container",
    "delete-container",
    "get-container-info",
    "list-container-objects",
    "copy-object",
    "delete-object",
    "delete-objects",
    "get-container-data",
    "get-object-info",
    "has-object",
    "move-object",
    "write-container-data",
];

/// Names sent in one chunk.
const NAMES_IN_CHUNK: usize = 100;

pub(super) fn endpoints(links: &Arc<Links>) -> Vec<Endpoint> {
    instance(BLOBSTORE, &FUNCTIONS, |name| Function {
        links: links.clone(),
        name,
    })
}

type Store = Result<Arc<dyn Backend>, String>;

fn text<T>(result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| error.0)
}

#[async_trait]
impl Handler for Function {
    async fn handle(&self, call: &mut Incoming, options: &ServerOptions) -> Result<(), Refusal> {
        let store: Store = self
            .links
            .find::<Linked>(call, "wasi:blobstore")
            .map(|linked| linked.store());
        match self.name {
            "list-container-objects" => list(call, options, store).await,
            "get-container-data" => read(call, options, store).await,
            "write-container-data" => write(call, options, store).await,
            name if name.contains("container") => container(name, call, options, store).await,
            name => object(name, call, options, store).await,
        }
    }
}

async fn container(
    name: &str,
    call: &mut Incoming,
    options: &ServerOptions,
    store: Store,
) -> Result<(), Refusal> {
    match name {
        "container-exists" => {
            respond(call, options, async |(c,): (String,)| {
                text(store?.container_exists(&c).await)
            })
            .await
        }
        "get-container-info" => {
            respond(call, options, async |(c,): (String,)| {
                text(store?.container_info(&c).await)
            })
            .await
        }
        _ => {
            respond(call, options, async |(c,): (String,)| {
                let store = store?;
                text(match name {
                    "clear-container" => store.clear_container(&c).await,
                    "create-container" => store.create_container(&c).await,
                    _ => store.delete_container(&c).await,
                })
            })
            .await
        }
    }
}

async fn object(
    name: &str,
    call: &mut Incoming,
    options: &ServerOptions,
    store: Store,
) -> Result<(), Refusal> {
    match name {
        "copy-object" | "move-object" => {
            respond(call, options, async |(src, dest): (ObjectId, ObjectId)| {
                let store = store?;
                text(match name {
                    "copy-object" => store.copy_object(&src, &dest).await,
                    _ => store.move_object(&src, &dest).await,
                })
            })
            .await
        }
        "delete-objects" => {
            respond(call, options, async |(c, names): (String, Vec<String>)| {
                text(store?.delete_objects(&c, names).await)
            })
            .await
        }
        "delete-object" => {
            respond(call, options, async |id: ObjectId| {
                text(store?.delete_object(&id).await)
            })
            .await
        }
        "has-object" => {
            respond(call, options, async |id: ObjectId| {
                text(store?.has_object(&id).await)
            })
            .await
        }
        _ => {
            respond(call, options, async |id: ObjectId| {
                text(store?.object_info(&id).await)
            })
            .await
        }
    }
}

/// Answers with a stream and a future of its outcome; their senders, if there is a stream at all.
async fn open<T>(
    call: &mut Incoming,
    opened: Result<T, String>,
) -> Result<Option<(T, Sender, Sender)>, Refusal> {
    let stream = match opened {
        Ok(stream) => stream,
        Err(error) => {
            reply(call, &Err::<(Pending, Pending), String>(error)).await?;
            return Ok(None);
        }
    };
    let head: Result<_, String> = Ok((Pending, Pending));
    let paths = [Path::from(&[0, 0][..]), Path::from(&[0, 1][..])];
    let senders = call.answer(encode_to_vec(&head).into(), &paths).await?;
    Ok(<[_; 2]>::try_from(senders)
        .ok()
        .map(|[data, outcome]| (stream, data, outcome)))
}

async fn list(call: &mut Incoming, options: &ServerOptions, store: Store) -> Result<(), Refusal> {
    let (container, limit, offset): (String, Option<u64>, Option<u64>) =
        params(call, options).await?;
    let opened = match store {
        Ok(store) => text(store.list_objects(&container, limit, offset).await),
        Err(error) => Err(error),
    };
    let Some((names, data, outcome)) = open(call, opened).await? else {
        return Ok(());
    };
    let sent = send_names(names, NameWriter(data)).await?;
    write_future(outcome, &sent).await?;
    Ok(())
}

async fn send_names(
    names: NameStream,
    mut writer: NameWriter,
) -> Result<Result<(), String>, RpcError> {
    let mut chunks = names.ready_chunks(NAMES_IN_CHUNK);
    let mut outcome = Ok(());
    while let Some(chunk) = chunks.next().await {
        let mut good = Vec::with_capacity(chunk.len());
        for name in chunk {
            match name {
                Ok(name) => good.push(name),
                Err(error) => outcome = Err(error.0),
            }
        }
        writer.write(good).await?;
    }
    writer.end().await?;
    Ok(outcome)
}

async fn read(call: &mut Incoming, options: &ServerOptions, store: Store) -> Result<(), Refusal> {
    let (id, start, end): (ObjectId, u64, u64) = params(call, options).await?;
    let opened = match store {
        Ok(store) => text(store.get_data(&id, start, end).await),
        Err(error) => Err(error),
    };
    let Some((mut bytes, data, outcome)) = open(call, opened).await? else {
        return Ok(());
    };
    let mut writer = ByteWriter(data);
    let mut sent: Result<(), String> = Ok(());
    while let Some(piece) = bytes.next().await {
        match piece {
            Ok(piece) => writer.write(piece).await?,
            Err(error) => {
                sent = Err(error.0);
                break;
            }
        }
    }
    writer.end().await?;
    write_future(outcome, &sent).await?;
    Ok(())
}

async fn write(call: &mut Incoming, options: &ServerOptions, store: Store) -> Result<(), Refusal> {
    let (id, _): (ObjectId, Pending) = params(call, options).await?;
    let store = match store {
        Ok(store) => store,
        Err(error) => return reply(call, &Err::<Pending, String>(error)).await,
    };
    let data = ByteReader::new(Now::Pending, call.param(&Path::from(&[1][..])));
    let head: Result<_, String> = Ok(Pending);
    let paths = [Path::from(&[0][..])];
    let senders = call.answer(encode_to_vec(&head).into(), &paths).await?;
    let stored = text(store.write_data(&id, stream(data)).await);
    for sender in senders {
        write_future(sender, &stored).await?;
    }
    Ok(())
}

fn stream(mut data: ByteReader) -> ByteStream {
    Box::pin(async_stream::stream! {
        loop {
            match data.next().await {
                Ok(Some(bytes)) => yield Ok(bytes),
                Ok(None) => return,
                Err(error) => {
                    yield Err(Error(error.to_string()));
                    return;
                }
            }
        }
    })
}
