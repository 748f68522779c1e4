//! Where answers go: subjects that whoever asks makes up, under a prefix of its choice.

use super::is_topic;

/// The prefix that NATS clients take unless they are told otherwise, and providers always.
pub const DEFAULT_PREFIX: &str = "_INBOX";

/// A text that cannot begin an inbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot begin an inbox: letters, digits, `-` and `_`, in parts separated by `.`")]
pub struct PrefixError(String);

/// Reads an inbox prefix as a command line gives it.
///
/// # Errors
/// [`PrefixError`] for a wildcard, a space, an empty part.
pub fn prefix(text: &str) -> Result<String, PrefixError> {
    if is_topic(text) {
        Ok(text.to_owned())
    } else {
        Err(PrefixError(text.to_owned()))
    }
}

/// The pattern of all inboxes of the usual shape under a prefix.
#[must_use]
pub fn all(prefix: &str) -> String {
    format!("{prefix}.*.*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_plain_subject() {
        for text in ["_INBOX", "_INBOX_host", "_INBOX.host.h1"] {
            assert_eq!(prefix(text).as_deref(), Ok(text));
        }
        for text in ["", "_INBOX.", "_INBOX.>", "*", "a b"] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }
}
