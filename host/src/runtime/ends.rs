//! The host's ends of a guest's streams and futures.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use wasmtime::component::{
    Destination, FutureConsumer, FutureProducer, Source, StreamConsumer, StreamProducer,
    StreamResult, Type,
};
use wasmtime::{AsContextMut as _, Result, StoreContextMut, format_err};

use super::ctx::Ctx;
use super::failure;
use super::item::Element;
use super::streams::{Keep, LetGo};
use crate::capability::pipe::{PIECE_BYTES_MAX, PIECE_ITEMS_MAX, Piece, Pipe, PipeWriter};

/// What becomes of the streams and futures of one message. A stream has no words for a failure; a
/// future may have: where one of them can still tell it, a stream that broke off just ends.
#[derive(Default)]
pub(super) struct Fate {
    /// Why a stream broke off.
    reason: OnceLock<String>,
    /// Futures that can tell it and have not been read.
    tellers: AtomicUsize,
}

/// A guest's stream or future on its way into a pipe.
pub(super) struct Consumer<T> {
    writer: Option<PipeWriter>,
    /// Where the writer goes when this is let go.
    place: Arc<LetGo>,
    _keep: Keep,
    items: PhantomData<fn() -> T>,
}

impl<T: Element> Consumer<T> {
    pub(super) fn new(writer: PipeWriter, place: Arc<LetGo>, keep: &Keep) -> Self {
        Self {
            writer: Some(writer),
            place,
            _keep: keep.clone(),
            items: PhantomData,
        }
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.place.put(writer);
        }
    }
}

impl<T: Element> StreamConsumer<Ctx> for Consumer<T> {
    type Item = T;

    fn poll_consume(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'_, Ctx>,
        mut source: Source<'_, T>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let Some(writer) = &mut self.get_mut().writer else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        match writer.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        }
        let max = if size_of::<T>() == 1 {
            PIECE_BYTES_MAX
        } else {
            PIECE_ITEMS_MAX
        };
        let count = source.remaining(store.as_context_mut()).min(max);
        if count > 0 {
            let mut items = Vec::with_capacity(count);
            source.read(store, &mut items)?;
            writer.put(T::pack(items));
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl<T: Element> FutureConsumer<Ctx> for Consumer<T> {
    type Item = T;

    fn poll_consume(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, Ctx>,
        mut source: Source<'_, T>,
        _finish: bool,
    ) -> Poll<Result<()>> {
        let mut value = None;
        source.read(store, &mut value)?;
        let this = self.get_mut();
        if let (Some(writer), Some(value)) = (&mut this.writer, value) {
            // The first piece of a pipe always finds room, unless nobody wants it.
            if let Poll::Ready(Ok(())) = writer.poll_ready(cx) {
                writer.put(T::pack(vec![value]));
            }
        }
        if let Some(writer) = this.writer.take() {
            writer.end();
        }
        Poll::Ready(Ok(()))
    }
}

/// A stream that reads from a pipe.
pub(super) struct Producer<T> {
    pipe: Pipe,
    next: Option<Piece>,
    fate: Arc<Fate>,
    _keep: Keep,
    items: PhantomData<fn() -> T>,
}

impl<T: Element> Producer<T> {
    pub(super) fn new(pipe: Pipe, keep: &Keep, fate: &Arc<Fate>) -> Self {
        Self {
            pipe,
            next: None,
            fate: fate.clone(),
            _keep: keep.clone(),
            items: PhantomData,
        }
    }

    fn broke_off(&self, reason: String) -> Result<StreamResult> {
        if self.fate.tellers.load(Ordering::Acquire) == 0 {
            return Err(format_err!("a stream broke off: {reason}"));
        }
        tracing::debug!(reason, "a stream broke off; a future of its call says so");
        let _ = self.fate.reason.set(reason);
        Ok(StreamResult::Dropped)
    }
}

impl<T: Element> StreamProducer<Ctx> for Producer<T> {
    type Item = T;
    type Buffer = T::Buffer;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'a, Ctx>,
        mut destination: Destination<'a, T, T::Buffer>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let this = self.get_mut();
        if this.next.is_none() {
            match this.pipe.poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => this.next = Some(piece),
                Poll::Ready(Some(Err(reason))) => return Poll::Ready(this.broke_off(reason)),
                Poll::Ready(None) => return Poll::Ready(Ok(StreamResult::Dropped)),
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // A read of nothing asks whether there is something.
        if destination.remaining(store) != Some(0)
            && let Some(piece) = this.next.take()
        {
            destination.set_buffer(T::buffer(piece)?);
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// A future that reads from a pipe.
pub(super) struct Promise<T> {
    pipe: Pipe,
    fate: Arc<Fate>,
    /// Its type, if that has words for a failure.
    teller: Option<Type>,
    _keep: Keep,
    items: PhantomData<fn() -> T>,
}

impl<T: Element> Promise<T> {
    pub(super) fn new(pipe: Pipe, keep: &Keep, fate: &Arc<Fate>, ty: Option<Type>) -> Self {
        let teller = ty.filter(|ty| failure::value(ty, "").is_some());
        if teller.is_some() {
            fate.tellers.fetch_add(1, Ordering::AcqRel);
        }
        Self {
            pipe,
            fate: fate.clone(),
            teller,
            _keep: keep.clone(),
            items: PhantomData,
        }
    }

    fn failed(&self, reason: &str) -> Result<Piece> {
        let said = self
            .teller
            .as_ref()
            .and_then(|ty| failure::value(ty, reason));
        said.map(|value| Piece::Items(vec![value]))
            .ok_or_else(|| format_err!("a future broke off: {reason}"))
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if self.teller.is_some() {
            self.fate.tellers.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl<T: Element> FutureProducer<Ctx> for Promise<T> {
    type Item = T;

    fn poll_produce(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _store: StoreContextMut<'_, Ctx>,
        finish: bool,
    ) -> Poll<Result<Option<T>>> {
        let this = self.get_mut();
        let came = match this.pipe.poll_next(cx) {
            Poll::Pending if finish => return Poll::Ready(Ok(None)),
            polled => ready!(polled),
        };
        let piece = match (this.fate.reason.get(), came) {
            (Some(reason), _) if this.teller.is_some() => this.failed(reason)?,
            (_, Some(Ok(piece))) => piece,
            (_, Some(Err(reason))) => this.failed(&reason)?,
            (_, None) => this.failed("it ended without a value")?,
        };
        let mut values = T::unpack(piece)?;
        match (values.pop(), values.is_empty()) {
            (Some(value), true) => Poll::Ready(Ok(Some(value))),
            _ => Poll::Ready(Err(format_err!("a future has one value"))),
        }
    }
}
