//! Any bytes, read as a value of any type: a value or an error, in bounded memory. A value that
//! was read is written and read again, and has to be the same.
#![no_main]

use std::sync::Arc;

use host::rpc::codec::{Limits, Ty, decode_all, encode_all};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    memory: 16 << 20,
    depth: 50,
};

fuzz_target!(|input: &[u8]| {
    let (plan, bytes) = input.split_at(input.len().min(16));
    let types: Arc<[Ty]> = [ty(&mut plan.iter().copied(), 6)].into();
    if let Ok(values) = decode_all(&types, bytes, LIMITS) {
        let again = encode_all(&types, &values).expect("what was read can be written");
        assert_eq!(decode_all(&types, &again, LIMITS).as_ref(), Ok(&values));
    }
});

/// A type made from bytes.
fn ty(plan: &mut impl Iterator<Item = u8>, depth: usize) -> Ty {
    let n = plan.next().unwrap_or_default();
    let names = || (0..=n / 4).map(|i| format!("n{i}")).collect();
    if depth == 0 {
        return Ty::U8;
    }
    let mut inner = || ty(plan, depth - 1);
    match n % 24 {
        0 => Ty::Bool,
        1 => Ty::S8,
        2 => Ty::U8,
        3 => Ty::S16,
        4 => Ty::U16,
        5 => Ty::S32,
        6 => Ty::U32,
        7 => Ty::S64,
        8 => Ty::U64,
        9 => Ty::F32,
        10 => Ty::F64,
        11 => Ty::Char,
        12 => Ty::String,
        13 => Ty::Resource,
        14 => Ty::Enum(names()),
        15 => Ty::Flags(names()),
        16 => inner().list(),
        17 => inner().option(),
        18 => Ty::result(Some(inner()), Some(inner())),
        19 => Ty::tuple([inner(), inner()]),
        20 => Ty::Variant([("a".to_owned(), None), ("b".to_owned(), Some(inner()))].into()),
        21 => Ty::record([("a", inner()), ("b", inner())]),
        22 => Ty::Stream(Some(Arc::new(inner()))),
        _ => Ty::Map(Arc::new((inner(), inner()))),
    }
}
