//! The vocabulary of a lattice: what travels on the wire and in files. No I/O, no runtime.
