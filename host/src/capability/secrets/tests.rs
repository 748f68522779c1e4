//! A backend in a few lines, asked over a real server.

use std::sync::{Arc, Mutex};

use async_nats::{Client, HeaderMap};
use futures::StreamExt;
use proto::provider::SecretValue;
use proto::record::SecretReference;
use proto::secrets::{
    HOST_XKEY_HEADER, RESPONSE_XKEY_HEADER, Secret, SecretError, SecretRequest, SecretResponse,
};
use proto::subject::SecretsSubject;
use proto::xkey;

use super::{FetchError, Requester, SecretsClient};
use crate::capability::testing::Server;

pub(crate) const TOPIC: &str = "company.secrets";

/// A reference to a secret of the backend.
pub(crate) fn reference(key: &str) -> SecretReference {
    SecretReference {
        name: "db-password".into(),
        backend: "vault".into(),
        key: key.into(),
        field: Some("password".into()),
        version: None,
        policy: "{}".into(),
        kind: SecretReference::TYPE.into(),
    }
}

/// What a backend was asked, and what it answers with.
#[derive(Clone)]
pub(crate) struct Backend {
    seen: Arc<Mutex<Vec<SecretRequest>>>,
    value: Arc<Mutex<String>>,
}

impl Backend {
    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.seen.lock().expect("lock").len()
    }

    /// Replaces the value of every secret.
    pub(crate) fn set(&self, value: &str) {
        value.clone_into(&mut self.value.lock().expect("lock"));
    }
}

/// Answers every request; a key that does not start with `prod/` is not found.
pub(crate) async fn backend(client: Client) -> Backend {
    let subject = SecretsSubject {
        topic: TOPIC.into(),
        backend: "vault".into(),
    };
    let own = xkey::new();
    let (key, get) = (subject.server_xkey(), subject.get());
    let mut keys = client.subscribe(key).await.expect("subscribe");
    let mut gets = client.subscribe(get).await.expect("subscribe");
    client.flush().await.expect("flush");
    let backend = Backend {
        seen: Arc::default(),
        value: Arc::new(Mutex::new("hush".into())),
    };
    let Backend { seen, value } = backend.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(message) = keys.next() => {
                    let reply = message.reply.expect("a request");
                    client.publish(reply, own.public_key().into()).await.expect("publish");
                }
                Some(message) = gets.next() => {
                    let reply = message.reply.clone().expect("a request");
                    let headers = message.headers.as_ref().expect("headers");
                    let peer = headers.get(HOST_XKEY_HEADER).expect("key").as_str().to_owned();
                    let opened = xkey::open(&own, &peer, &message.payload).expect("a box");
                    let request: SecretRequest = serde_json::from_slice(&opened).expect("JSON");
                    let found = request.key.starts_with("prod/");
                    seen.lock().expect("lock").push(request);
                    if !found {
                        let error = Some(SecretError::SecretNotFound);
                        let answer = SecretResponse { secret: None, error };
                        let body = serde_json::to_vec(&answer).expect("JSON");
                        client.publish(reply, body.into()).await.expect("publish");
                        continue;
                    }
                    let secret = Secret { string_secret: Some(value.lock().expect("lock").clone()), ..Default::default() };
                    let answer = SecretResponse { secret: Some(secret), error: None };
                    let once = xkey::new();
                    let body = serde_json::to_vec(&answer).expect("JSON");
                    let sealed = xkey::seal(&once, &peer, &body).expect("sealed");
                    let mut headers = HeaderMap::new();
                    headers.insert(RESPONSE_XKEY_HEADER, once.public_key().as_str());
                    let sent = client.publish_with_headers(reply, headers, sealed.into());
                    sent.await.expect("publish");
                }
                else => return,
            }
        }
    });
    backend
}

#[tokio::test]
async fn a_secret_comes_sealed_and_a_refusal_says_why() {
    let server = Server::nats();
    let nats = async_nats::connect(server.address()).await.expect("nats");
    let client = SecretsClient::new(nats.clone(), Some(TOPIC.into()), "host-token");
    let who = Requester {
        entity_jwt: "token".into(),
        application: Some("shop".into()),
    };

    let nobody = client.fetch(&reference("prod/db"), &who).await;
    assert!(
        matches!(nobody, Err(FetchError::NoBackend { .. })),
        "{nobody:?}"
    );

    let seen = backend(nats.clone()).await.seen;
    let secret = client
        .fetch(&reference("prod/db"), &who)
        .await
        .expect("a secret");
    assert_eq!(secret, SecretValue::String("hush".into()));
    let refused = client.fetch(&reference("test/db"), &who).await;
    let expected = SecretError::SecretNotFound;
    assert!(matches!(refused, Err(FetchError::Refused { source, .. }) if source == expected));

    let request = seen
        .lock()
        .expect("lock")
        .first()
        .cloned()
        .expect("a request");
    let context = request.context;
    assert_eq!(
        (context.entity_jwt.as_str(), context.host_jwt.as_str()),
        ("token", "host-token")
    );
    assert_eq!(context.application.name.as_deref(), Some("shop"));

    let unset = SecretsClient::new(nats, None, "host-token");
    let error = unset.fetch(&reference("prod/db"), &who).await;
    assert!(matches!(error, Err(FetchError::NotConfigured)));
}
