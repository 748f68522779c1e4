//! Whole hosts against a real NATS server.

mod control;
mod edge;
mod harness;
mod links;
mod secrets;
mod workloads;
