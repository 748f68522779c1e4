//! Connections to NATS systems that a link names, for the capabilities that live there.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use proto::nats_url::{self, Login};
use tokio::sync::OnceCell;

use super::settings::Settings;
use crate::link::LinkError;

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The link's settings contradict each other or cannot be read.
    #[error("{0}")]
    Settings(String),
    /// The server did not take the connection.
    #[error("no connection to NATS at `{url}`: {source}")]
    Connect {
        /// Where.
        url: String,
        /// NATS's own words.
        #[source]
        source: async_nats::ConnectError,
    },
}

/// A NATS system other than the host's own, and who to be there: upstream's link keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatsSettings {
    /// The first server of `cluster_uris` (messaging) or `cluster_uri` (the others).
    pub url: String,
    /// `client_jwt`.
    pub jwt: Option<String>,
    /// `client_seed`.
    pub seed: Option<String>,
    /// `tls_ca`, PEM text.
    pub ca_pem: Option<String>,
    /// `tls_ca_file`.
    pub ca_file: Option<String>,
    /// `custom_inbox_prefix`.
    pub inbox_prefix: Option<String>,
}

impl NatsSettings {
    /// Reads upstream's keys; `None` where no server is named, so that the host's connection
    /// serves.
    ///
    /// # Errors
    /// [`LinkError::MissingSetting`] for a token without its seed.
    pub fn read(settings: &Settings) -> Result<Option<Self>, LinkError> {
        let get = |key: &str| settings.get(key).map(ToOwned::to_owned);
        let Some(urls) = settings
            .get("cluster_uri")
            .or_else(|| settings.get("cluster_uris"))
        else {
            return Ok(None);
        };
        let url = urls.split(',').next().unwrap_or_default().trim().to_owned();
        let settings = Self {
            url,
            jwt: get("client_jwt"),
            seed: get("client_seed"),
            ca_pem: get("tls_ca"),
            ca_file: get("tls_ca_file"),
            inbox_prefix: get("custom_inbox_prefix"),
        };
        if settings.jwt.is_some() && settings.seed.is_none() {
            let hint = "`client_jwt` needs it beside it, best as a secret".into();
            return Err(LinkError::MissingSetting {
                key: "client_seed",
                hint,
            });
        }
        Ok(Some(settings))
    }

    /// Connects.
    ///
    /// # Errors
    /// [`NatsError`] if a setting cannot be used or no server takes the connection.
    pub async fn connect(&self) -> Result<Client, NatsError> {
        let mut options = ConnectOptions::new().connection_timeout(CONNECT_WITHIN);
        options = match (&self.jwt, &self.seed) {
            (Some(jwt), Some(seed)) => {
                let pair = nkeys::KeyPair::from_seed(seed)
                    .map_err(|e| NatsError::Settings(format!("`client_seed` is no seed: {e}")))?;
                let pair = Arc::new(pair);
                options.jwt(jwt.clone(), move |nonce| {
                    let pair = pair.clone();
                    async move { pair.sign(&nonce).map_err(async_nats::AuthError::new) }
                })
            }
            (None, Some(seed)) => options.nkey(seed.clone()),
            _ => match nats_url::login(&self.url) {
                Some(Login::User { user, password }) => options.user_and_password(user, password),
                Some(Login::Token(token)) => options.token(token),
                None => options,
            },
        };
        if let Some(file) = &self.ca_file {
            options = options.add_root_certificates(file.into());
        }
        if let Some(pem) = &self.ca_pem {
            options = options.tls_client_config(trust(pem)?);
        }
        if let Some(prefix) = &self.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        options
            .connect(&self.url)
            .await
            .map_err(|source| NatsError::Connect {
                url: nats_url::without_login(&self.url),
                source,
            })
    }
}

/// TLS that trusts the system's authorities and those in `pem`.
fn trust(pem: &str) -> Result<rustls::ClientConfig, NatsError> {
    let unusable = |e: &dyn std::fmt::Display| NatsError::Settings(format!("`tls_ca`: {e}"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in rustls_pemfile::certs(&mut pem.as_bytes()) {
        let certificate = certificate.map_err(|e| unusable(&e))?;
        roots.add(certificate).map_err(|e| unusable(&e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(&e))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A connection that is made at its first use, or the host's own.
#[derive(Clone)]
pub struct LazyClient {
    client: Arc<OnceCell<Client>>,
    settings: Option<NatsSettings>,
}

impl LazyClient {
    /// The connection that `settings` name; without settings `own`.
    pub fn new(settings: Option<NatsSettings>, own: &Client) -> Self {
        let client = match settings {
            Some(_) => OnceCell::new(),
            None => OnceCell::new_with(Some(own.clone())),
        };
        Self {
            client: Arc::new(client),
            settings,
        }
    }

    /// The connection.
    ///
    /// # Errors
    /// [`NatsError`] if it cannot be made now; the next call tries again.
    pub async fn get(&self) -> Result<Client, NatsError> {
        let connect = || async {
            match &self.settings {
                Some(settings) => settings.connect().await,
                None => Err(NatsError::Settings("no connection to NATS".into())),
            }
        };
        self.client.get_or_try_init(connect).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_without_a_server_uses_the_hosts_connection() {
        let read = |pairs: &[(&str, &str)]| NatsSettings::read(&Settings::from_pairs(pairs));
        assert_eq!(read(&[("client_jwt", "ey")]).expect("settings"), None);
        assert!(read(&[("cluster_uri", "nats://h"), ("client_jwt", "ey")]).is_err());
        let settings = read(&[("cluster_uris", "a:1, b:2"), ("client_seed", "SU")]);
        let settings = settings.expect("settings").expect("a server");
        assert_eq!(
            (settings.url.as_str(), settings.seed.as_deref()),
            ("a:1", Some("SU"))
        );
    }
}
