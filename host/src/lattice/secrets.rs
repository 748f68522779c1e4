//! Secrets of components, providers and links: which references lead to which values.

use std::sync::Arc;

use nkeys::KeyPair;
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

/// Fetches secrets in this host's name.
#[derive(Clone)]
pub struct SecretsClient {
    client: Arc<Client>,
    configured: bool,
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
        Self {
            client: Arc::new(Client::new(connection.client().clone(), topic, token)),
            configured,
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
            let who = Requester {
                entity_jwt: token.to_owned(),
                application: entity.application.map(str::to_owned),
            };
            secrets.insert(
                reference.name.clone(),
                self.client.fetch(reference, &who).await?,
            );
        }
        Ok(secrets)
    }
}
