//! What is wrong with a manifest, and where.

use std::fmt;

/// A place in a file, both counted from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth a look; the manifest is accepted.
    Warning,
    /// The manifest is refused.
    Error,
}

/// What sort of finding it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// Not readable as YAML or JSON at all, or over a limit.
    Syntax,
    /// A field that is missing, unknown or of the wrong type.
    Field,
    /// A rule between fields, e.g. unique names.
    Rule,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub level: Level,
    /// What sort.
    pub kind: ProblemKind,
    /// Path of the field, e.g. `spec.components[0].name`; empty for the file as a whole.
    pub path: String,
    /// Where in the file; none for input without lines.
    pub at: Option<Position>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
    /// The offending line.
    pub line: Option<String>,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind, path: &str, message: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            kind,
            path: path.to_owned(),
            at: None,
            message: message.into(),
            hint: None,
            line: None,
        }
    }

    pub(super) fn field(path: &str, at: Option<Position>, message: impl Into<String>) -> Self {
        Self {
            at,
            ..Self::new(ProblemKind::Field, path, message)
        }
    }

    pub(super) fn rule(path: &str, message: impl Into<String>) -> Self {
        Self::new(ProblemKind::Rule, path, message)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn warning(mut self) -> Self {
        self.level = Level::Warning;
        self
    }

    /// The finding for a person: place, message, the line with a mark, the hint.
    #[must_use]
    pub fn render(&self, file: &str) -> String {
        let mut text = String::from(file);
        if let Some(at) = self.at {
            text.push_str(&format!(":{}:{}", at.line, at.column));
        }
        text.push_str(match self.level {
            Level::Error => ": error: ",
            Level::Warning => ": warning: ",
        });
        text.push_str(&self.message);
        if self.at.is_none() && !self.path.is_empty() {
            text.push_str(&format!(" (at {})", self.path));
        }
        if let (Some(at), Some(line)) = (self.at, &self.line) {
            let number = at.line.to_string();
            let indent = " ".repeat(number.len());
            let before: String = line
                .chars()
                .take(at.column.saturating_sub(1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            text.push_str(&format!(
                "\n {indent} |\n {number} | {line}\n {indent} | {before}^"
            ));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n  hint: {hint}"));
        }
        text
    }
}

/// Why a manifest was refused: at least one problem, the first one first in the file's order of
/// checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    file: String,
    problems: Vec<Problem>,
}

impl ManifestError {
    pub(super) fn new(file: &str, problems: Vec<Problem>) -> Self {
        Self {
            file: file.to_owned(),
            problems,
        }
    }

    /// All errors found; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The first error.
    #[must_use]
    pub fn first(&self) -> Option<&Problem> {
        self.problems.first()
    }

    /// Whether the text could not be read at all, or its fields are wrong; else it breaks a rule.
    #[must_use]
    pub fn is_parse_error(&self) -> bool {
        self.first()
            .is_some_and(|problem| problem.kind != ProblemKind::Rule)
    }

    /// What the API answers: upstream's sentence for a broken rule, ours for what cannot be parsed.
    #[must_use]
    pub fn api_message(&self) -> String {
        let Some(first) = self.first() else {
            return String::new();
        };
        match first.kind {
            ProblemKind::Rule => first.message.clone(),
            ProblemKind::Syntax | ProblemKind::Field => format!("Unable to parse manifest: {self}"),
        }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.render(&self.file))?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestError {}
