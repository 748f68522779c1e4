//! Types of values, free of any engine or component.

use std::sync::Arc;

use wasmtime::component::Type;
use wasmtime::component::types::ComponentFunc;

use super::wire::CodecError;

/// The type of a value. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the WIT types")]
pub enum Ty {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    List(Arc<Ty>),
    FixedList(Arc<Ty>, u32),
    Map(Arc<(Ty, Ty)>),
    Record(Arc<[(String, Ty)]>),
    Tuple(Arc<[Ty]>),
    Variant(Arc<[(String, Option<Ty>)]>),
    Enum(Arc<[String]>),
    Option(Arc<Ty>),
    Result(Arc<(Option<Ty>, Option<Ty>)>),
    Flags(Arc<[String]>),
    /// An owned or borrowed resource: an opaque handle.
    Resource,
    Stream(Option<Arc<Ty>>),
    Future(Option<Arc<Ty>>),
}

/// Levels of nesting a type may have; WIT types do not recurse, so this is never met in practice.
const DEPTH_MAX: usize = 100;

impl Ty {
    /// The type as a component declares it.
    ///
    /// # Errors
    /// [`CodecError::Unsupported`] for `error-context`, which has no encoding, and
    /// [`CodecError::TooDeep`].
    pub fn from_component(ty: &Type) -> Result<Self, CodecError> {
        convert(ty, DEPTH_MAX)
    }

    /// A list of this type.
    #[must_use]
    pub fn list(self) -> Self {
        Self::List(Arc::new(self))
    }

    /// An option of this type.
    #[must_use]
    pub fn option(self) -> Self {
        Self::Option(Arc::new(self))
    }

    /// A result of the two types.
    #[must_use]
    pub fn result(ok: Option<Self>, err: Option<Self>) -> Self {
        Self::Result(Arc::new((ok, err)))
    }

    /// A tuple of the types.
    #[must_use]
    pub fn tuple(types: impl IntoIterator<Item = Self>) -> Self {
        Self::Tuple(types.into_iter().collect())
    }

    /// A record of the fields.
    #[must_use]
    pub fn record<N: Into<String>>(fields: impl IntoIterator<Item = (N, Self)>) -> Self {
        Self::Record(fields.into_iter().map(|(n, t)| (n.into(), t)).collect())
    }

    /// Whether a stream or future is somewhere in the type.
    #[must_use]
    pub fn has_async(&self) -> bool {
        self.any(&|ty| matches!(ty, Self::Stream(_) | Self::Future(_)))
    }

    /// Whether a resource is somewhere in the type.
    #[must_use]
    pub fn has_resource(&self) -> bool {
        self.any(&|ty| matches!(ty, Self::Resource))
    }

    fn any(&self, found: &dyn Fn(&Self) -> bool) -> bool {
        let opt = |ty: &Option<Self>| ty.as_ref().is_some_and(|ty| ty.any(found));
        found(self)
            || match self {
                Self::List(ty) | Self::FixedList(ty, _) | Self::Option(ty) => ty.any(found),
                Self::Map(kv) => kv.0.any(found) || kv.1.any(found),
                Self::Record(fields) => fields.iter().any(|(_, ty)| ty.any(found)),
                Self::Tuple(types) => types.iter().any(|ty| ty.any(found)),
                Self::Variant(cases) => cases.iter().any(|(_, ty)| opt(ty)),
                Self::Result(r) => opt(&r.0) || opt(&r.1),
                Self::Stream(ty) | Self::Future(ty) => ty.as_ref().is_some_and(|t| t.any(found)),
                _ => false,
            }
    }

