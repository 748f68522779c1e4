//! How a stand-in answers: as the protocol says, with nothing behind it.

use bytes::Bytes;
use proto::ctl::{
    ComponentDescription, CtlResponse, DeleteLinkRequest, HostInventory, ProviderDescription,
    ScaleComponentCommand, StartProviderCommand, StopProviderCommand, UpdateComponentCommand,
};
use proto::event::{
    ComponentScaleFailed, ComponentScaled, ConfigDeleted, ConfigSet, Event, LinkdefDeleted,
    LinkdefSet, ProviderStartFailed, ProviderStarted, ProviderStopped,
};
use proto::id::{ConfigName, HostId, LinkName};
use proto::link::Link;
use proto::subject::Ctl;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Shared, StandIn};

fn json<T: Serialize>(answer: &CtlResponse<T>) -> Bytes {
    serde_json::to_vec(answer).unwrap_or_default().into()
}

fn said(text: &str) -> Option<Vec<Bytes>> {
    Some(vec![json(&CtlResponse::<()>::ok(text))])
}

fn refused(text: &str) -> Option<Vec<Bytes>> {
    Some(vec![json(&CtlResponse::<()>::error(text))])
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

impl Shared {
    /// The answers to a request; none when nobody alive would answer.
    pub(super) async fn act(&self, request: &Ctl, body: &[u8]) -> Option<Vec<Bytes>> {
        match request {
            Ctl::PingHosts => Some(self.ping()),
            Ctl::Inventory(host) => self.inventory(host),
            Ctl::ScaleComponent(host) => self.scale(host, read(body)?).await,
            Ctl::UpdateComponent(host) => self.update(host, read(body)?).await,
            Ctl::StartProvider(host) => self.start_provider(host, read(body)?).await,
            Ctl::StopProvider(host) => self.stop_provider(host, read(body)?).await,
            _ => self.lattice_request(request, body).await,
        }
    }

    fn ping(&self) -> Vec<Bytes> {
        let state = self.lock();
        let living = state.hosts.iter().filter(|(_, host)| host.is_alive());
        living
            .map(|(id, host)| json(&CtlResponse::with(host.describe(id, &self.lattice))))
            .collect()
    }

    fn inventory(&self, id: &HostId) -> Option<Vec<Bytes>> {
        let inventory: HostInventory = self.with(id, |host| host.inventory(id))?;
        Some(vec![json(&CtlResponse::with(inventory))])
    }

    /// Does something to a living host.
    fn with<T>(&self, id: &HostId, act: impl FnOnce(&mut StandIn) -> T) -> Option<T> {
        let mut state = self.lock();
        let host = state.hosts.get_mut(id).filter(|host| host.is_alive())?;
        let done = act(host);
        host.changed();
        Some(done)
    }

    async fn scale(&self, id: &HostId, command: ScaleComponentCommand) -> Option<Vec<Bytes>> {
        let failure = self.lock().failing.get(&command.component_ref).cloned();
        let annotations = command.annotations.clone().unwrap_or_default();
        let scaled = |image_ref, annotations| {
            Event::ComponentScaled(ComponentScaled {
                public_key: None,
                claims: None,
                annotations,
                host_id: id.clone(),
                image_ref,
                max_instances: command.count,
                component_id: command.component_id.clone(),
            })
        };
        if let Some(error) = failure.filter(|_| command.count > 0) {
            self.with(id, |_| ())?;
            let failed = ComponentScaleFailed {
                public_key: None,
                annotations,
                host_id: id.clone(),
                image_ref: command.component_ref.clone(),
                max_instances: command.count,
                component_id: command.component_id.clone(),
                error,
            };
            self.emit(id, Event::ComponentScaleFailed(failed)).await;
            return said("");
        }
        let before = self.with(id, |host| {
            let before = host.components.remove(&command.component_id);
            // Unless told otherwise a running component keeps its image, and says so.
            let before = before.filter(|_| !command.allow_update || command.count == 0);
            if command.count > 0 {
                let running = ComponentDescription {
                    id: command.component_id.clone(),
                    image_ref: before
                        .as_ref()
                        .map_or(&command.component_ref, |b| &b.image_ref)
                        .clone(),
                    name: None,
                    annotations: command.annotations.clone(),
                    revision: 0,
                    max_instances: command.count,
                    limits: command.component_limits.clone(),
                };
                host.components
                    .insert(command.component_id.clone(), running);
            }
            before
        })?;
        let (image, annotations) = match before {
            Some(before) => (before.image_ref, before.annotations.unwrap_or_default()),
            None => (command.component_ref.clone(), annotations),
        };
        self.emit(id, scaled(image, annotations)).await;
        said("")
    }

    async fn update(&self, id: &HostId, command: UpdateComponentCommand) -> Option<Vec<Bytes>> {
        let failing = self.lock().failing.contains_key(&command.new_component_ref);
        let component = command.component_id.clone();
        let found = self.with(id, |host| host.components.get(&component).cloned())?;
        let Some(mut running) = found else {
            return refused(&format!("component {component} not found"));
        };
        let (old, new) = (running.image_ref.clone(), command.new_component_ref.clone());
        if old == new {
            return said(&format!("component {component} already updated to {new}"));
        }
        if !failing {
            running.image_ref = new.clone();
            running.annotations = command.annotations.or(running.annotations);
            let scaled = ComponentScaled {
                public_key: None,
                claims: None,
                annotations: running.annotations.clone().unwrap_or_default(),
                host_id: id.clone(),
                image_ref: new.clone(),
                max_instances: running.max_instances,
                component_id: component.clone(),
            };
            self.with(id, |host| {
                host.components.insert(component.clone(), running)
            })?;
            self.emit(id, Event::ComponentScaled(scaled)).await;
        }
        said(&format!(
            "component {component} updating from {old} to {new}"
        ))
    }

    async fn start_provider(
        &self,
        id: &HostId,
        command: StartProviderCommand,
    ) -> Option<Vec<Bytes>> {
        let provider = command.provider_id.clone();
        if self.with(id, |host| host.providers.contains_key(&provider))? {
            return refused("provider with that ID is already running");
        }
        let failure = self.lock().failing.get(&command.provider_ref).cloned();
        if let Some(error) = failure {
            let failed = ProviderStartFailed {
                provider_ref: command.provider_ref,
                provider_id: provider,
                host_id: id.clone(),
                error,
                link_name: LinkName::default(),
            };
            self.emit(id, Event::ProviderStartFailed(failed)).await;
            return said("successfully started provider");
        }
        let image = command
            .provider_ref
            .split_once("://")
            .map_or(&*command.provider_ref, |(_, rest)| rest)
            .to_owned();
        let running = ProviderDescription {
            id: provider.clone(),
            image_ref: Some(image.clone()),
            name: None,
            revision: 0,
            annotations: command.annotations.clone(),
            restarts: None,
        };
        self.with(id, |host| host.providers.insert(provider.clone(), running))?;
        let started = ProviderStarted {
            host_id: id.clone(),
            image_ref: image,
            annotations: command.annotations.unwrap_or_default(),
            claims: None,
            instance_id: provider.to_string(),
            public_key: provider.to_string(),
            provider_id: provider,
            link_name: LinkName::default(),
        };
        self.emit(id, Event::ProviderStarted(started)).await;
        said("successfully started provider")
    }

    async fn stop_provider(&self, id: &HostId, command: StopProviderCommand) -> Option<Vec<Bytes>> {
        let provider = command.provider_id;
        let Some(running) = self.with(id, |host| host.providers.remove(&provider))? else {
            return refused("provider with that ID is not running");
        };
        let stopped = ProviderStopped {
            host_id: id.clone(),
            annotations: running.annotations.unwrap_or_default(),
            reason: "stop".into(),
            instance_id: provider.to_string(),
            public_key: provider.to_string(),
            provider_id: provider,
            link_name: LinkName::default(),
        };
        self.emit(id, Event::ProviderStopped(stopped)).await;
        said("successfully stopped provider")
    }

    /// What any one host answers for the lattice.
    async fn lattice_request(&self, request: &Ctl, body: &[u8]) -> Option<Vec<Bytes>> {
        let by = self
            .lock()
            .hosts
            .iter()
            .find(|(_, host)| host.is_alive())
            .map(|(id, _)| id.clone())?;
        match request {
            Ctl::GetLinks => Some(vec![json(&CtlResponse::with(self.lock().links.clone()))]),
            Ctl::PutLink => self.put_link(&by, read(body)?).await,
            Ctl::DeleteLink => self.delete_link(&by, &read(body)?).await,
            Ctl::GetConfig(name) => {
                let found = self.lock().configs.get(name.as_str()).cloned();
                Some(vec![match found {
                    Some(config) => json(&CtlResponse::with(config)),
                    None => json(&CtlResponse::<()>::ok("Configuration not found")),
                }])
            }
            Ctl::PutConfig(name) => self.put_config(&by, name, body).await,
            Ctl::DeleteConfig(name) => {
                self.lock().configs.remove(name.as_str());
                self.emit(
                    &by,
                    Event::ConfigDeleted(ConfigDeleted {
                        config_name: name.clone(),
                    }),
                )
                .await;
                said("successfully deleted config")
            }
            _ => refused("unsupported subject"),
        }
    }

    async fn put_link(&self, by: &HostId, link: Link) -> Option<Vec<Bytes>> {
        let conflict = {
            let mut state = self.lock();
            let other = |old: &Link| old.is(&link.key()) && old.target != link.target;
            if state.links.iter().any(other) {
                true
            } else {
                state.links.retain(|old| !old.is(&link.key()));
                state.links.push(link.clone());
                false
            }
        };
        if conflict {
            return refused(
                "link already exists with different target, consider deleting the existing link or using a different \
                 link name",
            );
        }
        self.emit(by, Event::LinkdefSet(LinkdefSet(link))).await;
        said("successfully set link")
    }

    async fn delete_link(&self, by: &HostId, request: &DeleteLinkRequest) -> Option<Vec<Bytes>> {
        let key = request.key();
        let found = {
            let mut state = self.lock();
            let found = state.links.iter().position(|link| link.is(&key));
            found.map(|at| state.links.remove(at))
        };
        self.emit(
            by,
            Event::LinkdefDeleted(LinkdefDeleted::new(&key, found.as_ref())),
        )
        .await;
        said("successfully deleted link")
    }

    async fn put_config(&self, by: &HostId, name: &ConfigName, body: &[u8]) -> Option<Vec<Bytes>> {
        let Some(config) = read(body) else {
            return refused("config data should be a map of string -> string");
        };
        self.lock().configs.insert(name.to_string(), config);
        self.emit(
            by,
            Event::ConfigSet(ConfigSet {
                config_name: name.clone(),
            }),
        )
        .await;
        said("successfully put config")
    }
}
