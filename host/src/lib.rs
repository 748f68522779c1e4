//! The host daemon of a lattice: runs WebAssembly components on one machine.

pub mod oci;
