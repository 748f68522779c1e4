//! The binary `host`.

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs WebAssembly components and providers on this machine, as a host of a lattice.
#[derive(Parser)]
#[command(name = "host", version)]
struct Cli {
    #[command(flatten)]
    options: host::HostOptions,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match host::run(cli.options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", host::oci::error_chain(&error));
            ExitCode::FAILURE
        }
    }
}
