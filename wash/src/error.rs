//! Errors as a person meets them: what failed, why, and what to type next.

use std::error::Error;
use std::fmt;

use crate::exit::Exit;

/// An error that knows what to try next.
pub trait Advice: Error {
    /// What to type next, as a sentence without a full stop; `None` when there is nothing to add.
    fn hint(&self) -> Option<String>;

    /// The exit code that this error ends the program with.
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// Any error of a command, on its way to the printer.
pub struct WashError(Box<dyn Advice + Send + Sync>);

impl WashError {
    /// The outermost sentence.
    pub fn message(&self) -> String {
        self.0.to_string()
    }

    /// The causes, outermost first, each fact once.
    pub fn chain(&self) -> Vec<String> {
        let mut said = self.message();
        let mut chain = Vec::new();
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !said.contains(&text) {
                said.push_str(&text);
                chain.push(text);
            }
            next = cause.source();
        }
        chain
    }

    /// What to try next.
    pub fn hint(&self) -> Option<String> {
        self.0.hint()
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.0.exit()
    }
}

impl fmt::Debug for WashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<E: Advice + Send + Sync + 'static> From<E> for WashError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// A wrong argument that clap cannot see by itself.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    message: String,
    hint: Option<String>,
}

impl UsageError {
    /// Says what is wrong and what would be right.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

impl Advice for UsageError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// A file or directory that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct FileError {
    action: &'static str,
    path: std::path::PathBuf,
    #[source]
    source: std::io::Error,
}

impl FileError {
    /// `action` is a verb: read, write, create, remove.
    pub fn new(
        action: &'static str,
        path: impl Into<std::path::PathBuf>,
        source: std::io::Error,
    ) -> Self {
        Self {
            action,
            path: path.into(),
            source,
        }
    }
}

impl Advice for FileError {
    fn hint(&self) -> Option<String> {
        use std::io::ErrorKind;
        match self.source.kind() {
            ErrorKind::NotFound => {
                Some("check the path; it is relative to the current directory".into())
            }
            ErrorKind::PermissionDenied => Some(format!(
                "check who owns it with `ls -ld {}`",
                self.path.display()
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot deploy")]
    struct Outer(#[source] std::io::Error);

    impl Advice for Outer {
        fn hint(&self) -> Option<String> {
            None
        }
    }

    #[test]
    fn each_cause_is_said_once() {
        let error = WashError::from(Outer(std::io::Error::other("registry said no")));
        assert_eq!(error.message(), "cannot deploy");
        assert_eq!(error.chain(), ["registry said no"]);
    }
}
