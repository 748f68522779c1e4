//! The values of the lattice's buckets.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::Extra;
use crate::link::Link;

/// `COMPONENT_{id}`: the links whose source is this component or provider.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "StoredRecord", into = "StoredRecord")]
pub struct ComponentRecord {
    /// The image at the time the record was made; informational, nobody starts it from here.
    pub url: String,
    /// The links.
    pub links: Vec<Link>,
    /// Links another program wrote and this version cannot read, kept when the record is
    /// written again: one of them must not cost the others.
    pub unreadable: Vec<Value>,
    /// Fields another program wrote, kept when the record is written again.
    pub extra: Extra,
}

/// The record as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredRecord {
    url: String,
    #[serde(default)]
    links: Vec<Value>,
    #[serde(flatten)]
    extra: Extra,
}

impl From<StoredRecord> for ComponentRecord {
    fn from(stored: StoredRecord) -> Self {
        let mut record = Self {
            url: stored.url,
            extra: stored.extra,
            ..Self::default()
        };
        for value in stored.links {
            match Link::deserialize(&value) {
                Ok(link) => record.links.push(link),
                Err(_) => record.unreadable.push(value),
            }
        }
        record
    }
}

impl From<ComponentRecord> for StoredRecord {
    fn from(record: ComponentRecord) -> Self {
        // Structs of texts always have a JSON form.
        let links = record
            .links
            .iter()
            .map(|link| serde_json::to_value(link).unwrap_or_default());
        Self {
            url: record.url,
            links: links.chain(record.unreadable).collect(),
            extra: record.extra,
        }
    }
}

/// `CLAIMS_{subject}`: what a signed component or provider says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClaimsRecord {
    /// A component's, told by its `call_alias` and `tags`.
    Component(ComponentClaims),
    /// A provider's.
    Provider(ProviderClaims),
}

/// The claims of a component as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentClaims {
    /// A name others may call it by.
    pub call_alias: String,
    /// The account that signed.
    #[serde(alias = "iss")]
    pub issuer: String,
    /// The component's name.
    pub name: String,
    /// The revision, as text.
    #[serde(alias = "rev")]
    pub revision: String,
    /// The component's public key.
    #[serde(alias = "sub")]
    pub subject: String,
    /// Its tags; a comma-separated text is accepted too.
    #[serde(deserialize_with = "list_or_text")]
    pub tags: Vec<String>,
    /// The version for people.
    pub version: String,
}

/// The claims of a provider as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderClaims {
    /// The account that signed.
    #[serde(alias = "iss")]
    pub issuer: String,
    /// The provider's name.
    pub name: String,
    /// The revision, as text.
    #[serde(alias = "rev")]
    pub revision: String,
    /// The provider's public key.
    #[serde(alias = "sub")]
    pub subject: String,
    /// The version for people.
    pub version: String,
    /// The JSON Schema of the provider's configuration, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<String>,
}

fn list_or_text<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Tags {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Tags::deserialize(from)? {
        Tags::List(list) => list,
        Tags::Text(text) if text.is_empty() => Vec::new(),
        Tags::Text(text) => text.split(',').map(str::to_owned).collect(),
    })
}

impl ClaimsRecord {
    /// The public key the claims are about.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::Component(claims) => &claims.subject,
            Self::Provider(claims) => &claims.subject,
        }
    }

    /// The form in which a claims request lists them, with the doubled keys old clients read.
    #[must_use]
    pub fn to_listing(&self) -> BTreeMap<String, String> {
        let common = |issuer: &str, name: &str, revision: &str, subject: &str, version: &str| {
            BTreeMap::from(
                [
                    ("iss", issuer),
                    ("issuer", issuer),
                    ("name", name),
                    ("rev", revision),
                    ("revision", revision),
                    ("sub", subject),
                    ("subject", subject),
                    ("version", version),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
            )
        };
        match self {
            Self::Component(c) => {
                let mut map = common(&c.issuer, &c.name, &c.revision, &c.subject, &c.version);
                map.insert("call_alias".into(), c.call_alias.clone());
                map.insert("tags".into(), c.tags.join(","));
                map
            }
            Self::Provider(p) => {
                let mut map = common(&p.issuer, &p.name, &p.revision, &p.subject, &p.version);
                let schema = p.config_schema.clone().unwrap_or_default();
                map.insert("config_schema".into(), schema);
                map
            }
        }
    }
}

