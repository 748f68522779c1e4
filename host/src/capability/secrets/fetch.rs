//! Fetching secrets from a backend on NATS, sealed both ways.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use proto::provider::SecretValue;
use proto::record::SecretReference;
use proto::secrets::{
    HOST_XKEY_HEADER, RESPONSE_XKEY_HEADER, SecretApplication, SecretContext, SecretError,
    SecretRequest, SecretResponse,
};
use proto::subject::SecretsSubject;
use proto::xkey;

/// Longest wait for each of the backend's two answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why a secret was not fetched. Never holds one.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host was given no topic.
    #[error(
        "secret store not configured, could not fetch secrets; start the host with `--secrets-topic`"
    )]
    NotConfigured,
    /// Nobody answers for the backend.
    #[error("no secrets backend `{backend}` answers; is it running?")]
    NoBackend {
        /// The backend's name.
        backend: String,
    },
    /// The backend did not answer in time, or the connection is gone.
    #[error("secrets backend `{backend}` did not answer: {reason}")]
    Unreachable {
        /// The backend's name.
        backend: String,
        /// What NATS reported.
        reason: String,
    },
    /// The backend has a reason to give no secret.
    #[error("secret `{name}`: {source}")]
    Refused {
        /// The name under which the secret was to be offered.
        name: String,
        /// The backend's reason.
        #[source]
        source: SecretError,
    },
    /// The backend's answer makes no sense.
    #[error("secrets backend `{backend}` answered nonsense: {reason}")]
    Nonsense {
        /// The backend's name.
        backend: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// On whose behalf a secret is fetched.
#[derive(Debug, Clone, Default)]
pub struct Requester {
    /// The component's or provider's token; backends refuse workloads without one.
    pub entity_jwt: String,
    /// The application that the workload belongs to.
    pub application: Option<String>,
}

/// Fetches secrets.
#[derive(Clone)]
pub struct SecretsClient {
    nats: Client,
    topic: Option<String>,
    host_jwt: String,
}

impl SecretsClient {
    /// A client over the ctl connection; `topic` is what `--secrets-topic` says.
    pub fn new(nats: Client, topic: Option<String>, host_jwt: impl Into<String>) -> Self {
        Self {
            nats,
            topic,
            host_jwt: host_jwt.into(),
        }
    }

    /// Fetches the secret that `reference` names.
    ///
    /// # Errors
    /// [`FetchError`]; within twice five seconds.
    pub async fn fetch(
        &self,
        reference: &SecretReference,
        who: &Requester,
    ) -> Result<SecretValue, FetchError> {
        let topic = self.topic.clone().ok_or(FetchError::NotConfigured)?;
        let subject = SecretsSubject {
            topic,
            backend: reference.backend.clone(),
        };
        let backend = &reference.backend;
        let server_key = self
            .ask(subject.server_xkey(), Request::new(), backend)
            .await?;
        let server_key = String::from_utf8_lossy(&server_key.payload)
            .trim()
            .to_owned();

        let own = xkey::new();
        let body = self
            .request_body(reference, who)
            .map_err(|e| nonsense(backend, &e))?;
        let sealed = xkey::seal(&own, &server_key, &body).map_err(|e| nonsense(backend, &e))?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST_XKEY_HEADER, own.public_key().as_str());
        let request = Request::new().headers(headers).payload(sealed.into());
        let answer = self.ask(subject.get(), request, backend).await?;

        let peer = answer
            .headers
            .as_ref()
            .and_then(|headers| headers.get(RESPONSE_XKEY_HEADER));
        let body = match peer {
            Some(peer) => xkey::open(&own, peer.as_str(), &answer.payload)
                .map_err(|e| nonsense(backend, &e))?,
            None => answer.payload.to_vec(),
        };
        let response: SecretResponse =
            serde_json::from_slice(&body).map_err(|e| nonsense(backend, &e))?;
        if let Some(source) = response.error {
            return Err(FetchError::Refused {
                name: reference.name.clone(),
                source,
            });
        }
        if peer.is_none() {
            return Err(nonsense(backend, &"the secret came unsealed"));
        }
        response
            .secret
            .and_then(proto::secrets::Secret::into_value)
            .ok_or_else(|| nonsense(backend, &"neither a secret nor an error"))
    }

    fn request_body(
        &self,
        reference: &SecretReference,
        who: &Requester,
    ) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&SecretRequest {
            key: reference.key.clone(),
            field: reference.field.clone(),
            version: reference.version.clone(),
            context: SecretContext {
                entity_jwt: who.entity_jwt.clone(),
                host_jwt: self.host_jwt.clone(),
                application: SecretApplication {
                    name: who.application.clone(),
                    policy: reference.policy.clone(),
                },
            },
        })
    }

    async fn ask(
        &self,
        subject: String,
        request: Request,
        backend: &str,
    ) -> Result<Message, FetchError> {
        let backend = || backend.to_owned();
        let request = request.timeout(Some(ANSWER_WITHIN));
        self.nats
            .send_request(subject, request)
            .await
            .map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders => FetchError::NoBackend { backend: backend() },
                _ => FetchError::Unreachable {
                    backend: backend(),
                    reason: error.to_string(),
                },
            })
    }
}

fn nonsense(backend: &str, reason: &dyn std::fmt::Display) -> FetchError {
    FetchError::Nonsense {
        backend: backend.to_owned(),
        reason: reason.to_string(),
    }
}
