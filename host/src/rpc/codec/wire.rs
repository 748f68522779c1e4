//! Primitives of the encoding: LEB128, characters, lengths, limits.

use std::fmt;

/// Why bytes are no value of the expected type, or a value has no encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a value.
    #[error("the data ends before the value is complete")]
    Truncated,
    /// More bytes than one value may have.
    #[error("the encoded value is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The decoded value would need more memory than allowed.
    #[error("the decoded value needs more than {limit} bytes of memory")]
    TooMuchMemory {
        /// The limit in bytes.
        limit: usize,
    },
    /// A type nested deeper than allowed.
    #[error("the type is nested deeper than {limit} levels")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// An integer does not fit its type.
    #[error("an integer does not fit into {bits} bits")]
    IntegerOverflow {
        /// Width of the type.
        bits: u32,
    },
    /// A byte that is neither 0 nor 1 where a bool, option or result begins.
    #[error("{found:#04x} is no valid tag of a {what}")]
    BadTag {
        /// `bool`, `option` or `result`.
        what: &'static str,
        /// The byte.
        found: u8,
    },
    /// Bytes that are no Unicode character.
    #[error("the bytes are no valid character")]
    BadChar,
    /// A string that is not UTF-8.
    #[error("a string is not valid UTF-8")]
    BadUtf8,
    /// A case index beyond the last case.
    #[error("case {index} of a {what} that has {cases} cases")]
    BadCase {
        /// `variant` or `enum`.
        what: &'static str,
        /// The index received.
        index: u32,
        /// How many cases there are.
        cases: usize,
    },
    /// Bits set that stand for no flag.
    #[error("flags are set that the type does not have")]
    BadFlags,
    /// A value that does not have the type it should be encoded as.
    #[error("expected a value of type {expected}, found {found}")]
    TypeMismatch {
        /// The type.
        expected: &'static str,
        /// The value's kind.
        found: &'static str,
    },
    /// A name that the type does not have.
    #[error("the type has no case, field or flag `{name}`")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// A type that cannot travel between hosts.
    #[error("values of type {what} cannot be sent to another host")]
    Unsupported {
        /// The type.
        what: &'static str,
    },
}

/// What one decoded value may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Encoded bytes.
    pub bytes: usize,
    /// Bytes of memory of the decoded value.
    pub memory: usize,
    /// Levels of nesting.
    pub depth: usize,
}

impl Default for Limits {
    /// 16 MiB encoded, 512 MiB decoded (a byte of a dynamic list takes some 40 bytes), 100 levels.
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            memory: 512 << 20,
            depth: 100,
        }
    }
}

/// Where in a parameter or result tuple something is: the index path of a stream or future.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(pub Vec<u32>);

impl Path {
    /// The path of one index after this one.
    #[must_use]
    pub fn then(&self, index: u32) -> Self {
        let mut path = self.0.clone();
        path.push(index);
        Self(path)
    }
}

impl From<&[u32]> for Path {
    fn from(path: &[u32]) -> Self {
        Self(path.to_vec())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, index) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            write!(f, "{index}")?;
        }
        Ok(())
    }
}

/// A value read from the front of a buffer and the bytes it took; `None` when bytes are missing.
pub(crate) type Taken<T> = Result<Option<(T, usize)>, CodecError>;

pub(super) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_signed(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        let sign = byte & 0x40 != 0;
        if (value == 0 && !sign) || (value == -1 && sign) {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// Reads an unsigned LEB128 of at most `bits` bits (at most 64).
pub(super) fn take_unsigned(buf: &[u8], bits: u32) -> Taken<u64> {
    let overflow = CodecError::IntegerOverflow { bits };
    let mut value = 0u64;
    for (i, byte) in buf.iter().enumerate() {
        let shift = 7 * i as u32;
        if shift >= bits {
            return Err(overflow);
        }
        let low = u64::from(byte & 0x7f);
        // The last group may hold fewer than seven bits of the type.
        if bits - shift < 7 && low >> (bits - shift) != 0 {
            return Err(overflow);
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return Ok(Some((value, i + 1)));
        }
    }
    if 7 * buf.len() as u32 >= bits && !buf.is_empty() {
        Err(overflow)
    } else {
        Ok(None)
    }
}

/// Reads a signed LEB128 of at most `bits` bits (at most 64).
pub(super) fn take_signed(buf: &[u8], bits: u32) -> Taken<i64> {
    let overflow = CodecError::IntegerOverflow { bits };
    let mut value = 0i128;
    for (i, byte) in buf.iter().enumerate() {
        let shift = 7 * i as u32;
        if shift >= bits {
            return Err(overflow);
        }
        value |= i128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if byte & 0x40 != 0 {
                value -= 1i128 << (shift + 7);
            }
            let (min, max) = (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1);
            return match i64::try_from(value) {
                Ok(v) if (min..=max).contains(&value) => Ok(Some((v, i + 1))),
                _ => Err(overflow),
            };
        }
    }
    if 7 * buf.len() as u32 >= bits && !buf.is_empty() {
        Err(overflow)
    } else {
        Ok(None)
    }
}

pub(super) fn take_u8(buf: &[u8]) -> Taken<u8> {
    Ok(buf.first().map(|b| (*b, 1)))
}

/// Reads a byte that must be 0 or 1.
pub(super) fn take_tag(buf: &[u8], what: &'static str) -> Taken<bool> {
    match buf.first() {
        None => Ok(None),
        Some(0) => Ok(Some((false, 1))),
        Some(1) => Ok(Some((true, 1))),
        Some(&found) => Err(CodecError::BadTag { what, found }),
    }
}

pub(super) fn take_array<const N: usize>(buf: &[u8]) -> Taken<[u8; N]> {
    Ok(buf.first_chunk::<N>().map(|b| (*b, N)))
}

/// Reads a character: its UTF-8 bytes, whose number the first one tells.
pub(super) fn take_char(buf: &[u8]) -> Taken<char> {
    let Some(first) = buf.first() else {
        return Ok(None);
    };
    let len = match first {
        0x00..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Err(CodecError::BadChar),
    };
    let Some(bytes) = buf.get(..len) else {
        return Ok(None);
    };
    let c = std::str::from_utf8(bytes)
        .ok()
        .and_then(|s| s.chars().next());
    c.map_or(Err(CodecError::BadChar), |c| Ok(Some((c, len))))
}

/// Reads a length and that many raw bytes; the range of the bytes in `buf`.
pub(super) fn take_sized(buf: &[u8], limit: usize) -> Taken<std::ops::Range<usize>> {
    let Some((len, used)) = take_unsigned(buf, 32)? else {
        return Ok(None);
    };
    let len = usize::try_from(len).map_err(|_| CodecError::TooLarge { limit })?;
    if len > limit {
        return Err(CodecError::TooLarge { limit });
    }
    let end = used + len;
    Ok((buf.len() >= end).then_some((used..end, end)))
}

/// Reads the length of a list.
pub(crate) fn take_len(buf: &[u8]) -> Taken<u32> {
    Ok(take_unsigned(buf, 32)?.map(|(len, used)| (len as u32, used)))
}
