//! What runs on this host, read on every request and therefore swapped whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use proto::id::ComponentId;
use tokio::sync::watch;

use crate::capability::BuiltinProvider;
use crate::runtime::RunningComponent;

/// The components and built-in providers of this host, by id.
pub struct Directory {
    table: ArcSwap<Table>,
    version: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct Table {
    components: HashMap<ComponentId, Arc<RunningComponent>>,
    builtins: HashMap<ComponentId, Arc<dyn BuiltinProvider>>,
    /// `component.application` → component id, for the default ingress.
    http_names: HashMap<String, ComponentId>,
    /// Components with an HTTP link somewhere on the lattice: not on the default ingress.
    http_linked: HashSet<ComponentId>,
}

/// Where an HTTP request for a component goes.
pub enum HttpTarget {
    /// It runs here.
    Local(Arc<RunningComponent>),
    /// It does not: ask the lattice.
    Remote(ComponentId),
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Directory {
    /// An empty directory.
    pub fn new() -> Self {
        Self {
            table: ArcSwap::default(),
            version: watch::Sender::new(0),
        }
    }

    /// The component of this id, if it runs here.
    pub fn component(&self, id: &ComponentId) -> Option<Arc<RunningComponent>> {
        self.table.load().components.get(id).cloned()
    }

    /// Every component that runs here, in id order.
    pub fn components(&self) -> Vec<Arc<RunningComponent>> {
        let mut all: Vec<_> = self.table.load().components.values().cloned().collect();
        all.sort_by(|a, b| a.id().cmp(b.id()));
        all
    }

    /// The built-in provider of this id, if it runs here.
    pub fn builtin(&self, id: &ComponentId) -> Option<Arc<dyn BuiltinProvider>> {
        self.table.load().builtins.get(id).cloned()
    }

    /// Adds or replaces a component; the one replaced is returned.
    pub fn insert_component(
        &self,
        component: Arc<RunningComponent>,
    ) -> Option<Arc<RunningComponent>> {
        let id = component.id().clone();
        self.change(|table| {
            table.http_names.retain(|_, owner| *owner != id);
            if component.serves_http()
                && let Some(name) = component.http_name()
            {
                table.http_names.insert(name, id.clone());
            }
            table.components.insert(id.clone(), Arc::clone(&component))
        })
    }

    /// Removes a component.
    pub fn remove_component(&self, id: &ComponentId) -> Option<Arc<RunningComponent>> {
        self.change(|table| {
            table.http_names.retain(|_, owner| owner != id);
            table.components.remove(id)
        })
    }

    /// Adds or replaces a built-in provider; the one replaced is returned.
    pub fn insert_builtin(
        &self,
        id: ComponentId,
        provider: Arc<dyn BuiltinProvider>,
    ) -> Option<Arc<dyn BuiltinProvider>> {
        self.change(|table| table.builtins.insert(id.clone(), Arc::clone(&provider)))
    }

    /// Removes a built-in provider.
    pub fn remove_builtin(&self, id: &ComponentId) -> Option<Arc<dyn BuiltinProvider>> {
        self.change(|table| table.builtins.remove(id))
    }

    /// Names the components that have an HTTP link anywhere on the lattice; they leave the default
    /// ingress.
    pub fn set_http_linked(&self, linked: HashSet<ComponentId>) {
        self.change(|table| table.http_linked = linked.clone());
    }

    /// Whether a component has an HTTP link anywhere on the lattice.
    pub fn is_http_linked(&self, id: &ComponentId) -> bool {
        self.table.load().http_linked.contains(id)
    }

    /// Where an HTTP request for this component goes: here if it runs here.
    pub fn http_target(&self, id: &ComponentId) -> HttpTarget {
        match self.component(id) {
            Some(component) => HttpTarget::Local(component),
            None => HttpTarget::Remote(id.clone()),
        }
    }

    /// The component that answers to `component.application` on the default ingress.
    pub fn by_http_name(&self, name: &str) -> Option<Arc<RunningComponent>> {
        let table = self.table.load();
        table.components.get(table.http_names.get(name)?).cloned()
    }

    /// Ticks at every change.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Every change goes through here; `edit` may run more than once when changes collide.
    fn change<R: Default>(&self, mut edit: impl FnMut(&mut Table) -> R) -> R {
        let mut result = R::default();
        self.table.rcu(|table| {
            let mut next = Table::clone(table);
            result = edit(&mut next);
            next
        });
        self.version.send_modify(|version| *version += 1);
        result
    }
}
