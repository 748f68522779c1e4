//! Items of streams and futures, of any plain type.
//!
//! wasmtime reads and writes a stream's items as a Rust type that is known when the host is
//! compiled; of that type it uses the size and alignment, and the two functions that read an item
//! from a guest's memory and write it there. Here these functions follow the item's WIT type at
//! run time, so what remains to be known beforehand is the [`Layout`]. The traits involved are
//! public, but their methods are hidden in wasmtime's documentation: a new wasmtime needs a look at
//! this file and at `values.rs`.

use std::mem::MaybeUninit;

use bytes::Bytes;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext,
};
use wasmtime::component::{ComponentType, Lift, Lower, Type, Val, VecBuffer, WriteBuffer};
use wasmtime::{Result, bail, format_err};

use super::values;
use crate::capability::pipe::Piece;

/// Size and alignment of an item in a guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// There is no item: a stream or future without a type.
    Nothing,
    /// A byte.
    Byte,
    /// Anything else.
    Of {
        /// Bytes.
        size: u32,
        /// Bytes.
        align: u32,
    },
}

/// Runs `$body` with `$T` standing for the Rust type of items of a layout. Strings and lists count
/// as 8 bytes, wherever their content is: only large records are missing here.
macro_rules! with_items {
    ($layout:expr, $T:ident => $body:expr) => {
        $crate::runtime::item::with_items!(@ $layout, $T, $body,
            1 => 1 2 3 4 5 6 7 8,
            2 => 2 4 6 8 10 12,
            4 => 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60 64,
            8 => 8 16 24 32 40 48 56 64 72 80 88 96)
    };
    (@ $layout:expr, $T:ident, $body:expr, $($align:literal => $($size:literal)*),*) => {
        match $layout {
            $crate::runtime::item::Layout::Nothing => { type $T = (); $body }
            $crate::runtime::item::Layout::Byte => { type $T = u8; $body }
            $($($crate::runtime::item::Layout::Of { size: $size, align: $align } => {
                type $T = $crate::runtime::item::Item<$size, $align>;
                $body
            })*)*
            other => wasmtime::bail!("items of {other:?} do not travel"),
        }
    };
}
pub(super) use with_items;

impl Layout {
    /// The layout of items of this type.
    pub(super) fn of(ty: Option<&Type>) -> Self {
        match ty {
            None => Self::Nothing,
            Some(Type::U8) => Self::Byte,
            Some(ty) => {
                let (size, align) = size_align(ty);
                Self::Of { size, align }
            }
        }
    }

    /// Whether items of this layout travel.
    pub(super) fn travels(self) -> bool {
        fn known(layout: Layout) -> Result<()> {
            with_items!(layout, Known => {
                let _ = size_of::<Known>();
                Ok(())
            })
        }
        known(self).is_ok()
    }
}

/// Size and alignment of a plain type in a guest's memory.
fn size_align(ty: &Type) -> (u32, u32) {
    let fields = |types: &mut dyn Iterator<Item = Type>| {
        let (size, align) = types.fold((0, 1), |(size, align), ty| {
            let (own, own_align) = size_align(&ty);
            (
                up(size, own_align).saturating_add(own),
                align.max(own_align),
            )
        });
        (up(size, align), align)
    };
    match ty {
        Type::Bool | Type::S8 | Type::U8 => (1, 1),
        Type::S16 | Type::U16 => (2, 2),
        Type::S64 | Type::U64 | Type::Float64 => (8, 8),
        Type::String | Type::List(_) | Type::Map(_) => (8, 4),
        Type::Record(record) => fields(&mut record.fields().map(|field| field.ty)),
        Type::Tuple(tuple) => fields(&mut tuple.types()),
        Type::Variant(variant) => cases(variant.cases().map(|case| case.ty)),
        Type::Enum(names) => cases(names.names().map(|_| None)),
        Type::Option(option) => cases([None, Some(option.ty())].into_iter()),
        Type::Result(result) => cases([result.ok(), result.err()].into_iter()),
        Type::Flags(flags) => match flags.names().len() {
            0 => (0, 1),
            1..=8 => (1, 1),
            9..=16 => (2, 2),
            n => (
                u32::try_from(n.div_ceil(32))
                    .unwrap_or(u32::MAX)
                    .saturating_mul(4),
                4,
            ),
        },
        Type::FixedLengthList(list) => {
            let (size, align) = size_align(&list.ty());
            (size.saturating_mul(list.len()), align)
        }
        // Characters, 32 bits, and handles.
        _ => (4, 4),
    }
}

fn cases(types: impl ExactSizeIterator<Item = Option<Type>>) -> (u32, u32) {
    let tag = match types.len() {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    };
    let layouts = types.flatten().map(|ty| size_align(&ty));
    let (size, align) = layouts.fold((0, 1), |(size, align), (own, own_align)| {
        (size.max(own), align.max(own_align))
    });
    let all = align.max(tag);
    (up(up(tag, align).saturating_add(size), all), all)
}

