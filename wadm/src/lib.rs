//! The controller: keeps the components of each application running on the hosts that fit.
//!
//! What to do is decided by the pure half ([`view`], [`plan`], [`core`], proven in [`sim`]); the
//! rest carries it out: manifests in JetStream ([`store`]), one leader per lattice ([`lease`]), the
//! API ([`server`]) and the loop around it all ([`control_loop`]).

pub mod admin;
pub mod cli;
pub mod control_loop;
pub mod core;
pub mod lease;
pub mod logging;
pub mod nats;
pub mod plan;
pub mod serve;
pub mod server;
pub mod sim;
pub mod status;
pub mod store;
pub mod task;
pub mod view;

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

pub use cli::Args;
pub use serve::serve;

/// Runs the program: what the arguments say, until it is done or told to stop by SIGINT or SIGTERM.
pub async fn run(args: Args) -> ExitCode {
    if let Some(cli::Command::Simulate(simulate)) = &args.command {
        return sim::run(simulate);
    }
    let args = args.serve;
    logging::init(args.structured_logging);
    let stop = CancellationToken::new();
    let told = stop.clone();
    let signals = tokio::spawn(async move {
        task::terminated().await;
        tracing::info!("told to stop");
        told.cancel();
    });
    let done = serve(args, stop).await;
    signals.abort();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(
                error = format!("{:#}", anyhow::Error::new(error)),
                "stopped"
            );
            ExitCode::FAILURE
        }
    }
}
