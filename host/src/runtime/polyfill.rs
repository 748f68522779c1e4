//! Imports that no capability serves: each function becomes a call over whatever link there is when
//! it is called. In this process if the target runs here, else across the lattice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType, Val};
use wasmtime::{AsContextMut as _, Engine, StoreContextMut};

use crate::capability::pipe::Message;
use crate::capability::{FunctionType, RemoteTarget};
use crate::link::BoundLink;

use super::ctx::{Ctx, Grants};
use super::failure;
use super::spec::CallContext;
use super::streams::{self, Keep, obstacle};

/// Components on one host that may call each other in one chain.
pub(super) const DEPTH_MAX: u8 = 16;

/// A resource of an interface that only another component could serve: never made.
struct Foreign;

/// Finds out which interfaces a linker serves.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, bool>>);

impl Known {
    /// Whether `linker` serves the interface, in a version that fits.
    pub(super) fn serves(&self, linker: &Linker<Ctx>, interface: &str) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = known.get(interface) {
            return *answer;
        }
        // The linker alone knows which versions fit each other, so it is asked. The probe imports the
        // interface's name as a type that needs no definition, but does not take one of another
        // kind: it fits only where the linker has nothing under that name.
        let answer = Component::new(linker.engine(), probe(interface))
            .and_then(|probe| {
                let mut linker = linker.clone();
                let own = ResourceType::host::<Foreign>();
                linker.root().resource(PROBE, own, |_, _| Ok(()))?;
                linker.instantiate_pre(&probe)
            })
            .is_err();
        known.insert(interface.to_owned(), answer);
        answer
    }
}

/// The name of the probe's own resource; no interface has it.
const PROBE: &str = "probe";

/// A component that imports a resource as [`PROBE`], and the same once more as `interface`.
fn probe(interface: &str) -> Vec<u8> {
    let mut imports = vec![2];
    for (name, bound) in [(PROBE, [3, 1].as_slice()), (interface, &[3, 0, 0])] {
        imports.push(0);
        leb128(&mut imports, name.len());
        imports.extend_from_slice(name.as_bytes());
        imports.extend_from_slice(bound);
    }
    let mut bytes = b"\0asm\x0d\0\x01\0\x0a".to_vec();
    leb128(&mut bytes, imports.len());
    bytes.extend_from_slice(&imports);
    bytes
}

fn leb128(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Adds every import of `component` that `linker` does not serve.
pub(super) fn add(
    linker: &mut Linker<Ctx>,
    component: &Component,
    known: &Known,
) -> wasmtime::Result<()> {
    let engine = component.engine().clone();
    let ty = component.component_type();
    let base = linker.clone();
    for (name, import) in ty.imports(&engine) {
        match import.ty {
            ComponentItem::ComponentInstance(instance) if !known.serves(&base, name) => {
                let mut into = linker.instance(name)?;
                for (export, item) in instance.exports(&engine) {
                    add_item(&mut into, name, export, item.ty)?;
                }
            }
            ComponentItem::ComponentFunc(ty) => add_function(&mut linker.root(), "", name, ty)?,
            _ => {}
        }
    }
    Ok(())
}

fn add_item(
    into: &mut LinkerInstance<'_, Ctx>,
    interface: &str,
    name: &str,
    item: ComponentItem,
) -> wasmtime::Result<()> {
    match item {
        ComponentItem::ComponentFunc(ty) => add_function(into, interface, name, ty),
        ComponentItem::Resource(_) => {
            into.resource(name, ResourceType::host::<Foreign>(), |_, _| Ok(()))
        }
        _ => Ok(()),
    }
}

/// One imported function, as it was declared.
struct Import {
    /// With version, as the component names it.
    instance: String,
    /// Without version, as links name it.
    interface: String,
    function: String,
    /// Why no call can ever be made, if so.
    impossible: Option<String>,
    /// Streams or futures are among its parameters and results.
    has_pipes: bool,
}

fn add_function(
    into: &mut LinkerInstance<'_, Ctx>,
    instance: &str,
    function: &str,
    ty: FunctionType,
) -> wasmtime::Result<()> {
    let impossible = obstacle(&ty)
        .map(|what| format!("`{instance}#{function}` has a {what}, which links do not carry"));
    if let Some(reason) = &impossible {
        tracing::warn!("calls of an import will fail: {reason}");
    }
    let import = Arc::new(Import {
        instance: instance.to_owned(),
        interface: unversioned(instance).to_owned(),
        function: function.to_owned(),
        impossible,
        has_pipes: streams::has_pipes(&ty),
    });
    if ty.async_() {
        return into.func_new_concurrent(function, move |accessor, ty, params, results| {
            let import = Arc::clone(&import);
            Box::pin(async move {
                let (route, message) = accessor
                    .with(|mut access| begin(access.as_context_mut(), &import, &ty, params))?;
                let answer = route.call(&import, &ty, message).await;
                accessor.with(|mut access| {
                    finish(access.as_context_mut(), &import, &ty, answer, results)
                })
            })
        });
    }
    into.func_new_async(
        function,
        move |mut store: StoreContextMut<'_, Ctx>, ty, params, results| {
            let import = Arc::clone(&import);
            Box::new(async move {
                let (route, message) = begin(store.as_context_mut(), &import, &ty, params)?;
                let answer = route.call(&import, &ty, message).await;
                finish(store, &import, &ty, answer, results)
            })
        },
    )
}

