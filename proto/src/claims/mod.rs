//! Signed claims of components, providers and hosts: compact JWT with Ed25519.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

mod wasm;
pub use wasm::{embed, extract, hash, strip};

#[cfg(test)]
mod tests;

/// The revision of the claims' format.
pub const REVISION: u32 = 3;
/// The most bytes a token may have.
const TOKEN_MAX: usize = 1 << 20;

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// It does not consist of three base64url segments, or is too long.
    #[error("malformed token")]
    Malformed,
    /// A segment does not hold the JSON expected.
    #[error("malformed token: unexpected content")]
    Content(#[source] serde_json::Error),
    /// It is not a JWT signed with Ed25519.
    #[error(
        "unsupported token: type `{kind}`, algorithm `{algorithm}`; only jwt and Ed25519 are known"
    )]
    Header {
        /// The type it names.
        kind: String,
        /// The algorithm it names.
        algorithm: String,
    },
    /// The issuer's or subject's key is no key.
    #[error("`{0}` is not a public key")]
    Key(String, #[source] nkeys::error::Error),
    /// The issuer has not signed this.
    #[error("the token's signature does not match its content")]
    Signature,
    /// The token could not be signed.
    #[error("the token could not be signed: the key has no private part")]
    Sign(#[source] nkeys::error::Error),
    /// The time of the token is over.
    #[error("the token expired at {0} (seconds since 1970)")]
    Expired(u64),
    /// The time of the token has not come.
    #[error("the token is not valid before {0} (seconds since 1970)")]
    NotYet(u64),
    /// The component has been changed since it was signed.
    #[error("the component was changed after it was signed")]
    Hash,
    /// The bytes are no WebAssembly.
    #[error("malformed WebAssembly: {0}")]
    Wasm(&'static str),
}

/// A token's claims; `T` is what is said about the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims<T> {
    /// The token's own id.
    #[serde(rename = "jti", default)]
    pub id: String,
    /// When it was signed, in seconds since 1970.
    #[serde(rename = "iat", default)]
    pub issued_at: u64,
    /// Who signed: an account's public key.
    #[serde(rename = "iss")]
    pub issuer: String,
    /// Whom it is about: a public key.
    #[serde(rename = "sub")]
    pub subject: String,
    /// When it expires, in seconds since 1970.
    #[serde(rename = "exp", default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// When it becomes valid, in seconds since 1970.
    #[serde(rename = "nbf", default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// What is said.
    #[serde(
        rename = "wascap",
        default = "nothing",
        skip_serializing_if = "Option::is_none"
    )]
    pub metadata: Option<T>,
    /// The revision of the format.
    #[serde(
        rename = "wascap_revision",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub revision: Option<u32>,
}

fn nothing<T>() -> Option<T> {
    None
}

/// What a component's token says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Component {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// [`hash`] of its bytes.
    #[serde(rename = "hash")]
    pub module_hash: String,
    /// Its tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Its revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<i32>,
    /// Its version for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ver: Option<String>,
    /// A name others may call it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_alias: Option<String>,
    /// `false`; from the days when providers were modules too.
    #[serde(rename = "prov")]
    pub provider: bool,
}

/// What a provider's token says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Provider {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who makes it.
    pub vendor: String,
    /// Its revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<i32>,
    /// Its version for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ver: Option<String>,
    /// Upper-case hex SHA-256 of each target's executable, by target.
    pub target_hashes: BTreeMap<String, String>,
    /// The JSON Schema of its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<serde_json::Value>,
}

/// What a host's token says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels; `self_signed` is `true` where the host made its own issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

impl<T> Claims<T> {
    /// Claims about `subject`, signed at `issued_at` (seconds since 1970) by whoever encodes
    /// them.
    #[must_use]
    pub fn new(subject: impl Into<String>, issued_at: u64, metadata: T) -> Self {
        Self {
            id: ulid::Ulid::new().to_string(),
            issued_at,
            issuer: String::new(),
            subject: subject.into(),
            expires: None,
            not_before: None,
            metadata: Some(metadata),
            revision: Some(REVISION),
        }
    }

    /// Whether the time of the token has come and is not over.
    ///
    /// # Errors
    /// [`ClaimsError::Expired`] or [`ClaimsError::NotYet`].
    pub fn check_time(&self, now: u64) -> Result<(), ClaimsError> {
        match (self.not_before, self.expires) {
            (Some(from), _) if now < from => Err(ClaimsError::NotYet(from)),
            (_, Some(until)) if now >= until => Err(ClaimsError::Expired(until)),
            _ => Ok(()),
        }
    }
}

