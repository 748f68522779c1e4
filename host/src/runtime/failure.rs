//! How an interface says that a call failed: its own error type, where it has one that can carry
//! a text.

use wasmtime::component::{Type, Val};

use crate::capability::FunctionType;

/// Names of variant cases that interfaces use for "anything else went wrong", with a text.
const TEXT_CASES: [&str; 6] = [
    "other",
    "internal-error",
    "unexpected",
    "upstream",
    "unknown",
    "io",
];
/// The same without a text.
const BARE_CASES: [&str; 6] = [
    "unavailable",
    "not-available",
    "unsupported",
    "access-denied",
    "unexpected",
    "other",
];

/// The result that says `reason`, if the function returns a `result` whose error can say it.
pub(super) fn result(ty: &FunctionType, reason: &str) -> Option<Val> {
    let mut results = ty.results();
    let (Some(ty), None) = (results.next(), results.next()) else {
        return None;
    };
    value(&ty, reason)
}

/// The value of this type that says `reason`, if it is a `result` whose error can say it.
pub(super) fn value(ty: &Type, reason: &str) -> Option<Val> {
    let Type::Result(result) = ty else {
        return None;
    };
    let error = match result.err() {
        None => None,
        Some(ty) => Some(Box::new(error_value(&ty, reason)?)),
    };
    Some(Val::Result(Err(error)))
}

fn error_value(ty: &Type, reason: &str) -> Option<Val> {
    match ty {
        Type::String => Some(Val::String(reason.to_owned())),
        Type::Option(inner) => Some(Val::Option(error_value(&inner.ty(), reason).map(Box::new))),
        Type::Variant(variant) => TEXT_CASES.iter().chain(&BARE_CASES).find_map(|wanted| {
            let case = variant.cases().find(|case| case.name == *wanted)?;
            let payload = match &case.ty {
                None => None,
                Some(ty) => Some(Box::new(error_value(ty, reason)?)),
            };
            Some(Val::Variant((*wanted).to_owned(), payload))
        }),
        Type::Enum(names) => TEXT_CASES.iter().chain(&BARE_CASES).find_map(|wanted| {
            names
                .names()
                .any(|name| name == *wanted)
                .then(|| Val::Enum((*wanted).to_owned()))
        }),
        Type::Record(record) => {
            let field = |ty: &Type| match ty {
                Type::String | Type::Option(_) => error_value(ty, reason),
                _ => None,
            };
            let fields = record
                .fields()
                .map(|f| Some((f.name.to_owned(), field(&f.ty)?)));
            fields.collect::<Option<Vec<_>>>().map(Val::Record)
        }
        _ => None,
    }
}
