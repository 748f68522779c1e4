//! Calls that leave this host: wRPC over NATS.
//!
//! | module | job |
//! |---|---|
//! | [`codec`] | values to bytes and back; no I/O |
//! | [`transport`] | bytes to NATS messages and back; knows no types |
//! | [`client`] | calls from here: [`Client`] is the host's [`Remote`](crate::capability::Remote) |
//! | [`server`] | calls from elsewhere to what runs here |

mod body;
pub mod client;
pub mod codec;
mod exchange;
mod http_types;
mod pipes;
pub mod server;
mod store_types;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
pub mod transport;

pub use client::{Client, ClientOptions};
pub use server::{BuiltinHandle, ServeHandle, Server, ServerOptions};
pub use transport::{RpcError, Transport};
