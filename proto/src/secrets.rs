//! What a host and a secrets backend say to each other.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::provider::SecretValue;

/// The request header that names the curve key made for the request.
pub const HOST_XKEY_HEADER: &str = "WasmCloud-Host-Xkey";
/// The reply header that names the curve key the reply is sealed with; absent on errors.
pub const RESPONSE_XKEY_HEADER: &str = "Server-Response-Xkey";

/// Asks for a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRequest {
    /// Its key in the backend.
    pub key: String,
    /// A field of it.
    #[serde(default)]
    pub field: Option<String>,
    /// A version of it; none means the newest.
    #[serde(default)]
    pub version: Option<String>,
    /// Who asks.
    pub context: SecretContext,
}

impl fmt::Debug for SecretRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRequest")
            .field("key", &self.key)
            .field("field", &self.field)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Who asks for a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretContext {
    /// The component's or provider's token.
    pub entity_jwt: String,
    /// The host's token.
    pub host_jwt: String,
    /// On behalf of which application.
    pub application: SecretApplication,
}

/// The application on whose behalf a secret is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretApplication {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// What the secret reference says for the backend to decide by.
    #[serde(default)]
    pub policy: String,
}

/// The backend's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretResponse {
    /// The secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<SecretError>,
}

/// A secret as a backend sends it. Printing it for debugging leaves the values out.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// Its version.
    pub version: String,
    /// Its value as text.
    pub string_secret: Option<String>,
    /// Its value as bytes, in JSON an array of numbers.
    pub binary_secret: Option<Vec<u8>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Secret {
    /// The value, if there is one.
    #[must_use]
    pub fn into_value(self) -> Option<SecretValue> {
        self.string_secret
            .map(SecretValue::String)
            .or(self.binary_secret.map(SecretValue::Bytes))
    }
}

/// Why a backend gives no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SecretError {
    /// The request makes no sense.
    #[error("the secrets backend found the request invalid")]
    InvalidRequest,
    /// A header is missing or wrong.
    #[error("the secrets backend found the headers invalid")]
    InvalidHeaders,
    /// The body cannot be read.
    #[error("the secrets backend could not read the request")]
    InvalidPayload,
    /// There is no such secret.
    #[error("no such secret")]
    SecretNotFound,
    /// The curve key is no curve key.
    #[error("the secrets backend found the request's key invalid")]
    InvalidXKey,
    /// The answer could not be sealed.
    #[error("the secrets backend could not seal its answer")]
    EncryptionError,
    /// The request could not be opened.
    #[error("the secrets backend could not open the request")]
    DecryptionError,
    /// This component or provider may not have it.
    #[error("not allowed to have this secret")]
    Unauthorized,
    /// The component's or provider's token is not valid.
    #[error("the workload's token is not valid: {0}")]
    InvalidEntityJWT(String),
    /// The host's token is not valid.
    #[error("the host's token is not valid: {0}")]
    InvalidHostJWT(String),
    /// The store behind the backend failed.
    #[error("the store behind the secrets backend failed: {0}")]
    UpstreamError(String),
    /// The policy forbids it, or cannot be read.
    #[error("the secret's policy does not allow it: {0}")]
    PolicyError(String),
    /// Something else.
    #[error("the secrets backend failed: {0}")]
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::golden;

    #[test]
    fn messages_have_their_recorded_form() {
        golden::<SecretRequest>(
            r#"{"key":"prod/db","field":"password","version":null,
                "context":{"entity_jwt":"e","host_jwt":"h","application":{"name":"shop","policy":"{}"}}}"#,
        );
        golden::<SecretResponse>(
            r#"{"secret":{"version":"3","string_secret":"s","binary_secret":null}}"#,
        );
        golden::<SecretResponse>(r#"{"error":"Unauthorized"}"#);
        golden::<SecretResponse>(r#"{"error":{"PolicyError":"no"}}"#);
    }

    #[test]
    fn a_null_beside_the_answer_means_nothing() {
        let found: SecretResponse =
            serde_json::from_str(r#"{"secret":null,"error":"SecretNotFound"}"#).unwrap();
        assert_eq!(found.error, Some(SecretError::SecretNotFound));
        assert_eq!(found.secret, None);
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let secret = Secret {
            version: "1".into(),
            string_secret: Some("hush".into()),
            binary_secret: None,
        };
        assert!(!format!("{secret:?}").contains("hush"));
        assert_eq!(
            secret.into_value(),
            Some(SecretValue::String("hush".into()))
        );
    }
}
