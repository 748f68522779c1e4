//! Settings of one link at a built-in provider, over the provider's own.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use proto::provider::SecretValue;

use crate::link::{LinkError, ResolvedLink, Secrets};

/// Settings by lower-case key. A link's win over its provider's, secrets over plain text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<String, String>,
    secret: Vec<String>,
}

/// The settings of a provider itself.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// Its configuration.
    pub config: &'a BTreeMap<String, String>,
    /// Its secrets.
    pub secrets: &'a Secrets,
}

impl Settings {
    /// What holds for a link whose target is the provider.
    pub fn as_target(own: Own<'_>, link: &ResolvedLink) -> Self {
        Self::merge(own, &link.target_config, &link.target_secrets)
    }

    /// What holds for a link whose source is the provider.
    pub fn as_source(own: Own<'_>, link: &ResolvedLink) -> Self {
        Self::merge(own, &link.source_config, &link.source_secrets)
    }

    fn merge(own: Own<'_>, config: &BTreeMap<String, String>, secrets: &Secrets) -> Self {
        let mut settings = Self::default();
        settings.add(own.config);
        settings.add_secrets(own.secrets);
        settings.add(config);
        settings.add_secrets(secrets);
        settings
    }

    /// Plain settings, for tests.
    #[cfg(test)]
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        let mut settings = Self::default();
        settings.add(
            &pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        );
        settings
    }

    fn add(&mut self, config: &BTreeMap<String, String>) {
        for (key, value) in config {
            self.values
                .insert(key.to_lowercase(), value.trim().to_owned());
        }
    }

    fn add_secrets(&mut self, secrets: &Secrets) {
        for (key, value) in secrets {
            let text = match value {
                SecretValue::String(text) => Some(text.trim().to_owned()),
                SecretValue::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
            };
            if let Some(text) = text {
                self.values.insert(key.to_lowercase(), text);
                self.secret.push(key.to_lowercase());
            }
        }
    }

    /// The value of a setting; an empty one counts as absent. `key` in lower case.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Whether the key is there at all, for settings that have no value.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Whether the setting says `true` (or `1`, `yes`, `on`).
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|v| ["true", "1", "yes", "on"].contains(&v.to_lowercase().as_str()))
    }

    /// The value, read as `T`.
    ///
    /// # Errors
    /// [`LinkError::BadSetting`] if it is none; `expected` says what it may hold.
    pub fn parsed<T: FromStr>(&self, key: &str, expected: &str) -> Result<Option<T>, LinkError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value
            .parse()
            .map(Some)
            .map_err(|_| self.bad(key, format!("expected {expected}")))
    }

    /// A time in milliseconds, or `default`.
    ///
    /// # Errors
    /// As [`Settings::parsed`].
    pub fn millis(&self, key: &str, default: Duration) -> Result<Duration, LinkError> {
        let millis = self.parsed(key, "a whole number of milliseconds")?;
        Ok(millis.map_or(default, Duration::from_millis))
    }

    /// The error for a value that cannot be used; secrets are not shown.
    pub fn bad(&self, key: &str, reason: impl Into<String>) -> LinkError {
        let hidden = self.secret.iter().any(|secret| secret == key);
        let value = if hidden {
            "(secret)"
        } else {
            self.get(key).unwrap_or_default()
        };
        LinkError::BadSetting {
            key: key.to_owned(),
            value: value.to_owned(),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_settings_win_and_case_does_not_matter() {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let own = map(&[("URL", "redis://own"), ("A", "own")]);
        let secret = Secrets::from([(
            "url".to_owned(),
            SecretValue::String("redis://s3cret".into()),
        )]);
        let own = Own {
            config: &own,
            secrets: &Secrets::new(),
        };
        let settings = Settings::merge(own, &map(&[("url", " redis://link ")]), &Secrets::new());
        assert_eq!(
            (settings.get("url"), settings.get("a")),
            (Some("redis://link"), Some("own"))
        );
        let settings = Settings::merge(own, &map(&[("url", "redis://link")]), &secret);
        assert_eq!(settings.get("url"), Some("redis://s3cret"));
        assert!(!settings.bad("url", "no").to_string().contains("s3cret"));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_with_what_it_may_hold() {
        let settings = Settings::from_pairs(&[("delay", "soon"), ("on", "TRUE"), ("empty", "")]);
        let error = settings
            .millis("delay", Duration::ZERO)
            .expect_err("refused");
        assert!(error.to_string().contains("milliseconds"), "{error}");
        assert!(settings.is_true("on") && !settings.is_true("empty") && settings.has("empty"));
    }
}
