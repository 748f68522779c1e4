use std::fmt;
use std::str::FromStr;

use super::{SubjectError, name};
use crate::id::{ComponentId, Lattice};

/// Where a wRPC invocation goes: `{lattice}.{target}.wrpc.0.0.1.{instance}.{function}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InvocationSubject {
    /// The lattice.
    pub lattice: Lattice,
    /// The component or provider that serves the function.
    pub target: ComponentId,
    /// The interface with its version, e.g. `wrpc:http/incoming-handler@0.1.0`; `None` for a
    /// function at the root of the world.
    pub instance: Option<String>,
    /// The function's WIT name; methods as `resource.method`.
    pub function: String,
}

const FAMILY: &str = "invocation";
const PROTOCOL: &str = "wrpc.0.0.1.";

impl InvocationSubject {
    /// The subject of one function.
    #[must_use]
    pub fn new(
        lattice: Lattice,
        target: ComponentId,
        instance: Option<&str>,
        function: &str,
    ) -> Self {
        Self {
            lattice,
            target,
            instance: instance.map(str::to_owned),
            function: wire_function(function),
        }
    }

    /// The queue group in which every server of one component or provider shares the calls.
    #[must_use]
    pub fn queue(lattice: &Lattice, target: &ComponentId) -> String {
        format!("{lattice}.{target}")
    }

    /// The pattern of every call to one component or provider, for someone who only watches.
    #[must_use]
    pub fn all(lattice: &Lattice, target: &ComponentId) -> String {
        format!("{lattice}.{target}.wrpc.>")
    }

    /// Where a caller with the inbox `reply` hears the bytes of asynchronous results.
    #[must_use]
    pub fn results(reply: &str) -> String {
        format!("{reply}.results")
    }

    /// Where a server with the inbox `reply` hears the rest of the parameters.
    #[must_use]
    pub fn params(reply: &str) -> String {
        format!("{reply}.params")
    }
}

/// The function's name on the wire: `[method]x.m` and its like lose the bracket.
fn wire_function(function: &str) -> String {
    function
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or(function, |(_, name)| name)
        .to_owned()
}

/// Splits `ns:pkg/iface@1.2.3.function` into instance and function.
///
/// A version's dots are ordinary token separators. Three tokens belong to it, and further ones
/// that start with a digit (`1.0.0-rc.1`); a function's name never does.
fn split_instance(tail: &str) -> Option<(Option<&str>, &str)> {
    if !tail.contains('/') {
        return Some((None, tail));
    }
    let end = match tail.find('@') {
        None => tail.find('.')?,
        Some(at) => {
            let mut end = at;
            for seen in 0.. {
                let rest = &tail[end + 1..];
                let more = seen < 3 || rest.starts_with(|c: char| c.is_ascii_digit());
                if !more {
                    break;
                }
                end += 1 + rest.find('.')?;
            }
            end
        }
    };
    Some((Some(&tail[..end]), &tail[end + 1..]))
}

impl fmt::Display for InvocationSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{PROTOCOL}", self.lattice, self.target)?;
        if let Some(instance) = &self.instance {
            write!(f, "{instance}.")?;
        }
        f.write_str(&self.function)
    }
}

impl FromStr for InvocationSubject {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let mut parts = subject.splitn(3, '.');
        let lattice = parts.next().unwrap_or_default();
        let target = parts.next().unwrap_or_default();
        let tail = parts
            .next()
            .and_then(|rest| rest.strip_prefix(PROTOCOL))
            .ok_or_else(|| SubjectError::family(FAMILY, subject))?;
        let (instance, function) = split_instance(tail)
            .filter(|(_, function)| !function.is_empty())
            .ok_or_else(|| SubjectError::operation(FAMILY, subject))?;
        Ok(Self {
            lattice: name(subject, lattice)?,
            target: name(subject, target)?,
            instance: instance.map(str::to_owned),
            function: function.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_reads_back_as_itself() {
        for (instance, function, text) in [
            (
                Some("wrpc:http/incoming-handler@0.1.0"),
                "handle",
                "default.web.wrpc.0.0.1.wrpc:http/incoming-handler@0.1.0.handle",
            ),
            (
                Some("wrpc:keyvalue/store@0.2.0-draft"),
                "get",
                "default.web.wrpc.0.0.1.wrpc:keyvalue/store@0.2.0-draft.get",
            ),
            (
                Some("a:b/c@1.0.0-rc.1"),
                "x.m",
                "default.web.wrpc.0.0.1.a:b/c@1.0.0-rc.1.x.m",
            ),
            (Some("a:b/c"), "f", "default.web.wrpc.0.0.1.a:b/c.f"),
            (None, "run", "default.web.wrpc.0.0.1.run"),
        ] {
            let target = ComponentId::new("web").unwrap();
            let subject = InvocationSubject::new(Lattice::default(), target, instance, function);
            assert_eq!(subject.to_string(), text);
            assert_eq!(text.parse(), Ok(subject));
        }
    }

    #[test]
    fn resource_functions_lose_their_bracket() {
        for (wit, wire) in [
            ("[constructor]x", "x"),
            ("[method]x.m", "x.m"),
            ("[static]x.m", "x.m"),
            ("plain", "plain"),
        ] {
            assert_eq!(wire_function(wit), wire);
        }
    }

    #[test]
    fn broken_subjects_are_refused() {
        for subject in [
            "",
            "default",
            "default.web",
            "default.web.wrpc.0.0.2.f",
            "default.web.wrpc.0.0.1.",
            "default.web.wrpc.0.0.1.a:b/c@1.0.0",
            "default.web.wrpc.0.0.1.a:b/c@1",
            "default.web.wrpc.0.0.1.a:b/c",
        ] {
            assert!(subject.parse::<InvocationSubject>().is_err(), "{subject}");
        }
    }
}
