//! Every NATS subject, queue group, bucket and key of a lattice, spelled here and nowhere else.
//!
//! One type per family, each with `Display` and `FromStr`, so that no code outside puts a
//! subject together or takes one apart.

use crate::id::IdError;

pub mod bucket;
pub mod ctl;
mod event;
pub mod inbox;
mod invocation;
mod provider;
mod service;
pub mod wadm;

pub use bucket::RecordKey;
pub use ctl::{Ctl, CtlSubject, Subscription};
pub use event::EventSubject;
pub use invocation::InvocationSubject;
pub use provider::{ProviderRequest, ProviderSubject};
pub use service::{ConfigServiceSubject, PulseSubject, SecretsSubject, is_topic};
pub use wadm::{WadmApi, WadmApiSubject, WadmStatusSubject};

/// Why a text is not a subject of the family it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// It does not start like the subjects of this family.
    #[error("`{subject}` is not a {family} subject")]
    Family {
        /// What was expected.
        family: &'static str,
        /// The subject as received.
        subject: String,
    },
    /// It belongs to the family, but names no operation that exists.
    #[error("`{subject}` names no operation of the {family} subjects")]
    Operation {
        /// The family it belongs to.
        family: &'static str,
        /// The subject as received.
        subject: String,
    },
    /// It has more tokens than the operation takes, usually from a name with a dot in it.
    #[error("`{subject}` has more parts than its operation takes")]
    ExtraTokens {
        /// The subject as received.
        subject: String,
    },
    /// One of its tokens is not a name of the right kind.
    #[error("`{subject}` holds a bad name")]
    Name {
        /// The subject as received.
        subject: String,
        /// Which name, and what is wrong with it.
        #[source]
        source: IdError,
    },
}

impl SubjectError {
    fn family(family: &'static str, subject: &str) -> Self {
        Self::Family {
            family,
            subject: subject.to_owned(),
        }
    }

    fn operation(family: &'static str, subject: &str) -> Self {
        Self::Operation {
            family,
            subject: subject.to_owned(),
        }
    }

    fn extra(subject: &str) -> Self {
        Self::ExtraTokens {
            subject: subject.to_owned(),
        }
    }
}

/// Reads one token as a name, saying which subject it came from.
fn name<T>(subject: &str, token: &str) -> Result<T, SubjectError>
where
    T: std::str::FromStr<Err = IdError>,
{
    token.parse().map_err(|source| SubjectError::Name {
        subject: subject.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever arrives is read or refused; what was read is written as it came.
        #[test]
        fn any_text_is_refused_or_reads_back(text in "[a-z0-9.*>_@:/ -]{0,60}") {
            if let Ok(subject) = text.parse::<CtlSubject>() {
                prop_assert_eq!(subject.to_string(), text.clone());
            }
            if let Ok(subject) = text.parse::<InvocationSubject>() {
                prop_assert_eq!(subject.to_string(), text.clone());
            }
            if let Ok(subject) = text.parse::<WadmApiSubject>() {
                prop_assert_eq!(subject.to_string(), text.clone());
            }
            let Ok(key) = text.parse::<RecordKey>();
            prop_assert_eq!(key.to_string(), text);
        }

        #[test]
        fn any_invocation_reads_back(
            package in "[a-z]{1,5}:[a-z]{1,5}/[a-z]{1,5}",
            version in prop::option::of("(0|[1-9][0-9]?)\\.[0-9]\\.[0-9](-[a-z]{1,5}|-rc\\.[0-9])?"),
            function in "[a-z][a-z-]{0,8}(\\.[a-z]{1,4})?",
        ) {
            let instance = match version {
                Some(version) => format!("{package}@{version}"),
                None => package,
            };
            let target = crate::ComponentId::new("web").unwrap();
            let subject = InvocationSubject::new(
                crate::Lattice::default(),
                target,
                Some(&instance),
                &function,
            );
            prop_assert_eq!(subject.to_string().parse(), Ok(subject));
        }
    }
}
