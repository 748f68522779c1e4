//! What runs on this host and what should: a pure state machine.
//!
//! [`Inventory::apply`] takes a command, moves to the next state and answers with effects. It does
//! no I/O and knows no clock. Effects that take time come back as commands
//! ([`Command::Started`] and the like), so that the state says only what is true.
//! Commands for one id must be applied in order of arrival; the caller sees to it.

mod component;
mod provider;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use proto::ctl::{
    ComponentDescription, Fence, HostInventory, ProviderDescription, ScaleComponentCommand,
    StartProviderCommand, UpdateComponentCommand,
};
use proto::event::Event;
use proto::id::{ComponentId, ConfigName, HostId};
use proto::{Annotations, Labels, claims};

/// A component that runs here, or is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The reference as it was given.
    pub image_ref: String,
    /// Most instances at one time.
    pub max_instances: u32,
    /// Marks of whoever started it.
    pub annotations: Annotations,
    /// Names of its configs, in the order they are merged.
    pub config: Vec<ConfigName>,
    /// Limits as they were given.
    pub limits: Option<BTreeMap<String, String>>,
    /// Its claims, if it is signed.
    pub claims: Option<claims::Claims<claims::Component>>,
}

/// A provider that runs here, or is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The reference as it was given.
    pub image_ref: String,
    /// Marks of whoever started it.
    pub annotations: Annotations,
    /// Names of its configs, in the order they are merged.
    pub config: Vec<ConfigName>,
    /// Its claims; built-in providers have none.
    pub claims: Option<claims::Claims<claims::Provider>>,
    /// How often it was restarted after a crash.
    pub restarts: u32,
}

/// A fact or a wish that changes the inventory.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run so many instances of a component; none stops it.
    Scale(ScaleComponentCommand),
    /// Give a running component another image.
    Update(UpdateComponentCommand),
    /// The component of an [`Effect::Start`] runs.
    Started {
        /// Its id.
        id: ComponentId,
        /// What runs.
        component: Component,
    },
    /// The component of an [`Effect::Resize`] has its new settings.
    Resized {
        /// Its id.
        id: ComponentId,
        /// What runs now.
        component: Component,
    },
    /// An [`Effect::Start`] or [`Effect::Resize`] came to nothing.
    Failed {
        /// The component's id.
        id: ComponentId,
        /// What should have run.
        component: Component,
        /// Why it does not.
        error: String,
    },
    /// A provider was asked for and [`Inventory::start_provider`] said yes.
    StartProvider(StartProviderCommand),
    /// The provider of an [`Effect::StartProvider`] runs.
    ProviderStarted {
        /// Its id.
        id: ComponentId,
        /// What runs.
        provider: Provider,
    },
    /// An [`Effect::StartProvider`] came to nothing.
    ProviderFailed {
        /// The provider's id.
        id: ComponentId,
        /// The reference as it was requested.
        image_ref: String,
        /// Why it does not run.
        error: String,
    },
    /// Stop a provider.
    StopProvider(ComponentId),
    /// A provider died and runs again.
    ProviderRestarted {
        /// Its id.
        id: ComponentId,
        /// How often that happened.
        restarts: u32,
    },
}

/// What is to be done about a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell the lattice.
    Publish(Event),
    /// Fetch, compile and serve; answer with [`Command::Started`] or [`Command::Failed`].
    /// What runs under the id goes on until the new code serves.
    Start {
        /// The component's id.
        id: ComponentId,
        /// What to run.
        component: Component,
    },
    /// Change the settings of what runs; answer with [`Command::Resized`] or [`Command::Failed`].
    Resize {
        /// The component's id.
        id: ComponentId,
        /// What it is to be.
        component: Component,
    },
    /// Take the component out of service and let its calls end.
    Stop(ComponentId),
    /// Start a provider; answer with [`Command::ProviderStarted`] or [`Command::ProviderFailed`].
    StartProvider {
        /// Its id.
        id: ComponentId,
        /// What to run.
        provider: Provider,
    },
    /// Shut a provider down. The effects that follow wait for it.
    StopProvider(ComponentId),
}

/// What runs here.
#[derive(Clone, Debug)]
pub struct Inventory {
    host: HostId,
    components: BTreeMap<ComponentId, Component>,
    providers: BTreeMap<ComponentId, Provider>,
    starting: BTreeSet<ComponentId>,
    term: u64,
}

