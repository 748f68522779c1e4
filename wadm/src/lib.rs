//! The controller: keeps the components of each application running on the hosts that fit.
