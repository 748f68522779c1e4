//! Logs: to stderr, as text or JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::prelude::*;

use crate::options::TelemetryOptions;

/// Libraries whose chatter is only of interest when asked for.
const QUIET: [&str; 8] = [
    "cranelift_codegen",
    "cranelift_wasm",
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "wasmtime",
];

/// Sends logs to stderr from now on. A second call changes nothing.
pub fn init(options: &TelemetryOptions) {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok());
    let filter = filter.unwrap_or_else(|| default_filter(options.log_level));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let registry = tracing_subscriber::registry().with(filter);
    let set = if options.enable_structured_logging {
        registry.with(layer.json()).try_init()
    } else {
        registry
            .with(layer.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())))
            .try_init()
    };
    if set.is_err() {
        tracing::debug!("logs were already set up");
    }
    if options.enable_observability
        || options.enable_traces
        || options.enable_metrics
        || options.enable_logs
    {
        tracing::info!("telemetry settings are handed to providers; this host itself exports none");
    }
    if options.flame_graph.is_some() {
        tracing::warn!("--flame-graph has no effect");
    }
}

fn default_filter(level: tracing::Level) -> EnvFilter {
    let mut text = level.to_string().to_lowercase();
    if level <= tracing::Level::DEBUG {
        // It repeats its failure at every attempt to connect; we say it once, with more reason.
        text.push_str(",async_nats=off");
        for name in QUIET {
            text.push_str(&format!(",{name}=warn"));
        }
    }
    EnvFilter::new(text)
}
