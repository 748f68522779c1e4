//! The levels of a value being decoded.

use std::sync::Arc;

use wasmtime::component::Val;

use super::ty::Ty;
use super::wire::{CodecError, Taken, take_unsigned};

/// A value with parts, of which some are there. Each knows at least one part yet to come.
#[derive(Debug)]
pub(super) enum Frame {
    Tuple {
        types: Arc<[Ty]>,
        values: Vec<Val>,
    },
    Record {
        types: Arc<[(String, Ty)]>,
        fields: Vec<(String, Val)>,
    },
    List {
        ty: Arc<Ty>,
        left: u32,
        fixed: bool,
        items: Vec<Val>,
    },
    Map {
        types: Arc<(Ty, Ty)>,
        left: u32,
        key: Option<Val>,
        entries: Vec<(Val, Val)>,
    },
    Wrap {
        wrap: Wrap,
        ty: Ty,
        value: Option<Val>,
    },
}

/// What goes around a single value without taking part in index paths.
#[derive(Debug)]
pub(super) enum Wrap {
    Case(String),
    Some,
    Ok,
    Err,
}

/// What reading the start of a value gave.
pub(super) enum Begun {
    Whole(Val),
    Parts(Frame),
}

/// Values a list reserves room for before it has seen any: its length is a claim of the sender.
const RESERVE_MAX: usize = 1024;

impl Frame {
    pub(super) fn list(ty: Arc<Ty>, left: u32, fixed: bool) -> Self {
        let items = Vec::with_capacity(RESERVE_MAX.min(left as usize));
        Self::List {
            ty,
            left,
            fixed,
            items,
        }
    }

    pub(super) fn wrap(wrap: Wrap, ty: &Ty) -> Self {
        Self::Wrap {
            wrap,
            ty: ty.clone(),
            value: None,
        }
    }

    /// The type of the part that comes next; `None` when all are there.
    pub(super) fn next(&self) -> Option<Ty> {
        match self {
            Self::Tuple { types, values } => types.get(values.len()).cloned(),
            Self::Record { types, fields } => types.get(fields.len()).map(|(_, ty)| ty.clone()),
            Self::List { left: 0, .. } | Self::Map { left: 0, .. } => None,
            Self::List { ty, .. } => Some((**ty).clone()),
            Self::Map {
                types, key: None, ..
            } => Some(types.0.clone()),
            Self::Map { types, .. } => Some(types.1.clone()),
            Self::Wrap { value: Some(_), .. } => None,
            Self::Wrap { ty, .. } => Some(ty.clone()),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Tuple { types, values } => types.len() == values.len(),
            Self::Record { types, fields } => types.len() == fields.len(),
            Self::List { left, .. } | Self::Map { left, .. } => *left == 0,
            Self::Wrap { value, .. } => value.is_some(),
        }
    }

    pub(super) fn push(&mut self, value: Val) {
        match self {
            Self::Tuple { values, .. } => values.push(value),
            Self::Record { types, fields } => {
                if let Some((name, _)) = types.get(fields.len()) {
                    fields.push((name.clone(), value));
                }
            }
            Self::List { left, items, .. } => {
                items.push(value);
                *left = left.saturating_sub(1);
            }
            Self::Map {
                left, key, entries, ..
            } => match key.take() {
                None => *key = Some(value),
                Some(k) => {
                    entries.push((k, value));
                    *left = left.saturating_sub(1);
                }
            },
            Self::Wrap { value: slot, .. } => *slot = Some(value),
        }
    }

    /// This level's part of the index path of what comes next.
    pub(super) fn index(&self) -> Vec<u32> {
        match self {
            Self::Tuple { values, .. } => vec![values.len() as u32],
            Self::Record { fields, .. } => vec![fields.len() as u32],
            Self::List { items, .. } => vec![items.len() as u32],
            Self::Map { key, entries, .. } => vec![entries.len() as u32, u32::from(key.is_some())],
            Self::Wrap { .. } => Vec::new(),
        }
    }

    /// Memory that this level takes beside its parts.
    pub(super) fn heap(&self) -> usize {
        match self {
            Self::Record { types, .. } => types
                .iter()
                .map(|(name, _)| name.len() + size_of::<String>())
                .sum(),
            Self::Wrap {
                wrap: Wrap::Case(name),
                ..
            } => name.len(),
            _ => 0,
        }
    }

    /// The value, all parts being there.
    pub(super) fn into_val(self) -> Val {
        match self {
            Self::Tuple { values, .. } => Val::Tuple(values),
            Self::Record { fields, .. } => Val::Record(fields),
            Self::List {
                fixed: true, items, ..
            } => Val::FixedLengthList(items),
            Self::List { items, .. } => Val::List(items),
            Self::Map { entries, .. } => Val::Map(entries),
            Self::Wrap { wrap, value, .. } => {
                let value = value.map(Box::new);
                match wrap {
                    Wrap::Case(name) => Val::Variant(name, value),
                    Wrap::Some => Val::Option(value),
                    Wrap::Ok => Val::Result(Ok(value)),
                    Wrap::Err => Val::Result(Err(value)),
                }
            }
        }
    }
}

/// Memory that a value without parts takes beside the `Val` itself.
pub(super) fn heap_of(value: &Val) -> usize {
    match value {
        Val::String(s) | Val::Enum(s) | Val::Variant(s, _) => s.len(),
        Val::Flags(names) => names.iter().map(|n| n.len() + size_of::<String>()).sum(),
        _ => 0,
    }
}

/// Reads a case index and checks it.
pub(super) fn case(buf: &[u8], what: &'static str, cases: usize) -> Taken<usize> {
    let Some((index, used)) = take_unsigned(buf, 32)? else {
        return Ok(None);
    };
    if index >= cases as u64 {
        return Err(CodecError::BadCase {
            what,
            index: index as u32,
            cases,
        });
    }
    Ok(Some((index as usize, used)))
}

/// Reads flags: bit i of the little-endian bytes is flag i.
pub(super) fn flags(buf: &[u8], names: &[String]) -> Taken<Val> {
    let used = names.len().div_ceil(8);
    let Some(bytes) = buf.get(..used) else {
        return Ok(None);
    };
    let is_set = |i: usize| bytes[i / 8] & (1 << (i % 8)) != 0;
    if (names.len()..8 * used).any(is_set) {
        return Err(CodecError::BadFlags);
    }
    let set = names
        .iter()
        .enumerate()
        .filter(|(i, _)| is_set(*i))
        .map(|(_, n)| n.clone());
    Ok(Some((Val::Flags(set.collect()), used)))
}