fn up(size: u32, align: u32) -> u32 {
    size.checked_next_multiple_of(align).unwrap_or(u32::MAX)
}

/// What a stream's or future's items are for wasmtime.
pub(super) trait Element: Lift + Lower + Sized + Send + Sync + 'static {
    /// Where items wait until the guest has taken all.
    type Buffer: WriteBuffer<Self> + Default;

    /// Items for the other end.
    fn pack(items: Vec<Self>) -> Piece;

    /// Items from the other end.
    fn unpack(piece: Piece) -> Result<Vec<Self>>;

    /// The same, ready to be taken by the guest.
    fn buffer(piece: Piece) -> Result<Self::Buffer>;
}

impl Element for () {
    type Buffer = VecBuffer<()>;

    fn pack(items: Vec<()>) -> Piece {
        Piece::Items(items.iter().map(|()| Val::Tuple(Vec::new())).collect())
    }

    fn unpack(piece: Piece) -> Result<Vec<()>> {
        match piece {
            Piece::Items(items) => Ok(vec![(); items.len()]),
            Piece::Bytes(_) => bail!("bytes where nothing was expected"),
        }
    }

    fn buffer(piece: Piece) -> Result<VecBuffer<()>> {
        Self::unpack(piece).map(VecBuffer::from)
    }
}

impl Element for u8 {
    type Buffer = Bytes;

    fn pack(items: Vec<u8>) -> Piece {
        Piece::Bytes(items.into())
    }

    fn unpack(piece: Piece) -> Result<Vec<u8>> {
        Self::buffer(piece).map(Vec::from)
    }

    fn buffer(piece: Piece) -> Result<Bytes> {
        let byte = |item| match item {
            Val::U8(byte) => Ok(byte),
            _ => Err(format_err!("an item is no byte")),
        };
        match piece {
            Piece::Bytes(bytes) => Ok(bytes),
            Piece::Items(items) => items.into_iter().map(byte).collect(),
        }
    }
}

/// An item of so many bytes with this alignment.
pub(super) struct Item<const SIZE: u32, const ALIGN: u32>(Val);

impl<const SIZE: u32, const ALIGN: u32> Element for Item<SIZE, ALIGN> {
    type Buffer = VecBuffer<Self>;

    fn pack(items: Vec<Self>) -> Piece {
        Piece::Items(items.into_iter().map(|item| item.0).collect())
    }

    fn unpack(piece: Piece) -> Result<Vec<Self>> {
        match piece {
            Piece::Items(items) => Ok(items.into_iter().map(Self).collect()),
            Piece::Bytes(_) => bail!("bytes where other items were expected"),
        }
    }

    fn buffer(piece: Piece) -> Result<VecBuffer<Self>> {
        Self::unpack(piece).map(VecBuffer::from)
    }
}

// SAFETY: the type is only used as the item of a stream or future, where values lie in memory:
// `typecheck` takes exactly the types of this size and alignment, the functions below go through
// bounds-checked accesses of wasmtime alone, and the flat form, which nothing asks for, is refused.
// `Lower` is an empty array of plain numbers, which is `Copy` and has no invalid bytes.
#[allow(
    unsafe_code,
    reason = "no safe way to items whose type is known at run time only"
)]
unsafe impl<const SIZE: u32, const ALIGN: u32> ComponentType for Item<SIZE, ALIGN> {
    type Lower = [wasmtime::ValRaw; 0];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo {
        size32: SIZE,
        align32: ALIGN,
        size64: SIZE,
        align64: ALIGN,
        flat_count: None,
    };

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        let abi = types.types.canonical_abi(ty);
        if (abi.size32, abi.align32) != (SIZE, ALIGN) {
            bail!("an item of {} bytes where {SIZE} were expected", abi.size32);
        }
        Ok(())
    }
}

// SAFETY: as above.
#[allow(
    unsafe_code,
    reason = "no safe way to items whose type is known at run time only"
)]
unsafe impl<const SIZE: u32, const ALIGN: u32> Lift for Item<SIZE, ALIGN> {
    fn linear_lift_from_flat(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &Self::Lower,
    ) -> Result<Self> {
        bail!("items of streams lie in memory")
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> Result<Self> {
        values::load(cx, ty, bytes).map(Self)
    }
}

// SAFETY: as above.
#[allow(
    unsafe_code,
    reason = "no safe way to items whose type is known at run time only"
)]
unsafe impl<const SIZE: u32, const ALIGN: u32> Lower for Item<SIZE, ALIGN> {
    fn linear_lower_to_flat<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        bail!("items of streams lie in memory")
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> Result<()> {
        values::store(cx, ty, &self.0, offset)
    }
}
