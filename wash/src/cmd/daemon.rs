//! `wash host` and `wash wadm`: the daemons' own mains, linked in, so that one file is enough.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::Parser;

const OPERATIONS: &str =
    "Of a host that runs: wash host cordon HOST, wash host uncordon HOST, wash host drain HOST.";

/// Runs WebAssembly components and providers on this machine, as a host of a lattice
#[derive(Parser)]
#[command(name = "wash host", version, after_help = OPERATIONS)]
struct HostCli {
    #[command(flatten)]
    options: host::HostOptions,
}

/// Runs the host daemon.
#[allow(
    clippy::print_stderr,
    reason = "the daemon prints its own end, as its own program does"
)]
pub fn host(arguments: Vec<OsString>) -> ExitCode {
    let cli = HostCli::parse_from(arguments.into_iter().skip(1));
    daemon(async {
        match host::run(cli.options).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}", crate::fetch::chain(&error));
                ExitCode::FAILURE
            }
        }
    })
}

/// Runs the controller.
pub fn wadm(arguments: Vec<OsString>) -> ExitCode {
    let arguments = wadm::Args::parse_from(arguments.into_iter().skip(1));
    daemon(wadm::run(arguments))
}

/// Daemons use every processor.
#[allow(
    clippy::print_stderr,
    reason = "there is nothing else that could say it"
)]
fn daemon(run: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(run),
        Err(error) => {
            eprintln!("error: cannot start the async runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
