//! Values to bytes.

use std::sync::Arc;

use wasmtime::component::Val;

use super::ty::Ty;
use super::wire::{CodecError, Path, put_signed, put_unsigned};

/// Encodes the values of a tuple (parameters or results), without streams or futures to follow.
///
/// # Errors
/// [`CodecError`] when a value is not of its type.
pub fn encode_all(types: &[Ty], values: &[Val]) -> Result<Vec<u8>, CodecError> {
    let mut encoder = Encoder::default();
    encoder.tuple(types, values)?;
    Ok(encoder.bytes)
}

/// Collects encoded bytes and the paths of the streams and futures left pending in them.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The bytes so far.
    pub bytes: Vec<u8>,
    /// Streams and futures whose data follows on their index path.
    pub pending: Vec<(Path, Ty)>,
    path: Vec<u32>,
}

impl Encoder {
    /// Encodes the values of a tuple.
    ///
    /// # Errors
    /// [`CodecError`] when a value is not of its type.
    pub fn tuple(&mut self, types: &[Ty], values: &[Val]) -> Result<(), CodecError> {
        if types.len() != values.len() {
            return Err(CodecError::TypeMismatch {
                expected: "tuple",
                found: "tuple",
            });
        }
        for (i, (ty, value)) in types.iter().zip(values).enumerate() {
            self.at(i, |e| e.value(ty, value))?;
        }
        Ok(())
    }

    fn at(
        &mut self,
        index: usize,
        encode: impl FnOnce(&mut Self) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        self.path.push(index as u32);
        let result = encode(self);
        self.path.pop();
        result
    }

    /// Encodes one value.
    ///
    /// # Errors
    /// [`CodecError`] when it is not of the type.
    pub fn value(&mut self, ty: &Ty, value: &Val) -> Result<(), CodecError> {
        let out = &mut self.bytes;
        match (ty, value) {
            (Ty::Bool, Val::Bool(v)) => out.push(u8::from(*v)),
            (Ty::S8, Val::S8(v)) => out.push(*v as u8),
            (Ty::U8, Val::U8(v)) => out.push(*v),
            (Ty::S16, Val::S16(v)) => put_signed(out, i64::from(*v)),
            (Ty::U16, Val::U16(v)) => put_unsigned(out, u64::from(*v)),
            (Ty::S32, Val::S32(v)) => put_signed(out, i64::from(*v)),
            (Ty::U32, Val::U32(v)) => put_unsigned(out, u64::from(*v)),
            (Ty::S64, Val::S64(v)) => put_signed(out, *v),
            (Ty::U64, Val::U64(v)) => put_unsigned(out, *v),
            (Ty::F32, Val::Float32(v)) => out.extend_from_slice(&v.to_le_bytes()),
            (Ty::F64, Val::Float64(v)) => out.extend_from_slice(&v.to_le_bytes()),
            (Ty::Char, Val::Char(v)) => {
                out.extend_from_slice(v.encode_utf8(&mut [0; 4]).as_bytes());
            }
            (Ty::String, Val::String(v)) => {
                self.len(v.len())?;
                self.bytes.extend_from_slice(v.as_bytes());
            }
            (Ty::Enum(names), Val::Enum(name)) => {
                let index = position(names.iter(), name)?;
                put_unsigned(out, index as u64);
            }
            (Ty::Flags(names), Val::Flags(set)) => self.flags(names, set)?,
            _ => return self.compound(ty, value),
        }
        Ok(())
    }

    fn compound(&mut self, ty: &Ty, value: &Val) -> Result<(), CodecError> {
        match (ty, value) {
            (Ty::List(ty), Val::List(items)) => self.list(ty, items),
            (Ty::FixedList(ty, n), Val::FixedLengthList(items)) if items.len() == *n as usize => {
                self.items(ty, items)
            }
            (Ty::Map(kv), Val::Map(entries)) => {
                self.len(entries.len())?;
                for (i, (k, v)) in entries.iter().enumerate() {
                    self.at(i, |e| {
                        e.at(0, |e| e.value(&kv.0, k))?;
                        e.at(1, |e| e.value(&kv.1, v))
                    })?;
                }
                Ok(())
            }
            (Ty::Record(types), Val::Record(fields)) if types.len() == fields.len() => {
                for (i, ((name, ty), (field, value))) in types.iter().zip(fields).enumerate() {
                    if name != field {
                        return Err(CodecError::NoSuchName {
                            name: field.clone(),
                        });
                    }
                    self.at(i, |e| e.value(ty, value))?;
                }
                Ok(())
            }
            (Ty::Tuple(types), Val::Tuple(values)) => self.tuple(types, values),
            (Ty::Variant(cases), Val::Variant(name, payload)) => {
                let index = position(cases.iter().map(|(name, _)| name), name)?;
                put_unsigned(&mut self.bytes, index as u64);
                self.payload(cases[index].1.as_ref(), payload.as_deref())
            }
            (Ty::Option(ty), Val::Option(value)) => match value {
                None => {
                    self.bytes.push(0);
                    Ok(())
                }
                Some(value) => {
                    self.bytes.push(1);
                    self.value(ty, value)
                }
            },
            (Ty::Result(types), Val::Result(value)) => match value {
                Ok(value) => {
                    self.bytes.push(0);
                    self.payload(types.0.as_ref(), value.as_deref())
                }
                Err(value) => {
                    self.bytes.push(1);
                    self.payload(types.1.as_ref(), value.as_deref())
                }
            },
            _ => self.wire_form(ty, value),
        }
    }

