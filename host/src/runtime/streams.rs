//! Streams and futures between a guest and the [`Pipe`]s in which they travel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc};
use wasmtime::component::{Accessor, AccessorTask, FutureReader, StreamReader, Type, Val};
use wasmtime::{AsContextMut as _, Result, StoreContextMut, bail};

use super::ctx::Ctx;
use super::ends::{Consumer, Fate, Producer, Promise};
use super::item::{Layout, with_items};
use crate::capability::FunctionType;
use crate::capability::pipe::{Message, Piece, Pipe, PipeWriter};

/// The streams of an instance that go out of it.
///
/// wasmtime lets go of a stream alike when the guest closes it and when the guest fails. So a stream
/// that was let go counts as closed only once the instance has gone on after that: a task in its
/// store says so, or whoever sees it end well. Where neither comes to it the stream broke off.
#[derive(Clone, Default)]
pub(crate) struct Outgoing(Arc<Mutex<Vec<Arc<LetGo>>>>);

impl Outgoing {
    /// The place for a stream's writer when it is let go.
    fn place(&self) -> Arc<LetGo> {
        let place = Arc::new(LetGo::default());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else holds those that are done.
        all.retain(|other| Arc::strong_count(other) > 1);
        all.push(place.clone());
        place
    }

    /// The instance has ended well: what it let go it had closed.
    pub(super) fn confirm(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for place in all {
            place.confirm();
        }
    }
}

/// Where a stream's writer waits for word that its instance goes on.
#[derive(Default)]
pub(super) struct LetGo {
    writer: Mutex<Option<PipeWriter>>,
    came: Notify,
}

impl LetGo {
    pub(super) fn put(&self, writer: PipeWriter) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        self.came.notify_one();
    }

    fn confirm(&self) {
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            writer.end();
        }
    }
}

/// Runs in the instance's store, and so only if the instance goes on.
struct Confirm(Arc<LetGo>);

impl AccessorTask<Ctx> for Confirm {
    async fn run(self, _: &Accessor<Ctx>) -> Result<()> {
        self.0.came.notified().await;
        self.0.confirm();
        Ok(())
    }
}

/// Held by the streams of a message as long as they are open.
#[derive(Clone, Default)]
pub(super) struct Keep {
    _open: Option<mpsc::Sender<()>>,
}

impl Keep {
    /// Streams whose end somebody waits for: the receiver ends with the last of them.
    pub(super) fn waited_for() -> (Self, mpsc::Receiver<()>) {
        let (open, all_ended) = mpsc::channel(1);
        (Self { _open: Some(open) }, all_ended)
    }
}

/// The types of a function's parameters.
pub(super) fn params(ty: &FunctionType) -> Vec<Type> {
    ty.params().map(|(_, ty)| ty).collect()
}

/// The types of a function's results.
pub(super) fn results(ty: &FunctionType) -> Vec<Type> {
    ty.results().collect()
}

/// Whether streams or futures are among a function's parameters and results.
pub(super) fn has_pipes(ty: &FunctionType) -> bool {
    ty.params()
        .map(|(_, ty)| ty)
        .chain(ty.results())
        .any(|ty| holds_pipes(&ty))
}

/// What of a function's type keeps it from being called over a link, in words.
pub fn obstacle(ty: &FunctionType) -> Option<String> {
    let mut types = ty.params().map(|(_, ty)| ty).chain(ty.results());
    types.find_map(|ty| beyond_links(&ty, true))
}

