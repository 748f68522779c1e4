//! Types from a component's bytes, values from and to their text form (WAVE).

use std::borrow::Cow;
use std::sync::Arc;

use host::rpc::codec::{FuncTy, Ty};
use proto::ComponentId;
use wasm_wave::value::{Type, Value};
use wasm_wave::wasm::{WasmFunc, WasmType, WasmTypeKind as Kind, WasmValue, WasmValueError};
use wasmtime::component::Val;

use super::CallError;
use crate::wit::{self, Export};

/// A function as it is called.
pub struct Signature {
    /// The interface with its version; none for a function at the root.
    pub instance: Option<String>,
    /// The function's name on the wire.
    pub function: String,
    /// The types on the wire.
    pub wire: FuncTy,
    params: Vec<(String, Type)>,
    result: Option<Type>,
}

impl Signature {
    /// A function without parameters that returns a string: what can be called without knowing more.
    pub fn plain(interface: Option<&str>, function: &str) -> Self {
        Self {
            instance: interface.map(str::to_owned),
            function: function.to_owned(),
            wire: FuncTy {
                params: Arc::from([]),
                results: Arc::from([Ty::String]),
            },
            params: Vec::new(),
            result: Some(Type::STRING),
        }
    }

    /// Finds the function in a component; the version of its interface may be left out.
    pub fn find(
        bytes: &[u8],
        id: &ComponentId,
        interface: Option<&str>,
        function: &str,
    ) -> Result<Self, CallError> {
        let shown = |export: &Export| match &export.instance {
            Some(instance) => format!("{instance}.{}", export.name),
            None => export.name.clone(),
        };
        let wanted = interface.map_or_else(
            || function.to_owned(),
            |interface| format!("{interface}.{function}"),
        );
        let exports = wit::exports(bytes).map_err(|error| CallError::Types {
            function: wanted.clone(),
            reason: error.to_string(),
        })?;
        let fits = |export: &Export| {
            export.name == function
                && match (interface, &export.instance) {
                    (None, None) => true,
                    (Some(wanted), Some(found)) => {
                        wanted == found || Some(wanted) == found.split('@').next()
                    }
                    _ => false,
                }
        };
        let Some(found) = exports.iter().find(|export| fits(export)) else {
            return Err(CallError::NoFunction {
                component: id.clone(),
                function: wanted,
                known: exports.iter().map(shown).collect(),
            });
        };
        Self::of(found, &wanted)
    }

    fn of(found: &Export, wanted: &str) -> Result<Self, CallError> {
        let unwritable = |reason: String| CallError::Types {
            function: wanted.to_owned(),
            reason,
        };
        let types = found
            .types
            .as_ref()
            .map_err(|reason| unwritable(reason.clone()))?;
        let names = types.param_names().map(Cow::into_owned);
        let params: Vec<(String, Type)> = names.zip(types.params()).collect();
        let result = types.results().next();
        let wire = |ty: &Type| wire_type(ty).ok_or_else(|| unwritable(format!("{ty}")));
        Ok(Self {
            instance: found.instance.clone(),
            function: found.name.clone(),
            wire: FuncTy {
                params: params
                    .iter()
                    .map(|(_, ty)| wire(ty))
                    .collect::<Result<_, _>>()?,
                results: result.iter().map(wire).collect::<Result<_, _>>()?,
            },
            params,
            result,
        })
    }

    fn shown(&self) -> String {
        let params: Vec<String> = self
            .params
            .iter()
            .map(|(name, ty)| format!("{name}: {ty}"))
            .collect();
        let result = self
            .result
            .as_ref()
            .map(|ty| format!(" -> {ty}"))
            .unwrap_or_default();
        format!("{}({}){result}", self.function, params.join(", "))
    }

    /// Reads the arguments.
    pub fn read(&self, arguments: &[String]) -> Result<Vec<Val>, CallError> {
        if arguments.len() != self.params.len() {
            return Err(CallError::Count {
                function: self.function.clone(),
                wanted: self.params.len(),
                given: arguments.len(),
                signature: self.shown(),
            });
        }
        let read = |(index, ((name, ty), text)): (usize, (&(String, Type), &String))| {
            let wrong = |reason: String| CallError::Argument {
                index: index + 1,
                name: name.clone(),
                ty: ty.to_string(),
                reason,
            };
            let value = read_one(ty, text).map_err(wrong)?;
            to_val(ty, &value).ok_or_else(|| wrong("it has no form on the wire".into()))
        };
        self.params
            .iter()
            .zip(arguments)
            .enumerate()
            .map(read)
            .collect()
    }

