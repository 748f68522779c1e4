//! What the controller itself announces: CloudEvents about applications.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::id::Lattice;
use crate::subject::wadm::event_subject;

const TYPE_PREFIX: &str = "com.wadm.";
const SOURCE: &str = "wadm";

/// An application was deployed or undeployed.
#[derive(Debug, Clone, PartialEq)]
pub enum ManifestEvent {
    /// It was deployed; the manifest as JSON.
    Published(Value),
    /// It was undeployed or deleted.
    Unpublished {
        /// The application.
        name: String,
    },
}

impl ManifestEvent {
    /// The name, as it ends the event's subject and its type.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Published(_) => "manifest_published",
            Self::Unpublished { .. } => "manifest_unpublished",
        }
    }

    /// Where it is published.
    #[must_use]
    pub fn subject(&self, lattice: &Lattice) -> String {
        event_subject(lattice, self.name())
    }

    /// The message.
    #[must_use]
    pub fn to_cloud_event(&self, id: &str, at: OffsetDateTime) -> Vec<u8> {
        let data = match self {
            Self::Published(manifest) => manifest.clone(),
            Self::Unpublished { name } => json!({"name": name}),
        };
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "type": format!("{TYPE_PREFIX}{}", self.name()),
            "source": SOURCE,
            "datacontenttype": "application/json",
            "time": at.format(&Rfc3339).unwrap_or_default(),
            "data": data,
        });
        event.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undeploy_is_announced_in_its_recorded_form() {
        let event = ManifestEvent::Unpublished {
            name: "shop".into(),
        };
        let lattice = Lattice::default();
        assert_eq!(
            event.subject(&lattice),
            "wadm.evt.default.manifest_unpublished"
        );
        let bytes = event.to_cloud_event("1", OffsetDateTime::UNIX_EPOCH);
        let found: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            found,
            json!({"specversion": "1.0", "id": "1", "type": "com.wadm.manifest_unpublished", "source": "wadm",
                   "datacontenttype": "application/json", "time": "1970-01-01T00:00:00Z", "data": {"name": "shop"}})
        );
    }
}
