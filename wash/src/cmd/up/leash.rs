//! A leash: a child that cannot outlive `wash up`, even when that is killed outright.
//!
//! The kernel's parent-death signal has to be asked for by the child itself. So every child starts
//! as this executable, asks for the signal, and then becomes the program it is meant to be; the
//! request outlives that change.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The hidden first argument that makes this executable a leashed child.
pub const ARGUMENT: &str = "__leash";

/// Becomes `program`, tied to the life of `parent`. Returns only if that fails.
#[allow(
    clippy::print_stderr,
    reason = "there is no printer yet in this process"
)]
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = arguments
        .next()
        .and_then(|text| text.to_str().and_then(|text| text.parse::<i32>().ok()));
    let program = arguments.next();
    let (Some(parent), Some(program)) = (parent, program) else {
        eprintln!("{ARGUMENT} is for `wash up` only");
        return ExitCode::from(2);
    };
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL) {
        eprintln!("cannot tie this process to its parent: {error}");
    }
    // The parent may have ended before the request was made.
    if nix::unistd::getppid().as_raw() != parent {
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("cannot start `{}`: {error}", program.to_string_lossy());
    ExitCode::from(127)
}
