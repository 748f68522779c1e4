use std::fmt;
use std::str::FromStr;

use super::{SubjectError, name};
use crate::id::{ComponentId, Lattice};

/// Where a command for a provider goes: `wasmbus.rpc.{lattice}.{provider}.…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSubject {
    /// The lattice.
    pub lattice: Lattice,
    /// The provider's id, or for links its curve key's public part.
    pub provider: ComponentId,
    /// What the provider is told.
    pub request: ProviderRequest,
}

/// A command to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderRequest {
    /// A link was put; no reply.
    PutLink,
    /// A link was deleted; no reply.
    DeleteLink,
    /// Are you well?
    Health,
    /// End.
    Shutdown,
    /// The provider's merged configuration changed; no reply.
    UpdateConfig,
}

const FAMILY: &str = "provider";
const ROOT: &str = "wasmbus.rpc.";

impl ProviderRequest {
    const ALL: [Self; 5] = [
        Self::PutLink,
        Self::DeleteLink,
        Self::Health,
        Self::Shutdown,
        Self::UpdateConfig,
    ];

    fn tail(self) -> &'static str {
        match self {
            Self::PutLink => "linkdefs.put",
            Self::DeleteLink => "linkdefs.del",
            Self::Health => "health",
            Self::Shutdown => "default.shutdown",
            Self::UpdateConfig => "config.update",
        }
    }
}

impl ProviderSubject {
    /// The subject of one command.
    #[must_use]
    pub fn new(lattice: Lattice, provider: ComponentId, request: ProviderRequest) -> Self {
        Self {
            lattice,
            provider,
            request,
        }
    }

    /// The pattern of every provider command of a lattice, for someone who only watches.
    #[must_use]
    pub fn all(lattice: &Lattice) -> String {
        format!("{ROOT}{lattice}.>")
    }
}

impl fmt::Display for ProviderSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = self.request.tail();
        write!(f, "{ROOT}{}.{}.{tail}", self.lattice, self.provider)
    }
}

impl FromStr for ProviderSubject {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let rest = subject
            .strip_prefix(ROOT)
            .ok_or_else(|| SubjectError::family(FAMILY, subject))?;
        let mut parts = rest.splitn(3, '.');
        let lattice = name(subject, parts.next().unwrap_or_default())?;
        let provider = name(subject, parts.next().unwrap_or_default())?;
        let tail = parts.next().unwrap_or_default();
        let request = ProviderRequest::ALL
            .into_iter()
            .find(|request| request.tail() == tail)
            .ok_or_else(|| SubjectError::operation(FAMILY, subject))?;
        Ok(Self::new(lattice, provider, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_reads_back_as_itself() {
        for request in ProviderRequest::ALL {
            let id = ComponentId::new("shop-kv").unwrap();
            let subject = ProviderSubject::new(Lattice::default(), id, request);
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        assert!(
            "wasmbus.rpc.default.kv.bogus"
                .parse::<ProviderSubject>()
                .is_err()
        );
        assert!("wasmbus.rpc.default".parse::<ProviderSubject>().is_err());
    }
}
