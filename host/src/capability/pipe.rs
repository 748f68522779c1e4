//! Streams and futures on their way between two components, wherever those run.
//!
//! A call's plain values travel as they are. A stream or future among them leaves its place empty
//! (an empty list, no option) and travels beside them as a [`Pipe`], which is found again by its
//! index path. A pipe holds at most [`PIECES`] pieces: who writes faster than the other end reads
//! waits. It ends well only if its writer says so; one that is dropped breaks off.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use wasmtime::component::Val;

/// Pieces that wait in a pipe.
const PIECES: usize = 2;

/// Bytes of one piece of a byte stream, at most.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// Items of one piece of any other stream, at most.
pub const PIECE_ITEMS_MAX: usize = 1024;

/// Parameters or results: values, and the streams and futures among them.
#[derive(Debug, Default)]
pub struct Message {
    /// The values; streams and futures are empty.
    pub values: Vec<Val>,
    /// What is in the streams and futures.
    pub pipes: Vec<Pipe>,
}

impl From<Vec<Val>> for Message {
    fn from(values: Vec<Val>) -> Self {
        let pipes = Vec::new();
        Self { values, pipes }
    }
}

/// Part of a stream, or the value of a future (one item).
#[derive(Debug)]
pub enum Piece {
    /// Bytes of a `stream<u8>`.
    Bytes(Bytes),
    /// Items of any other type.
    Items(Vec<Val>),
}

/// The reading end of a stream or future.
#[derive(Debug)]
pub struct Pipe {
    /// Its index path in the values beside it.
    pub path: Vec<u32>,
    pieces: mpsc::Receiver<Piece>,
    outcome: Outcome,
}

/// How a pipe ended; unset as long as nobody has said.
type Outcome = Arc<OnceLock<Result<(), String>>>;

/// The writing end of a stream or future.
#[derive(Debug)]
pub struct PipeWriter {
    pieces: PollSender<Piece>,
    outcome: Outcome,
}

impl Pipe {
    /// Both ends of a pipe.
    #[must_use]
    pub fn new(path: Vec<u32>) -> (PipeWriter, Self) {
        let (sender, pieces) = mpsc::channel(PIECES);
        let outcome = Outcome::default();
        let writer = PipeWriter {
            pieces: PollSender::new(sender),
            outcome: outcome.clone(),
        };
        let pipe = Self {
            path,
            pieces,
            outcome,
        };
        (writer, pipe)
    }

    /// A pipe that holds all there is to it.
    #[must_use]
    pub fn full(path: Vec<u32>, piece: Piece) -> Self {
        let (mut writer, pipe) = Self::new(path);
        // There is room for the first piece.
        if let Poll::Ready(Ok(())) =
            writer.poll_ready(&mut Context::from_waker(std::task::Waker::noop()))
        {
            writer.put(piece);
        }
        writer.end();
        pipe
    }

    /// The next piece; `None` at the end, an error where it broke off.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, String>>> {
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(piece) => Some(Ok(piece)),
            None => match self.outcome.get() {
                Some(Ok(())) => None,
                Some(Err(reason)) => Some(Err(reason.clone())),
                None => Some(Err("its other end has gone".to_owned())),
            },
        })
    }

    /// As [`Self::poll_next`].
    pub async fn next(&mut self) -> Option<Result<Piece, String>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl PipeWriter {
    /// Waits for room for one piece; an error when nobody reads any more.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.pieces.poll_reserve(cx).map_err(|_| Closed)
    }

    /// Puts a piece into the room that [`Self::poll_ready`] has found.
    pub fn put(&mut self, piece: Piece) {
        // Nobody reads any more: the next wait for room says so.
        let _ = self.pieces.send_item(piece);
    }

    /// Puts a piece, waiting for room.
    ///
    /// # Errors
    /// [`Closed`] when nobody reads any more.
    pub async fn write(&mut self, piece: Piece) -> Result<(), Closed> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await?;
        self.put(piece);
        Ok(())
    }

    /// Waits until nobody reads any more.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let sender = self.pieces.get_ref().cloned();
        async move {
            match sender {
                Some(sender) => sender.closed().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Says that this is all.
    pub fn end(self) {
        let _ = self.outcome.set(Ok(()));
    }

    /// Says that it breaks off, and why.
    pub fn fail(self, reason: String) {
        let _ = self.outcome.set(Err(reason));
    }
}

/// Nobody reads the pipe any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the stream any more")]
pub struct Closed;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Piece {
        Piece::Bytes(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn a_pipe_ends_well_only_if_its_writer_says_so() {
        for (case, end, expected) in [
            ("ended", (|writer| writer.end()) as fn(PipeWriter), None),
            ("failed", |writer| writer.fail("why".into()), Some("why")),
            ("dropped", drop, Some("its other end has gone")),
        ] {
            let (mut writer, mut pipe) = Pipe::new(vec![0]);
            writer.write(bytes("a")).await.expect("room");
            end(writer);
            assert!(matches!(pipe.next().await, Some(Ok(_))), "{case}");
            let last = pipe.next().await;
            assert_eq!(
                last.map(|last| last.expect_err("an end")).as_deref(),
                expected,
                "{case}"
            );
        }
    }

    #[tokio::test]
    async fn a_writer_waits_for_its_reader_and_hears_when_it_goes() {
        let (mut writer, mut pipe) = Pipe::new(vec![0]);
        for _ in 0..PIECES {
            writer.write(bytes("a")).await.expect("room");
        }
        {
            let more = writer.write(bytes("b"));
            tokio::pin!(more);
            let waits = futures::poll!(more.as_mut()).is_pending();
            assert!(waits, "a full pipe takes no more");
            assert!(matches!(pipe.next().await, Some(Ok(_))));
            more.await.expect("room again");
        }
        drop(pipe);
        writer.closed().await;
        assert_eq!(writer.write(bytes("c")).await, Err(Closed));
    }

    #[tokio::test]
    async fn a_full_pipe_gives_all_it_has() {
        let mut pipe = Pipe::full(vec![1], Piece::Items(vec![Val::U8(1)]));
        assert!(matches!(pipe.next().await, Some(Ok(Piece::Items(items))) if items.len() == 1));
        assert!(pipe.next().await.is_none());
    }
}
