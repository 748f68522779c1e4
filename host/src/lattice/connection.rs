//! A connection to NATS that is never given up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use futures::StreamExt as _;
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
        let urls = settings.urls.join(",");
        let options = secured(options(settings)?, settings)
            .name(name)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(ATTEMPT)
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
                urls: without_passwords(&urls),
                reason: crate::oci::error_chain(&error),
            })?;
        let connection = Self {
            client,
            urls: without_passwords(&urls),
            state,
        };
        tokio::spawn(complain(connection.clone(), purpose));
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

/// Says once, clearly, that NATS is not there.
async fn complain(connection: Connection, purpose: &'static str) {
    if tokio::time::timeout(PATIENCE, connection.up())
        .await
        .is_err()
    {
        let at = connection.urls();
        tracing::warn!(
            at,
            purpose,
            "NATS is not reachable yet; this host goes on trying and joins when it is there"
        );
    }
}

fn reporter(
    sender: watch::Sender<u64>,
    urls: String,
    purpose: &'static str,
) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync + 'static {
    let at = without_passwords(&urls);
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
        tracing::warn!(at, purpose, error, "NATS");
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

fn secured(mut options: ConnectOptions, settings: &NatsSettings) -> ConnectOptions {
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
fn without_passwords(urls: &str) -> String {
    let one = |url: &str| match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}{}", &url[..scheme + 3], &url[at + 1..])
        }
        (None, Some(at)) => url[at + 1..].to_owned(),
        _ => url.to_owned(),
    };
    urls.split(',').map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (urls, expected) in [
            ("nats://u:p@a:4222,tls://b", "nats://a:4222,tls://b"),
            ("u:p@a", "a"),
            ("nats://a:4222", "nats://a:4222"),
        ] {
            assert_eq!(without_passwords(urls), expected);
        }
    }
}
