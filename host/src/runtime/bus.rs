//! `wasmcloud:bus/lattice`: a guest chooses by name which of several links its calls go over.

use proto::id::LinkName;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};

use super::ctx::Ctx;

/// An interface that a link name is chosen for, `namespace:package/interface`.
struct Target(String);

/// Adds both published versions; they differ in what `set-link-name` returns.
pub(super) fn add(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut first = linker.instance("wasmcloud:bus/lattice@1.0.0")?;
    add_target(&mut first)?;
    first.func_wrap(
        "set-link-name",
        |mut store: StoreContextMut<'_, Ctx>, (name, targets): (String, Vec<Resource<Target>>)| {
            match choose(store.data_mut(), &name, &targets)? {
                Ok(()) => Ok(()),
                Err(reason) => wasmtime::bail!("set-link-name: {reason}"),
            }
        },
    )?;
    let mut second = linker.instance("wasmcloud:bus/lattice@2.0.1")?;
    add_target(&mut second)?;
    second.func_wrap(
        "set-link-name",
        |mut store: StoreContextMut<'_, Ctx>, (name, targets): (String, Vec<Resource<Target>>)| {
            let ctx = store.data_mut();
            let chosen = choose(ctx, &name, &targets)?;
            Ok((chosen.and_then(|()| check(ctx, &name, &targets)),))
        },
    )
}

fn add_target(into: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    into.resource(
        "call-target-interface",
        ResourceType::host::<Target>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<Target>::new_own(rep))?;
            Ok(())
        },
    )?;
    into.func_wrap(
        "[constructor]call-target-interface",
        |mut store: StoreContextMut<'_, Ctx>, (ns, package, name): (String, String, String)| {
            let target = Target(format!("{ns}:{package}/{name}"));
            Ok((store.data_mut().table.push(target)?,))
        },
    )
}

fn choose(
    ctx: &mut Ctx,
    name: &str,
    targets: &[Resource<Target>],
) -> wasmtime::Result<Result<(), String>> {
    let name = match LinkName::new(name) {
        Ok(name) => name,
        Err(error) => return Ok(Err(error.to_string())),
    };
    for target in targets {
        let interface = ctx.table.get(target)?.0.clone();
        ctx.grants.chosen.insert(interface, name.clone());
    }
    Ok(Ok(()))
}

fn check(ctx: &Ctx, name: &str, targets: &[Resource<Target>]) -> Result<(), String> {
    for target in targets {
        let Ok(Target(interface)) = ctx.table.get(target) else {
            continue;
        };
        if ctx.grants.links.get(name, interface).is_none() {
            ctx.missing_link(interface);
            return Err(format!("no link named `{name}` grants `{interface}`"));
        }
    }
    Ok(())
}
