use std::sync::Arc;

use proptest::prelude::*;
use wasmtime::component::Val;

use super::wire::{put_signed, put_unsigned, take_signed, take_unsigned};
use super::*;

fn names(n: usize) -> Arc<[String]> {
    (0..n).map(|i| format!("n{i}")).collect()
}

/// Any type, a few levels deep.
pub(super) fn any_ty() -> impl Strategy<Value = Ty> {
    let leaf = prop_oneof![
        Just(Ty::Bool),
        Just(Ty::S8),
        Just(Ty::U8),
        Just(Ty::S16),
        Just(Ty::U16),
        Just(Ty::S32),
        Just(Ty::U32),
        Just(Ty::S64),
        Just(Ty::U64),
        Just(Ty::F32),
        Just(Ty::F64),
        Just(Ty::Char),
        Just(Ty::String),
        Just(Ty::Resource),
        (1usize..140).prop_map(|n| Ty::Enum(names(n))),
        (1usize..70).prop_map(|n| Ty::Flags(names(n))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let maybe = prop::option::of(inner.clone());
        prop_oneof![
            inner.clone().prop_map(Ty::list),
            (inner.clone(), 0u32..4).prop_map(|(t, n)| Ty::FixedList(Arc::new(t), n)),
            (inner.clone(), inner.clone()).prop_map(|kv| Ty::Map(Arc::new(kv))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|types| Ty::Record(
                types
                    .into_iter()
                    .enumerate()
                    .map(|(i, t)| (format!("f{i}"), t))
                    .collect()
            )),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Ty::tuple),
            prop::collection::vec(maybe.clone(), 1..4).prop_map(|types| Ty::Variant(
                types
                    .into_iter()
                    .enumerate()
                    .map(|(i, t)| (format!("c{i}"), t))
                    .collect()
            )),
            inner.clone().prop_map(Ty::option),
            (maybe.clone(), maybe.clone()).prop_map(|(t, e)| Ty::result(t, e)),
            maybe.clone().prop_map(|t| Ty::Stream(t.map(Arc::new))),
            maybe.prop_map(|t| Ty::Future(t.map(Arc::new))),
        ]
    })
}

fn boxed(ty: Option<&Ty>) -> BoxedStrategy<Option<Box<Val>>> {
    match ty {
        None => Just(None).boxed(),
        Some(ty) => any_val(ty).prop_map(|v| Some(Box::new(v))).boxed(),
    }
}

/// Any value of the type, in wire form.
pub(in crate::rpc) fn any_val(ty: &Ty) -> BoxedStrategy<Val> {
    let unit = Ty::tuple([]);
    match ty {
        Ty::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Ty::S8 => any::<i8>().prop_map(Val::S8).boxed(),
        Ty::U8 => any::<u8>().prop_map(Val::U8).boxed(),
        Ty::S16 => any::<i16>().prop_map(Val::S16).boxed(),
        Ty::U16 => any::<u16>().prop_map(Val::U16).boxed(),
        Ty::S32 => any::<i32>().prop_map(Val::S32).boxed(),
        Ty::U32 => any::<u32>().prop_map(Val::U32).boxed(),
        Ty::S64 => any::<i64>().prop_map(Val::S64).boxed(),
        Ty::U64 => any::<u64>().prop_map(Val::U64).boxed(),
        Ty::F32 => any::<f32>().prop_map(Val::Float32).boxed(),
        Ty::F64 => any::<f64>().prop_map(Val::Float64).boxed(),
        Ty::Char => any::<char>().prop_map(Val::Char).boxed(),
        Ty::String => ".{0,12}".prop_map(Val::String).boxed(),
        Ty::Resource => prop::collection::vec(any::<u8>().prop_map(Val::U8), 0..20)
            .prop_map(Val::List)
            .boxed(),
        Ty::Enum(names) => prop::sample::select(names.to_vec())
            .prop_map(Val::Enum)
            .boxed(),
        Ty::Flags(names) => prop::sample::subsequence(names.to_vec(), 0..=names.len())
            .prop_map(Val::Flags)
            .boxed(),
        Ty::List(ty) => prop::collection::vec(any_val(ty), 0..5)
            .prop_map(Val::List)
            .boxed(),
        Ty::FixedList(ty, n) => prop::collection::vec(any_val(ty), *n as usize)
            .prop_map(Val::FixedLengthList)
            .boxed(),
        Ty::Map(kv) => prop::collection::vec((any_val(&kv.0), any_val(&kv.1)), 0..4)
            .prop_map(Val::Map)
            .boxed(),
        Ty::Record(fields) => fields
            .iter()
            .map(|(name, ty)| (Just(name.clone()), any_val(ty)))
            .collect::<Vec<_>>()
            .prop_map(Val::Record)
            .boxed(),
        Ty::Tuple(types) => types
            .iter()
            .map(any_val)
            .collect::<Vec<_>>()
            .prop_map(Val::Tuple)
            .boxed(),
        Ty::Variant(cases) => prop::sample::select(cases.to_vec())
            .prop_flat_map(|(name, ty)| (Just(name), boxed(ty.as_ref())))
            .prop_map(|(name, value)| Val::Variant(name, value))
            .boxed(),
        Ty::Option(ty) => prop::option::of(any_val(ty))
            .prop_map(|v| Val::Option(v.map(Box::new)))
            .boxed(),
        Ty::Result(types) => prop_oneof![
            boxed(types.0.as_ref()).prop_map(|v| Val::Result(Ok(v))),
            boxed(types.1.as_ref()).prop_map(|v| Val::Result(Err(v))),
        ]
        .boxed(),
        Ty::Stream(ty) => any_val(&Ty::list(ty.as_deref().unwrap_or(&unit).clone())),
        Ty::Future(ty) => any_val(&Ty::option(ty.as_deref().unwrap_or(&unit).clone())),
    }
}

