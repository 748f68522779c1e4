//! Log lines: text or JSON on standard error, filtered by `RUST_LOG`.

use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` says nothing. The NATS client repeats its failure at every attempt to
/// connect; [`crate::nats`] says it once, with what to try.
const DEFAULT_FILTER: &str = "info,async_nats=off";

/// Installs the process's log writer; does nothing where one is installed already (a binary that
/// links this crate may have its own).
pub fn init(structured: bool) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for people, not for the journal.
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let _ = if structured {
        builder.json().try_init()
    } else {
        builder.with_target(false).try_init()
    };
}
