//! What a host asks a policy service before it acts.

use serde::{Deserialize, Serialize};

use crate::id::{ComponentId, HostId, Lattice};
use crate::{Annotations, Labels};

/// A question to the policy service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRequest {
    /// Tells the answer's question; a later change of mind names it again.
    pub request_id: String,
    /// What is to be done, and to what.
    #[serde(flatten)]
    pub action: PolicyAction,
    /// `v1`.
    pub version: String,
    /// The host that asks.
    pub host: PolicyHost,
}

impl PolicyRequest {
    /// The version of these messages.
    pub const VERSION: &'static str = "v1";
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "request", rename_all = "camelCase")]
pub enum PolicyAction {
    /// Start or resize a component.
    StartComponent(PolicyComponent),
    /// Start a provider.
    StartProvider(PolicyProvider),
    /// Take a call for a component.
    PerformInvocation(PolicyInvocation),
}

/// A component as the policy service sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyComponent {
    /// The component.
    pub component_id: ComponentId,
    /// Its image.
    pub image_ref: String,
    /// How many calls at once; 0 where a call is asked about.
    pub max_instances: u32,
    /// What it is marked with.
    pub annotations: Annotations,
    /// Its claims; none when unsigned.
    pub claims: Option<PolicyClaims>,
}

/// A provider as the policy service sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyProvider {
    /// The provider.
    pub provider_id: ComponentId,
    /// Its image.
    pub image_ref: String,
    /// What it is marked with.
    pub annotations: Annotations,
    /// Its claims.
    pub claims: Option<PolicyClaims>,
}

/// A call as the policy service sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyInvocation {
    /// The interface called.
    pub interface: String,
    /// Its function.
    pub function: String,
    /// The component called.
    pub target: PolicyComponent,
}

/// Claims as the policy service sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyClaims {
    /// Whose they are.
    pub public_key: String,
    /// Who signed.
    pub issuer: String,
    /// When, in seconds since 1970, as text.
    pub issued_at: String,
    /// When they expire, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// Whether they have expired.
    pub expired: bool,
}

/// The host that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyHost {
    /// Its id.
    pub public_key: HostId,
    /// Its lattice.
    pub lattice: Lattice,
    /// Its labels.
    pub labels: Labels,
}

/// The service's answer, now or as a later change of mind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyResponse {
    /// The question it answers.
    pub request_id: String,
    /// Whether it may be done.
    pub permitted: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::golden;

    #[test]
    fn questions_and_answers_have_their_recorded_form() {
        golden::<PolicyRequest>(
            r#"{"requestId":"01J","kind":"startComponent","version":"v1",
                "request":{"componentId":"web","imageRef":"r","maxInstances":4,"annotations":{},
                  "claims":{"publicKey":"M1","issuer":"A1","issuedAt":"1700000000","expiresAt":null,"expired":false}},
                "host":{"publicKey":"NDQQ","lattice":"default","labels":{"zone":"a"}}}"#,
        );
        golden::<PolicyRequest>(
            r#"{"requestId":"01J","kind":"startProvider","version":"v1",
                "request":{"providerId":"kv","imageRef":"r","annotations":{},"claims":null},
                "host":{"publicKey":"NDQQ","lattice":"default","labels":{}}}"#,
        );
        golden::<PolicyRequest>(
            r#"{"requestId":"01J","kind":"performInvocation","version":"v1",
                "request":{"interface":"i","function":"f","target":{"componentId":"web","imageRef":"r",
                  "maxInstances":0,"annotations":{},"claims":null}},
                "host":{"publicKey":"NDQQ","lattice":"default","labels":{}}}"#,
        );
        golden::<PolicyResponse>(r#"{"requestId":"01J","permitted":true,"message":"m"}"#);
        golden::<PolicyResponse>(r#"{"requestId":"01J","permitted":false}"#);
    }
}
