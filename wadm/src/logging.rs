//! Log lines: text or JSON on standard error, filtered by `RUST_LOG`.

use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,async_nats=error";

/// Installs the process's log writer; does nothing where one is installed already (a binary that
/// links this crate may have its own).
pub fn init(structured: bool) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let _ = if structured {
        builder.json().try_init()
    } else {
        builder.with_target(false).try_init()
    };
}