    /// Writes parameters, for somebody who watches a call.
    pub fn write_params(&self, params: &[Val]) -> Result<String, CallError> {
        let failed = |reason: String| CallError::Result {
            function: self.function.clone(),
            reason,
        };
        let each = self.params.iter().zip(params).map(|((name, ty), value)| {
            let value = from_val(ty, value).map_err(|error| failed(error.to_string()))?;
            let text = wasm_wave::to_string(&value).map_err(|error| failed(error.to_string()))?;
            Ok(format!("{name}: {text}"))
        });
        Ok(each.collect::<Result<Vec<_>, CallError>>()?.join(", "))
    }

    /// Writes the result.
    pub fn write(&self, results: &[Val]) -> Result<String, CallError> {
        let (Some(ty), Some(value)) = (&self.result, results.first()) else {
            return Ok(String::new());
        };
        let failed = |reason: String| CallError::Result {
            function: self.function.clone(),
            reason,
        };
        let value = from_val(ty, value).map_err(|error| failed(error.to_string()))?;
        // A string is shown as it is: nobody wants its quotes.
        if ty.kind() == Kind::String {
            return Ok(value.unwrap_string().into_owned());
        }
        wasm_wave::to_string(&value).map_err(|error| failed(error.to_string()))
    }
}

/// Reads one argument; a string needs no quotes.
fn read_one(ty: &Type, text: &str) -> Result<Value, String> {
    let bare = ty.kind() == Kind::String && !text.trim_start().starts_with('"');
    if bare {
        return Ok(Value::make_string(Cow::Borrowed(text)));
    }
    wasm_wave::from_str::<Value>(ty, text).map_err(|error| error.to_string())
}

/// The type on the wire.
fn wire_type(ty: &Type) -> Option<Ty> {
    Some(match ty.kind() {
        Kind::Bool => Ty::Bool,
        Kind::S8 => Ty::S8,
        Kind::S16 => Ty::S16,
        Kind::S32 => Ty::S32,
        Kind::S64 => Ty::S64,
        Kind::U8 => Ty::U8,
        Kind::U16 => Ty::U16,
        Kind::U32 => Ty::U32,
        Kind::U64 => Ty::U64,
        Kind::F32 => Ty::F32,
        Kind::F64 => Ty::F64,
        Kind::Char => Ty::Char,
        Kind::String => Ty::String,
        Kind::List => wire_type(&ty.list_element_type()?)?.list(),
        Kind::Option => wire_type(&ty.option_some_type()?)?.option(),
        Kind::Tuple => Ty::tuple(
            ty.tuple_element_types()
                .map(|ty| wire_type(&ty))
                .collect::<Option<Vec<_>>>()?,
        ),
        Kind::Record => {
            let fields = ty
                .record_fields()
                .map(|(name, ty)| Some((name.into_owned(), wire_type(&ty)?)));
            Ty::record(fields.collect::<Option<Vec<_>>>()?)
        }
        Kind::Variant => {
            let cases = ty
                .variant_cases()
                .map(|(name, ty)| Some((name.into_owned(), maybe(ty)?)));
            Ty::Variant(cases.collect::<Option<_>>()?)
        }
        Kind::Enum => Ty::Enum(ty.enum_cases().map(Cow::into_owned).collect()),
        Kind::Flags => Ty::Flags(ty.flags_names().map(Cow::into_owned).collect()),
        Kind::Result => {
            let (ok, err) = ty.result_types()?;
            Ty::result(maybe(ok)?, maybe(err)?)
        }
        _ => return None,
    })
}

/// `Some(None)` for no type, `None` for a type without a form on the wire.
fn maybe(ty: Option<Type>) -> Option<Option<Ty>> {
    match ty {
        None => Some(None),
        Some(ty) => wire_type(&ty).map(Some),
    }
}

