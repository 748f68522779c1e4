use std::fmt;
use std::str::FromStr;

use super::{SubjectError, name};
use crate::id::Lattice;

/// Where a host event is published: `wasmbus.evt.{lattice}.{name}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSubject {
    /// The lattice.
    pub lattice: Lattice,
    /// The event's name, e.g. `component_scaled`.
    pub name: String,
}

const FAMILY: &str = "event";
const ROOT: &str = "wasmbus.evt.";

impl EventSubject {
    /// The subject of one kind of event.
    #[must_use]
    pub fn new(lattice: Lattice, name: impl Into<String>) -> Self {
        Self {
            lattice,
            name: name.into(),
        }
    }

    /// The pattern of every event of one lattice.
    #[must_use]
    pub fn all(lattice: &Lattice) -> String {
        format!("{ROOT}{lattice}.>")
    }

    /// The pattern of every event of every lattice.
    #[must_use]
    pub fn every_lattice() -> String {
        format!("{ROOT}*.>")
    }
}

impl fmt::Display for EventSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ROOT}{}.{}", self.lattice, self.name)
    }
}

impl FromStr for EventSubject {
    type Err = SubjectError;

    /// Reads an event's subject; one imported from another account may carry a prefix.
    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let at = if subject.starts_with(ROOT) {
            0
        } else {
            subject
                .find(&format!(".{ROOT}"))
                .map(|at| at + 1)
                .ok_or_else(|| SubjectError::family(FAMILY, subject))?
        };
        let rest = &subject[at + ROOT.len()..];
        let (lattice, event) = rest
            .split_once('.')
            .ok_or_else(|| SubjectError::operation(FAMILY, subject))?;
        if event.is_empty() {
            return Err(SubjectError::operation(FAMILY, subject));
        }
        Ok(Self::new(name(subject, lattice)?, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_subject_reads_back_as_itself() {
        let subject = EventSubject::new(Lattice::default(), "component_scaled");
        assert_eq!(subject.to_string(), "wasmbus.evt.default.component_scaled");
        assert_eq!(subject.to_string().parse(), Ok(subject));
    }

    #[test]
    fn another_accounts_import_prefix_is_skipped() {
        let subject: EventSubject = "ACME.wasmbus.evt.east.host_started".parse().unwrap();
        assert_eq!(subject.lattice, "east");
        assert!(
            "xwasmbus.evt.east.host_started"
                .parse::<EventSubject>()
                .is_err()
        );
        assert!("wasmbus.evt.east".parse::<EventSubject>().is_err());
    }
}
