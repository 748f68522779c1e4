//! Asks the configuration service, once at start, for registry credentials.

use std::time::Duration;

use proto::Labels;
use proto::ctl::{ConfigServiceRequest, ConfigServiceResponse};
use proto::subject::ConfigServiceSubject;

use super::{Connection, Identity};
use crate::oci::{Credential, Fetcher};

/// How long it may take.
const WAIT: Duration = Duration::from_secs(2);

/// Takes what the service gives; without it the host goes on.
pub(super) async fn ask(connection: &Connection, identity: &Identity, fetcher: &Fetcher) {
    let request = ConfigServiceRequest {
        labels: Labels::clone(&identity.labels.load()),
    };
    let subject = ConfigServiceSubject {
        lattice: identity.lattice.clone(),
    }
    .to_string();
    let Ok(body) = serde_json::to_vec(&request) else {
        return;
    };
    let answer = connection.client().request(subject.clone(), body.into());
    let answer = match tokio::time::timeout(WAIT, answer).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) => {
            return tracing::warn!(subject, %error, "the configuration service gave nothing");
        }
        Err(_) => {
            return tracing::warn!(subject, waited = ?WAIT, "the configuration service did not answer");
        }
    };
    match serde_json::from_slice::<ConfigServiceResponse>(&answer.payload) {
        Ok(response) => {
            for (registry, given) in response.registry_credentials {
                fetcher.set_credential(
                    &registry,
                    Credential::from_parts(given.username, given.password, given.token),
                );
            }
        }
        Err(error) => {
            tracing::warn!(subject, %error, "the configuration service's answer cannot be read")
        }
    }
}
