//! Streams of bytes and HTTP bodies as index paths carry them.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use wasmtime_wasi_http::Error as HttpError;

use super::codec::{CodecError, Wire, decode_from, encode_to_vec, put_len, take_len};
use super::http_types::{Fields, Now};
use super::transport::{PathReader, RpcError, Sender};
use crate::capability::HttpBody;

/// Bytes of one chunk of a stream: several fit into a window.
const CHUNK_MAX: usize = 128 << 10;

/// Bytes of trailers.
const TRAILERS_BYTES_MAX: usize = 128 << 10;

/// How long trailers may be behind their body.
const TRAILERS_WITHIN: Duration = Duration::from_secs(10);

/// Reads a `stream<u8>`: chunks of a length and bytes, until the one of length 0. Hands bytes on as
/// they come, whole chunk or not.
pub(super) struct ByteReader {
    reader: PathReader,
    buf: BytesMut,
    ready: Option<Bytes>,
    /// Bytes of the present chunk still to come.
    left: usize,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Open,
    Ended,
}

impl ByteReader {
    pub(super) fn new(now: Now<Bytes>, reader: PathReader) -> Self {
        let (ready, state) = match now {
            Now::Pending => (None, State::Open),
            Now::Ready(bytes) => (Some(bytes), State::Ended),
        };
        Self {
            reader,
            buf: BytesMut::new(),
            ready,
            left: 0,
            state,
        }
    }

    /// The next bytes; `None` at the end of the stream.
    ///
    /// # Errors
    /// What ended the session, or [`CodecError::Truncated`] when the peer broke off.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, RpcError> {
        if let Some(bytes) = self.ready.take() {
            return Ok(Some(bytes));
        }
        while self.state == State::Open {
            if self.left > 0 && !self.buf.is_empty() {
                let n = self.left.min(self.buf.len());
                self.left -= n;
                return Ok(Some(self.buf.split_to(n).freeze()));
            }
            if self.left == 0
                && let Some((len, used)) = take_len(&self.buf).map_err(codec)?
            {
                self.buf.advance(used);
                self.left = len as usize;
                if len == 0 {
                    self.state = State::Ended;
                }
                continue;
            }
            match self.reader.next().await? {
                // Inside a chunk the piece is handed on as it is.
                Some(mut piece) if self.left > 0 => {
                    let bytes = piece.split_to(self.left.min(piece.len()));
                    self.left -= bytes.len();
                    self.buf.extend_from_slice(&piece);
                    return Ok(Some(bytes));
                }
                Some(piece) => self.buf.extend_from_slice(&piece),
                None => {
                    self.state = State::Ended;
                    return Err(codec(CodecError::Truncated));
                }
            }
        }
        Ok(None)
    }
}

/// Writes a `stream<u8>`.
pub(super) struct ByteWriter(pub(super) Sender);

impl ByteWriter {
    pub(super) async fn write(&mut self, mut bytes: Bytes) -> Result<(), RpcError> {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(CHUNK_MAX.min(bytes.len()));
            let mut message = Vec::with_capacity(chunk.len() + 3);
            put_len(&mut message, chunk.len());
            message.extend_from_slice(&chunk);
            self.0.send(message.into()).await?;
        }
        Ok(())
    }

    pub(super) async fn end(mut self) -> Result<(), RpcError> {
        self.0.send(Bytes::from_static(&[0])).await?;
        self.0.end().await
    }
}

/// Reads the value of a future.
///
/// # Errors
/// What ended the session, or [`CodecError`] when the peer broke off or sent something else.
pub(super) async fn read_future<T: Wire>(
    reader: &mut PathReader,
    limit: usize,
) -> Result<T, RpcError> {
    let mut buf = Vec::new();
    loop {
        if let Some((value, _)) = decode_from(&buf).map_err(codec)? {
            return Ok(value);
        }
        match reader.next().await? {
            Some(piece) if buf.len() + piece.len() > limit => {
                return Err(codec(CodecError::TooLarge { limit }));
            }
            Some(piece) => buf.extend_from_slice(&piece),
            None => return Err(codec(CodecError::Truncated)),
        }
    }
}

/// Sends the value of a future.
///
/// # Errors
/// What ended the session.
pub(super) async fn write_future<T: Wire>(mut sender: Sender, value: &T) -> Result<(), RpcError> {
    sender.send(encode_to_vec(value).into()).await?;
    sender.end().await
}

fn codec(source: CodecError) -> RpcError {
    RpcError::Codec {
        subject: "a stream".to_owned(),
        source,
    }
}

