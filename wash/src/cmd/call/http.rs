//! `wash call … wasi:http/incoming-handler.handle`: an HTTP request to a component, without a server.

use std::path::PathBuf;
use std::str::FromStr;

use ::http::{Method, Request, header};
use host::capability::{HttpBody, Remote, RemoteTarget};
use host::rpc::Client;
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Map, Value, json};

use super::CallError;
use crate::error::{FileError, UsageError, WashError};
use crate::output::{Answer, Paint, Style, keys};

/// The largest answer that is shown.
const BYTES_MAX: usize = 16 << 20;

/// An HTTP request.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "HTTP (for wasi:http/incoming-handler.handle)")]
pub struct HttpOptions {
    /// Scheme
    #[arg(long, default_value = "http", value_name = "SCHEME")]
    pub http_scheme: String,
    /// Host
    #[arg(long, default_value = "localhost", value_name = "HOST")]
    pub http_host: String,
    /// Port
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub http_port: u16,
    /// Path and query
    #[arg(long, default_value = "/", value_name = "PATH")]
    pub http_path: String,
    /// Method
    #[arg(long, default_value = "GET", value_name = "METHOD")]
    pub http_method: String,
    /// Header, name: value; repeat for more
    #[arg(long, value_name = "HEADER")]
    pub http_header: Vec<String>,
    /// Body
    #[arg(long, value_name = "TEXT", conflicts_with = "http_body_path")]
    pub http_body: Option<String>,
    /// File with the body
    #[arg(long, value_name = "FILE")]
    pub http_body_path: Option<PathBuf>,
    /// Type of the body
    #[arg(long, value_name = "TYPE")]
    pub http_content_type: Option<String>,
    /// Print the body alone, as JSON
    #[arg(long)]
    pub http_response_extract_json: bool,
}

/// What a component answered.
pub struct HttpAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    body_only: bool,
}

impl Answer for HttpAnswer {
    fn text(&self, style: &Style) -> String {
        if self.body_only {
            return self.body.clone();
        }
        let paint = if self.status < 400 {
            Paint::Good
        } else {
            Paint::Bad
        };
        let mut lines = vec![style.paint(paint, &self.status.to_string())];
        lines.extend(
            self.headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}")),
        );
        format!("{}\n\n{}", lines.join("\n"), self.body)
    }

    fn json(&self) -> Map<String, Value> {
        let body = match self.body_only {
            true => serde_json::from_str(&self.body).unwrap_or_else(|_| self.body.clone().into()),
            false => Value::String(self.body.clone()),
        };
        let headers: Map<String, Value> = self
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        keys([(
            "response",
            json!({"status": self.status, "headers": headers, "body": body}),
        )])
    }
}

impl HttpOptions {
    fn body(&self) -> Result<Vec<u8>, FileError> {
        match (&self.http_body, &self.http_body_path) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some(path)) => {
                std::fs::read(path).map_err(|source| FileError::new("read", path, source))
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    fn request(&self) -> Result<Request<HttpBody>, WashError> {
        let wrong =
            |what: String| UsageError::new(what, "see `wash call --help` for the HTTP options");
        let method = Method::from_str(&self.http_method.to_uppercase())
            .map_err(|_| wrong(format!("`{}` is no HTTP method", self.http_method)))?;
        let body = self.body()?;
        let uri = format!(
            "{}://{}:{}{}",
            self.http_scheme, self.http_host, self.http_port, self.http_path
        );
        let mut request = Request::builder().method(method).uri(&uri);
        request = request.header(
            header::HOST,
            format!("{}:{}", self.http_host, self.http_port),
        );
        if !body.is_empty() {
            request = request.header(header::CONTENT_LENGTH, body.len());
        }
        if let Some(kind) = &self.http_content_type {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        for line in &self.http_header {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| wrong(format!("`{line}` is no header")))?;
            request = request.header(name.trim(), value.trim());
        }
        let body = Full::new(bytes::Bytes::from(body))
            .map_err(|never| match never {})
            .boxed_unsync();
        Ok(request
            .body(body)
            .map_err(|error| wrong(format!("`{uri}` is no request: {error}")))?)
    }
}

/// Sends the request and takes the whole answer.
pub async fn call(
    client: &Client,
    to: &RemoteTarget,
    options: &HttpOptions,
) -> Result<HttpAnswer, WashError> {
    let failed = |reason: String| CallError::Http {
        component: to.target.clone(),
        reason,
    };
    let response = client
        .http(to, options.request()?, false)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, BYTES_MAX)
        .collect()
        .await
        .map_err(|error| failed(error.to_string()))?;
    let text = |value: &::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Ok(HttpAnswer {
        status: parts.status.as_u16(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        body_only: options.http_response_extract_json,
    })
}
