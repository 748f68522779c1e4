//! A connection to NATS that is never given up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use futures::StreamExt as _;
use proto::nats_url;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use crate::options::{Auth, NatsSettings};

/// Longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_millis(1000);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How long the server may take to confirm what it was sent.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a request may wait for its answer unless it says otherwise.
const REQUEST: Duration = Duration::from_secs(5);
/// Without a connection after this time, the log says so once.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A connection cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("cannot connect to NATS at `{urls}`: {reason}")]
    Address {
        /// The addresses.
        urls: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The seed is none.
    #[error("the NATS seed is not usable: {0}")]
    Seed(String),
}

/// A connection to NATS, and whether it stands.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    urls: String,
    state: watch::Receiver<u64>,
}

impl Connection {
    /// Begins to connect, and goes on trying for ever. `purpose` says in the log what it is for.
    ///
    /// # Errors
    /// [`ConnectError`] when the settings can never lead to a connection.
    pub async fn begin(
        settings: &NatsSettings,
        name: &str,
        purpose: &'static str,
    ) -> Result<Self, ConnectError> {
        // Odd numbers stand for a connection, even ones for none; each change counts up.
        let (sender, state) = watch::channel(0_u64);
        let urls = without_passwords(&settings.urls);
        let once = secured(options(settings)?, settings)
            .name(name)
            .connection_timeout(ATTEMPT);
        let options = once
            .clone()
            .retry_on_initial_connect()
            .max_reconnects(None)
            .request_timeout(Some(REQUEST))
            .reconnect_delay_callback(|attempts| {
                let exponent = u32::try_from(attempts).unwrap_or(u32::MAX).min(4);
                Duration::from_millis(50 * 2_u64.pow(exponent)).min(PAUSE_MAX)
            })
            .event_callback(reporter(sender, urls.clone(), purpose));
        let client = options
            .connect(settings.urls.clone())
            .await
            .map_err(|error| ConnectError::Address {
                urls: urls.clone(),
                reason: crate::oci::error_chain(&error),
            })?;
        let connection = Self {
            client,
            urls,
            state,
        };
        let servers = settings.urls.clone();
        tokio::spawn(complain(connection.clone(), purpose, once, servers));
        Ok(connection)
    }

    /// The client. Its subscriptions survive a lost connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where it leads, without passwords.
    pub fn urls(&self) -> &str {
        &self.urls
    }

    /// Whether it stands now.
    pub fn is_up(&self) -> bool {
        *self.state.borrow() % 2 == 1
    }

    /// Waits until the server has taken in everything sent so far, subscriptions above all.
    /// Says whether it did in time; flushing alone only empties a buffer here.
    pub async fn settled(&self) -> bool {
        let there_and_back = async {
            let inbox = self.client.new_inbox();
            let mut answers = self.client.subscribe(inbox.clone()).await.ok()?;
            self.client.publish(inbox, bytes::Bytes::new()).await.ok()?;
            answers.next().await
        };
        matches!(
            tokio::time::timeout(SETTLE, there_and_back).await,
            Ok(Some(_))
        )
    }

    /// Waits until it stands; answers the number of this connection.
    pub async fn up(&self) -> u64 {
        let mut state = self.state.clone();
        let number = state
            .wait_for(|number| number % 2 == 1)
            .await
            .map(|number| *number);
        match number {
            Ok(number) => number,
            // The callback is gone with the client: nothing will come any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until the connection of this number is no longer the present one.
    pub async fn not(&self, number: u64) {
        let mut state = self.state.clone();
        let gone = state.wait_for(|now| *now != number).await.is_err();
        if gone {
            std::future::pending::<()>().await;
        }
    }
}

/// Says once, clearly, that NATS is not there, and why: the client that goes on trying tells only the
/// kind of its failure, so one more attempt is made for its reason.
async fn complain(
    connection: Connection,
    purpose: &'static str,
    once: ConnectOptions,
    servers: Vec<String>,
) {
    if tokio::time::timeout(PATIENCE, connection.up())
        .await
        .is_ok()
    {
        return;
    }
    let Err(error) = once.connect(servers).await else {
        return;
    };
    let at = connection.urls();
    let hint = Trouble::of(&error).hint();
    let error = crate::oci::error_chain(&error);
    tracing::warn!(
        at,
        purpose,
        error,
        hint,
        "NATS cannot be used yet; this host goes on trying and joins when it can"
    );
}

/// What keeps us from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It does not know us.
    Refused,
    /// Encryption: either side does not trust the other's certificate.
    Tls,
    /// Nobody there, or no answer.
    Unreachable,
}

impl Trouble {
    /// Reads it from what the client says.
    #[must_use]
    pub fn of(error: &async_nats::ConnectError) -> Self {
        use async_nats::ConnectErrorKind as Kind;
        match error.kind() {
            Kind::Authentication | Kind::AuthorizationViolation => Self::Refused,
            Kind::Tls => Self::Tls,
            // A certificate that fails is an input error to the client.
            Kind::Io if is_tls(error) => Self::Tls,
            Kind::Io | Kind::ServerParse | Kind::Dns | Kind::TimedOut | Kind::MaxReconnects => {
                Self::Unreachable
            }
        }
    }

