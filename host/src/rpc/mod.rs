//! Calls that leave this host: wRPC over NATS.

pub mod codec;
pub mod transport;

pub use transport::{RpcError, Transport};
