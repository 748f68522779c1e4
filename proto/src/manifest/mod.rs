//! The application manifest: read, checked, normalised, and its JSON Schema.
//!
//! Everything upstream's wadm 0.21 takes is taken, and the looser forms that people write:
//! `annotations` may be left out, a `spread` needs neither `name` nor `instances` beside it, a link
//! to a well-known package needs no `interfaces`, and its target may live outside the file. What is
//! stored is upstream's strict form, so that either program reads what the other wrote.

mod decode;
mod error;
mod fields;
mod interfaces;
mod model;
mod node;
mod rules;
mod schema;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer};

pub use error::{Level, ManifestError, Position, Problem, ProblemKind};
pub use interfaces::{builtin_for, interfaces_of};
pub use model::*;
pub use node::{BYTES_MAX, DEPTH_MAX, NODES_MAX};
pub use schema::json_schema;

use fields::Reader;
use node::Node;

/// How a manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML, of which JSON is nearly a part.
    Yaml,
    /// JSON.
    Json,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The manifest, if it can be used.
    pub manifest: Option<Manifest>,
    /// Errors first, then warnings.
    pub problems: Vec<Problem>,
}

/// Reads a manifest in YAML or JSON; `file` is what errors call it.
///
/// # Errors
/// Tells every problem that was found, each with line and column where the text has them.
pub fn parse(text: &str, file: &str) -> Result<Manifest, ManifestError> {
    parse_as(text, file, Format::Yaml)
}

/// Reads a manifest in the given format.
///
/// # Errors
/// As [`parse`].
pub fn parse_as(text: &str, file: &str, format: Format) -> Result<Manifest, ManifestError> {
    let mut checked = check(text, format);
    checked
        .problems
        .retain(|problem| problem.level == Level::Error);
    match checked.manifest {
        Some(manifest) if checked.problems.is_empty() => Ok(manifest),
        _ => Err(ManifestError::new(file, checked.problems)),
    }
}

/// Reads a manifest and tells errors and warnings.
#[must_use]
pub fn check(text: &str, format: Format) -> Checked {
    let read = match format {
        Format::Yaml => Node::from_yaml(text),
        Format::Json => Node::from_json(text),
    };
    let (node, manifest, mut problems) = match read {
        Ok(node) => {
            let mut reader = Reader {
                problems: Vec::new(),
                stored: false,
            };
            let manifest = reader.manifest(&node);
            (Some(node), manifest, reader.problems)
        }
        Err(problem) => (None, None, vec![*problem]),
    };
    let failed = problems.iter().any(|problem| problem.level == Level::Error);
    if let Some(manifest) = manifest.as_ref().filter(|_| !failed) {
        problems.extend(rules::check(manifest));
    }
    let lines: Vec<&str> = text.lines().collect();
    for problem in &mut problems {
        if problem.at.is_none() {
            problem.at = node.as_ref().and_then(|node| node.locate(&problem.path));
        }
        let line = problem.at.and_then(|at| lines.get(at.line.checked_sub(1)?));
        problem.line = line.map(|line| line.chars().take(200).collect());
    }
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.level));
    let failed = problems.iter().any(|problem| problem.level == Level::Error);
    Checked {
        manifest: manifest.filter(|_| !failed),
        problems,
    }
}

/// What is stored was checked when it was put: the rules are not applied again, and fields of a
/// newer version are passed over.
impl<'de> Deserialize<'de> for Manifest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let mut reader = Reader {
            problems: Vec::new(),
            stored: true,
        };
        let manifest = reader.manifest(&Node::from_value(&value));
        let first = reader
            .problems
            .into_iter()
            .find(|problem| problem.level == Level::Error);
        match (manifest, first) {
            (Some(manifest), None) => Ok(manifest),
            (_, Some(problem)) => Err(serde::de::Error::custom(problem.message)),
            (None, None) => Err(serde::de::Error::custom("not a manifest")),
        }
    }
}