/// Sends a body and its trailers on their two paths.
///
/// # Errors
/// What ended the session, or the body's own error.
pub(super) async fn send_body(
    mut body: HttpBody,
    data: Sender,
    trailers: Sender,
) -> Result<(), BodyError> {
    let mut data = ByteWriter(data);
    let mut fields = None;
    while let Some(frame) = body.frame().await {
        // A failed body drops both senders: they end without their last chunk, and the peer sees
        // a body cut short.
        match frame.map_err(BodyError::Source)?.into_data() {
            Ok(bytes) => data.write(bytes).await?,
            Err(frame) => fields = frame.into_trailers().ok().map(Fields),
        }
    }
    data.end().await?;
    write_future(trailers, &fields).await?;
    Ok(())
}

/// Why a body was not sent whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the peer did not take it")]
    Peer(#[from] RpcError),
    #[error("it broke off: {0}")]
    Source(HttpError),
}

/// What a received body and its trailers are read from.
pub(super) struct BodySource {
    pub(super) body: Now<Bytes>,
    pub(super) data: PathReader,
    pub(super) trailers: Now<Option<Fields>>,
    pub(super) trailer: PathReader,
}

/// A body that arrives on its two paths. `end` is called with what kept the call alive once all of
/// it is there; dropped before, it is dropped with it.
pub(super) fn receive_body<K: Send + 'static>(
    source: BodySource,
    broken: fn(&RpcError) -> HttpError,
    keep: K,
    end: fn(K),
) -> HttpBody {
    let BodySource {
        body,
        data,
        trailers,
        mut trailer,
    } = source;
    let mut data = ByteReader::new(body, data);
    let frames = async_stream::stream! {
        loop {
            match data.next().await {
                Ok(Some(bytes)) => yield Ok(Frame::data(bytes)),
                Ok(None) => break,
                Err(error) => {
                    yield Err(broken(&error));
                    return;
                }
            }
        }
        let fields = match trailers {
            Now::Ready(fields) => Ok(fields),
            // Trailers follow the body at once; a peer that forgets them costs no more than this.
            Now::Pending => tokio::time::timeout(
                TRAILERS_WITHIN,
                read_future(&mut trailer, TRAILERS_BYTES_MAX),
            )
            .await
            .unwrap_or(Ok(None)),
        };
        match fields {
            Ok(Some(Fields(fields))) if !fields.is_empty() => yield Ok(Frame::trailers(fields)),
            Ok(_) => {}
            Err(error) => {
                yield Err(broken(&error));
                return;
            }
        }
        end(keep);
    };
    let frames: Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, HttpError>> + Send>> =
        Box::pin(frames);
    StreamBody::new(frames).boxed_unsync()
}

/// Reads a `stream<string>`: chunks of several names.
pub(super) struct NameReader {
    reader: PathReader,
    buf: Vec<u8>,
    ended: bool,
}

impl NameReader {
    pub(super) fn new(reader: PathReader) -> Self {
        Self {
            reader,
            buf: Vec::new(),
            ended: false,
        }
    }

    /// The next names; `None` at the end of the stream.
    ///
    /// # Errors
    /// What ended the session, or [`CodecError`].
    pub(super) async fn next(&mut self) -> Result<Option<Vec<String>>, RpcError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            if let Some((names, used)) = decode_from::<Vec<String>>(&self.buf).map_err(codec)? {
                self.buf.drain(..used);
                if names.is_empty() {
                    self.ended = true;
                    continue;
                }
                return Ok(Some(names));
            }
            match self.reader.next().await? {
                Some(piece) if self.buf.len() + piece.len() > NAMES_BYTES_MAX => {
                    return Err(codec(CodecError::TooLarge {
                        limit: NAMES_BYTES_MAX,
                    }));
                }
                Some(piece) => self.buf.extend_from_slice(&piece),
                None => return Err(codec(CodecError::Truncated)),
            }
        }
    }
}

/// Bytes of one chunk of names.
const NAMES_BYTES_MAX: usize = 4 << 20;

/// Writes a `stream<string>`.
pub(super) struct NameWriter(pub(super) Sender);

impl NameWriter {
    pub(super) async fn write(&mut self, names: Vec<String>) -> Result<(), RpcError> {
        if names.is_empty() {
            return Ok(());
        }
        self.0.send(encode_to_vec(&names).into()).await
    }

    pub(super) async fn end(mut self) -> Result<(), RpcError> {
        self.0.send(Bytes::from_static(&[0])).await?;
        self.0.end().await
    }
}
