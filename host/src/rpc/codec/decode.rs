//! Bytes to values, piece by piece.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use wasmtime::component::Val;

use super::encode::unit;
use super::frame::{Begun, Frame, Wrap, case, flags, heap_of};
use super::ty::Ty;
use super::wire::{
    CodecError, Limits, Path, Taken, take_array, take_char, take_signed, take_sized, take_tag,
    take_u8, take_unsigned,
};

/// Decodes the values of a tuple from bytes that hold all of it.
///
/// # Errors
/// [`CodecError`]; [`CodecError::Truncated`] when bytes are missing.
pub fn decode_all(types: &Arc<[Ty]>, bytes: &[u8], limits: Limits) -> Result<Vec<Val>, CodecError> {
    let mut decoder = Decoder::new(types, limits);
    decoder.feed(bytes)?;
    decoder.finish().map(|(values, _)| values)
}

/// Values, and the paths and types of the streams and futures among them that are pending.
pub type Decoded = (Vec<Val>, Vec<(Path, Ty)>);

/// A value being decoded. Its stack is explicit, so that it can stop at any byte and go on with
/// the next piece.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    buf: BytesMut,
    fed: usize,
    memory: usize,
    stack: Vec<Frame>,
    pending: Vec<(Path, Ty)>,
    done: Option<Vec<Val>>,
}

impl Decoder {
    /// A decoder for one tuple.
    #[must_use]
    pub fn new(types: &Arc<[Ty]>, limits: Limits) -> Self {
        let frame = Frame::Tuple {
            types: types.clone(),
            values: Vec::with_capacity(types.len()),
        };
        let mut decoder = Self {
            limits,
            buf: BytesMut::new(),
            fed: 0,
            memory: 0,
            stack: vec![frame],
            pending: Vec::new(),
            done: None,
        };
        if types.is_empty() {
            decoder.stack.clear();
            decoder.done = Some(Vec::new());
        }
        decoder
    }

    /// A decoder for one tuple that begins with bytes which are here already.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`] when those alone are too many.
    pub(crate) fn resume(
        types: &Arc<[Ty]>,
        limits: Limits,
        bytes: BytesMut,
    ) -> Result<Self, CodecError> {
        let limit = limits.bytes;
        if bytes.len() > limit {
            return Err(CodecError::TooLarge { limit });
        }
        Ok(Self {
            fed: bytes.len(),
            buf: bytes,
            ..Self::new(types, limits)
        })
    }

