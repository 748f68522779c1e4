//! The controller: keeps the components of each application running on the hosts that fit.

pub mod core;
pub mod plan;
pub mod view;
