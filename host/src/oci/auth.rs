//! How registries ask who is there, and what they are shown.

use base64::Engine as _;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use secrecy::ExposeSecret as _;

use super::settings::Credential;

/// The header that shows a credential.
pub(super) fn header(credential: &Credential) -> Option<String> {
    match credential {
        Credential::Basic { user, password } => {
            let pair = format!("{user}:{}", password.expose_secret());
            Some(format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(pair)
            ))
        }
        Credential::Bearer(token) => Some(format!("Bearer {}", token.expose_secret())),
        Credential::Anonymous => None,
    }
}

/// How a registry wants to be spoken to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    Basic,
}

/// The first challenge of an answer that this client can meet.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    texts.filter_map(parse_challenge).next()
}

fn parse_challenge(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let field = |name: &str| {
        let start = rest.find(&format!("{name}=\""))? + name.len() + 2;
        let value = &rest[start..];
        Some(value[..value.find('"')?].to_owned())
    };
    Some(Challenge::Bearer {
        realm: field("realm")?,
        service: field("service"),
        scope: field("scope"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        for (text, expected) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.example/token\",service=\"reg\",scope=\"repository:a:pull\"",
                Some(Challenge::Bearer {
                    realm: "https://auth.example/token".into(),
                    service: Some("reg".into()),
                    scope: Some("repository:a:pull".into()),
                }),
            ),
            ("Bearer service=\"no realm\"", None),
            ("Negotiate", None),
        ] {
            assert_eq!(parse_challenge(text), expected, "{text}");
        }
    }
}
