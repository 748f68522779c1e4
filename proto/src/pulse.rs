//! **Ours.** A host's sign of life, every second.
//!
//! Heartbeats carry the whole inventory and come every half minute, too seldom to notice a dead
//! host soon and too big to send often. A pulse is small; it says that the host lives and
//! whether its inventory is still the one the reader knows.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ctl::HostInventory;
use crate::id::HostId;

/// One pulse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// The host that lives.
    pub host_id: HostId,
    /// One more each time; a smaller one than the last means that the host started anew.
    pub sequence: u64,
    /// When to expect the next, in milliseconds.
    pub interval_ms: u64,
    /// [`inventory_digest`] of what it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_digest: Option<String>,
}

/// A short digest of what a host runs and of its labels. Times and the order of lists do not
/// count.
#[must_use]
pub fn inventory_digest(inventory: &HostInventory) -> String {
    let mut components = inventory.components.clone();
    components.sort_by(|a, b| a.id.cmp(&b.id));
    let mut providers = inventory.providers.clone();
    providers.sort_by(|a, b| a.id.cmp(&b.id));
    let text = serde_json::json!({
        "components": components,
        "providers": providers,
        "labels": inventory.labels,
    });
    let digest = Sha256::digest(text.to_string());
    hex::encode(&digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::golden;

    fn inventory(json: &str) -> HostInventory {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_pulse_has_its_recorded_form() {
        golden::<Pulse>(
            r#"{"host_id":"N1","sequence":7,"interval_ms":1000,"inventory_digest":"00ff"}"#,
        );
        golden::<Pulse>(r#"{"host_id":"N1","sequence":7,"interval_ms":1000}"#);
    }

    #[test]
    fn the_digest_sees_work_but_neither_time_nor_order() {
        let a = r#"{"id":"a","max_instances":1}"#;
        let b = r#"{"id":"b","max_instances":1}"#;
        let one = inventory(&format!(r#"{{"components":[{a},{b}],"providers":[]}}"#));
        let other = inventory(&format!(
            r#"{{"components":[{b},{a}],"providers":[],"uptime_seconds":9}}"#
        ));
        let less = inventory(&format!(r#"{{"components":[{b}],"providers":[]}}"#));
        assert_eq!(inventory_digest(&one), inventory_digest(&other));
        assert_ne!(inventory_digest(&one), inventory_digest(&less));
    }
}
