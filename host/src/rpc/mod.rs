//! Calls that leave this host: wRPC over NATS.
//!
//! | module | job |
//! |---|---|
//! | [`codec`] | values to bytes and back; no I/O |
//! | [`transport`] | bytes to NATS messages and back; knows no types |
//! | [`client`] | calls from here: [`Client`] is the host's [`Remote`](crate::capability::Remote) |

mod body;
pub mod client;
pub mod codec;
mod exchange;
mod http_types;
mod store_types;
pub mod transport;

pub use client::{Client, ClientOptions};
pub use transport::{RpcError, Transport};