type Payload = Option<Box<Val>>;

fn payload(ty: Option<&Type>, value: Option<Cow<'_, Value>>) -> Option<Payload> {
    match (ty, value) {
        (Some(ty), Some(value)) => Some(Some(Box::new(to_val(ty, &value)?))),
        _ => Some(None),
    }
}

/// A value as the wire's encoder takes it.
fn to_val(ty: &Type, value: &Value) -> Option<Val> {
    Some(match ty.kind() {
        Kind::Bool => Val::Bool(value.unwrap_bool()),
        Kind::S8 => Val::S8(value.unwrap_s8()),
        Kind::S16 => Val::S16(value.unwrap_s16()),
        Kind::S32 => Val::S32(value.unwrap_s32()),
        Kind::S64 => Val::S64(value.unwrap_s64()),
        Kind::U8 => Val::U8(value.unwrap_u8()),
        Kind::U16 => Val::U16(value.unwrap_u16()),
        Kind::U32 => Val::U32(value.unwrap_u32()),
        Kind::U64 => Val::U64(value.unwrap_u64()),
        Kind::F32 => Val::Float32(value.unwrap_f32()),
        Kind::F64 => Val::Float64(value.unwrap_f64()),
        Kind::Char => Val::Char(value.unwrap_char()),
        Kind::String => Val::String(value.unwrap_string().into_owned()),
        Kind::List => {
            let element = ty.list_element_type()?;
            Val::List(
                value
                    .unwrap_list()
                    .map(|value| to_val(&element, &value))
                    .collect::<Option<_>>()?,
            )
        }
        Kind::Tuple => {
            let each = ty.tuple_element_types().zip(value.unwrap_tuple());
            Val::Tuple(
                each.map(|(ty, value)| to_val(&ty, &value))
                    .collect::<Option<_>>()?,
            )
        }
        Kind::Record => {
            let each = ty.record_fields().zip(value.unwrap_record());
            let field = |((name, ty), (_, value)): ((Cow<'_, str>, Type), (_, Cow<'_, Value>))| {
                Some((name.into_owned(), to_val(&ty, &value)?))
            };
            Val::Record(each.map(field).collect::<Option<_>>()?)
        }
        Kind::Option => Val::Option(payload(
            ty.option_some_type().as_ref(),
            value.unwrap_option(),
        )?),
        Kind::Variant => {
            let (case, inner) = value.unwrap_variant();
            let ty = ty.variant_cases().find(|(name, _)| *name == case)?.1;
            Val::Variant(case.into_owned(), payload(ty.as_ref(), inner)?)
        }
        Kind::Enum => Val::Enum(value.unwrap_enum().into_owned()),
        Kind::Flags => Val::Flags(value.unwrap_flags().map(Cow::into_owned).collect()),
        Kind::Result => {
            let (ok, err) = ty.result_types()?;
            Val::Result(match value.unwrap_result() {
                Ok(value) => Ok(payload(ok.as_ref(), value)?),
                Err(value) => Err(payload(err.as_ref(), value)?),
            })
        }
        _ => return None,
    })
}

fn misfit(ty: &Type) -> WasmValueError {
    WasmValueError::Other(format!("a value that is no {ty}"))
}

fn inner(ty: Option<&Type>, value: Option<&Val>) -> Result<Option<Value>, WasmValueError> {
    match (ty, value) {
        (Some(ty), Some(value)) => from_val(ty, value).map(Some),
        _ => Ok(None),
    }
}

