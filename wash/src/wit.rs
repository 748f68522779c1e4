//! What a component imports and exports, read from its bytes.

use wasm_wave::value::{FuncType, resolve_wit_func_type};
use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{Function, Resolve, WorldId, WorldItem};

/// The names on a component's surface.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Surface {
    /// What it wants.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
}

/// The bytes are no component.
#[derive(Debug, thiserror::Error)]
#[error("not a WebAssembly component: {0}")]
pub struct NotAComponent(String);

impl NotAComponent {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(format!("{error:#}"))
    }
}

/// Whether the bytes start like a component (not a core module).
pub fn is_component(bytes: &[u8]) -> bool {
    wasmparser::Parser::is_component(bytes)
}

fn world(bytes: &[u8]) -> Result<(Resolve, WorldId), NotAComponent> {
    if !is_component(bytes) {
        return Err(NotAComponent::new(
            match wasmparser::Parser::is_core_wasm(bytes) {
                true => "it is a core module; turn it into a component first",
                false => "it does not start like one",
            },
        ));
    }
    match wit_component::decode(bytes).map_err(NotAComponent::new)? {
        DecodedWasm::Component(resolve, world) => Ok((resolve, world)),
        DecodedWasm::WitPackage(..) => Err(NotAComponent::new("it is a WIT package")),
    }
}

fn names<'a>(
    resolve: &Resolve,
    items: impl Iterator<Item = (&'a wit_parser::WorldKey, &'a WorldItem)>,
) -> Vec<String> {
    items
        .filter(|(_, item)| !matches!(item, WorldItem::Type { .. }))
        .map(|(key, _)| resolve.name_world_key(key))
        .collect()
}

/// The names on a component's surface.
pub fn surface(bytes: &[u8]) -> Result<Surface, NotAComponent> {
    let (resolve, id) = world(bytes)?;
    let world = &resolve.worlds[id];
    Ok(Surface {
        imports: names(&resolve, world.imports.iter()),
        exports: names(&resolve, world.exports.iter()),
    })
}

/// The component's world as WIT text.
pub fn text(bytes: &[u8]) -> Result<String, NotAComponent> {
    let decoded = wit_component::decode(bytes).map_err(NotAComponent::new)?;
    let main = decoded.package();
    let resolve = decoded.resolve();
    let nested: Vec<_> = resolve
        .packages
        .iter()
        .map(|(id, _)| id)
        .filter(|id| *id != main)
        .collect();
    let mut printer = WitPrinter::default();
    printer
        .print(resolve, main, &nested)
        .map_err(NotAComponent::new)?;
    Ok(printer.output.to_string())
}

/// A function that a component exports.
pub struct Export {
    /// The interface with its version; none for a function at the root.
    pub instance: Option<String>,
    /// Its name, as calls have it.
    pub name: String,
    /// Its types, or why they have no text form.
    pub types: Result<FuncType, String>,
}

impl Export {
    fn new(resolve: &Resolve, instance: Option<String>, function: &Function) -> Self {
        let types = resolve_wit_func_type(resolve, function).map_err(|error| error.to_string());
        Self {
            instance,
            name: wire_name(&function.name),
            types,
        }
    }
}

/// `[method]cart.total` is called as `cart.total`.
fn wire_name(name: &str) -> String {
    name.rsplit(']').next().unwrap_or(name).to_owned()
}

/// Every function a component exports.
pub fn exports(bytes: &[u8]) -> Result<Vec<Export>, NotAComponent> {
    let (resolve, id) = world(bytes)?;
    let mut all = Vec::new();
    for (key, item) in &resolve.worlds[id].exports {
        match item {
            WorldItem::Function(function) => all.push(Export::new(&resolve, None, function)),
            WorldItem::Interface { id, .. } => {
                let instance = resolve.name_world_key(key);
                let functions = resolve.interfaces[*id].functions.values();
                all.extend(
                    functions
                        .map(|function| Export::new(&resolve, Some(instance.clone()), function)),
                );
            }
            WorldItem::Type { .. } => {}
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_component_is_said_to_be_none() {
        assert!(
            surface(b"hello")
                .unwrap_err()
                .to_string()
                .contains("does not start")
        );
        let module = b"\0asm\x01\0\0\0";
        assert!(
            surface(module)
                .unwrap_err()
                .to_string()
                .contains("core module")
        );
    }

    #[test]
    fn an_empty_component_has_an_empty_surface() {
        let component = b"\0asm\x0d\0\x01\0";
        assert_eq!(surface(component).unwrap(), Surface::default());
    }
}