/// A record under a `SECRET…` key of the config bucket: where a secret is to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    /// The name under which the secret is offered.
    pub name: String,
    /// The backend that has it.
    pub backend: String,
    /// Its key there.
    pub key: String,
    /// A field of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// A version of it; none means the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the backend needs to decide, as JSON in a text.
    #[serde(default)]
    pub policy: String,
    /// [`SecretReference::TYPE`].
    #[serde(rename = "type", default = "SecretReference::type_name")]
    pub kind: String,
}

impl SecretReference {
    /// The type of every secret reference.
    pub const TYPE: &'static str = "secret.wasmcloud.dev/v1alpha1";
    /// The type inside [`SecretReference::policy`].
    pub const POLICY_TYPE: &'static str = "properties.secret.wasmcloud.dev/v1alpha1";

    fn type_name() -> String {
        Self::TYPE.to_owned()
    }

    /// The text of [`SecretReference::policy`] for the policy's properties.
    #[must_use]
    pub fn policy_text(properties: &BTreeMap<String, String>) -> String {
        serde_json::json!({"type": Self::POLICY_TYPE, "properties": properties}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::golden;

    #[test]
    fn records_have_their_recorded_form() {
        golden::<ComponentRecord>(r#"{"url":"ghcr.io/acme/web:0.3.0","links":[]}"#);
        golden::<ComponentRecord>(
            r#"{"url":"","links":[{"source_id":"web","target":"kv","name":"default",
                "wit_namespace":"wasi","wit_package":"keyvalue","interfaces":["store"],
                "source_config":[],"target_config":[],"note":1}],"owner":"someone else"}"#,
        );
        golden::<ClaimsRecord>(
            r#"{"call_alias":"","issuer":"A1","name":"web","revision":"3","subject":"M1",
                "tags":["a"],"version":"0.3.0"}"#,
        );
        golden::<ClaimsRecord>(
            r#"{"issuer":"A1","name":"kv","revision":"1","subject":"V1","version":"0.4.1"}"#,
        );
        golden::<SecretReference>(
            r#"{"name":"db-password","backend":"nats-kv","key":"prod/db","field":"password",
                "version":"3","policy":"{\"type\":\"properties.secret.wasmcloud.dev/v1alpha1\",\"properties\":{\"role\":\"ro\"}}",
                "type":"secret.wasmcloud.dev/v1alpha1"}"#,
        );
    }

    #[test]
    fn a_link_nobody_here_can_read_costs_no_other_and_is_kept() {
        let text = r#"{"url":"","links":[
            {"source_id":"web","target":"kv","name":"default","wit_namespace":"wasi",
             "wit_package":"keyvalue","interfaces":["store"],"source_config":[],"target_config":[]},
            {"source_id":"web","target":"a b","wit_namespace":"n","wit_package":"p","interfaces":[]},
            7]}"#;
        let record: ComponentRecord = serde_json::from_str(text).unwrap();
        assert_eq!((record.links.len(), record.unreadable.len()), (1, 2));
        golden::<ComponentRecord>(text);
    }

    #[test]
    fn old_spellings_of_claims_are_read() {
        let claims: ClaimsRecord = serde_json::from_str(
            r#"{"call_alias":"","iss":"A","name":"n","rev":"1","sub":"M","tags":"a,b","version":""}"#,
        )
        .unwrap();
        let ClaimsRecord::Component(claims) = claims else {
            panic!("component claims are told by their shape")
        };
        assert_eq!(claims.tags, ["a", "b"]);
        assert_eq!(claims.subject, "M");
    }

    #[test]
    fn claims_are_listed_with_both_spellings() {
        let claims: ClaimsRecord = serde_json::from_str(
            r#"{"issuer":"A","name":"kv","revision":"1","subject":"V","version":"2"}"#,
        )
        .unwrap();
        let keys: Vec<String> = claims.to_listing().into_keys().collect();
        assert_eq!(
            keys,
            [
                "config_schema",
                "iss",
                "issuer",
                "name",
                "rev",
                "revision",
                "sub",
                "subject",
                "version"
            ]
        );
    }

    #[test]
    fn a_record_without_links_is_read_and_one_without_url_is_not() {
        assert!(serde_json::from_str::<ComponentRecord>(r#"{"url":""}"#).is_ok());
        assert!(serde_json::from_str::<ComponentRecord>(r#"{"links":[]}"#).is_err());
    }

    #[test]
    fn a_policy_is_json_in_a_text() {
        let text = SecretReference::policy_text(&BTreeMap::from([("role".into(), "ro".into())]));
        assert_eq!(
            text,
            r#"{"type":"properties.secret.wasmcloud.dev/v1alpha1","properties":{"role":"ro"}}"#
        );
    }
}
