//! A component's code, linked and ready to be instantiated.

use std::collections::HashMap;

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use wasmtime_wasi_http::{p2, p3};

use crate::capability::FunctionType;

use super::ctx::Ctx;
use super::error::RuntimeError;
use super::polyfill;
use super::streams;

/// A function that a component exports.
#[derive(Clone, Debug)]
pub struct ExportedFunction {
    /// The exported instance with its version (`ns:pkg/iface@v`); `None` for a root function.
    pub instance: Option<String>,
    /// The function's name.
    pub function: String,
    /// Its type.
    pub ty: FunctionType,
}

/// Code that is ready to be instantiated.
pub struct CompiledComponent {
    digest: String,
    pre: InstancePre<Ctx>,
    http: Option<HttpHandler>,
    imports: Vec<String>,
    exports: Vec<ExportedFunction>,
    by_name: HashMap<String, Export>,
}

/// Which HTTP handler a component exports.
pub(super) enum HttpHandler {
    /// `wasi:http/incoming-handler@0.2`.
    P2(p2::bindings::ProxyPre<Ctx>),
    /// `wasi:http/handler@0.3`.
    P3(p3::bindings::ServicePre<Ctx>),
}

/// How to find an exported function in an instance.
#[derive(Clone)]
pub(super) struct Export {
    pub index: ComponentExportIndex,
    pub results: usize,
    /// Its type, if streams or futures are part of it.
    pub pipes: Option<FunctionType>,
}

impl CompiledComponent {
    /// Links a component: `linker` serves what capabilities serve, links the rest.
    pub(super) fn link(
        digest: String,
        component: &Component,
        mut linker: Linker<Ctx>,
        known: &polyfill::Known,
    ) -> Result<Self, RuntimeError> {
        let misfit = |error: wasmtime::Error| RuntimeError::Imports {
            reason: format!("{error:#}"),
        };
        polyfill::add(&mut linker, component, known).map_err(misfit)?;
        let pre = linker.instantiate_pre(component).map_err(misfit)?;
        let engine = component.engine();
        let exports = exports(engine, component);
        let by_name = index(component, &exports);
        let http = HttpHandler::find(engine, component, &pre).map_err(misfit)?;
        let imports = polyfill::import_names(engine, component);
        Ok(Self {
            digest,
            pre,
            http,
            imports,
            exports,
            by_name,
        })
    }

    /// The digest of the component's bytes.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The names of its imports.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The functions it exports, of its root and of its instances.
    pub fn exports(&self) -> &[ExportedFunction] {
        &self.exports
    }

    pub(super) fn pre(&self) -> &InstancePre<Ctx> {
        &self.pre
    }

    pub(super) fn http(&self) -> Option<&HttpHandler> {
        self.http.as_ref()
    }

    /// An exported function; `instance` may name another version of the exported interface.
    pub(super) fn export(&self, instance: Option<&str>, function: &str) -> Option<&Export> {
        let exact = |instance: &str| self.by_name.get(&export_key(instance, function));
        match instance {
            None => exact(""),
            Some(instance) => exact(instance).or_else(|| exact(polyfill::unversioned(instance))),
        }
    }
}

impl HttpHandler {
    fn find(
        engine: &Engine,
        component: &Component,
        pre: &InstancePre<Ctx>,
    ) -> wasmtime::Result<Option<Self>> {
        let ty = component.component_type();
        for (name, _) in ty.exports(engine) {
            if name.starts_with("wasi:http/incoming-handler@0.2") {
                return Ok(Some(Self::P2(p2::bindings::ProxyPre::new(pre.clone())?)));
            }
            if name.starts_with("wasi:http/handler@0.3") {
                return Ok(Some(Self::P3(p3::bindings::ServicePre::new(pre.clone())?)));
            }
        }
        Ok(None)
    }
}

fn exports(engine: &Engine, component: &Component) -> Vec<ExportedFunction> {
    let mut found = Vec::new();
    let ty = component.component_type();
    for (name, export) in ty.exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(ty) => {
                found.push(ExportedFunction {
                    instance: None,
                    function: name.to_owned(),
                    ty,
                });
            }
            ComponentItem::ComponentInstance(instance) => {
                for (function, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(ty) = item.ty {
                        let instance = Some(name.to_owned());
                        found.push(ExportedFunction {
                            instance,
                            function: function.to_owned(),
                            ty,
                        });
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn index(component: &Component, exports: &[ExportedFunction]) -> HashMap<String, Export> {
    let mut by_name = HashMap::new();
    for ExportedFunction {
        instance,
        function,
        ty,
    } in exports
    {
        let name = instance.as_deref().unwrap_or_default();
        let parent = match instance {
            None => None,
            Some(name) => match component.get_export_index(None, name) {
                Some(parent) => Some(parent),
                None => continue,
            },
        };
        let Some(index) = component.get_export_index(parent.as_ref(), function) else {
            continue;
        };
        let export = Export {
            index,
            results: ty.results().len(),
            pipes: streams::has_pipes(ty).then(|| ty.clone()),
        };
        by_name
            .entry(export_key(polyfill::unversioned(name), function))
            .or_insert_with(|| export.clone());
        by_name.insert(export_key(name, function), export);
    }
    by_name
}

fn export_key(instance: &str, function: &str) -> String {
    format!("{instance}#{function}")
}