/// What of a type does not travel; `open` where a stream may be.
fn beyond_links(ty: &Type, open: bool) -> Option<String> {
    let items = |kind: &str, item: Option<Type>| {
        if let Some(found) = item.as_ref().and_then(|item| beyond_links(item, false)) {
            return Some(found);
        }
        let layout = Layout::of(item.as_ref());
        (!layout.travels()).then(|| format!("{kind} of very large items"))
    };
    match ty {
        Type::Own(_) | Type::Borrow(_) => Some("resource".into()),
        Type::ErrorContext => Some("error context".into()),
        Type::Stream(_) | Type::Future(_) if !open => {
            Some("stream or future in a place where none travels".into())
        }
        Type::Stream(stream) => items("stream", stream.ty()),
        // Its end could not be told from its failure.
        Type::Future(future) if future.ty().is_none() => Some("future without a value".into()),
        Type::Future(future) => items("future", future.ty()),
        // The entries of maps have no index paths.
        Type::Map(map) => {
            beyond_links(&map.key(), false).or_else(|| beyond_links(&map.value(), false))
        }
        other => parts(other).iter().find_map(|ty| beyond_links(ty, open)),
    }
}

/// The types that a type is made of.
fn parts(ty: &Type) -> Vec<Type> {
    match ty {
        Type::List(list) => vec![list.ty()],
        Type::FixedLengthList(list) => vec![list.ty()],
        Type::Option(option) => vec![option.ty()],
        Type::Record(record) => record.fields().map(|field| field.ty).collect(),
        Type::Tuple(tuple) => tuple.types().collect(),
        Type::Variant(variant) => variant.cases().filter_map(|case| case.ty).collect(),
        Type::Result(result) => result.ok().into_iter().chain(result.err()).collect(),
        _ => Vec::new(),
    }
}

fn holds_pipes(ty: &Type) -> bool {
    matches!(ty, Type::Stream(_) | Type::Future(_)) || parts(ty).iter().any(holds_pipes)
}

type Found<'a> = dyn FnMut(&Type, &mut Val, &[u32]) -> Result<()> + 'a;

/// Shows every stream and future among some values, with its index path.
fn each(types: &[Type], values: &mut [Val], found: &mut Found<'_>) -> Result<()> {
    let mut path = Vec::new();
    all(types.iter().cloned(), values.iter_mut(), &mut path, found)
}

fn all<'a>(
    types: impl Iterator<Item = Type>,
    values: impl Iterator<Item = &'a mut Val>,
    path: &mut Vec<u32>,
    found: &mut Found<'_>,
) -> Result<()> {
    for (n, (ty, value)) in types.zip(values).enumerate() {
        path.push(u32::try_from(n)?);
        visit(&ty, value, path, found)?;
        path.pop();
    }
    Ok(())
}

