//! Keys that sign: found where the flags say, in the key directory, or made.

use std::path::{Path, PathBuf};

use nkeys::{KeyPair, KeyPairType};

use crate::dirs::{self, Dirs};
use crate::error::{Advice, FileError, WashError};
use crate::exit::Exit;
use crate::output::Printer;

/// Whose keys sign, and where they are.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Keys")]
pub struct SigningOptions {
    /// Seed of the issuer's (account) key, or a file with it
    #[arg(
        short = 'i',
        long,
        env = "WASH_ISSUER_KEY",
        value_name = "SEED",
        hide_env_values = true
    )]
    pub issuer: Option<String>,
    /// Seed of the subject's key, or a file with it
    #[arg(
        short = 's',
        long,
        env = "WASH_SUBJECT_KEY",
        value_name = "SEED",
        hide_env_values = true
    )]
    pub subject: Option<String>,
    /// Directory of keys
    #[arg(
        long = "directory",
        alias = "keys-directory",
        env = "WASH_KEYS",
        value_name = "DIR"
    )]
    pub keys_directory: Option<PathBuf>,
    /// Fail rather than make a key that is missing
    #[arg(long)]
    pub disable_keygen: bool,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no seed.
    #[error("`{0}` is neither a seed nor a file with one")]
    NotASeed(String),
    /// A key for something else.
    #[error("the key is one of a {found}, not of a {wanted}")]
    Kind {
        /// What it is for.
        found: &'static str,
        /// What is needed.
        wanted: &'static str,
    },
    /// There is none, and none may be made.
    #[error("there is no key `{}`", .0.display())]
    Missing(PathBuf),
    /// The key cannot be written as a seed.
    #[error("the key has no seed")]
    NoSeed,
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Advice for KeyError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotASeed(_) => "a seed starts with S and has 58 characters; make one with `wash keys gen`".into(),
            Self::Kind { wanted, .. } => format!("make one with `wash keys gen {wanted}`"),
            Self::Missing(_) => "make it by leaving --disable-keygen out, or name another with --issuer and --subject".into(),
            Self::NoSeed => "give a seed, not a public key".into(),
            Self::File(error) => return error.hint(),
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NotASeed(_) | Self::Kind { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

fn kind_name(kind: &KeyPairType) -> &'static str {
    match kind {
        KeyPairType::Server => "server",
        KeyPairType::Cluster => "cluster",
        KeyPairType::Operator => "operator",
        KeyPairType::Account => "account",
        KeyPairType::User => "user",
        KeyPairType::Module => "module",
        KeyPairType::Service => "service",
        KeyPairType::Curve => "curve",
    }
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Signs.
    Account,
    /// Is a component.
    Module,
    /// Is a provider.
    Service,
}

impl Purpose {
    fn make(self) -> KeyPair {
        match self {
            Self::Account => KeyPair::new_account(),
            Self::Module => KeyPair::new_module(),
            Self::Service => KeyPair::new_service(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Module => "module",
            Self::Service => "service",
        }
    }

    fn check(self, pair: KeyPair) -> Result<KeyPair, KeyError> {
        let found = kind_name(&pair.key_pair_type());
        if found == self.name() {
            Ok(pair)
        } else {
            Err(KeyError::Kind {
                found,
                wanted: self.name(),
            })
        }
    }
}

/// A seed, given as text or as the file that holds it.
pub fn seed_or_file(text: &str) -> Result<KeyPair, KeyError> {
    let seed = std::fs::read_to_string(text).unwrap_or_else(|_| text.to_owned());
    // The seed itself must not show in an error.
    let shown = if Path::new(text).exists() {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(2).collect::<String>())
    };
    KeyPair::from_seed(seed.trim()).map_err(|_| KeyError::NotASeed(shown))
}

impl SigningOptions {
    fn directory(&self) -> Result<PathBuf, WashError> {
        match &self.keys_directory {
            Some(directory) => Ok(directory.clone()),
            None => Ok(Dirs::from_env()?.keys()),
        }
    }

    /// The issuer's key: `{USER}_account.nk` unless one is given.
    pub fn issuer(&self, printer: &Printer) -> Result<KeyPair, WashError> {
        let user = std::env::var("USER")
            .ok()
            .filter(|user| !user.is_empty())
            .unwrap_or_else(|| "user".into());
        self.find(
            self.issuer.as_deref(),
            Purpose::Account,
            &format!("{user}_account"),
            printer,
        )
    }

    /// The subject's key: `{stem}_module.nk` or `{stem}_service.nk` unless one is given.
    pub fn subject(
        &self,
        purpose: Purpose,
        stem: &str,
        printer: &Printer,
    ) -> Result<KeyPair, WashError> {
        self.find(
            self.subject.as_deref(),
            purpose,
            &format!("{stem}_{}", purpose.name()),
            printer,
        )
    }

    fn find(
        &self,
        given: Option<&str>,
        purpose: Purpose,
        name: &str,
        printer: &Printer,
    ) -> Result<KeyPair, WashError> {
        if let Some(text) = given {
            return Ok(purpose.check(seed_or_file(text)?)?);
        }
        let path = self.directory()?.join(format!("{name}.nk"));
        if path.is_file() {
            return Ok(purpose.check(seed_or_file(&path.to_string_lossy())?)?);
        }
        if self.disable_keygen {
            return Err(KeyError::Missing(path).into());
        }
        let pair = purpose.make();
        store(&path, &pair)?;
        printer.note(&format!(
            "made the key {} in {}",
            pair.public_key(),
            path.display()
        ));
        Ok(pair)
    }
}

/// Writes a seed where only its owner reads it.
pub fn store(path: &Path, pair: &KeyPair) -> Result<(), KeyError> {
    if let Some(dir) = path.parent() {
        dirs::create_private(dir)?;
    }
    let seed = pair.seed().map_err(|_| KeyError::NoSeed)?;
    Ok(dirs::write_atomically(path, seed.as_bytes(), 0o600)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn options(dir: &Path) -> SigningOptions {
        SigningOptions {
            issuer: None,
            subject: None,
            keys_directory: Some(dir.into()),
            disable_keygen: false,
        }
    }

    #[test]
    fn a_missing_key_is_made_once_and_kept_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let printer = Printer::new(Format::Json);
        let keys = dir.path().join("keys");
        let first = options(&keys)
            .subject(Purpose::Module, "web", &printer)
            .unwrap();
        let again = options(&keys)
            .subject(Purpose::Module, "web", &printer)
            .unwrap();
        assert_eq!(first.public_key(), again.public_key());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&keys), mode(&keys.join("web_module.nk"))),
            (0o700, 0o600)
        );
    }

    #[test]
    fn no_key_is_made_where_that_is_forbidden() {
        let dir = tempfile::tempdir().unwrap();
        let options = SigningOptions {
            disable_keygen: true,
            ..options(dir.path())
        };
        assert!(
            options
                .subject(Purpose::Module, "web", &Printer::new(Format::Json))
                .is_err()
        );
    }

    #[test]
    fn a_key_for_something_else_is_refused_and_never_shown() {
        let account = KeyPair::new_account();
        let seed = account.seed().unwrap();
        assert!(matches!(
            Purpose::Module.check(account),
            Err(KeyError::Kind { .. })
        ));
        let broken = format!("{seed}x");
        let Err(error) = seed_or_file(&broken) else {
            panic!("accepted a broken seed")
        };
        assert!(!error.to_string().contains(&seed[4..]));
    }
}
