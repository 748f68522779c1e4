//! The host daemon of a lattice: runs WebAssembly components on one machine.

pub mod capability;
pub mod directory;
pub mod link;
pub mod oci;
pub mod options;
pub mod provider;
pub mod rpc;
pub mod runtime;
pub mod task;
pub mod telemetry;
