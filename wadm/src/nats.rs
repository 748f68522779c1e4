//! The connection to NATS: made with whatever credentials there are, and never given up.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError, jetstream,
};
use proto::nats_url::{self, Login};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::NatsArgs;

/// Pause between two attempts to reach a server that is not there.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How often the wait for NATS is mentioned again in the log.
const REMIND_EVERY: Duration = Duration::from_secs(30);

/// How long a JetStream request may take.
pub const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(3);

/// How many refusals by the server are remembered.
const REFUSALS_KEPT: usize = 32;

/// Why no connection can be made, whatever the server does.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The URL cannot be read.
    #[error("`{url}` is not a NATS URL; write it like nats://127.0.0.1:4222")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
    /// A file that the options name cannot be read.
    #[error("cannot read the {what} `{}`; check the path and its permissions", path.display())]
    File {
        /// What the file should be.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The credentials cannot be used.
    #[error("the {what} cannot be used; it should look like `{looks_like}`")]
    Credentials {
        /// Which credentials.
        what: &'static str,
        /// What such credentials look like.
        looks_like: &'static str,
    },
    /// The process was told to stop before a server was reached.
    #[error("stopped while waiting for NATS")]
    Stopped,
}

/// A connection, with what the server refused on it.
#[derive(Clone, Debug)]
pub struct Nats {
    /// The client.
    pub client: Client,
    /// What the server refused.
    pub refusals: Refusals,
    connected: watch::Receiver<bool>,
    domain: Option<String>,
}

impl Nats {
    /// JetStream, in the configured domain.
    pub fn jetstream(&self) -> jetstream::Context {
        match &self.domain {
            Some(domain) => jetstream::ContextBuilder::new()
                .domain(domain)
                .timeout(JETSTREAM_TIMEOUT)
                .build(self.client.clone()),
            None => jetstream::ContextBuilder::new()
                .timeout(JETSTREAM_TIMEOUT)
                .build(self.client.clone()),
        }
    }

    /// Whether the connection stands, and every change of it.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// The configured JetStream domain.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }
}

/// The last permission violations that the server reported. NATS answers a forbidden publish with
/// silence and an error on the side; this is where a timeout finds its reason.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<VecDeque<String>>>);

impl Refusals {
    fn note(&self, text: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == REFUSALS_KEPT {
            kept.pop_front();
        }
        kept.push_back(text);
    }

    /// The last refusal that mentions `subject`, in the server's words.
    pub fn about(&self, subject: &str) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .rev()
            .find(|text| text.contains(subject))
            .cloned()
    }
}