    /// Types whose values live in a store, in the form they take between hosts.
    fn wire_form(&mut self, ty: &Ty, value: &Val) -> Result<(), CodecError> {
        match (ty, value) {
            (Ty::Resource, Val::List(bytes)) => self.list(&Ty::U8, bytes),
            (Ty::Stream(item), Val::List(items)) => {
                if items.is_empty() {
                    self.pending.push((Path(self.path.clone()), ty.clone()));
                }
                self.list(item.as_deref().unwrap_or(&unit()), items)
            }
            (Ty::Future(item), Val::Option(value)) => {
                match value {
                    None => {
                        self.pending.push((Path(self.path.clone()), ty.clone()));
                        self.bytes.push(0);
                    }
                    Some(value) => {
                        self.bytes.push(1);
                        self.value(item.as_deref().unwrap_or(&unit()), value)?;
                    }
                }
                Ok(())
            }
            _ => Err(CodecError::TypeMismatch {
                expected: ty.kind(),
                found: kind_of(value),
            }),
        }
    }

    fn list(&mut self, ty: &Ty, items: &[Val]) -> Result<(), CodecError> {
        self.len(items.len())?;
        self.items(ty, items)
    }

    fn items(&mut self, ty: &Ty, items: &[Val]) -> Result<(), CodecError> {
        if matches!(ty, Ty::U8) {
            self.bytes.reserve(items.len());
            for item in items {
                let Val::U8(byte) = item else {
                    return Err(CodecError::TypeMismatch {
                        expected: "u8",
                        found: kind_of(item),
                    });
                };
                self.bytes.push(*byte);
            }
            return Ok(());
        }
        for (i, item) in items.iter().enumerate() {
            self.at(i, |e| e.value(ty, item))?;
        }
        Ok(())
    }

    fn payload(&mut self, ty: Option<&Ty>, value: Option<&Val>) -> Result<(), CodecError> {
        match (ty, value) {
            (None, None) => Ok(()),
            (Some(ty), Some(value)) => self.value(ty, value),
            (Some(ty), None) => Err(CodecError::TypeMismatch {
                expected: ty.kind(),
                found: "nothing",
            }),
            (None, Some(value)) => Err(CodecError::TypeMismatch {
                expected: "nothing",
                found: kind_of(value),
            }),
        }
    }

    fn flags(&mut self, names: &[String], set: &[String]) -> Result<(), CodecError> {
        let start = self.bytes.len();
        self.bytes.resize(start + names.len().div_ceil(8), 0);
        for flag in set {
            let bit = position(names.iter(), flag)?;
            self.bytes[start + bit / 8] |= 1 << (bit % 8);
        }
        Ok(())
    }

    fn len(&mut self, len: usize) -> Result<(), CodecError> {
        let len = u32::try_from(len).map_err(|_| CodecError::TooLarge {
            limit: u32::MAX as usize,
        })?;
        put_unsigned(&mut self.bytes, u64::from(len));
        Ok(())
    }
}

/// The type of the elements of a stream or future without a payload: takes no bytes.
pub(super) fn unit() -> Ty {
    Ty::Tuple(Arc::new([]))
}

fn position<'a>(
    mut names: impl Iterator<Item = &'a String>,
    name: &str,
) -> Result<usize, CodecError> {
    let found = names.position(|n| n == name);
    found.ok_or_else(|| CodecError::NoSuchName {
        name: name.to_owned(),
    })
}

fn kind_of(value: &Val) -> &'static str {
    match value {
        Val::Bool(_) => "bool",
        Val::S8(_) => "s8",
        Val::U8(_) => "u8",
        Val::S16(_) => "s16",
        Val::U16(_) => "u16",
        Val::S32(_) => "s32",
        Val::U32(_) => "u32",
        Val::S64(_) => "s64",
        Val::U64(_) => "u64",
        Val::Float32(_) => "f32",
        Val::Float64(_) => "f64",
        Val::Char(_) => "char",
        Val::String(_) => "string",
        Val::List(_) | Val::FixedLengthList(_) => "list",
        Val::Map(_) => "map",
        Val::Record(_) => "record",
        Val::Tuple(_) => "tuple",
        Val::Variant(..) => "variant",
        Val::Enum(_) => "enum",
        Val::Option(_) => "option",
        Val::Result(_) => "result",
        Val::Flags(_) => "flags",
        Val::Resource(_) => "resource",
        Val::Future(_) => "future",
        Val::Stream(_) => "stream",
        Val::ErrorContext(_) => "error-context",
    }
}