/// A value as it is written.
fn from_val(ty: &Type, value: &Val) -> Result<Value, WasmValueError> {
    Ok(match value {
        Val::Bool(value) => Value::make_bool(*value),
        Val::S8(value) => Value::make_s8(*value),
        Val::S16(value) => Value::make_s16(*value),
        Val::S32(value) => Value::make_s32(*value),
        Val::S64(value) => Value::make_s64(*value),
        Val::U8(value) => Value::make_u8(*value),
        Val::U16(value) => Value::make_u16(*value),
        Val::U32(value) => Value::make_u32(*value),
        Val::U64(value) => Value::make_u64(*value),
        Val::Float32(value) => Value::make_f32(*value),
        Val::Float64(value) => Value::make_f64(*value),
        Val::Char(value) => Value::make_char(*value),
        Val::String(value) => Value::make_string(Cow::Borrowed(value)),
        Val::List(values) => {
            let element = ty.list_element_type().ok_or_else(|| misfit(ty))?;
            let values = values
                .iter()
                .map(|value| from_val(&element, value))
                .collect::<Result<Vec<_>, _>>()?;
            Value::make_list(ty, values)?
        }
        Val::Tuple(values) => {
            let each = ty.tuple_element_types().zip(values);
            Value::make_tuple(
                ty,
                each.map(|(ty, value)| from_val(&ty, value))
                    .collect::<Result<Vec<_>, _>>()?,
            )?
        }
        Val::Record(fields) => {
            let each = ty.record_fields().zip(fields);
            let fields =
                each.map(|((_, ty), (name, value))| Ok((name.as_str(), from_val(&ty, value)?)));
            Value::make_record(ty, fields.collect::<Result<Vec<_>, WasmValueError>>()?)?
        }
        Val::Option(value) => {
            Value::make_option(ty, inner(ty.option_some_type().as_ref(), value.as_deref())?)?
        }
        Val::Variant(case, value) => {
            let found = ty
                .variant_cases()
                .find(|(name, _)| name == case)
                .ok_or_else(|| misfit(ty))?;
            Value::make_variant(ty, case, inner(found.1.as_ref(), value.as_deref())?)?
        }
        Val::Enum(case) => Value::make_enum(ty, case)?,
        Val::Flags(names) => Value::make_flags(ty, names.iter().map(String::as_str))?,
        Val::Result(result) => {
            let (ok, err) = ty.result_types().ok_or_else(|| misfit(ty))?;
            let result = match result {
                Ok(value) => Ok(inner(ok.as_ref(), value.as_deref())?),
                Err(value) => Err(inner(err.as_ref(), value.as_deref())?),
            };
            Value::make_result(ty, result)?
        }
        _ => return Err(misfit(ty)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(ty: &Type, text: &str) -> String {
        let value = read_one(ty, text).unwrap();
        let val = to_val(ty, &value).unwrap();
        assert!(wire_type(ty).is_some(), "{ty}");
        wasm_wave::to_string(&from_val(ty, &val).unwrap()).unwrap()
    }

    #[test]
    fn values_of_every_shape_read_back_as_written() {
        let pair = Type::record([
            ("name", Type::STRING),
            ("at", Type::tuple(vec![Type::U8, Type::S64]).unwrap()),
        ])
        .unwrap();
        let shape = Type::variant([("none", None), ("circle", Some(Type::F64))]).unwrap();
        for (ty, text) in [
            (Type::BOOL, "true"),
            (Type::S8, "-7"),
            (Type::CHAR, "'x'"),
            (Type::list(Type::U16), "[1, 2]"),
            (pair, "{name: \"a\", at: (1, -2)}"),
            (shape, "circle(1.5)"),
            (Type::option(Type::STRING), "some(\"a\")"),
            (
                Type::result(Some(Type::U32), Some(Type::STRING)),
                "err(\"no\")",
            ),
            (Type::enum_ty(["red", "green"]).unwrap(), "green"),
            (Type::flags(["r", "w"]).unwrap(), "{r, w}"),
        ] {
            assert_eq!(round_trip(&ty, text), text);
        }
    }

    #[test]
    fn a_string_needs_no_quotes() {
        assert_eq!(
            read_one(&Type::STRING, "hello").unwrap().unwrap_string(),
            "hello"
        );
        assert_eq!(
            read_one(&Type::STRING, "\"a\\nb\"")
                .unwrap()
                .unwrap_string(),
            "a\nb"
        );
    }

    #[test]
    fn a_wrong_argument_is_named() {
        let signature = Signature {
            params: vec![("count".into(), Type::U8)],
            ..Signature::plain(None, "f")
        };
        let error = signature.read(&["many".into()]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("argument 1 (`count`) is no u8"),
            "{error}"
        );
        assert!(matches!(
            signature.read(&[]),
            Err(CallError::Count {
                wanted: 1,
                given: 0,
                ..
            })
        ));
    }
}
