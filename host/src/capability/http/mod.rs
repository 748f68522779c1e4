//! HTTP: requests in over listeners that components share, and requests out over links.
//!
//! In: [`HttpIngress`] owns the listeners; the built-in `http-server` adds routes to them, and
//! [`HttpIngress::serve_default`] serves components without a link by host name. Out:
//! [`OutgoingHttp`] decides by link where a guest's request goes: to a component or to the built-in
//! `http-client`.

mod client;
mod dispatch;
mod ingress;
mod outgoing;
mod policy;
mod routes;
mod server;
#[cfg(test)]
mod tests;

pub use client::{HttpClient, HttpClientFactory};
pub use ingress::HttpIngress;
pub use outgoing::OutgoingHttp;
pub use server::HttpServerFactory;