impl<T: Serialize> Claims<T> {
    /// Signs the claims; the issuer becomes the signing key.
    ///
    /// # Errors
    /// [`ClaimsError::Sign`] when the key pair is only a public key.
    pub fn encode(&self, issuer: &KeyPair) -> Result<String, ClaimsError> {
        let header = Header {
            typ: "jwt".into(),
            alg: "Ed25519".into(),
        };
        let mut body = serde_json::to_value(self).map_err(ClaimsError::Content)?;
        body["iss"] = issuer.public_key().into();
        let header = serde_json::to_vec(&header).map_err(ClaimsError::Content)?;
        let body = body.to_string();
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(body, &mut token);
        let signature = issuer.sign(token.as_bytes()).map_err(ClaimsError::Sign)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl<T: DeserializeOwned> Claims<T> {
    /// Reads a token and checks its signature, not its time.
    ///
    /// # Errors
    /// [`ClaimsError`] when it is malformed or the issuer did not sign it.
    pub fn decode(token: &str) -> Result<Self, ClaimsError> {
        let token = token.trim();
        if token.len() > TOKEN_MAX {
            return Err(ClaimsError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(ClaimsError::Malformed)?;
        let (header, body) = signed.split_once('.').ok_or(ClaimsError::Malformed)?;
        let header: Header = segment(header)?;
        if !header.typ.eq_ignore_ascii_case("jwt") || header.alg != "Ed25519" {
            return Err(ClaimsError::Header {
                kind: header.typ,
                algorithm: header.alg,
            });
        }
        let claims: Self = segment(body)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| ClaimsError::Malformed)?;
        KeyPair::from_public_key(&claims.issuer)
            .map_err(|source| ClaimsError::Key(claims.issuer.clone(), source))?
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| ClaimsError::Signature)?;
        Ok(claims)
    }
}

fn segment<T: DeserializeOwned>(text: &str) -> Result<T, ClaimsError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| ClaimsError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(ClaimsError::Content)
}

/// A component's claims with the token they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedComponent {
    /// The token.
    pub token: String,
    /// Its claims.
    pub claims: Claims<Component>,
}

/// The checked claims of a component's bytes; `None` when it is unsigned.
///
/// # Errors
/// [`ClaimsError`] when the bytes are no WebAssembly, the token is not valid at `now`
/// (seconds since 1970), or the component was changed after it was signed.
pub fn read_component(wasm: &[u8], now: u64) -> Result<Option<SignedComponent>, ClaimsError> {
    let Some(token) = extract(wasm)? else {
        return Ok(None);
    };
    let claims = Claims::<Component>::decode(&token)?;
    claims.check_time(now)?;
    if claims.revision.unwrap_or_default() >= REVISION {
        let said = claims.metadata.as_ref().map(|m| m.module_hash.as_str());
        if said != Some(&hash(wasm)?) {
            return Err(ClaimsError::Hash);
        }
    }
    Ok(Some(SignedComponent { token, claims }))
}

/// Signs a component: hashes it, signs the claims and embeds the token.
///
/// # Errors
/// [`ClaimsError`] when the bytes are no WebAssembly or the key cannot sign.
pub fn sign_component(
    wasm: &[u8],
    mut claims: Claims<Component>,
    issuer: &KeyPair,
) -> Result<Vec<u8>, ClaimsError> {
    claims.metadata.get_or_insert_default().module_hash = hash(wasm)?;
    claims.revision = Some(REVISION);
    embed(wasm, &claims.encode(issuer)?)
}

/// How events show a date: RFC 3339-like text for people, `never` where there is none.
#[must_use]
pub fn date_for_people(seconds: Option<u64>) -> String {
    seconds
        .and_then(|seconds| i64::try_from(seconds).ok())
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|date| {
            date.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| "never".into())
}

impl Claims<Component> {
    /// These claims as an event shows them.
    #[must_use]
    pub fn for_event(&self) -> crate::event::ComponentClaims {
        let about = self.metadata.clone().unwrap_or_default();
        crate::event::ComponentClaims {
            call_alias: about.call_alias,
            issuer: self.issuer.clone(),
            tags: about.tags,
            name: about.name,
            version: about.ver,
            revision: about.rev.map(|rev| u32::try_from(rev).unwrap_or_default()),
            not_before_human: date_for_people(self.not_before),
            expires_human: date_for_people(self.expires),
        }
    }

    /// These claims as the lattice's records hold them.
    #[must_use]
    pub fn for_record(&self) -> crate::record::ClaimsRecord {
        let about = self.metadata.clone().unwrap_or_default();
        crate::record::ClaimsRecord::Component(crate::record::ComponentClaims {
            call_alias: about.call_alias.unwrap_or_default(),
            issuer: self.issuer.clone(),
            name: about.name.unwrap_or_default(),
            revision: about.rev.unwrap_or_default().to_string(),
            subject: self.subject.clone(),
            tags: about.tags.unwrap_or_default(),
            version: about.ver.unwrap_or_default(),
        })
    }
}

impl Claims<Provider> {
    /// These claims as an event shows them: every text is there, as upstream's wadm wants.
    #[must_use]
    pub fn for_event(&self) -> crate::event::ProviderClaims {
        let about = self.metadata.clone().unwrap_or_default();
        crate::event::ProviderClaims {
            issuer: self.issuer.clone(),
            tags: None,
            name: about.name.unwrap_or_default(),
            version: about.ver.unwrap_or_default(),
            not_before_human: date_for_people(self.not_before),
            expires_human: date_for_people(self.expires),
        }
    }

    /// These claims as the lattice's records hold them.
    #[must_use]
    pub fn for_record(&self) -> crate::record::ClaimsRecord {
        let about = self.metadata.clone().unwrap_or_default();
        crate::record::ClaimsRecord::Provider(crate::record::ProviderClaims {
            issuer: self.issuer.clone(),
            name: about.name.unwrap_or_default(),
            revision: about.rev.unwrap_or_default().to_string(),
            subject: self.subject.clone(),
            version: about.ver.unwrap_or_default(),
            config_schema: about.config_schema.map(|schema| schema.to_string()),
        })
    }
}
