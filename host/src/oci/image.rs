//! Image references and the mirrors that stand in for registries.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use oci_distribution::Reference;

use super::FetchError;

/// Where an image is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// A file of this machine.
    File(PathBuf),
    /// An image in a registry.
    Oci(Reference),
}

impl Image {
    /// Reads a reference with or without a scheme.
    ///
    /// Registry and repository are taken in lower case, as registries demand; the tag is left
    /// as it is, because tags differ by case.
    ///
    /// # Errors
    /// [`FetchError::Reference`] when it names neither a file nor an image.
    pub fn parse(text: &str) -> Result<Self, FetchError> {
        if let Some(path) = text.strip_prefix("file://") {
            return Ok(Self::File(PathBuf::from(path)));
        }
        let image = strip_scheme(text);
        let (name, rest) = split_name(image);
        let normal = format!("{}{rest}", name.to_lowercase());
        match Reference::from_str(&normal) {
            Ok(reference) => Ok(Self::Oci(reference)),
            Err(error) => Err(FetchError::Reference {
                reference: text.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// True if the tag `latest` is written out.
    pub fn is_latest(text: &str) -> bool {
        let (_, rest) = split_name(strip_scheme(text));
        rest.split('@')
            .next()
            .is_some_and(|tag| tag.eq_ignore_ascii_case(":latest"))
    }
}

fn strip_scheme(text: &str) -> &str {
    ["oci://", "https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or(text)
}

/// Splits `registry:port/repository` from `:tag@digest`.
fn split_name(image: &str) -> (&str, &str) {
    let path = image.find('/').map_or(0, |slash| slash + 1);
    let end = image[path..]
        .find([':', '@'])
        .map_or(image.len(), |at| path + at);
    image.split_at(end)
}

/// A registry, or a part of one, whose images are pulled from somewhere else.
///
/// Written `ghcr.io/myorg=127.0.0.1:5000/myorg`. A scheme before the right side says how to reach
/// the mirror: `http://` in the clear, `https://` encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Start of the references that are redirected.
    pub from: String,
    /// What replaces it.
    pub to: String,
    /// The mirror speaks plain HTTP.
    pub insecure: bool,
}

/// A mirror that does not read as `from=to`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid registry mirror `{0}`. Expected `registry/path=other-registry/path`")]
pub struct MirrorError(String);

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let fault = || MirrorError(text.to_owned());
        let (from, to) = text.split_once('=').ok_or_else(fault)?;
        let insecure = to.starts_with("http://");
        let tidy = |part: &str| {
            strip_scheme(part.trim())
                .trim_end_matches('/')
                .to_lowercase()
        };
        let (from, to) = (tidy(from), tidy(to));
        let probe = |part: &str| {
            part.is_empty() || Reference::from_str(&format!("{part}/probe:x")).is_err()
        };
        if probe(&from) || probe(&to) {
            return Err(fault());
        }
        Ok(Self { from, to, insecure })
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}={}{}",
            self.from,
            if self.insecure { "http://" } else { "" },
            self.to
        )
    }
}

/// Where to ask for an image: the mirror with the longest matching start, else the image itself.
pub fn rewrite(mirrors: &[Mirror], image: &Reference) -> Reference {
    let name = format!("{}/{}", image.registry(), image.repository());
    let fits = |mirror: &&Mirror| {
        name.strip_prefix(&mirror.from)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let Some(mirror) = mirrors
        .iter()
        .filter(fits)
        .max_by_key(|mirror| mirror.from.len())
    else {
        return image.clone();
    };
    let mut text = format!("{}{}", mirror.to, &name[mirror.from.len()..]);
    if let Some(tag) = image.tag() {
        text = format!("{text}:{tag}");
    }
    if let Some(digest) = image.digest() {
        text = format!("{text}@{digest}");
    }
    // Both sides were checked when the mirror was read.
    Reference::from_str(&text).unwrap_or_else(|_| image.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> String {
        match Image::parse(text) {
            Ok(Image::Oci(image)) => image.whole(),
            Ok(Image::File(path)) => format!("file {}", path.display()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn references_are_read_with_any_scheme_and_case() {
        for (text, expected) in [
            (
                "registry.example/acme/web:1.0-RC",
                "registry.example/acme/web:1.0-RC",
            ),
            (
                "oci://Registry.example/Acme/web:1",
                "registry.example/acme/web:1",
            ),
            ("http://127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1"),
            ("file:///tmp/X.wasm", "file /tmp/X.wasm"),
            (
                "r.example/a@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "r.example/a@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ),
        ] {
            assert_eq!(whole(text), expected, "{text}");
        }
        assert!(whole("no such image").contains("is not an image reference"));
        assert!(whole("").contains("is not an image reference"));
    }

    #[test]
    fn latest_counts_only_written_out() {
        for (text, latest) in [
            ("r.example/a:latest", true),
            ("oci://r.example:80/a:LATEST", true),
            ("r.example/a", false),
            ("r.example/latest:1", false),
        ] {
            assert_eq!(Image::is_latest(text), latest, "{text}");
        }
    }

    #[test]
    fn the_longest_mirror_wins_and_only_whole_parts_match() {
        let mirrors: Vec<Mirror> = [
            "r.example=m.example/all",
            "r.example/acme=http://127.0.0.1:5000/acme",
        ]
        .iter()
        .map(|text| text.parse().expect("a mirror"))
        .collect();
        assert!(mirrors[1].insecure);
        for (image, expected) in [
            ("r.example/acme/web:1", "127.0.0.1:5000/acme/web:1"),
            ("r.example/acmelike/web:1", "m.example/all/acmelike/web:1"),
            ("other.example/acme/web:1", "other.example/acme/web:1"),
        ] {
            let Ok(Image::Oci(image)) = Image::parse(image) else {
                panic!("{image}")
            };
            assert_eq!(rewrite(&mirrors, &image).whole(), expected);
        }
    }

    #[test]
    fn a_mirror_needs_two_sides() {
        for text in ["", "a.example", "=b.example", "a.example=", "a b=c"] {
            assert!(text.parse::<Mirror>().is_err(), "{text}");
        }
    }
}
