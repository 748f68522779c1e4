//! The state of one instance: what its host functions see.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::id::{ComponentId, LinkName};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::capability::{Remote, RemoteTarget};
use crate::directory::Directory;
use crate::link::{BoundLink, LinkTable, Secrets};

use super::limits::MemoryLimit;
use super::shared::Shared;
use super::spec::{CallContext, TraceHeaders};
use super::streams::Outgoing;

/// The link name that holds where the guest chose none.
const DEFAULT_LINK: &str = "default";

/// The state of one instance.
///
/// A capability's guest calls find their resources in [`Ctx::table`] and their link with
/// [`Ctx::link`].
pub struct Ctx {
    /// Resources that the guest holds handles of.
    pub table: ResourceTable,
    /// What the instance may reach.
    pub grants: Grants,
    pub(crate) wasi: WasiCtx,
    pub(crate) http: WasiHttpCtx,
    pub(crate) memory: MemoryLimit,
    /// Its streams that go out.
    pub(crate) outgoing: Outgoing,
}

/// What an instance may reach: its component's links, configuration and secrets.
pub struct Grants {
    pub(crate) shared: Arc<Shared>,
    /// The links as they were when the call began.
    pub(crate) links: Arc<LinkTable>,
    /// Link names chosen by the guest, by interface without version.
    pub(crate) chosen: BTreeMap<String, LinkName>,
    pub(crate) call: CallContext,
}

impl Ctx {
    /// The link that a call to `interface` (`namespace:package/interface`, without version) goes
    /// over: the one whose name the guest chose, else the one named `default`.
    pub fn link(&self, interface: &str) -> Option<Arc<BoundLink>> {
        self.grants.link(interface)
    }

    /// Logs, once in a while, that a call failed because no link grants `interface`.
    pub fn missing_link(&self, interface: &str) {
        self.grants.missing_link(interface);
    }

    /// The component's id.
    pub fn component(&self) -> &ComponentId {
        &self.grants.shared.id
    }

    /// The component's configuration as it is now.
    pub fn config(&self) -> Arc<BTreeMap<String, String>> {
        self.grants.shared.config.load()
    }

    /// The component's secrets.
    pub fn secrets(&self) -> Arc<Secrets> {
        self.grants.shared.secrets.load_full()
    }

    /// Trace context of the running call.
    pub fn trace(&self) -> &TraceHeaders {
        &self.grants.call.trace
    }
}

impl Grants {
    /// See [`Ctx::link`].
    pub fn link(&self, interface: &str) -> Option<Arc<BoundLink>> {
        match self.chosen.get(interface) {
            Some(name) => self.links.get(name, interface).cloned(),
            None => self.links.get(DEFAULT_LINK, interface).cloned(),
        }
    }

    /// Whether the guest chose a link name for this interface.
    pub fn has_chosen(&self, interface: &str) -> bool {
        self.chosen.contains_key(interface)
    }

    /// Every link for this interface, whatever its name.
    pub fn links_for(&self, interface: &str) -> &[Arc<BoundLink>] {
        self.links.all_for(interface)
    }

    /// What goes along with a call that this instance makes to another component on this host.
    pub fn nested_call(&self) -> CallContext {
        CallContext {
            depth: self.call.depth.saturating_add(1),
            ..self.call.clone()
        }
    }

    /// See [`Ctx::missing_link`].
    pub fn missing_link(&self, interface: &str) {
        let name = self
            .chosen
            .get(interface)
            .map_or(DEFAULT_LINK, LinkName::as_str);
        self.shared.missing_link(name, interface);
    }

    /// Whom a call over this link reaches when it leaves the host.
    pub fn remote_target(&self, link: &BoundLink) -> RemoteTarget {
        RemoteTarget {
            source: self.shared.id.clone(),
            target: link.link.link.target.clone(),
            link_name: link.link.link.name.clone(),
            trace: self.call.trace.clone(),
        }
    }

    /// The way to what runs elsewhere.
    pub fn remote(&self) -> &Arc<dyn Remote> {
        &self.shared.remote
    }

    /// What runs here.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.shared.directory
    }
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.grants,
        }
    }
}