/// A command of a controller that is no longer the one in charge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "refused: controller `{controller}` speaks for term {term}, but this host has taken commands of term {seen}; \
     another controller is in charge"
)]
pub struct Fenced {
    controller: String,
    term: u64,
    seen: u64,
}

impl Inventory {
    /// Nothing runs yet.
    pub fn new(host: HostId) -> Self {
        Self {
            host,
            components: BTreeMap::new(),
            providers: BTreeMap::new(),
            starting: BTreeSet::new(),
            term: 0,
        }
    }

    /// Takes a command's term, or refuses it if a later one was seen.
    ///
    /// # Errors
    /// [`Fenced`] names both terms.
    pub fn admit(&mut self, fence: Option<&Fence>) -> Result<(), Fenced> {
        let Some(Fence { controller, term }) = fence else {
            return Ok(());
        };
        if *term < self.term {
            return Err(Fenced {
                controller: controller.clone(),
                term: *term,
                seen: self.term,
            });
        }
        self.term = *term;
        Ok(())
    }

    /// True once a controller in charge has commanded this host.
    pub fn has_heard_controller(&self) -> bool {
        self.term > 0
    }

    /// Moves to the next state; the effects are to be carried out in order.
    pub fn apply(&mut self, command: Command) -> Vec<Effect> {
        match command {
            Command::Scale(request) => self.scale(request),
            Command::Update(request) => self.update(request),
            Command::Started { id, component } => self.started(id, component),
            Command::Resized { id, component } => self.resized(id, component),
            Command::Failed {
                id,
                component,
                error,
            } => self.failed(id, component, error),
            Command::StartProvider(request) => self.begin_provider(request),
            Command::ProviderStarted { id, provider } => self.provider_started(id, provider),
            Command::ProviderFailed {
                id,
                image_ref,
                error,
            } => self.provider_failed(id, image_ref, error),
            Command::StopProvider(id) => self.stop_provider(id),
            Command::ProviderRestarted { id, restarts } => {
                if let Some(provider) = self.providers.get_mut(&id) {
                    provider.restarts = restarts;
                }
                Vec::new()
            }
        }
    }

    /// The component of this id, if it runs.
    pub fn component(&self, id: &ComponentId) -> Option<&Component> {
        self.components.get(id)
    }

    /// The provider of this id, if it runs.
    pub fn provider(&self, id: &ComponentId) -> Option<&Provider> {
        self.providers.get(id)
    }

    /// Every component, in id order.
    pub fn components(&self) -> impl Iterator<Item = (&ComponentId, &Component)> {
        self.components.iter()
    }

    /// Every provider, in id order.
    pub fn providers(&self) -> impl Iterator<Item = (&ComponentId, &Provider)> {
        self.providers.iter()
    }

    /// The lists of an inventory answer; the rest of it is the host's to fill in.
    pub fn describe(&self, labels: Labels) -> HostInventory {
        let components = self.components.iter().map(|(id, component)| {
            let about = component
                .claims
                .as_ref()
                .and_then(|claims| claims.metadata.as_ref());
            ComponentDescription {
                id: id.clone(),
                image_ref: component.image_ref.clone(),
                name: about.and_then(|about| about.name.clone()),
                annotations: Some(component.annotations.clone()),
                revision: about.and_then(|about| about.rev).unwrap_or(0),
                max_instances: component.max_instances,
                limits: component.limits.clone(),
            }
        });
        let providers = self.providers.iter().map(|(id, provider)| {
            let about = provider
                .claims
                .as_ref()
                .and_then(|claims| claims.metadata.as_ref());
            ProviderDescription {
                id: id.clone(),
                image_ref: Some(proto::reference::without_scheme(&provider.image_ref).to_owned()),
                name: about.and_then(|about| about.name.clone()),
                revision: about.and_then(|about| about.rev).unwrap_or(0),
                annotations: Some(provider.annotations.clone()),
                restarts: (provider.restarts > 0).then_some(provider.restarts),
            }
        });
        HostInventory {
            components: components.collect(),
            providers: providers.collect(),
            host_id: self.host.to_string(),
            friendly_name: String::new(),
            labels,
            version: String::new(),
            uptime_human: String::new(),
            uptime_seconds: 0,
        }
    }
}
