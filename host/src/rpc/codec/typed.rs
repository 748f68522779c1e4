//! The encoding of Rust types that stand for WIT types.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::wire::{CodecError, put_unsigned, take_sized, take_tag, take_u8, take_unsigned};

/// A Rust type with a WIT type's encoding.
pub trait Wire: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads a value.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] when bytes are missing, else what is wrong with them.
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError>;
}

/// Encodes a value.
#[must_use]
pub fn encode_to_vec<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// Reads a value from the front of bytes; `None` when more are needed, else the value and the
/// number of bytes it took.
///
/// # Errors
/// [`CodecError`] when the bytes are no value of the type.
pub fn decode_from<T: Wire>(bytes: &[u8]) -> Result<Option<(T, usize)>, CodecError> {
    let mut reader = Reader::new(bytes);
    match T::take(&mut reader) {
        Ok(value) => Ok(Some((value, reader.at))),
        Err(CodecError::Truncated) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Bytes being read.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn with<T>(
        &mut self,
        take: impl FnOnce(&'a [u8]) -> Result<Option<(T, usize)>, CodecError>,
    ) -> Result<T, CodecError> {
        let (value, used) = take(&self.bytes[self.at..])?.ok_or(CodecError::Truncated)?;
        self.at += used;
        Ok(value)
    }

    /// Reads an unsigned integer of at most `bits` bits.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn unsigned(&mut self, bits: u32) -> Result<u64, CodecError> {
        self.with(|b| take_unsigned(b, bits))
    }

    /// Reads a case index below `cases`.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn case(&mut self, cases: u32) -> Result<u32, CodecError> {
        match self.unsigned(32)? as u32 {
            index if index < cases => Ok(index),
            index => Err(CodecError::BadCase {
                what: "variant",
                index,
                cases: cases as usize,
            }),
        }
    }

    /// Reads the 0 or 1 that begins an option or result.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn tag(&mut self, what: &'static str) -> Result<bool, CodecError> {
        self.with(|b| take_tag(b, what))
    }

    /// Reads a length and that many bytes.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn sized(&mut self) -> Result<&'a [u8], CodecError> {
        self.with(|b| Ok(take_sized(b, usize::MAX)?.map(|(range, used)| (&b[range], used))))
    }
}

/// Appends the 0 of an ok or none, the 1 of an err or some.
pub(crate) fn put_tag(out: &mut Vec<u8>, one: bool) {
    out.push(u8::from(one));
}

/// Appends a case index.
pub(crate) fn put_case(out: &mut Vec<u8>, index: u32) {
    put_unsigned(out, u64::from(index));
}

/// Appends the length of a list.
pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_unsigned(out, len as u64);
}

impl Wire for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn take(_: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(())
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        put_tag(out, *self);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        from.tag("bool")
    }
}

impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        from.with(take_u8)
    }
}

macro_rules! unsigned {
    ($($ty:ty),*) => {$(
        impl Wire for $ty {
            fn put(&self, out: &mut Vec<u8>) {
                put_unsigned(out, u64::from(*self));
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
                Ok(from.unsigned(<$ty>::BITS)? as $ty)
            }
        }
    )*};
}
unsigned!(u16, u32, u64);

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_unsigned(out, self.len() as u64);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let bytes = from.sized()?;
        let text = std::str::from_utf8(bytes).map_err(|_| CodecError::BadUtf8)?;
        Ok(text.to_owned())
    }
}

/// `list<u8>`.
impl Wire for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        put_unsigned(out, self.len() as u64);
        out.extend_from_slice(self);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        from.sized().map(Self::copy_from_slice)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_unsigned(out, self.len() as u64);
        for item in self {
            item.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        // Every item of the types used here takes a byte or more, so what the list can cost is
        // bounded by the bytes that are there, not by the length that the sender claims.
        let len = from.unsigned(32)? as usize;
        if len > from.bytes.len() - from.at {
            return Err(CodecError::Truncated);
        }
        (0..len).map(|_| T::take(from)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_tag(out, self.is_some());
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        from.tag("option")?.then(|| T::take(from)).transpose()
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, out: &mut Vec<u8>) {
        put_tag(out, self.is_err());
        match self {
            Ok(value) => value.put(out),
            Err(value) => value.put(out),
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(if from.tag("result")? {
            Err(E::take(from)?)
        } else {
            Ok(T::take(from)?)
        })
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),*) => {
        impl<$($name: Wire),*> Wire for ($($name,)*) {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$index.put(out);)*
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
                Ok(($($name::take(from)?,)*))
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

/// `list<tuple<K, V>>`.
impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_unsigned(out, self.len() as u64);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Vec::<(K, V)>::take(from)?.into_iter().collect())
    }
}
