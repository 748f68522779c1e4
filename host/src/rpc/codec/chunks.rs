//! The chunks of a stream: each a list, the last one empty.

use std::sync::Arc;

use wasmtime::component::Val;

use super::decode::Decoder;
use super::ty::Ty;
use super::wire::{CodecError, Limits};

/// Reads chunks from bytes that come in any pieces. What one chunk may cost is limited, how many
/// there are is not.
#[derive(Debug)]
pub(crate) struct Chunks {
    chunk: Arc<[Ty]>,
    limits: Limits,
    decoder: Decoder,
}

impl Chunks {
    /// Chunks of these items.
    pub(crate) fn new(item: Arc<Ty>, limits: Limits) -> Self {
        let chunk: Arc<[Ty]> = Arc::new([Ty::List(item)]);
        let decoder = Decoder::new(&chunk, limits);
        Self {
            chunk,
            limits,
            decoder,
        }
    }

    /// The next chunk, once `piece` completes it; an empty one is the end of the stream. To be asked
    /// again with an empty piece before more bytes are taken.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are no chunk, or one that exceeds a limit.
    pub(crate) fn next(&mut self, piece: &[u8]) -> Result<Option<Vec<Val>>, CodecError> {
        if !self.decoder.feed(piece)? {
            return Ok(None);
        }
        let whole = std::mem::replace(&mut self.decoder, Decoder::new(&self.chunk, self.limits));
        let (values, rest) = whole.finish_with_rest()?;
        self.decoder = Decoder::resume(&self.chunk, self.limits, rest)?;
        match values.into_iter().next() {
            Some(Val::List(items)) => Ok(Some(items)),
            _ => Err(CodecError::Truncated),
        }
    }
}

/// Writes items as chunks of about `size` bytes; a single item may be longer.
///
/// # Errors
/// [`CodecError`] when an item is not of the type.
pub(crate) fn write_chunks(
    item: &Ty,
    items: &[Val],
    size: usize,
) -> Result<Vec<Vec<u8>>, CodecError> {
    let (mut chunks, mut count) = (Vec::new(), 0);
    let mut encoder = super::Encoder::default();
    for (n, value) in items.iter().enumerate() {
        encoder.value(item, value)?;
        count += 1;
        if encoder.bytes.len() >= size || n + 1 == items.len() {
            let mut chunk = Vec::with_capacity(encoder.bytes.len() + 5);
            super::put_len(&mut chunk, count);
            chunk.append(&mut encoder.bytes);
            chunks.push(chunk);
            count = 0;
        }
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{any_ty, any_val};
    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 1 << 16,
        memory: 1 << 20,
        depth: 50,
    };

    /// Everything that pieces of this size hold, and whether the end came.
    fn read(item: &Ty, bytes: &[u8], size: usize) -> Result<(Vec<Val>, bool), CodecError> {
        let mut chunks = Chunks::new(Arc::new(item.clone()), LIMITS);
        let mut all = Vec::new();
        for piece in bytes.chunks(size) {
            let mut piece = piece;
            while let Some(items) = chunks.next(piece)? {
                if items.is_empty() {
                    return Ok((all, true));
                }
                all.extend(items);
                piece = &[];
            }
        }
        Ok((all, false))
    }

    fn items() -> impl Strategy<Value = (Ty, Vec<Val>)> {
        any_ty().prop_flat_map(|ty| {
            let items = prop::collection::vec(any_val(&ty), 0..20);
            (Just(ty), items)
        })
    }

    proptest! {
        #[test]
        fn items_come_back_whatever_the_chunks_and_pieces(
            (ty, items) in items(), chunk in 1usize..200, piece in 1usize..50,
        ) {
            let mut bytes = write_chunks(&ty, &items, chunk).unwrap().concat();
            bytes.push(0);
            let (read, ended) = read(&ty, &bytes, piece).unwrap();
            prop_assert!(ended);
            prop_assert_eq!(read, items);
        }

        #[test]
        fn a_stream_cut_short_never_looks_whole((ty, items) in items(), cut in any::<prop::sample::Index>()) {
            let bytes = write_chunks(&ty, &items, 40).unwrap().concat();
            prop_assume!(!bytes.is_empty());
            let cut = &bytes[..cut.index(bytes.len())];
            prop_assert!(!read(&ty, cut, 7).unwrap().1);
        }

        #[test]
        fn any_bytes_give_items_or_an_error(
            ty in any_ty(), bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..20,
        ) {
            let _ = read(&ty, &bytes, piece);
        }
    }

    #[test]
    fn a_chunk_that_claims_too_much_is_an_error_and_costs_little() {
        let nothing = Ty::tuple([]);
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f];
        let error = read(&nothing, &claim, 5).expect_err("four billion items of no bytes");
        assert_eq!(
            error,
            CodecError::TooMuchMemory {
                limit: LIMITS.memory
            }
        );
        let long = [&[0xff, 0xff, 0x7f][..], &vec![b'a'; LIMITS.bytes]].concat();
        let error = read(&Ty::String.list(), &long, 1024).expect_err("an endless item");
        assert!(
            matches!(
                error,
                CodecError::TooLarge { .. } | CodecError::TooMuchMemory { .. }
            ),
            "{error}"
        );
    }
}
