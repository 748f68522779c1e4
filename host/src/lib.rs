//! The host daemon: runs WebAssembly components on one machine of a lattice.