fn typed_values() -> impl Strategy<Value = (Arc<[Ty]>, Vec<Val>)> {
    prop::collection::vec(any_ty(), 0..4).prop_flat_map(|types| {
        let values = types.iter().map(any_val).collect::<Vec<_>>();
        (Just(types.into()), values)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_value_reads_back_as_itself((types, values) in typed_values()) {
        let mut encoder = Encoder::default();
        encoder.tuple(&types, &values).unwrap();
        let mut decoder = Decoder::new(&types, Limits::default());
        decoder.feed(&encoder.bytes).unwrap();
        let (read, pending) = decoder.finish().unwrap();
        prop_assert_eq!(read, values);
        prop_assert_eq!(pending, encoder.pending);
    }

    #[test]
    fn the_pieces_do_not_matter((types, values) in typed_values(), size in 1usize..5) {
        let bytes = encode_all(&types, &values).unwrap();
        let mut decoder = Decoder::new(&types, Limits::default());
        for piece in bytes.chunks(size) {
            decoder.feed(piece).unwrap();
        }
        prop_assert_eq!(decoder.finish().unwrap().0, values);
    }

    #[test]
    fn a_value_cut_short_is_an_error((types, values) in typed_values(), cut in any::<prop::sample::Index>()) {
        let bytes = encode_all(&types, &values).unwrap();
        if !bytes.is_empty() {
            let short = &bytes[..cut.index(bytes.len())];
            prop_assert_eq!(decode_all(&types, short, Limits::default()), Err(CodecError::Truncated));
        }
    }

    #[test]
    fn any_bytes_give_a_value_or_an_error(ty in any_ty(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let limits = Limits { memory: 1 << 20, ..Limits::default() };
        let _ = decode_all(&[ty].into(), &bytes, limits);
    }

    #[test]
    fn integers_of_every_width_read_back(value in any::<i64>(), shift in 0u32..64) {
        let value = value >> shift;
        let mut out = Vec::new();
        put_signed(&mut out, value);
        prop_assert_eq!(take_signed(&out, 64), Ok(Some((value, out.len()))));
        let mut out = Vec::new();
        put_unsigned(&mut out, value as u64);
        prop_assert_eq!(take_unsigned(&out, 64), Ok(Some((value as u64, out.len()))));
    }
}

#[test]
fn the_bytes_are_those_of_the_protocol() {
    let some = |v| Val::Option(Some(Box::new(v)));
    let bytes = |b: &[u8]| Val::List(b.iter().map(|b| Val::U8(*b)).collect());
    let error = Ty::Variant(
        [
            ("no-such-store".to_owned(), None),
            ("access-denied".to_owned(), None),
            ("other".to_owned(), Some(Ty::String)),
        ]
        .into(),
    );
    let got = Ty::result(Some(Ty::U8.list().option()), Some(error));
    let found = Val::Result(Ok(Some(Box::new(some(bytes(b"hello"))))));
    let failed = Val::Result(Err(Some(Box::new(Val::Variant(
        "other".into(),
        Some(Box::new(Val::String("x".into()))),
    )))));
    let nine = Ty::Flags(names(9));
    for (what, ty, value, expected) in [
        ("a found value", got.clone(), found, &b"\0\x01\x05hello"[..]),
        ("an error", got, failed, b"\x01\x02\x01x"),
        (
            "a wide negative integer",
            Ty::S16,
            Val::S16(-8193),
            b"\xff\xbf\x7f",
        ),
        (
            "the smallest s64",
            Ty::S64,
            Val::S64(i64::MIN),
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f",
        ),
        ("200", Ty::U16, Val::U16(200), b"\xc8\x01"),
        ("a float", Ty::F32, Val::Float32(1.0), b"\0\0\x80\x3f"),
        ("a character", Ty::Char, Val::Char('é'), b"\xc3\xa9"),
        (
            "flags 0 and 8 of 9",
            nine,
            Val::Flags(vec!["n0".into(), "n8".into()]),
            b"\x01\x01",
        ),
        (
            "a pending stream",
            Ty::Stream(None),
            Val::List(vec![]),
            b"\0",
        ),
        (
            "a ready future",
            Ty::Future(Some(Arc::new(Ty::U8))),
            some(Val::U8(7)),
            b"\x01\x07",
        ),
    ] {
        let types: Arc<[Ty]> = [ty].into();
        let values = [value];
        assert_eq!(encode_all(&types, &values).unwrap(), expected, "{what}");
        assert_eq!(
            decode_all(&types, expected, Limits::default()).unwrap(),
            values,
            "{what}"
        );
    }
}

#[test]
fn pending_parts_are_found_by_their_index_path() {
    let stream = Ty::Stream(Some(Arc::new(Ty::U8)));
    let future = Ty::Future(None);
    let ty = Ty::result(
        Some(Ty::tuple([stream.clone(), future.clone().option()])),
        None,
    );
    let listed = Ty::tuple([Ty::Bool, Ty::record([("s", stream.clone())]).list()]);
    let types: Arc<[Ty]> = [ty, listed].into();
    let mut decoder = Decoder::new(&types, Limits::default());
    assert!(decoder.feed(&[0, 0, 1, 0, 1, 3, 0, 1, 9, 0]).unwrap());
    let (_, pending) = decoder.finish().unwrap();
    let at = |path: &[u32], ty: &Ty| (Path::from(path), ty.clone());
    assert_eq!(
        pending,
        [
            at(&[0, 0], &stream),
            at(&[0, 1], &future),
            at(&[1, 1, 0, 0], &stream),
            at(&[1, 1, 2, 0], &stream),
        ]
    );
}

#[test]
fn hostile_bytes_give_an_error_of_their_kind() {
    let small = Limits {
        bytes: 1 << 10,
        memory: 1 << 16,
        depth: 100,
    };
    let many = b"\xff\xff\xff\xff\x0f";
    let text = Ty::String;
    for (what, ty, bytes, expected) in [
        (
            "a list longer than memory of values without bytes",
            Ty::tuple([]).list(),
            &many[..],
            CodecError::TooMuchMemory { limit: 1 << 16 },
        ),
        (
            "a list that claims what does not come",
            Ty::U64.list(),
            many,
            CodecError::Truncated,
        ),
        (
            "a string that claims too much",
            text.clone(),
            many,
            CodecError::TooLarge { limit: 1 << 10 },
        ),
        ("no UTF-8", text, b"\x02\xc3\x28", CodecError::BadUtf8),
        (
            "an integer of too many groups",
            Ty::U32,
            b"\x80\x80\x80\x80\x80\x01",
            CodecError::IntegerOverflow { bits: 32 },
        ),
        (
            "an integer too wide",
            Ty::U16,
            b"\xff\xff\x7f",
            CodecError::IntegerOverflow { bits: 16 },
        ),
        (
            "a signed integer too wide",
            Ty::S16,
            b"\xff\xff\x03",
            CodecError::IntegerOverflow { bits: 16 },
        ),
        (
            "a bool of 2",
            Ty::Bool,
            b"\x02",
            CodecError::BadTag {
                what: "bool",
                found: 2,
            },
        ),
        (
            "half a surrogate",
            Ty::Char,
            b"\xed\xa0\x80",
            CodecError::BadChar,
        ),
        (
            "an unknown case",
            Ty::Enum(names(3)),
            b"\x03",
            CodecError::BadCase {
                what: "enum",
                index: 3,
                cases: 3,
            },
        ),
        (
            "flags nobody has",
            Ty::Flags(names(3)),
            b"\x08",
            CodecError::BadFlags,
        ),
    ] {
        assert_eq!(
            decode_all(&[ty].into(), bytes, small),
            Err(expected),
            "{what}"
        );
    }
}

#[test]
fn a_value_of_another_type_is_refused() {
    for (ty, value) in [
        (Ty::U8, Val::U16(1)),
        (Ty::U8.list(), Val::List(vec![Val::Bool(true)])),
        (Ty::tuple([Ty::U8]), Val::Tuple(vec![])),
        (Ty::Enum(names(2)), Val::Enum("n7".into())),
        (
            Ty::result(None, None),
            Val::Result(Ok(Some(Box::new(Val::U8(1))))),
        ),
        (
            Ty::record([("a", Ty::U8)]),
            Val::Record(vec![("b".into(), Val::U8(1))]),
        ),
    ] {
        assert!(
            encode_all(std::slice::from_ref(&ty), &[value]).is_err(),
            "{ty:?}"
        );
    }
}
