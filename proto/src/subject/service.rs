use std::fmt;
use std::str::FromStr;

use super::{SubjectError, name};
use crate::id::{HostId, Lattice, token};

/// Where a starting host asks for registry credentials: `wasmbus.cfg.{lattice}.req`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigServiceSubject {
    /// The lattice.
    pub lattice: Lattice,
}

impl fmt::Display for ConfigServiceSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wasmbus.cfg.{}.req", self.lattice)
    }
}

impl FromStr for ConfigServiceSubject {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let lattice = subject
            .strip_prefix("wasmbus.cfg.")
            .and_then(|rest| rest.strip_suffix(".req"))
            .ok_or_else(|| SubjectError::family("configuration service", subject))?;
        Ok(Self {
            lattice: name(subject, lattice)?,
        })
    }
}

/// **Ours.** Where a host shows every second that it lives: `lattice.pulse.{lattice}.{host}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulseSubject {
    /// The lattice.
    pub lattice: Lattice,
    /// The host that lives.
    pub host: HostId,
}

const PULSE: &str = "lattice.pulse.";

impl PulseSubject {
    /// The pattern of every host's pulse in one lattice.
    #[must_use]
    pub fn all(lattice: &Lattice) -> String {
        format!("{PULSE}{lattice}.*")
    }

    /// The pattern of every pulse.
    #[must_use]
    pub fn every_lattice() -> String {
        format!("{PULSE}*.*")
    }
}

impl fmt::Display for PulseSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PULSE}{}.{}", self.lattice, self.host)
    }
}

impl FromStr for PulseSubject {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let (lattice, host) = subject
            .strip_prefix(PULSE)
            .and_then(|rest| rest.split_once('.'))
            .ok_or_else(|| SubjectError::family("pulse", subject))?;
        Ok(Self {
            lattice: name(subject, lattice)?,
            host: name(subject, host)?,
        })
    }
}

/// Where a secrets backend is asked: `{topic}.v1alpha1.{backend}.…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsSubject {
    /// What `--secrets-topic` says; may contain dots.
    pub topic: String,
    /// The backend's name.
    pub backend: String,
}

impl SecretsSubject {
    /// Where the backend's public curve key is asked.
    #[must_use]
    pub fn server_xkey(&self) -> String {
        format!("{self}.server_xkey")
    }

    /// Where a secret is asked.
    #[must_use]
    pub fn get(&self) -> String {
        format!("{self}.get")
    }
}

impl fmt::Display for SecretsSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.v1alpha1.{}", self.topic, self.backend)
    }
}

impl FromStr for SecretsSubject {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        subject
            .rsplit_once(".v1alpha1.")
            .filter(|(topic, backend)| is_topic(topic) && token(backend))
            .map(|(topic, backend)| Self {
                topic: topic.to_owned(),
                backend: backend.to_owned(),
            })
            .ok_or_else(|| SubjectError::family("secrets", subject))
    }
}

/// Whether a text may serve as the policy topic, the secrets topic or the control prefix:
/// dot-separated tokens of letters, digits, `_` and `-`.
#[must_use]
pub fn is_topic(text: &str) -> bool {
    text.split('.').all(|token| {
        !token.is_empty()
            && token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_subjects_read_back_as_themselves() {
        let lattice = Lattice::default();
        let config = ConfigServiceSubject {
            lattice: lattice.clone(),
        };
        assert_eq!(config.to_string(), "wasmbus.cfg.default.req");
        assert_eq!(config.to_string().parse(), Ok(config));
        let pulse = PulseSubject {
            lattice,
            host: HostId::new("N1").unwrap(),
        };
        assert_eq!(pulse.to_string(), "lattice.pulse.default.N1");
        assert_eq!(pulse.to_string().parse(), Ok(pulse));
        let secrets = SecretsSubject {
            topic: "wasmcloud.secrets".into(),
            backend: "nats-kv".into(),
        };
        assert_eq!(secrets.get(), "wasmcloud.secrets.v1alpha1.nats-kv.get");
        assert_eq!(secrets.to_string().parse(), Ok(secrets));
    }

    #[test]
    fn topics_have_no_wildcards_and_no_empty_tokens() {
        assert!(is_topic("wasmcloud.secrets"));
        for bad in ["", ".", "a.", ".a", "a..b", "a.*", "a.>", "a b"] {
            assert!(!is_topic(bad), "{bad:?}");
        }
    }
}
