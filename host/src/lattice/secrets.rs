//! Secrets of components, providers and links: which references lead to which values.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nkeys::KeyPair;
use proto::provider::SecretValue;
use proto::record::SecretReference;
use proto::{Labels, claims};

use super::{Connection, Identity};
use crate::capability::secrets::{FetchError, Requester, SecretsClient as Client};
use crate::link::Secrets;

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// Whoever asks is not signed.
    #[error("`{entity}` is not signed and cannot have secrets; sign it with `wash claims sign`")]
    Unsigned {
        /// Who asked.
        entity: String,
    },
    /// The backend gave none.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Who asks for secrets.
#[derive(Clone, Copy, Debug)]
pub struct Entity<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its token.
    pub token: Option<&'a str>,
    /// The application it belongs to.
    pub application: Option<&'a str>,
}

/// How long a fetched value is used without asking again: one round of wiring asks once.
const FRESH: Duration = Duration::from_secs(1);

/// How long a value that nobody asks for any more is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Fetches secrets in this host's name.
///
/// A backend that cannot be reached takes nothing away: what it gave last is given again.
#[derive(Clone)]
pub struct SecretsClient {
    client: Arc<Client>,
    configured: bool,
    kept: Arc<Mutex<HashMap<Wanted, Kept>>>,
}

/// Who wants which secret.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Wanted {
    token: String,
    application: Option<String>,
    backend: String,
    key: String,
    field: Option<String>,
    version: Option<String>,
    policy: String,
}

struct Kept {
    value: SecretValue,
    fetched: Instant,
    wanted: Instant,
}

impl SecretsClient {
    /// Makes the host's token; without a topic every fetch is refused.
    pub fn new(connection: &Connection, identity: &Identity, topic: Option<String>) -> Self {
        let about = claims::Host {
            name: Some(identity.friendly_name.clone()),
            labels: Some(Labels::from([(
                "self_signed".to_owned(),
                "true".to_owned(),
            )])),
        };
        let now = u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0);
        let claims = claims::Claims::new(identity.id.as_str(), now, about);
        let token = claims.encode(&KeyPair::new_account()).unwrap_or_default();
        let configured = topic.is_some();
        let client = Arc::new(Client::new(connection.client().clone(), topic, token));
        Self {
            client,
            configured,
            kept: Arc::default(),
        }
    }

    /// Fetches the secrets the references name, by the names the references give them.
    ///
    /// # Errors
    /// [`SecretsError`] for the first that cannot be had.
    pub async fn fetch(
        &self,
        references: &[SecretReference],
        entity: Entity<'_>,
    ) -> Result<Secrets, SecretsError> {
        let mut secrets = Secrets::new();
        for reference in references {
            if !self.configured {
                return Err(FetchError::NotConfigured.into());
            }
            let token = entity.token.ok_or_else(|| SecretsError::Unsigned {
                entity: entity.id.to_owned(),
            })?;
            let value = self.fetch_one(reference, token, entity.application).await?;
            secrets.insert(reference.name.clone(), value);
        }
        Ok(secrets)
    }

    async fn fetch_one(
        &self,
        reference: &SecretReference,
        token: &str,
        application: Option<&str>,
    ) -> Result<SecretValue, FetchError> {
        let wanted = Wanted {
            token: token.to_owned(),
            application: application.map(str::to_owned),
            backend: reference.backend.clone(),
            key: reference.key.clone(),
            field: reference.field.clone(),
            version: reference.version.clone(),
            policy: reference.policy.clone(),
        };
        let last = self.last(&wanted);
        if let Some((value, age)) = &last
            && *age < FRESH
        {
            return Ok(value.clone());
        }
        let who = Requester {
            entity_jwt: wanted.token.clone(),
            application: wanted.application.clone(),
        };
        match self.client.fetch(reference, &who).await {
            Ok(value) => {
                self.keep(wanted, value.clone());
                Ok(value)
            }
            Err(error @ (FetchError::NoBackend { .. } | FetchError::Unreachable { .. })) => {
                last.map(|(value, _)| value).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The value that was fetched last, and how long ago.
    fn last(&self, wanted: &Wanted) -> Option<(SecretValue, Duration)> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_mut(wanted)?;
        kept.wanted = Instant::now();
        Some((kept.value.clone(), kept.fetched.elapsed()))
    }

    fn keep(&self, wanted: Wanted, value: SecretValue) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, kept| kept.wanted.elapsed() < REMEMBERED);
        let now = Instant::now();
        kept.insert(
            wanted,
            Kept {
                value,
                fetched: now,
                wanted: now,
            },
        );
    }
}