    /// Takes the next piece; true once the value is complete. Bytes after it are ignored.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are no value of the type or exceed a limit.
    pub fn feed(&mut self, piece: &[u8]) -> Result<bool, CodecError> {
        if self.done.is_some() {
            return Ok(true);
        }
        self.fed = self.fed.saturating_add(piece.len());
        if self.fed > self.limits.bytes {
            return Err(CodecError::TooLarge {
                limit: self.limits.bytes,
            });
        }
        self.buf.extend_from_slice(piece);
        while self.done.is_none() {
            if !self.step()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The values, with the paths and types of the streams and futures that are pending.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] when the value is not complete.
    pub fn finish(mut self) -> Result<Decoded, CodecError> {
        // Values that take no bytes are complete without any.
        self.feed(&[])?;
        self.done
            .map(|values| (values, self.pending))
            .ok_or(CodecError::Truncated)
    }

    /// The values, and the bytes after them.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] when the value is not complete.
    pub(crate) fn finish_with_rest(mut self) -> Result<(Vec<Val>, BytesMut), CodecError> {
        self.feed(&[])?;
        let values = self.done.ok_or(CodecError::Truncated)?;
        Ok((values, self.buf))
    }

    /// Reads one leaf or opens one level; false when bytes are missing.
    fn step(&mut self) -> Result<bool, CodecError> {
        self.bulk_bytes()?;
        let Some(ty) = self.stack.last().and_then(Frame::next) else {
            // The innermost list has all its items, taken in bulk or none to begin with.
            self.close()?;
            return Ok(true);
        };
        let Some((begun, used)) = self.begin(&ty)? else {
            return Ok(false);
        };
        self.buf.advance(used);
        match begun {
            Begun::Whole(value) => {
                self.charge(heap_of(&value))?;
                self.put(value)?;
            }
            Begun::Parts(frame) => {
                if self.stack.len() >= self.limits.depth {
                    return Err(CodecError::TooDeep {
                        limit: self.limits.depth,
                    });
                }
                self.stack.push(frame);
            }
        }
        Ok(true)
    }

    /// Takes as many items of an innermost `list<u8>` as are there.
    fn bulk_bytes(&mut self) -> Result<(), CodecError> {
        let Some(Frame::List {
            ty, left, items, ..
        }) = self.stack.last_mut()
        else {
            return Ok(());
        };
        let n = self.buf.len().min(*left as usize);
        if !matches!(**ty, Ty::U8) || n == 0 {
            return Ok(());
        }
        let memory = self
            .memory
            .saturating_add(n.saturating_mul(size_of::<Val>()));
        if memory > self.limits.memory {
            return Err(CodecError::TooMuchMemory {
                limit: self.limits.memory,
            });
        }
        self.memory = memory;
        items.extend(self.buf[..n].iter().map(|b| Val::U8(*b)));
        *left -= n as u32;
        self.buf.advance(n);
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), CodecError> {
        self.memory = self
            .memory
            .saturating_add(bytes)
            .saturating_add(size_of::<Val>());
        if self.memory > self.limits.memory {
            return Err(CodecError::TooMuchMemory {
                limit: self.limits.memory,
            });
        }
        Ok(())
    }

    /// Gives a value to the innermost level, and closes the levels that it completes.
    fn put(&mut self, value: Val) -> Result<(), CodecError> {
        let Some(frame) = self.stack.last_mut() else {
            return Ok(());
        };
        frame.push(value);
        if frame.is_complete() {
            self.close()
        } else {
            Ok(())
        }
    }

    /// Closes the innermost level, which is complete.
    fn close(&mut self) -> Result<(), CodecError> {
        while let Some(frame) = self.stack.pop() {
            if self.stack.is_empty() {
                if let Frame::Tuple { values, .. } = frame {
                    self.done = Some(values);
                }
                return Ok(());
            }
            self.charge(frame.heap())?;
            let value = frame.into_val();
            let Some(outer) = self.stack.last_mut() else {
                return Ok(());
            };
            outer.push(value);
            if !outer.is_complete() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The index path of the value that is read next.
    fn path(&self) -> Path {
        Path(self.stack.iter().flat_map(Frame::index).collect())
    }

    fn begin(&mut self, ty: &Ty) -> Taken<Begun> {
        let buf = &self.buf[..];
        let whole = |taken: Option<(Val, usize)>| taken.map(|(v, n)| (Begun::Whole(v), n));
        Ok(match ty {
            Ty::Bool => whole(take_tag(buf, "bool")?.map(|(v, n)| (Val::Bool(v), n))),
            Ty::S8 => whole(take_u8(buf)?.map(|(v, n)| (Val::S8(v as i8), n))),
            Ty::U8 => whole(take_u8(buf)?.map(|(v, n)| (Val::U8(v), n))),
            Ty::S16 => whole(take_signed(buf, 16)?.map(|(v, n)| (Val::S16(v as i16), n))),
            Ty::U16 => whole(take_unsigned(buf, 16)?.map(|(v, n)| (Val::U16(v as u16), n))),
            Ty::S32 => whole(take_signed(buf, 32)?.map(|(v, n)| (Val::S32(v as i32), n))),
            Ty::U32 => whole(take_unsigned(buf, 32)?.map(|(v, n)| (Val::U32(v as u32), n))),
            Ty::S64 => whole(take_signed(buf, 64)?.map(|(v, n)| (Val::S64(v), n))),
            Ty::U64 => whole(take_unsigned(buf, 64)?.map(|(v, n)| (Val::U64(v), n))),
            Ty::F32 => {
                whole(take_array(buf)?.map(|(v, n)| (Val::Float32(f32::from_le_bytes(v)), n)))
            }
            Ty::F64 => {
                whole(take_array(buf)?.map(|(v, n)| (Val::Float64(f64::from_le_bytes(v)), n)))
            }
            Ty::Char => whole(take_char(buf)?.map(|(v, n)| (Val::Char(v), n))),
            Ty::String => match take_sized(buf, self.limits.bytes)? {
                None => None,
                Some((range, used)) => {
                    let text = std::str::from_utf8(&buf[range]).map_err(|_| CodecError::BadUtf8)?;
                    Some((Begun::Whole(Val::String(text.to_owned())), used))
                }
            },
            Ty::Enum(names) => case(buf, "enum", names.len())?
                .map(|(i, n)| (Begun::Whole(Val::Enum(names[i].clone())), n)),
            Ty::Flags(names) => whole(flags(buf, names)?),
            _ => return self.begin_compound(ty),
        })
    }

    fn begin_compound(&mut self, ty: &Ty) -> Taken<Begun> {
        let buf = &self.buf[..];
        Ok(match ty {
            Ty::List(ty) => self.begin_list(ty)?,
            Ty::Resource => self.begin_list(&Arc::new(Ty::U8))?,
            Ty::FixedList(_, 0) => Some((Begun::Whole(Val::FixedLengthList(Vec::new())), 0)),
            Ty::FixedList(ty, n) => Some((Begun::Parts(Frame::list(ty.clone(), *n, true)), 0)),
            Ty::Map(types) => take_unsigned(buf, 32)?.map(|(n, used)| {
                let frame = Frame::Map {
                    types: types.clone(),
                    left: n as u32,
                    key: None,
                    entries: Vec::new(),
                };
                (
                    if n == 0 {
                        Begun::Whole(Val::Map(Vec::new()))
                    } else {
                        Begun::Parts(frame)
                    },
                    used,
                )
            }),
            Ty::Record(types) if types.is_empty() => Some((Begun::Whole(Val::Record(vec![])), 0)),
            Ty::Record(types) => {
                let fields = Vec::with_capacity(types.len());
                Some((
                    Begun::Parts(Frame::Record {
                        types: types.clone(),
                        fields,
                    }),
                    0,
                ))
            }
            Ty::Tuple(types) if types.is_empty() => Some((Begun::Whole(Val::Tuple(vec![])), 0)),
            Ty::Tuple(types) => {
                let values = Vec::with_capacity(types.len());
                Some((
                    Begun::Parts(Frame::Tuple {
                        types: types.clone(),
                        values,
                    }),
                    0,
                ))
            }
            Ty::Variant(cases) => case(buf, "variant", cases.len())?.map(|(i, used)| {
                let (name, ty) = &cases[i];
                let begun = match ty {
                    None => Begun::Whole(Val::Variant(name.clone(), None)),
                    Some(ty) => Begun::Parts(Frame::wrap(Wrap::Case(name.clone()), ty)),
                };
                (begun, used)
            }),
            _ => return self.begin_tagged(ty),
        })
    }

    /// Options, results, and what lives in a store.
    fn begin_tagged(&mut self, ty: &Ty) -> Taken<Begun> {
        let buf = &self.buf[..];
        Ok(match ty {
            Ty::Option(ty) => take_tag(buf, "option")?.map(|(some, used)| {
                let frame = || Begun::Parts(Frame::wrap(Wrap::Some, ty));
                (
                    if some {
                        frame()
                    } else {
                        Begun::Whole(Val::Option(None))
                    },
                    used,
                )
            }),
            Ty::Result(types) => take_tag(buf, "result")?.map(|(err, used)| {
                let (ty, frame) = if err {
                    (&types.1, Wrap::Err)
                } else {
                    (&types.0, Wrap::Ok)
                };
                let begun = match ty {
                    Some(ty) => Begun::Parts(Frame::wrap(frame, ty)),
                    None if err => Begun::Whole(Val::Result(Err(None))),
                    None => Begun::Whole(Val::Result(Ok(None))),
                };
                (begun, used)
            }),
            Ty::Stream(item) => {
                let item = item.clone().unwrap_or_else(|| Arc::new(unit()));
                let begun = self.begin_list(&item)?;
                if let Some((Begun::Whole(_), _)) = &begun {
                    self.pending.push((self.path(), ty.clone()));
                }
                begun
            }
            Ty::Future(item) => match take_tag(buf, "future")? {
                None => None,
                Some((false, used)) => {
                    self.pending.push((self.path(), ty.clone()));
                    Some((Begun::Whole(Val::Option(None)), used))
                }
                Some((true, used)) => {
                    let item = item.clone().unwrap_or_else(|| Arc::new(unit()));
                    Some((Begun::Parts(Frame::wrap(Wrap::Some, &item)), used))
                }
            },
            _ => return Err(CodecError::Unsupported { what: ty.kind() }),
        })
    }

    fn begin_list(&self, ty: &Arc<Ty>) -> Taken<Begun> {
        Ok(take_unsigned(&self.buf, 32)?.map(|(n, used)| match n {
            0 => (Begun::Whole(Val::List(Vec::new())), used),
            n => (Begun::Parts(Frame::list(ty.clone(), n as u32, false)), used),
        }))
    }
}
