//! The rules for components.

use proto::ctl::{CtlResponse, ScaleComponentCommand, UpdateComponentCommand};
use proto::event::{ComponentScaleFailed, ComponentScaled};
use proto::id::ComponentId;

use super::{Component, Effect, Inventory};

impl Inventory {
    /// What a scale request is answered at once. Everything is accepted; the outcome is an event.
    pub fn scale_reply(&self, request: &ScaleComponentCommand) -> CtlResponse {
        let new = &request.component_ref;
        let message = match self.components.get(&request.component_id) {
            Some(running) if running.image_ref != *new && request.count > 0 => {
                let old = &running.image_ref;
                if request.allow_update {
                    format!(
                        "Requested to scale existing component, with a changed image reference: {old} != {new}. \
                         The component will be scaled, and the image reference will be updated afterwards."
                    )
                } else {
                    format!(
                        "Requested to scale existing component to a different image reference: {old} != {new}. \
                         The component will be scaled but the image reference will not be updated. \
                         If you meant to update this component to a new image ref, use the update command."
                    )
                }
            }
            _ => String::new(),
        };
        CtlResponse::ok(message)
    }

    /// What an update request is answered at once.
    pub fn update_reply(&self, request: &UpdateComponentCommand) -> CtlResponse {
        let (id, new) = (&request.component_id, &request.new_component_ref);
        match self.components.get(id) {
            None => CtlResponse::error(format!("component {id} not found")),
            Some(running) if running.image_ref == *new => {
                CtlResponse::ok(format!("component {id} already updated to {new}"))
            }
            Some(running) => CtlResponse::ok(format!(
                "component {id} updating from {} to {new}",
                running.image_ref
            )),
        }
    }

    pub(super) fn scale(&mut self, request: ScaleComponentCommand) -> Vec<Effect> {
        let id = request.component_id.clone();
        match (self.components.get(&id), request.count) {
            (None, 0) => vec![self.publish_scaled(&id, &wanted(request))],
            (None, _) => vec![Effect::Start {
                id,
                component: wanted(request),
            }],
            (Some(_), 0) => self.stop(id),
            (Some(running), _)
                if request.allow_update && running.image_ref != request.component_ref =>
            {
                vec![Effect::Start {
                    id,
                    component: wanted(request),
                }]
            }
            (Some(running), _) if differs(running, &request) => {
                // The image stays: another one takes an update. Limits stay where none are named.
                let component = Component {
                    image_ref: running.image_ref.clone(),
                    claims: running.claims.clone(),
                    limits: request
                        .component_limits
                        .clone()
                        .or_else(|| running.limits.clone()),
                    ..wanted(request)
                };
                vec![Effect::Resize { id, component }]
            }
            (Some(running), _) => vec![self.publish_scaled(&id, running)],
        }
    }

    pub(super) fn update(&mut self, request: UpdateComponentCommand) -> Vec<Effect> {
        let Some(running) = self.components.get(&request.component_id) else {
            return Vec::new();
        };
        if running.image_ref == request.new_component_ref {
            return Vec::new();
        }
        let component = Component {
            image_ref: request.new_component_ref,
            annotations: request
                .annotations
                .unwrap_or_else(|| running.annotations.clone()),
            claims: None,
            ..running.clone()
        };
        vec![Effect::Start {
            id: request.component_id,
            component,
        }]
    }

    pub(super) fn started(&mut self, id: ComponentId, component: Component) -> Vec<Effect> {
        let event = self.publish_scaled(&id, &component);
        // A first start is announced twice: upstream's readers count on it.
        match self.components.insert(id, component) {
            None => vec![event.clone(), event],
            Some(_) => vec![event],
        }
    }

    pub(super) fn resized(&mut self, id: ComponentId, component: Component) -> Vec<Effect> {
        let Some(previous) = self.components.insert(id.clone(), component.clone()) else {
            return Vec::new();
        };
        // The event shows the annotations of before, the next inventory the new ones.
        let shown = Component {
            annotations: previous.annotations,
            ..component
        };
        vec![self.publish_scaled(&id, &shown)]
    }

    pub(super) fn failed(
        &mut self,
        id: ComponentId,
        component: Component,
        error: String,
    ) -> Vec<Effect> {
        let failed = ComponentScaleFailed {
            public_key: component.claims.map(|claims| claims.subject),
            annotations: component.annotations,
            host_id: self.host.clone(),
            image_ref: component.image_ref,
            max_instances: component.max_instances,
            component_id: id,
            error,
        };
        vec![Effect::Publish(failed.into())]
    }

    fn stop(&mut self, id: ComponentId) -> Vec<Effect> {
        let Some(mut running) = self.components.remove(&id) else {
            return Vec::new();
        };
        running.max_instances = 0;
        let event = self.publish_scaled(&id, &running);
        vec![Effect::Stop(id), event]
    }

    fn publish_scaled(&self, id: &ComponentId, component: &Component) -> Effect {
        let claims = component.claims.as_ref();
        let scaled = ComponentScaled {
            public_key: claims.map(|claims| claims.subject.clone()),
            claims: claims.map(|claims| claims.for_event()),
            annotations: component.annotations.clone(),
            host_id: self.host.clone(),
            image_ref: component.image_ref.clone(),
            max_instances: component.max_instances,
            component_id: id.clone(),
        };
        Effect::Publish(scaled.into())
    }
}

/// Whether the request asks for other settings. Annotations alone do not count.
fn differs(running: &Component, request: &ScaleComponentCommand) -> bool {
    let limits = request.component_limits.is_some() && request.component_limits != running.limits;
    request.count != running.max_instances || request.config != running.config || limits
}

/// The component a scale request describes.
fn wanted(request: ScaleComponentCommand) -> Component {
    Component {
        image_ref: request.component_ref,
        max_instances: request.count,
        annotations: request.annotations.unwrap_or_default(),
        config: request.config,
        limits: request.component_limits,
        claims: None,
    }
}
