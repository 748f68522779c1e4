//! The command line of a lattice.
