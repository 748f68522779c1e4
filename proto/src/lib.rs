//! The vocabulary of a lattice: what travels on the wire and in files. No I/O, no runtime.
//!
//! Every wire struct is compared in a test with JSON recorded from upstream's programs.

use std::collections::BTreeMap;

pub mod claims;
pub mod ctl;
pub mod event;
pub mod id;
pub mod link;
pub mod manifest;
pub mod names;
pub mod nats_url;
pub mod nkey;
pub mod policy;
pub mod provider;
pub mod pulse;
pub mod record;
pub mod reference;
pub mod secrets;
pub mod subject;
pub mod wadm_api;
pub mod wadm_event;
pub mod xkey;

#[cfg(test)]
mod test;

pub use id::{ComponentId, ConfigName, HostId, Lattice, LinkName};

/// What workloads are marked with.
pub type Annotations = BTreeMap<String, String>;
/// What hosts are told apart by.
pub type Labels = BTreeMap<String, String>;
/// Fields of a record that this version does not know.
pub type Extra = serde_json::Map<String, serde_json::Value>;
