//! The host daemon of a lattice: runs WebAssembly components on one machine.
//!
//! [`run`] is the whole program; `wash host` calls it, too.

mod admin;
mod cache;
pub mod capability;
mod datadir;
pub mod directory;
mod error;
mod host;
pub mod inventory;
pub mod lattice;
pub mod link;
mod names;
pub mod oci;
pub mod options;
pub mod provider;
mod restore;
pub mod rpc;
pub mod runtime;
mod signals;
pub mod task;
pub mod telemetry;
#[cfg(test)]
mod tests;
pub mod workload;

pub use error::HostError;
pub use host::{Host, run};
pub use options::HostOptions;
