//! Where a manifest comes from: a file, standard input, a URL, or wadm's store.

use std::io::Read;
use std::path::{Path, PathBuf};

use proto::manifest::{self, Format, Manifest, ManifestError};

use crate::error::{Advice, FileError, UsageError};
use crate::exit::Exit;

/// The largest manifest that is read.
const BYTES_MAX: u64 = proto::manifest::BYTES_MAX as u64;

/// What a person named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// `-` or nothing.
    Stdin,
    /// `http://` or `https://`.
    Url(String),
    /// Anything else: the name of a stored application.
    Name(String),
}

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no manifest.
    #[error("{0}")]
    Manifest(ManifestError),
    /// It cannot be fetched.
    #[error("cannot fetch `{url}`: {reason}")]
    Fetch {
        /// From where.
        url: String,
        /// Why not.
        reason: String,
    },
    /// It is far too large.
    #[error("`{0}` is larger than any manifest ({BYTES_MAX} bytes)")]
    TooLarge(String),
    /// Nothing came.
    #[error("standard input is empty")]
    Empty,
    /// A stored name where a file is needed.
    #[error(transparent)]
    Usage(#[from] UsageError),
}

impl Advice for SourceError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File(error) => return error.hint(),
            // Each finding carries its own.
            Self::Manifest(_) => return None,
            Self::Fetch { .. } => "check the address, or save it to a file first".into(),
            Self::TooLarge(_) => "check that it is the right file".into(),
            Self::Empty => "name a file, or pipe one in: wash app deploy - < app.wadm.yaml".into(),
            Self::Usage(error) => return error.hint(),
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Usage(error) => error.exit(),
            _ => Exit::Failed,
        }
    }
}

impl Source {
    /// Tells a file from a name: what exists or is called like a manifest is a file.
    pub fn of(text: Option<&str>) -> Self {
        let Some(text) = text.filter(|text| *text != "-") else {
            return Self::Stdin;
        };
        if text.starts_with("http://") || text.starts_with("https://") {
            return Self::Url(text.to_owned());
        }
        let path = Path::new(text.strip_prefix("file://").unwrap_or(text));
        let named_like_one = path.extension().is_some_and(|extension| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        });
        if named_like_one || path.is_file() || text.contains('/') {
            return Self::File(path.to_owned());
        }
        Self::Name(text.to_owned())
    }

    /// What errors call it.
    fn file_name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".into(),
            Self::Url(url) => url.clone(),
            Self::Name(name) => name.clone(),
        }
    }

    /// The text.
    pub async fn text(&self) -> Result<String, SourceError> {
        let limited = |reader: &mut dyn Read| -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            reader.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes =
            match self {
                Self::File(path) => std::fs::File::open(path)
                    .and_then(|mut file| limited(&mut file))
                    .map_err(|source| FileError::new("read", path, source))?,
                Self::Stdin => limited(&mut std::io::stdin().lock())
                    .map_err(|source| FileError::new("read", "standard input", source))?,
                Self::Url(url) => crate::fetch::get(url, BYTES_MAX).await.map_err(|reason| {
                    SourceError::Fetch {
                        url: url.clone(),
                        reason,
                    }
                })?,
                Self::Name(name) => {
                    return Err(UsageError::new(
                        format!("there is no file `{name}`"),
                        "name the manifest's file, e.g. ./app.wadm.yaml",
                    )
                    .into());
                }
            };
        if bytes.len() as u64 > BYTES_MAX {
            return Err(SourceError::TooLarge(self.file_name()));
        }
        if bytes.iter().all(u8::is_ascii_whitespace) && *self == Self::Stdin {
            return Err(SourceError::Empty);
        }
        String::from_utf8(bytes).map_err(|error| {
            let broken = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            FileError::new("read", self.file_name(), broken).into()
        })
    }

    /// The manifest; images in files beside it are found from where it is.
    pub async fn manifest(&self) -> Result<Manifest, SourceError> {
        let text = self.text().await?;
        let name = self.file_name();
        let mut manifest =
            manifest::parse_as(&text, &name, self.format()).map_err(SourceError::Manifest)?;
        let dir = match self {
            Self::File(path) => path.parent().map(Path::to_owned),
            _ => None,
        };
        resolve_images(&mut manifest, &dir.unwrap_or_default());
        Ok(manifest)
    }

    /// JSON where the name says so.
    pub fn format(&self) -> Format {
        match self {
            Self::File(path)
                if path
                    .extension()
                    .is_some_and(|extension| extension == "json") =>
            {
                Format::Json
            }
            _ => Format::Yaml,
        }
    }

    /// Errors and warnings.
    pub async fn check(&self) -> Result<(String, manifest::Checked), SourceError> {
        let text = self.text().await?;
        Ok((self.file_name(), manifest::check(&text, self.format())))
    }
}

/// `file://./x.wasm` means a file beside the manifest; hosts need the whole path.
fn resolve_images(manifest: &mut Manifest, dir: &Path) {
    for component in &mut manifest.spec.components {
        let Some(image) = &mut component.properties.image else {
            continue;
        };
        let Some(path) = image
            .strip_prefix("file://")
            .filter(|path| !path.starts_with('/'))
        else {
            continue;
        };
        let joined = dir.join(path);
        let absolute = joined
            .canonicalize()
            .or_else(|_| std::path::absolute(&joined));
        if let Ok(absolute) = absolute {
            *image = format!("file://{}", absolute.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_from_a_name() {
        for (text, expected) in [
            (None, Source::Stdin),
            (Some("-"), Source::Stdin),
            (Some("app.yaml"), Source::File("app.yaml".into())),
            (Some("dir/app"), Source::File("dir/app".into())),
            (Some("shop"), Source::Name("shop".into())),
            (
                Some("https://x/app.yaml"),
                Source::Url("https://x/app.yaml".into()),
            ),
        ] {
            assert_eq!(Source::of(text), expected, "{text:?}");
        }
    }
}