fn visit(ty: &Type, value: &mut Val, path: &mut Vec<u32>, found: &mut Found<'_>) -> Result<()> {
    if !holds_pipes(ty) {
        return Ok(());
    }
    match (ty, value) {
        (Type::Stream(_) | Type::Future(_), value) => found(ty, value, path),
        (Type::List(list), Val::List(items)) => {
            all(std::iter::repeat(list.ty()), items.iter_mut(), path, found)
        }
        (Type::FixedLengthList(list), Val::FixedLengthList(items)) => {
            all(std::iter::repeat(list.ty()), items.iter_mut(), path, found)
        }
        (Type::Record(record), Val::Record(fields)) => {
            let types = record.fields().map(|field| field.ty).collect::<Vec<_>>();
            let values = fields.iter_mut().map(|(_, value)| value);
            all(types.into_iter(), values, path, found)
        }
        (Type::Tuple(tuple), Val::Tuple(values)) => {
            all(tuple.types(), values.iter_mut(), path, found)
        }
        (Type::Variant(variant), Val::Variant(name, Some(value))) => {
            let case = variant.cases().find(|case| case.name == name.as_str());
            match case.and_then(|case| case.ty) {
                Some(ty) => visit(&ty, value, path, found),
                None => Ok(()),
            }
        }
        (Type::Option(option), Val::Option(Some(value))) => visit(&option.ty(), value, path, found),
        (Type::Result(result), Val::Result(value)) => {
            let (ty, value) = match value {
                Ok(value) => (result.ok(), value),
                Err(value) => (result.err(), value),
            };
            match (ty, value) {
                (Some(ty), Some(value)) => visit(&ty, value, path, found),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Takes the streams and futures out of a guest's values: from now on their content goes into
/// pipes.
pub(super) fn take_out(
    mut store: StoreContextMut<'_, Ctx>,
    types: &[Type],
    mut values: Vec<Val>,
    keep: &Keep,
) -> Result<Message> {
    let mut pipes = Vec::new();
    each(types, &mut values, &mut |ty, value, path| {
        let (writer, pipe) = Pipe::new(path.to_vec());
        pipes.push(pipe);
        let place = store.data().outgoing.place();
        store.as_context_mut().spawn(Confirm(place.clone()))?;
        let store = store.as_context_mut();
        match (ty, std::mem::replace(value, Val::List(Vec::new()))) {
            (Type::Stream(stream), Val::Stream(any)) => {
                with_items!(Layout::of(stream.ty().as_ref()), T => {
                    let reader: StreamReader<T> = any.try_into_stream_reader()?;
                    reader.pipe(store, Consumer::<T>::new(writer, place, keep))
                })
            }
            (Type::Future(future), Val::Future(any)) => {
                *value = Val::Option(None);
                with_items!(Layout::of(future.ty().as_ref()), T => {
                    let reader: FutureReader<T> = any.try_into_future_reader()?;
                    reader.pipe(store, Consumer::<T>::new(writer, place, keep))
                })
            }
            _ => bail!("a value is not of its function's type"),
        }
    })?;
    Ok(Message { values, pipes })
}

/// Makes a guest's values of a message: streams and futures that read from its pipes.
pub(super) fn put_in(
    mut store: StoreContextMut<'_, Ctx>,
    types: &[Type],
    message: Message,
    keep: &Keep,
) -> Result<Vec<Val>> {
    let Message { mut values, pipes } = message;
    let mut pipes: HashMap<_, _> = pipes
        .into_iter()
        .map(|pipe| (pipe.path.clone(), pipe))
        .collect();
    let fate = Arc::new(Fate::default());
    each(types, &mut values, &mut |ty, value, path| {
        let pipe = pipe_for(ty, value, path, &mut pipes)?;
        let mut store = store.as_context_mut();
        *value = match ty {
            Type::Stream(stream) => with_items!(Layout::of(stream.ty().as_ref()), T => {
                let producer = Producer::<T>::new(pipe, keep, &fate);
                let reader = StreamReader::new(store.as_context_mut(), producer)?;
                Result::<Val>::Ok(Val::Stream(reader.try_into_stream_any(store)?))
            })?,
            Type::Future(future) => with_items!(Layout::of(future.ty().as_ref()), T => {
                let promise = Promise::<T>::new(pipe, keep, &fate, future.ty());
                let reader = FutureReader::new(store.as_context_mut(), promise)?;
                Result::<Val>::Ok(Val::Future(reader.try_into_future_any(store)?))
            })?,
            _ => bail!("a value is not of its function's type"),
        };
        Ok(())
    })?;
    Ok(values)
}

/// The pipe for a place among values, which may also hold everything already.
fn pipe_for(
    ty: &Type,
    value: &mut Val,
    path: &[u32],
    pipes: &mut HashMap<Vec<u32>, Pipe>,
) -> Result<Pipe> {
    let ready = match (ty, std::mem::replace(value, Val::Bool(false))) {
        (Type::Stream(_), Val::List(items)) => Some(items).filter(|items| !items.is_empty()),
        (Type::Future(_), Val::Option(value)) => value.map(|value| vec![*value]),
        _ => bail!("a value is not of its function's type"),
    };
    if let Some(items) = ready {
        return Ok(Pipe::full(path.to_vec(), Piece::Items(items)));
    }
    Ok(pipes.remove(path).unwrap_or_else(|| {
        let (writer, pipe) = Pipe::new(path.to_vec());
        writer.fail("nothing came for it".into());
        pipe
    }))
}
