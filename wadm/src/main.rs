//! The `wadm` program.

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    wadm::run(wadm::Args::parse()).await
}
