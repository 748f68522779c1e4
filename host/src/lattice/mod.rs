//! The NATS side of the host: control requests in, events and heartbeats out, lattice records
//! watched. It knows the wire and the inventory, and nothing of what runs a component.

mod beat;
mod bucket;
mod config_service;
mod configs;
mod connection;
mod control;
mod events;
mod policy;
mod records;
mod secrets;
mod turns;

pub use beat::{Heartbeat, PulseTask};
pub use bucket::{BucketError, Follow};
pub use configs::{ConfigError, Configs, Map as ConfigMap, Named};
pub use connection::{ConnectError, Connection, Trouble};
pub use control::{Auctions, Control, Parts as ControlParts, StopHost};
pub use events::Events;
pub use policy::{Policy, PolicyError};
pub use records::{Deleted, LinkPutError, Records};
pub use secrets::{Entity, SecretsClient, SecretsError};
pub use turns::{Turn, Turns};

use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use proto::Labels;
use proto::ctl::Host;
use proto::id::{HostId, Lattice};

/// Who this host is.
pub struct Identity {
    /// Its public key.
    pub id: HostId,
    /// Its lattice.
    pub lattice: Lattice,
    /// A name for people.
    pub friendly_name: String,
    /// This program's version.
    pub version: String,
    /// Its labels now.
    pub labels: ArcSwap<Labels>,
    /// When it started.
    pub started: Instant,
    /// Server of the ctl connection, as told to others.
    pub ctl_host: String,
    /// Server of the rpc connection, as told to others.
    pub rpc_host: String,
    /// JetStream domain of the records.
    pub js_domain: Option<String>,
}

impl Identity {
    /// What a ping is answered.
    pub fn describe(&self) -> Host {
        let uptime = self.started.elapsed();
        Host {
            id: self.id.clone(),
            friendly_name: self.friendly_name.clone(),
            labels: Labels::clone(&self.labels.load()),
            lattice: self.lattice.to_string(),
            uptime_seconds: uptime.as_secs(),
            uptime_human: Some(human(uptime)),
            version: Some(self.version.clone()),
            rpc_host: Some(self.rpc_host.clone()),
            ctl_host: Some(self.ctl_host.clone()),
            js_domain: self.js_domain.clone(),
        }
    }

    /// Fills in the host's part of an inventory.
    pub fn sign(&self, inventory: &mut proto::ctl::HostInventory) {
        let uptime = self.started.elapsed();
        inventory.friendly_name = self.friendly_name.clone();
        inventory.version = self.version.clone();
        inventory.uptime_seconds = uptime.as_secs();
        inventory.uptime_human = human(uptime);
    }
}

/// A duration in days, hours, minutes and seconds, e.g. `2h 3m`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let said: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if said.is_empty() {
        "0s".into()
    } else {
        said.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_for_people() {
        for (seconds, expected) in [
            (0, "0s"),
            (37, "37s"),
            (60, "1m"),
            (7_380, "2h 3m"),
            (90_061, "1d 1h 1m 1s"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), expected);
        }
    }
}