    /// The WIT name of the kind of type.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::S8 => "s8",
            Self::U8 => "u8",
            Self::S16 => "s16",
            Self::U16 => "u16",
            Self::S32 => "s32",
            Self::U32 => "u32",
            Self::S64 => "s64",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Char => "char",
            Self::String => "string",
            Self::List(_) | Self::FixedList(..) => "list",
            Self::Map(_) => "map",
            Self::Record(_) => "record",
            Self::Tuple(_) => "tuple",
            Self::Variant(_) => "variant",
            Self::Enum(_) => "enum",
            Self::Option(_) => "option",
            Self::Result(_) => "result",
            Self::Flags(_) => "flags",
            Self::Resource => "resource",
            Self::Stream(_) => "stream",
            Self::Future(_) => "future",
        }
    }
}

/// The type of a function: what its parameters and results are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FuncTy {
    /// Parameters by position.
    pub params: Arc<[Ty]>,
    /// Results by position; none or one in today's WIT.
    pub results: Arc<[Ty]>,
}

impl FuncTy {
    /// Whether a resource is somewhere in the type.
    #[must_use]
    pub fn has_resource(&self) -> bool {
        let mut all = self.params.iter().chain(self.results.iter());
        all.any(Ty::has_resource)
    }

    /// The type as a component declares it.
    ///
    /// # Errors
    /// As [`Ty::from_component`].
    pub fn from_component(func: &ComponentFunc) -> Result<Self, CodecError> {
        Ok(Self {
            params: func
                .params()
                .map(|(_, ty)| Ty::from_component(&ty))
                .collect::<Result<_, _>>()?,
            results: func
                .results()
                .map(|ty| Ty::from_component(&ty))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn convert(ty: &Type, depth: usize) -> Result<Ty, CodecError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(CodecError::TooDeep { limit: DEPTH_MAX });
    };
    let boxed = |ty: Type| convert(&ty, depth).map(Arc::new);
    let maybe = |ty: Option<Type>| ty.map(|ty| convert(&ty, depth)).transpose();
    Ok(match ty {
        Type::Bool => Ty::Bool,
        Type::S8 => Ty::S8,
        Type::U8 => Ty::U8,
        Type::S16 => Ty::S16,
        Type::U16 => Ty::U16,
        Type::S32 => Ty::S32,
        Type::U32 => Ty::U32,
        Type::S64 => Ty::S64,
        Type::U64 => Ty::U64,
        Type::Float32 => Ty::F32,
        Type::Float64 => Ty::F64,
        Type::Char => Ty::Char,
        Type::String => Ty::String,
        Type::List(ty) => Ty::List(boxed(ty.ty())?),
        Type::FixedLengthList(ty) => Ty::FixedList(boxed(ty.ty())?, ty.len()),
        Type::Map(ty) => Ty::Map(Arc::new((
            convert(&ty.key(), depth)?,
            convert(&ty.value(), depth)?,
        ))),
        Type::Record(ty) => Ty::Record(
            ty.fields()
                .map(|f| Ok((f.name.to_owned(), convert(&f.ty, depth)?)))
                .collect::<Result<_, CodecError>>()?,
        ),
        Type::Tuple(ty) => Ty::Tuple(
            ty.types()
                .map(|ty| convert(&ty, depth))
                .collect::<Result<_, _>>()?,
        ),
        Type::Variant(ty) => Ty::Variant(
            ty.cases()
                .map(|c| Ok((c.name.to_owned(), maybe(c.ty)?)))
                .collect::<Result<_, CodecError>>()?,
        ),
        Type::Enum(ty) => Ty::Enum(ty.names().map(str::to_owned).collect()),
        Type::Option(ty) => Ty::Option(boxed(ty.ty())?),
        Type::Result(ty) => Ty::Result(Arc::new((maybe(ty.ok())?, maybe(ty.err())?))),
        Type::Flags(ty) => Ty::Flags(ty.names().map(str::to_owned).collect()),
        Type::Own(_) | Type::Borrow(_) => Ty::Resource,
        Type::Stream(ty) => Ty::Stream(ty.ty().map(boxed).transpose()?),
        Type::Future(ty) => Ty::Future(ty.ty().map(boxed).transpose()?),
        Type::ErrorContext => {
            return Err(CodecError::Unsupported {
                what: "error-context",
            });
        }
    })
}