/// Connects, waiting for the server as long as it takes; one line says so.
///
/// # Errors
/// Only for options that no server could make work, and [`NatsError::Stopped`].
pub async fn connect(
    args: &NatsArgs,
    name: &str,
    stop: &CancellationToken,
) -> Result<Nats, NatsError> {
    let servers = parse_servers(&args.nats_server)?;
    let shown = show_servers(&servers);
    let refusals = Refusals::default();
    let mut waiting: Option<tokio::time::Instant> = None;
    loop {
        let (heard, connected) = watch::channel(true);
        let options = options(args, &servers, name, refusals.clone(), heard)?;
        let attempt = tokio::select! {
            () = stop.cancelled() => return Err(NatsError::Stopped),
            attempt = options.connect(&servers[..]) => attempt,
        };
        match attempt {
            Ok(client) => {
                tracing::info!(nats = %shown, "connected to NATS");
                return Ok(Nats {
                    client,
                    refusals,
                    connected,
                    domain: args.js_domain.clone(),
                });
            }
            Err(error) => {
                if waiting.is_none_or(|said| said.elapsed() >= REMIND_EVERY) {
                    let hint = hint(error.kind());
                    // With its cause; the causes under that repeat it.
                    let error = error.to_string();
                    tracing::warn!(nats = %shown, error, hint, "cannot use NATS yet, trying on every second");
                    waiting = Some(tokio::time::Instant::now());
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Err(NatsError::Stopped),
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
}

/// What to try when a server cannot be used.
fn hint(kind: ConnectErrorKind) -> &'static str {
    match kind {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            "this server asks for other credentials: --nats-creds-file, --nats-seed (with --nats-jwt for a user JWT), \
             or user and password in --nats-server"
        }
        ConnectErrorKind::ServerParse
        | ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Tls
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => {
            "start a server there, or name another with --nats-server; name the authority of a TLS server with \
             --nats-tls-ca-file, and where it asks for a certificate of ours, that with --nats-tls-cert-file and \
             --nats-tls-key-file"
        }
    }
}

fn parse_servers(list: &str) -> Result<Vec<ServerAddr>, NatsError> {
    list.split(',')
        .map(|url| {
            let url = url.trim();
            url.parse().map_err(|source| NatsError::Url {
                url: nats_url::without_login(url),
                source,
            })
        })
        .collect()
}

/// The servers without the passwords that their URLs may carry.
fn show_servers(servers: &[ServerAddr]) -> String {
    let shown: Vec<String> = servers
        .iter()
        .map(|s| format!("{}://{}:{}", s.scheme(), s.host(), s.port()))
        .collect();
    shown.join(",")
}

fn options(
    args: &NatsArgs,
    servers: &[ServerAddr],
    name: &str,
    refusals: Refusals,
    connected: watch::Sender<bool>,
) -> Result<ConnectOptions, NatsError> {
    let mut options = ConnectOptions::new()
        .name(name)
        .custom_inbox_prefix(&args.nats_inbox_prefix)
        .ping_interval(Duration::from_secs(15))
        .reconnect_delay_callback(|attempts| match attempts {
            0 | 1 => Duration::ZERO,
            n => Duration::from_millis(50 << n.min(5)).min(RETRY_PAUSE),
        })
        .event_callback(move |event| {
            note_event(&refusals, &connected, event);
            std::future::ready(())
        });
    options = match servers
        .iter()
        .find_map(|server| nats_url::login(server.as_url_str()))
    {
        Some(Login::User { user, password }) => options.user_and_password(user, password),
        Some(Login::Token(token)) => options.token(token),
        None => options,
    };
    options = credentials(args, options)?;
    if let Some(ca) = &args.nats_tls_ca_file {
        readable("TLS authority file", ca)?;
        // Whoever names an authority would not have the password travel in clear.
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let (Some(cert), Some(key)) = (&args.nats_tls_cert_file, &args.nats_tls_key_file) {
        readable("TLS certificate file", cert)?;
        readable("TLS key file", key)?;
        options = options
            .add_client_certificate(cert.clone(), key.clone())
            .require_tls(true);
    }
    if args.nats_tls_first {
        options = options.tls_first();
    }
    Ok(options)
}

fn credentials(args: &NatsArgs, options: ConnectOptions) -> Result<ConnectOptions, NatsError> {
    if let Some(path) = &args.nats_creds_file {
        let text = readable("NATS credentials file", path)?;
        return options
            .credentials(&text)
            .map_err(|_| NatsError::Credentials {
                what: "NATS credentials file",
                looks_like: "-----BEGIN NATS USER JWT-----",
            });
    }
    let Some(seed) = &args.nats_seed else {
        return Ok(options);
    };
    let seed = file_or_literal("NATS seed", seed)?;
    if !seed.starts_with('S') {
        return Err(NatsError::Credentials {
            what: "NATS seed",
            looks_like: "SU… (58 characters)",
        });
    }
    let Some(jwt) = &args.nats_jwt else {
        return Ok(options.nkey(seed));
    };
    let jwt = file_or_literal("NATS JWT", jwt)?;
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    options
        .credentials(&creds)
        .map_err(|_| NatsError::Credentials {
            what: "NATS JWT with its seed",
            looks_like: "eyJ0eXAi…",
        })
}

fn file_or_literal(what: &'static str, value: &str) -> Result<String, NatsError> {
    let path = Path::new(value);
    let text = if path.is_file() {
        readable(what, path)?
    } else {
        value.to_owned()
    };
    Ok(text.trim().to_owned())
}

fn readable(what: &'static str, path: &Path) -> Result<String, NatsError> {
    std::fs::read_to_string(path).map_err(|source| NatsError::File {
        what,
        path: path.to_owned(),
        source,
    })
}

fn note_event(refusals: &Refusals, connected: &watch::Sender<bool>, event: Event) {
    match event {
        Event::Connected => {
            tracing::debug!("connected to NATS");
            connected.send_replace(true);
        }
        Event::Disconnected => {
            tracing::warn!("lost NATS, reconnecting until it is back");
            connected.send_replace(false);
        }
        Event::ServerError(ServerError::Other(text)) => {
            tracing::warn!(error = %text, "NATS refuses something");
            refusals.note(text);
        }
        Event::SlowConsumer(subscription) => {
            tracing::warn!(
                subscription,
                "messages were dropped: this controller reads too slowly"
            );
        }
        other => tracing::debug!(event = %other, "NATS connection"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_not_shown() {
        let servers = parse_servers("nats://u:secret@a:4222, tls://b").unwrap();
        assert_eq!(show_servers(&servers), "nats://a:4222,tls://b:4222");
    }

    #[test]
    fn a_refusal_is_found_by_its_subject() {
        let refusals = Refusals::default();
        refusals.note("Permissions Violation for Publish to \"$JS.API.STREAM.CREATE.x\"".into());
        assert!(refusals.about("STREAM.CREATE.x").is_some());
        assert!(refusals.about("STREAM.CREATE.y").is_none());
    }
}
