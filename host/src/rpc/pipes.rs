//! Streams and futures as index paths carry them.
//!
//! A stream is a series of chunks, each a list, up to an empty one; a future is its value. Both end
//! with the empty message of their path. What stops before that has broken off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wasmtime::component::Val;

use super::body::{ByteReader, ByteWriter};
use super::codec::{Chunks, CodecError, Encoder, Limits, Path, Ty, write_chunks};
use super::exchange::Source;
use super::http_types::Now;
use super::transport::{PathReader, RpcError, Sender};
use crate::capability::pipe::{Piece, Pipe, PipeWriter};

/// Bytes after which a chunk ends. A single item may be longer.
const CHUNK: usize = 128 << 10;

/// Memory that the items of one received chunk may take.
const CHUNK_MEMORY_MAX: usize = 128 << 20;

/// Streams and futures that a peer sends, each read by a task of its own. Dropped, all break off.
#[derive(Default)]
pub(super) struct Downloads {
    tasks: JoinSet<()>,
    wanted: Arc<Wanted>,
}

/// How many downloads somebody still reads.
#[derive(Default)]
struct Wanted {
    count: AtomicUsize,
    none: CancellationToken,
    /// Somebody stopped reading before the end.
    given_up: AtomicBool,
}

impl Wanted {
    fn less(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.cancel();
        }
    }
}

impl Downloads {
    /// Reads every pending stream and future; `reader` finds the data of an index path.
    pub(super) fn begin(
        pending: Vec<(Path, Ty)>,
        limits: Limits,
        reader: impl Fn(&Path) -> PathReader,
    ) -> (Self, Vec<Pipe>) {
        let mut own = Self::default();
        own.wanted.count.store(pending.len(), Ordering::Release);
        if pending.is_empty() {
            own.wanted.none.cancel();
        }
        let mut pipes = Vec::new();
        for (path, ty) in pending {
            let reader = reader(&path);
            let (writer, pipe) = Pipe::new(path.0);
            pipes.push(pipe);
            own.tasks
                .spawn(download(reader, ty, writer, limits, own.wanted.clone()));
        }
        (own, pipes)
    }

    /// Waits until all have come, or nobody wants the rest; says whether all have come.
    pub(super) async fn ended(&self) -> bool {
        self.wanted.none.cancelled().await;
        !self.wanted.given_up.load(Ordering::Acquire)
    }
}

/// Reads one stream or future to its end. Where nobody takes what comes any more it is thrown
/// away, as long as others are read: the peer may send one after the other.
async fn download(
    reader: PathReader,
    ty: Ty,
    writer: PipeWriter,
    limits: Limits,
    wanted: Arc<Wanted>,
) {
    let closed = writer.closed();
    let work = receive(reader, &ty, writer, limits);
    tokio::pin!(work);
    tokio::select! {
        biased;
        () = &mut work => {}
        () = closed => {
            wanted.given_up.store(true, Ordering::Release);
            wanted.less();
            work.await;
            return;
        }
    }
    wanted.less();
}

/// Reads a stream or future into a pipe.
async fn receive(reader: PathReader, ty: &Ty, mut into: PipeWriter, limits: Limits) {
    let limits = Limits {
        memory: limits.memory.min(CHUNK_MEMORY_MAX),
        ..limits
    };
    let received = match ty {
        Ty::Stream(Some(item)) if matches!(**item, Ty::U8) => {
            receive_bytes(reader, &mut into).await
        }
        Ty::Stream(item) => {
            let item = item.clone().unwrap_or_else(nothing);
            receive_items(reader, item, &mut into, limits).await
        }
        Ty::Future(Some(item)) => receive_value(reader, item, &mut into, limits).await,
        _ => Err(broken(CodecError::Unsupported { what: ty.kind() })),
    };
    match received {
        Ok(()) => into.end(),
        Err(error) => into.fail(crate::oci::error_chain(&error)),
    }
}

/// The items of a stream without a type.
fn nothing() -> Arc<Ty> {
    Arc::new(Ty::tuple([]))
}

