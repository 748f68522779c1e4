//! The command line of a lattice.
//!
//! A command is a struct that clap fills and whose `run` returns a value; the module `output` alone prints.
//! Every error has an `error::Advice`: what to type next. The exit codes are in `exit::Exit`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod cmd;
mod connect;
mod context;
mod dirs;
mod error;
mod exit;
mod fetch;
mod lattice;
mod output;
mod process;
mod registry;
mod wit;

use std::ffi::OsString;
use std::process::ExitCode;

use cmd::up::leash;

/// Runs the program with these arguments, the first of which is its own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // These become another program and must do nothing before.
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some(leash::ARGUMENT) => return leash::run(arguments.into_iter().skip(2)),
        Some("host") if !cmd::host::asked(&arguments) => return cmd::daemon::host(arguments),
        Some("wadm") => return cmd::daemon::wadm(arguments),
        _ => {}
    }
    // Installed twice only if somebody else was first, and then it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::run(arguments).into()
}