/// Where the call goes, and what it takes along.
fn begin(
    store: StoreContextMut<'_, Ctx>,
    import: &Import,
    ty: &FunctionType,
    params: &[Val],
) -> wasmtime::Result<(Route, Message)> {
    let route = Route::find(import, &store.data().grants);
    let params = params.to_vec();
    if !import.has_pipes || import.impossible.is_some() {
        return Ok((route, params.into()));
    }
    let keep = Keep::default();
    let message = streams::take_out(store, &streams::params(ty), params, &keep)?;
    Ok((route, message))
}

/// An interface's name without its version.
pub(super) fn unversioned(interface: &str) -> &str {
    interface
        .split_once('@')
        .map_or(interface, |(name, _)| name)
}

/// Where a call goes, worked out when it is made.
enum Route {
    Nowhere(String),
    Over { link: Arc<BoundLink>, from: Origin },
}

struct Origin {
    shared: Arc<super::shared::Shared>,
    call: CallContext,
    target: RemoteTarget,
}

impl Route {
    fn find(import: &Import, grants: &Grants) -> Self {
        if let Some(reason) = &import.impossible {
            return Self::Nowhere(reason.clone());
        }
        let Some(link) = grants.link(&import.interface) else {
            grants.missing_link(&import.interface);
            return Self::Nowhere(format!(
                "no link grants `{}` to `{}`",
                import.interface, grants.shared.id
            ));
        };
        let from = Origin {
            shared: Arc::clone(&grants.shared),
            call: grants.call.clone(),
            target: grants.remote_target(&link),
        };
        Self::Over { link, from }
    }

    async fn call(
        self,
        import: &Import,
        ty: &FunctionType,
        params: Message,
    ) -> Result<Message, String> {
        let (link, from) = match self {
            Self::Nowhere(reason) => return Err(reason),
            Self::Over { link, from } => (link, from),
        };
        if let Some(component) = from.shared.directory.component(&link.link.link.target) {
            let call = CallContext {
                depth: from.call.depth.saturating_add(1),
                ..from.call
            };
            let instance = Some(import.instance.as_str()).filter(|name| !name.is_empty());
            let call = component.exchange(call, instance, &import.function, params);
            return Box::pin(call).await.map_err(|error| error.to_string());
        }
        let remote = &from.shared.remote;
        remote
            .call(&from.target, &import.instance, &import.function, params, ty)
            .await
            .map_err(|error| error.to_string())
    }
}

/// Gives the guest its results, or a failure in the interface's own words; a function that has no
/// words for it traps.
fn finish(
    store: StoreContextMut<'_, Ctx>,
    import: &Import,
    ty: &FunctionType,
    answer: Result<Message, String>,
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let reason = match answer {
        Ok(message) if message.values.len() == results.len() => {
            let values = if import.has_pipes {
                streams::put_in(store, &streams::results(ty), message, &Keep::default())?
            } else {
                message.values
            };
            for (place, value) in results.iter_mut().zip(values) {
                *place = value;
            }
            return Ok(());
        }
        Ok(_) => "the answer has another number of results".to_owned(),
        Err(reason) => reason,
    };
    match (failure::result(ty, &reason), results) {
        (Some(failure), [place]) => {
            *place = failure;
            Ok(())
        }
        _ => wasmtime::bail!(
            "call to `{}#{}` failed: {reason}",
            import.instance,
            import.function
        ),
    }
}

/// Imports of a component by name, for `inspect` and the log.
pub(super) fn import_names(engine: &Engine, component: &Component) -> Vec<String> {
    component
        .component_type()
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}