fn broken(source: CodecError) -> RpcError {
    let subject = "a stream".to_owned();
    RpcError::Codec { subject, source }
}

async fn receive_bytes(reader: PathReader, into: &mut PipeWriter) -> Result<(), RpcError> {
    let mut reader = ByteReader::new(Now::Pending, reader);
    while let Some(bytes) = reader.next().await? {
        // Nobody reads it any more: the rest is thrown away.
        let _ = into.write(Piece::Bytes(bytes)).await;
    }
    Ok(())
}

async fn receive_items(
    mut reader: PathReader,
    item: Arc<Ty>,
    into: &mut PipeWriter,
    limits: Limits,
) -> Result<(), RpcError> {
    let mut chunks = Chunks::new(item, limits);
    let mut piece = Bytes::new();
    loop {
        while let Some(items) = chunks.next(&piece).map_err(broken)? {
            if items.is_empty() {
                return Ok(());
            }
            piece.clear();
            let _ = into.write(Piece::Items(items)).await;
        }
        let next = reader.next().await?;
        piece = next.ok_or_else(|| broken(CodecError::Truncated))?;
    }
}

async fn receive_value(
    mut reader: PathReader,
    item: &Ty,
    into: &mut PipeWriter,
    limits: Limits,
) -> Result<(), RpcError> {
    let mut source = Source {
        reader: &mut reader,
        subject: "a future",
        pause_max: None,
    };
    let types: Arc<[Ty]> = Arc::new([item.clone()]);
    let value = source.values(&types, limits).await?;
    let (values, _) = value.ok_or_else(|| broken(CodecError::Truncated))?;
    let _ = into.write(Piece::Items(values)).await;
    Ok(())
}

/// Streams and futures that go to a peer, each sent by a task of its own. Dropped, all break off.
#[derive(Default)]
pub(super) struct Uploads(JoinSet<()>);

impl Uploads {
    /// Sends what is in a pipe.
    pub(super) fn begin(&mut self, pipe: Option<Pipe>, ty: Ty, sender: Sender) {
        // Without a pipe there is nothing, which the dropped sender says.
        if let Some(pipe) = pipe {
            self.0.spawn(async move {
                if let Err(error) = send(pipe, &ty, sender).await {
                    tracing::debug!(%error, "a stream to a peer broke off");
                }
            });
        }
    }

    /// Waits until all is sent.
    pub(super) async fn ended(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Why a stream or future did not reach a peer.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("{0}")]
    Source(String),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// Sends what is in a pipe. On failure the sender is dropped: the peer sees the end of the path in
/// the midst of a stream or future.
async fn send(mut pipe: Pipe, ty: &Ty, sender: Sender) -> Result<(), SendError> {
    let item = match ty {
        Ty::Future(Some(item)) => return send_value(pipe, item, sender).await,
        Ty::Stream(item) => item.clone().unwrap_or_else(nothing),
        _ => return Err(CodecError::Unsupported { what: ty.kind() }.into()),
    };
    let mut writer = ByteWriter(sender);
    while let Some(piece) = pipe.next().await {
        match piece.map_err(SendError::Source)? {
            Piece::Bytes(bytes) => writer.write(bytes).await?,
            Piece::Items(items) => {
                for chunk in write_chunks(&item, &items, CHUNK)? {
                    writer.0.send(chunk.into()).await?;
                }
            }
        }
    }
    Ok(writer.end().await?)
}

async fn send_value(mut pipe: Pipe, item: &Ty, mut sender: Sender) -> Result<(), SendError> {
    let values = match pipe.next().await {
        Some(Ok(Piece::Items(values))) => values,
        Some(Ok(Piece::Bytes(bytes))) => bytes.iter().copied().map(Val::U8).collect(),
        Some(Err(reason)) => return Err(SendError::Source(reason)),
        None => return Err(SendError::Source("it ended without a value".into())),
    };
    let [value] = values.as_slice() else {
        return Err(SendError::Source("it has not exactly one value".into()));
    };
    let mut encoder = Encoder::default();
    encoder.value(item, value)?;
    sender.send(encoder.bytes.into()).await?;
    Ok(sender.end().await?)
}
