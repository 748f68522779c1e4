//! Values in a guest's memory, by their type: what wasmtime's own `Val` does for parameters, for the
//! items of streams and futures.
//!
//! Every access is checked against the memory's bounds, and what a guest makes the host allocate is
//! charged to the call's budget, as wasmtime does.

use wasmtime::component::__internal::wasmtime_environ::component::{
    RecordField, TypeMapIndex, VariantInfo,
};
use wasmtime::component::__internal::{ComponentTypes, InterfaceType, LiftContext, LowerContext};
use wasmtime::component::{Lift, Lower, Val};
use wasmtime::{Result, bail, format_err};

/// A part of some bytes; what is not there is an error.
fn part(bytes: &[u8], at: usize, size: usize) -> Result<&[u8]> {
    let end = at.checked_add(size);
    end.and_then(|end| bytes.get(at..end))
        .ok_or_else(|| format_err!("a value reaches beyond its memory"))
}

fn size_of_type(types: &ComponentTypes, ty: &InterfaceType) -> usize {
    types.canonical_abi(ty).size32 as usize
}

/// Reads a value from a guest's memory.
pub(super) fn load(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> Result<Val> {
    use InterfaceType as I;
    Ok(match ty {
        I::Bool => Val::Bool(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::S8 => Val::S8(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::U8 => Val::U8(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::S16 => Val::S16(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::U16 => Val::U16(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::S32 => Val::S32(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::U32 => Val::U32(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::S64 => Val::S64(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::U64 => Val::U64(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::Float32 => Val::Float32(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::Float64 => Val::Float64(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::Char => Val::Char(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::String => Val::String(Lift::linear_lift_from_memory(cx, ty, bytes)?),
        I::List(i) => {
            let (at, len) = pointer(bytes)?;
            let element = cx.types[i].element;
            let align = cx.types.canonical_abi(&element).align32 as usize;
            Val::List(load_many(cx, element, at, len, align)?)
        }
        I::Map(i) => load_map(cx, i, bytes)?,
        _ => return load_compound(cx, ty, bytes),
    })
}

fn load_compound(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> Result<Val> {
    use InterfaceType as I;
    let types = cx.types.clone();
    Ok(match ty {
        I::Record(i) => {
            let fields = &types[i].fields;
            let values = load_fields(cx, &types, fields.iter().map(|field| field.ty), bytes)?;
            let names = fields.iter().map(|field| field.name.clone());
            Val::Record(names.zip(values).collect())
        }
        I::Tuple(i) => Val::Tuple(load_fields(
            cx,
            &types,
            types[i].types.iter().copied(),
            bytes,
        )?),
        I::Variant(i) => {
            let variant = &types[i];
            let case = |n| variant.cases.get_index(n);
            let n = tag(&variant.info, bytes)?;
            let (name, ty) = case(n).ok_or_else(|| no_case(n))?;
            Val::Variant(
                name.clone(),
                load_case(cx, &types, &variant.info, *ty, bytes)?,
            )
        }
        I::Enum(i) => {
            let n = tag(&types[i].info, bytes)?;
            Val::Enum(
                types[i]
                    .names
                    .iter()
                    .nth(n)
                    .ok_or_else(|| no_case(n))?
                    .clone(),
            )
        }
        I::Option(i) => {
            let option = &types[i];
            match tag(&option.info, bytes)? {
                0 => Val::Option(None),
                1 => Val::Option(load_case(cx, &types, &option.info, Some(option.ty), bytes)?),
                n => return Err(no_case(n)),
            }
        }
        I::Result(i) => {
            let result = &types[i];
            match tag(&result.info, bytes)? {
                0 => Val::Result(Ok(load_case(cx, &types, &result.info, result.ok, bytes)?)),
                1 => Val::Result(Err(load_case(cx, &types, &result.info, result.err, bytes)?)),
                n => return Err(no_case(n)),
            }
        }
        I::Flags(i) => {
            let is_set = |n: usize| {
                bytes
                    .get(n / 8)
                    .is_some_and(|byte| byte & (1 << (n % 8)) != 0)
            };
            let names = types[i].names.iter().enumerate();
            Val::Flags(
                names
                    .filter(|(n, _)| is_set(*n))
                    .map(|(_, name)| name.clone())
                    .collect(),
            )
        }
        I::FixedLengthList(i) => {
            let list = &types[i];
            let items = std::iter::repeat_n(list.element, list.size as usize);
            Val::FixedLengthList(load_fields(cx, &types, items, bytes)?)
        }
        _ => bail!("a stream holds handles, which do not travel"),
    })
}

/// Address and length of a string's or list's content.
fn pointer(bytes: &[u8]) -> Result<(usize, usize)> {
    let number = |at| -> Result<usize> {
        let bytes: [u8; 4] = part(bytes, at, 4)?.try_into()?;
        Ok(u32::from_le_bytes(bytes) as usize)
    };
    Ok((number(0)?, number(4)?))
}

fn load_many(
    cx: &mut LiftContext<'_>,
    ty: InterfaceType,
    at: usize,
    len: usize,
    align: usize,
) -> Result<Vec<Val>> {
    let size = size_of_type(cx.types, &ty);
    let bytes = len
        .checked_mul(size)
        .ok_or_else(|| format_err!("a list is too long"))?;
    if !at.is_multiple_of(align) {
        bail!("a list is not aligned");
    }
    let content = part(cx.memory(), at, bytes)?;
    // Items without size cost no guest memory, but host memory all the same.
    cx.consume_fuel_array(len, size_of::<Val>())?;
    (0..len)
        .map(|n| load(cx, ty, part(content, n * size, size)?))
        .collect()
}

fn load_map(cx: &mut LiftContext<'_>, i: TypeMapIndex, bytes: &[u8]) -> Result<Val> {
    let types = cx.types.clone();
    let map = &types[i];
    let (at, len) = pointer(bytes)?;
    let size = map.entry_abi.size32 as usize;
    let all = len
        .checked_mul(size)
        .ok_or_else(|| format_err!("a map is too long"))?;
    if !at.is_multiple_of(map.entry_abi.align32 as usize) {
        bail!("a map is not aligned");
    }
    let content = part(cx.memory(), at, all)?;
    cx.consume_fuel_array(len, 2 * size_of::<Val>())?;
    let (key, value) = (
        size_of_type(&types, &map.key),
        size_of_type(&types, &map.value),
    );
    let entry = |n: usize| {
        let entry = part(content, n * size, size)?;
        Ok((
            load(cx, map.key, part(entry, 0, key)?)?,
            load(
                cx,
                map.value,
                part(entry, map.value_offset32 as usize, value)?,
            )?,
        ))
    };
    (0..len).map(entry).collect::<Result<_>>().map(Val::Map)
}

fn load_fields(
    cx: &mut LiftContext<'_>,
    types: &ComponentTypes,
    fields: impl ExactSizeIterator<Item = InterfaceType>,
    bytes: &[u8],
) -> Result<Vec<Val>> {
    cx.consume_fuel_array(fields.len(), size_of::<Val>())?;
    let mut offset = 0;
    fields
        .map(|ty| {
            let abi = types.canonical_abi(&ty);
            let at = abi.next_field32_size(&mut offset);
            load(cx, ty, part(bytes, at, abi.size32 as usize)?)
        })
        .collect()
}

fn load_case(
    cx: &mut LiftContext<'_>,
    types: &ComponentTypes,
    info: &VariantInfo,
    ty: Option<InterfaceType>,
    bytes: &[u8],
) -> Result<Option<Box<Val>>> {
    let Some(ty) = ty else { return Ok(None) };
    cx.consume_fuel(size_of::<Val>())?;
    let payload = part(
        bytes,
        info.payload_offset32 as usize,
        size_of_type(types, &ty),
    )?;
    load(cx, ty, payload).map(|value| Some(Box::new(value)))
}

fn tag(info: &VariantInfo, bytes: &[u8]) -> Result<usize> {
    let mut number = [0; 4];
    let size = info.size.byte_size() as usize;
    number[..size].copy_from_slice(part(bytes, 0, size)?);
    Ok(u32::from_le_bytes(number) as usize)
}

fn no_case(n: usize) -> wasmtime::Error {
    format_err!("a value has case {n}, which its type does not have")
}

/// Writes a value into a guest's memory.
pub(super) fn store<T>(
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    value: &Val,
    at: usize,
) -> Result<()> {
    use InterfaceType as I;
    match (ty, value) {
        (I::Bool, Val::Bool(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::S8, Val::S8(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::U8, Val::U8(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::S16, Val::S16(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::U16, Val::U16(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::S32, Val::S32(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::U32, Val::U32(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::S64, Val::S64(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::U64, Val::U64(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::Float32, Val::Float32(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::Float64, Val::Float64(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::Char, Val::Char(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::String, Val::String(v)) => v.linear_lower_to_memory(cx, ty, at),
        (I::List(i), Val::List(items)) => {
            let element = cx.types[i].element;
            let abi = cx.types.canonical_abi(&element);
            let (size, align) = (abi.size32 as usize, abi.align32);
            let place = allocate(cx, items.len(), size, align)?;
            for (n, item) in items.iter().enumerate() {
                store(cx, element, item, place + n * size)?;
            }
            put_pointer(cx, at, place, items.len())
        }
        (I::Map(i), Val::Map(entries)) => {
            let map = cx.types[i].clone();
            let size = map.entry_abi.size32 as usize;
            let place = allocate(cx, entries.len(), size, map.entry_abi.align32)?;
            for (n, (key, value)) in entries.iter().enumerate() {
                let entry = place + n * size;
                store(cx, map.key, key, entry)?;
                store(cx, map.value, value, entry + map.value_offset32 as usize)?;
            }
            put_pointer(cx, at, place, entries.len())
        }
        _ => store_compound(cx, ty, value, at),
    }
}

fn allocate<T>(cx: &mut LowerContext<'_, T>, len: usize, size: usize, align: u32) -> Result<usize> {
    let bytes = len
        .checked_mul(size)
        .ok_or_else(|| format_err!("a list is too long"))?;
    cx.realloc(0, 0, align, bytes)
}

fn put_pointer<T>(cx: &mut LowerContext<'_, T>, at: usize, place: usize, len: usize) -> Result<()> {
    *cx.get(at) = u32::try_from(place)?.to_le_bytes();
    *cx.get(at + 4) = u32::try_from(len)?.to_le_bytes();
    Ok(())
}

fn store_compound<T>(
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    value: &Val,
    at: usize,
) -> Result<()> {
    use InterfaceType as I;
    let types = cx.types;
    match (ty, value) {
        (I::Record(i), Val::Record(fields)) => {
            let wanted = &types[i].fields;
            let same = |(field, (name, _)): (&RecordField, &(String, Val))| field.name == *name;
            if wanted.len() != fields.len() || !wanted.iter().zip(fields).all(same) {
                bail!("a record has other fields than its type");
            }
            let values = fields.iter().map(|(_, value)| value);
            store_fields(cx, wanted.iter().map(|field| field.ty).zip(values), at)
        }
        (I::Tuple(i), Val::Tuple(values)) if types[i].types.len() == values.len() => {
            store_fields(cx, types[i].types.iter().copied().zip(values), at)
        }
        (I::FixedLengthList(i), Val::FixedLengthList(values))
            if types[i].size as usize == values.len() =>
        {
            let element = types[i].element;
            store_fields(cx, values.iter().map(|value| (element, value)), at)
        }
        (I::Variant(i), Val::Variant(name, payload)) => {
            let variant = &types[i];
            let case = variant.cases.get_full(name.as_str());
            let (n, _, ty) = case.ok_or_else(|| format_err!("no case is named `{name}`"))?;
            store_case(cx, &variant.info, n, (*ty, payload.as_deref()), at)
        }
        (I::Enum(i), Val::Enum(name)) => {
            let n = types[i].names.get_index_of(name.as_str());
            let n = n.ok_or_else(|| format_err!("no case is named `{name}`"))?;
            store_case(cx, &types[i].info, n, (None, None), at)
        }
        (I::Option(i), Val::Option(payload)) => {
            let option = &types[i];
            let ty = payload.as_ref().map(|_| option.ty);
            let n = usize::from(payload.is_some());
            store_case(cx, &option.info, n, (ty, payload.as_deref()), at)
        }
        (I::Result(i), Val::Result(result)) => {
            let wanted = &types[i];
            let (n, ty, payload) = match result {
                Ok(payload) => (0, wanted.ok, payload),
                Err(payload) => (1, wanted.err, payload),
            };
            store_case(cx, &wanted.info, n, (ty, payload.as_deref()), at)
        }
        (I::Flags(i), Val::Flags(set)) => {
            let names = &types[i].names;
            let mut bytes = vec![0u8; types.canonical_abi(&ty).size32 as usize];
            for flag in set {
                let n = names.get_index_of(flag.as_str());
                let n = n.ok_or_else(|| format_err!("no flag is named `{flag}`"))?;
                bytes[n / 8] |= 1 << (n % 8);
            }
            for (n, byte) in bytes.into_iter().enumerate() {
                *cx.get(at + n) = [byte];
            }
            Ok(())
        }
        _ => bail!("an item is not of its stream's type"),
    }
}

fn store_fields<'a, T>(
    cx: &mut LowerContext<'_, T>,
    fields: impl Iterator<Item = (InterfaceType, &'a Val)>,
    at: usize,
) -> Result<()> {
    let mut offset = at;
    for (ty, value) in fields {
        let place = cx.types.canonical_abi(&ty).next_field32_size(&mut offset);
        store(cx, ty, value, place)?;
    }
    Ok(())
}

fn store_case<T>(
    cx: &mut LowerContext<'_, T>,
    info: &VariantInfo,
    n: usize,
    payload: (Option<InterfaceType>, Option<&Val>),
    at: usize,
) -> Result<()> {
    let tag = u32::try_from(n)?.to_le_bytes();
    for (n, byte) in tag.iter().take(info.size.byte_size() as usize).enumerate() {
        *cx.get(at + n) = [*byte];
    }
    match payload {
        (None, None) => Ok(()),
        (Some(ty), Some(value)) => store(cx, ty, value, at + info.payload_offset32 as usize),
        _ => bail!("a case has another payload than its type"),
    }
}
