//! Flags of logs, traces and metrics.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use proto::provider::{LogLevel, OtelConfig, OtelProtocol};

/// Logs, traces and metrics.
#[derive(Args, Clone, Debug)]
pub struct TelemetryOptions {
    /// How much is logged: error, warn, info, debug, trace; RUST_LOG says it per module
    #[arg(long, alias = "structured-log-level", env = "WASMCLOUD_LOG_LEVEL", default_value = "INFO", value_parser = level)]
    pub log_level: tracing::Level,

    /// How much is traced
    #[arg(long, env = "WASMCLOUD_TRACE_LEVEL", default_value = "INFO", value_parser = level)]
    pub trace_level: tracing::Level,

    /// Log lines as JSON
    #[arg(
        long,
        env = "WASMCLOUD_STRUCTURED_LOGGING_ENABLED",
        value_parser = FalseyValueParser::new(),
        action = ArgAction::SetTrue
    )]
    pub enable_structured_logging: bool,

    /// Export traces, metrics and logs (handed to providers)
    #[arg(
        long,
        env = "WASMCLOUD_OBSERVABILITY_ENABLED",
        value_parser = FalseyValueParser::new(),
        action = ArgAction::SetTrue
    )]
    pub enable_observability: bool,

    /// Export traces (handed to providers)
    #[arg(long, env = "WASMCLOUD_TRACES_ENABLED", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub enable_traces: bool,

    /// Export metrics (handed to providers)
    #[arg(long, env = "WASMCLOUD_METRICS_ENABLED", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub enable_metrics: bool,

    /// Export logs (handed to providers)
    #[arg(long, env = "WASMCLOUD_LOGS_ENABLED", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub enable_logs: bool,

    /// OTLP endpoint of all signals
    #[arg(
        long = "override-observability-endpoint",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT"
    )]
    pub observability_endpoint: Option<String>,

    /// OTLP endpoint of traces
    #[arg(
        long = "override-traces-endpoint",
        env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    )]
    pub traces_endpoint: Option<String>,

    /// OTLP endpoint of metrics
    #[arg(
        long = "override-metrics-endpoint",
        env = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
    )]
    pub metrics_endpoint: Option<String>,

    /// OTLP endpoint of logs
    #[arg(
        long = "override-logs-endpoint",
        env = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
    )]
    pub logs_endpoint: Option<String>,

    /// OTLP over `grpc` or `http`
    #[arg(
        long,
        env = "WASMCLOUD_OBSERVABILITY_PROTOCOL",
        default_value = "http",
        value_parser = ["http", "grpc", "Http", "Grpc"]
    )]
    pub observability_protocol: String,

    /// Accepted for upstream's sake; no flame graph is written
    #[arg(long, env = "WASMCLOUD_FLAME_GRAPH", hide = true)]
    pub flame_graph: Option<PathBuf>,
}

impl TelemetryOptions {
    /// How much providers log.
    pub fn provider_log_level(&self) -> LogLevel {
        match self.log_level {
            tracing::Level::ERROR => LogLevel::Error,
            tracing::Level::WARN => LogLevel::Warn,
            tracing::Level::INFO => LogLevel::Info,
            tracing::Level::DEBUG => LogLevel::Debug,
            tracing::Level::TRACE => LogLevel::Trace,
        }
    }

    /// What providers are told about telemetry.
    pub fn otel(&self, ca_paths: &[PathBuf]) -> OtelConfig {
        let on = |flag: bool| flag.then_some(true);
        let grpc = self.observability_protocol.eq_ignore_ascii_case("grpc");
        OtelConfig {
            enable_observability: self.enable_observability,
            enable_traces: on(self.enable_traces),
            enable_metrics: on(self.enable_metrics),
            enable_logs: on(self.enable_logs),
            observability_endpoint: self.observability_endpoint.clone(),
            traces_endpoint: self.traces_endpoint.clone(),
            metrics_endpoint: self.metrics_endpoint.clone(),
            logs_endpoint: self.logs_endpoint.clone(),
            protocol: if grpc {
                OtelProtocol::Grpc
            } else {
                OtelProtocol::Http
            },
            additional_ca_paths: ca_paths
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            trace_level: self.trace_level.to_string().to_lowercase(),
            ..OtelConfig::default()
        }
    }
}

fn level(text: &str) -> Result<tracing::Level, String> {
    if text.eq_ignore_ascii_case("critical") {
        return Ok(tracing::Level::ERROR);
    }
    text.parse()
        .map_err(|_| "one of error, warn, info, debug, trace, critical is needed".into())
}
