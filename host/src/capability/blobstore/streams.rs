//! Between the byte streams of guests (`wasi:io`) and of backends.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, OutputStream, StreamError, StreamResult};

use super::{ByteStream, Error};

/// Most bytes a guest may write at a time.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// Chunks that may wait for the backend before the guest has to.
const CHUNKS_WAITING_MAX: usize = 16;

/// A guest's end of what it writes.
pub(super) struct Writer {
    chunks: mpsc::Sender<Bytes>,
}

/// A new body: where the guest writes, what the backend reads, and what to send when the guest
/// says that it is complete. A body that is given up before that ends with an error, so that no
/// backend takes a part for the whole.
pub(super) fn body() -> (Writer, ByteStream, oneshot::Sender<()>) {
    let (chunks, mut arriving) = mpsc::channel(CHUNKS_WAITING_MAX);
    let (complete, mut completed) = oneshot::channel();
    let stream = async_stream::stream! {
        let mut complete = false;
        loop {
            tokio::select! {
                biased;
                end = &mut completed, if !complete => match end {
                    // The guest may still hold its end open; what it has written is all.
                    Ok(()) => {
                        complete = true;
                        arriving.close();
                    }
                    Err(_) => return yield Err(given_up()),
                },
                chunk = arriving.recv() => match chunk {
                    Some(chunk) => yield Ok(chunk),
                    None => break,
                },
            }
        }
        if !complete && completed.await.is_err() {
            yield Err(given_up());
        }
    };
    (Writer { chunks }, Box::pin(stream), complete)
}

fn given_up() -> Error {
    Error::new("the component gave the object up before it was complete")
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        // An error means that nobody reads any more, which `check_write` reports.
        let _ = self.chunks.reserve().await;
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.chunks.try_send(bytes).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StreamError::trap("write without a permit"),
            mpsc::error::TrySendError::Closed(_) => StreamError::Closed,
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.chunks.is_closed() {
            return Err(StreamError::Closed);
        }
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.chunks.is_closed() {
            return Err(StreamError::Closed);
        }
        Ok(if self.chunks.capacity() > 0 {
            CHUNK_BYTES_MAX
        } else {
            0
        })
    }
}

/// A guest's end of what it reads.
pub(super) struct Reader {
    stream: ByteStream,
    next: Next,
}

enum Next {
    Unknown,
    Chunk(Bytes),
    Failed(Error),
    End,
}

impl Reader {
    pub(super) fn new(stream: ByteStream) -> Self {
        Self {
            stream,
            next: Next::Unknown,
        }
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        while matches!(&self.next, Next::Unknown)
            || matches!(&self.next, Next::Chunk(c) if c.is_empty())
        {
            self.next = match self.stream.next().await {
                Some(Ok(chunk)) => Next::Chunk(chunk),
                Some(Err(error)) => Next::Failed(error),
                None => Next::End,
            };
        }
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match std::mem::replace(&mut self.next, Next::Unknown) {
            Next::Unknown => Ok(Bytes::new()),
            Next::Chunk(mut chunk) => {
                let taken = chunk.split_to(size.min(chunk.len()));
                if !chunk.is_empty() {
                    self.next = Next::Chunk(chunk);
                }
                Ok(taken)
            }
            Next::Failed(error) => {
                self.next = Next::End;
                Err(StreamError::LastOperationFailed(wasmtime::Error::msg(
                    error.0,
                )))
            }
            Next::End => {
                self.next = Next::End;
                Err(StreamError::Closed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    async fn whole(stream: ByteStream) -> Result<Vec<u8>, Error> {
        stream
            .try_fold(Vec::new(), |mut all, chunk| async move {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await
    }

    #[tokio::test]
    async fn a_body_is_whole_only_when_the_guest_says_so() {
        let (mut writer, stream, complete) = body();
        writer
            .blocking_write_and_flush("ab".into())
            .await
            .expect("written");
        complete.send(()).expect("read");
        assert_eq!(
            whole(stream).await,
            Ok(b"ab".to_vec()),
            "the writer is still open"
        );

        let (mut writer, stream, complete) = body();
        writer
            .blocking_write_and_flush("ab".into())
            .await
            .expect("written");
        drop((writer, complete));
        assert_eq!(whole(stream).await, Err(given_up()));
    }

    #[tokio::test]
    async fn a_writer_waits_for_its_reader() {
        let (mut writer, mut stream, _complete) = body();
        for _ in 0..CHUNKS_WAITING_MAX {
            writer.write("x".into()).expect("room");
        }
        assert_eq!(writer.check_write().expect("open"), 0);
        assert!(stream.next().await.is_some());
        assert_eq!(writer.check_write().expect("open"), CHUNK_BYTES_MAX);
        drop(stream);
        assert!(matches!(writer.check_write(), Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn a_reader_gives_what_was_asked_and_reports_errors_once() {
        let chunks = [
            Ok("abc".into()),
            Ok(Bytes::new()),
            Ok("d".into()),
            Err(Error::new("gone")),
        ];
        let mut reader = Reader::new(Box::pin(futures::stream::iter(chunks)));
        assert_eq!(reader.blocking_read(2).await.expect("bytes"), "ab");
        assert_eq!(reader.blocking_read(9).await.expect("bytes"), "c");
        assert_eq!(reader.blocking_read(9).await.expect("bytes"), "d");
        assert!(matches!(
            reader.blocking_read(9).await,
            Err(StreamError::LastOperationFailed(_))
        ));
        assert!(matches!(
            reader.blocking_read(9).await,
            Err(StreamError::Closed)
        ));
    }
}
