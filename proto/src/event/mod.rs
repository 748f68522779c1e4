//! What hosts tell the lattice: CloudEvents 1.0 in structured JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use ulid::Ulid;

use crate::id::{HostId, Lattice};
use crate::subject::EventSubject;

mod data;
pub use data::*;

const TYPE_PREFIX: &str = "com.wasmcloud.lattice.";

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $wire:literal;)*) => {
        /// Something that happened on a host.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $($(#[$doc])* $name($name),)*
        }

        impl Event {
            /// Every name, as it ends the event's subject and its type.
            pub const NAMES: &[&str] = &[$($wire),*];

            /// The name, e.g. `component_scaled`.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $wire,)*
                }
            }

            fn data(&self) -> serde_json::Result<Value> {
                match self {
                    $(Self::$name(data) => serde_json::to_value(data),)*
                }
            }

            fn read(name: &str, data: Value) -> Result<Self, EventError> {
                match name {
                    $($wire => serde_json::from_value(data).map(Self::$name),)*
                    _ => return Err(EventError::Unknown { kind: name.to_owned() }),
                }
                .map_err(|source| EventError::Data { kind: name.to_owned(), source })
            }
        }

        $(impl From<$name> for Event {
            fn from(data: $name) -> Self {
                Self::$name(data)
            }
        })*
    };
}

events! {
    /// A host is ready.
    HostStarted = "host_started";
    /// A host lives, and this is what it runs.
    HostHeartbeat = "host_heartbeat";
    /// A host ends.
    HostStopped = "host_stopped";
    /// A component was started, resized or stopped; also when nothing had to change.
    ComponentScaled = "component_scaled";
    /// A component could not be started or resized.
    ComponentScaleFailed = "component_scale_failed";
    /// A provider's process was started.
    ProviderStarted = "provider_started";
    /// A provider could not be started.
    ProviderStartFailed = "provider_start_failed";
    /// A provider was stopped.
    ProviderStopped = "provider_stopped";
    /// A provider became well.
    HealthCheckPassed = "health_check_passed";
    /// A provider became unwell.
    HealthCheckFailed = "health_check_failed";
    /// A provider's health has not changed.
    HealthCheckStatus = "health_check_status";
    /// A link was put.
    LinkdefSet = "linkdef_set";
    /// A link was refused.
    LinkdefSetFailed = "linkdef_set_failed";
    /// A link was deleted.
    LinkdefDeleted = "linkdef_deleted";
    /// A configuration was put.
    ConfigSet = "config_set";
    /// A configuration was deleted.
    ConfigDeleted = "config_deleted";
    /// A host's labels changed.
    LabelsChanged = "labels_changed";
}

/// Why a message is not an event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The message is not a CloudEvent in JSON.
    #[error("not a CloudEvent")]
    Envelope(#[source] serde_json::Error),
    /// A kind this version does not know; skip it.
    #[error("unknown event `{kind}`")]
    Unknown {
        /// The event's type as sent, without the usual prefix.
        kind: String,
    },
    /// The data does not fit the kind.
    #[error("event `{kind}` holds unexpected data")]
    Data {
        /// The event's name.
        kind: String,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
}

impl EventError {
    /// Whether the event is merely of a kind that this version does not know.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// An event with its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEvent {
    /// Tells this event from others of the same source.
    pub id: String,
    /// The host it happened on.
    pub source: HostId,
    /// When, by the host's clock.
    pub time: Option<OffsetDateTime>,
    /// What.
    pub event: Event,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    specversion: String,
    id: String,
    #[serde(rename = "type")]
    kind: String,
    source: HostId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<String>,
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    time: Option<OffsetDateTime>,
    #[serde(default)]
    data: Value,
}

impl CloudEvent {
    /// An event of this moment.
    #[must_use]
    pub fn now(source: HostId, event: Event) -> Self {
        Self {
            id: new_id(),
            source,
            time: Some(OffsetDateTime::now_utc()),
            event,
        }
    }

    /// Reads a message. Attributes may come in any order; extensions are ignored.
    ///
    /// # Errors
    /// [`EventError::Unknown`] for a kind to skip, else what does not fit.
    pub fn parse(bytes: &[u8]) -> Result<Self, EventError> {
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(EventError::Envelope)?;
        let Some(name) = envelope.kind.strip_prefix(TYPE_PREFIX) else {
            return Err(EventError::Unknown {
                kind: envelope.kind,
            });
        };
        Ok(Self {
            event: Event::read(name, envelope.data)?,
            id: envelope.id,
            source: envelope.source,
            time: envelope.time,
        })
    }

    /// The message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let envelope = Envelope {
            specversion: "1.0".into(),
            id: self.id.clone(),
            kind: format!("{TYPE_PREFIX}{}", self.event.name()),
            source: self.source.clone(),
            datacontenttype: Some("application/json".into()),
            time: self.time,
            // Structs of texts, numbers and maps with text keys always have a JSON form.
            data: self.event.data().unwrap_or_default(),
        };
        serde_json::to_vec(&envelope).unwrap_or_default()
    }
}

impl Event {
    /// The message for this event.
    #[must_use]
    pub fn to_cloud_event(&self, source: &HostId, id: &str, time: OffsetDateTime) -> Vec<u8> {
        CloudEvent {
            id: id.to_owned(),
            source: source.clone(),
            time: Some(time),
            event: self.clone(),
        }
        .to_bytes()
    }

    /// Where it is published.
    #[must_use]
    pub fn subject(&self, lattice: &Lattice) -> EventSubject {
        EventSubject::new(lattice.clone(), self.name())
    }
}

/// A new event id: a ULID in the form of a UUID.
#[must_use]
pub fn new_id() -> String {
    id_from(Ulid::new())
}

fn id_from(ulid: Ulid) -> String {
    let hex = format!("{:032x}", u128::from(ulid));
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests;