    /// What to try on this host.
    fn hint(self) -> &'static str {
        match self {
            Self::Refused => {
                "this server asks for other credentials: --nats-creds, --nats-jwt with --nats-seed, --nats-nkey, \
                 --nats-user with --nats-password, or --nats-token"
            }
            Self::Tls => {
                "name the authority that signed the server's certificate with --nats-tls-ca, and where it asks for a \
                 certificate of ours, that with --nats-tls-cert and --nats-tls-key"
            }
            Self::Unreachable => {
                "start a server there, or name another with --nats-host and --nats-port"
            }
        }
    }
}

fn is_tls(error: &async_nats::ConnectError) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let inner = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if cause.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        next = cause.source();
    }
    false
}

fn reporter(
    sender: watch::Sender<u64>,
    at: String,
    purpose: &'static str,
) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync + 'static {
    let sender = Arc::new(sender);
    let last: Mutex<String> = Mutex::default();
    move |event| {
        match event {
            Event::Connected => {
                sender.send_modify(|number| *number += 1 + *number % 2);
                tracing::info!(at, purpose, "connected to NATS");
                last.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            Event::Disconnected => {
                sender.send_modify(|number| *number += *number % 2);
                tracing::warn!(at, purpose, "lost the connection to NATS; trying again");
            }
            Event::SlowConsumer(subscription) => {
                tracing::warn!(
                    at,
                    purpose,
                    subscription,
                    "NATS messages were dropped: this host is too slow for them"
                );
            }
            Event::LameDuckMode => tracing::info!(at, purpose, "the NATS server is about to stop"),
            Event::Draining | Event::Closed => {}
            Event::ServerError(error) => report(&last, &at, purpose, &error.to_string()),
            Event::ClientError(error) => report(&last, &at, purpose, &error.to_string()),
        }
        std::future::ready(())
    }
}

/// Logs an error, but not the same one at every attempt.
fn report(last: &Mutex<String>, at: &str, purpose: &str, error: &str) {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if *last == error {
        tracing::debug!(at, purpose, error, "NATS");
    } else {
        tracing::warn!(at, purpose, error, "NATS reports a fault");
        error.clone_into(&mut last);
    }
}

fn options(settings: &NatsSettings) -> Result<ConnectOptions, ConnectError> {
    Ok(match &settings.auth {
        Auth::None => ConnectOptions::new(),
        Auth::Token(token) => ConnectOptions::with_token(token.expose_secret().to_owned()),
        Auth::User { user, password } => ConnectOptions::with_user_and_password(
            user.clone(),
            password.expose_secret().to_owned(),
        ),
        Auth::Nkey(seed) => {
            let seed = seed.expose_secret();
            nkeys::KeyPair::from_seed(seed)
                .map_err(|error| ConnectError::Seed(error.to_string()))?;
            ConnectOptions::with_nkey(seed.to_owned())
        }
        Auth::Jwt { jwt, seed } => {
            let pair = nkeys::KeyPair::from_seed(seed.expose_secret())
                .map_err(|error| ConnectError::Seed(error.to_string()))?;
            let pair = Arc::new(pair);
            ConnectOptions::with_jwt(jwt.clone(), move |nonce| {
                let pair = pair.clone();
                async move { pair.sign(&nonce).map_err(async_nats::AuthError::new) }
            })
        }
    })
}

fn secured(options: ConnectOptions, settings: &NatsSettings) -> ConnectOptions {
    let mut options = options.custom_inbox_prefix(&settings.inbox_prefix);
    for path in &settings.tls.ca_files {
        options = options.add_root_certificates(path.clone());
    }
    if let Some((cert, key)) = &settings.tls.identity {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    if settings.tls.required {
        options.require_tls(true)
    } else {
        options
    }
}

/// URLs as they may be shown.
fn without_passwords(urls: &[String]) -> String {
    let shown: Vec<String> = urls
        .iter()
        .map(|url| nats_url::without_login(url))
        .collect();
    shown.join(",")
}
