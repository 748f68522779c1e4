//! `wash keys`.

use std::path::PathBuf;

use nkeys::{KeyPair, XKey};
use serde_json::{Map, Value};

use super::signing::KeyError;
use crate::cli::Outcome;
use crate::dirs::Dirs;
use crate::error::{FileError, WashError};
use crate::output::{Answer, Done, Style, keys};

/// Make and find keys.
#[derive(Debug, clap::Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it
    Gen(GenKey),
    /// Print the seed of a stored key
    Get(GetKey),
    /// List the stored keys
    List(ListKeys),
}

/// What a key is for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum KeyKind {
    /// Signs components and providers
    Account,
    /// Connects to NATS
    User,
    /// Is a component
    #[value(alias = "component")]
    Module,
    /// Is a provider
    #[value(alias = "provider")]
    Service,
    /// Is a host
    #[value(alias = "host")]
    Server,
    /// Signs accounts
    Operator,
    /// Is a NATS cluster
    Cluster,
    /// Seals
    #[value(alias = "x25519")]
    Curve,
}

/// `wash keys gen`.
#[derive(Debug, clap::Args)]
pub struct GenKey {
    /// What it is for
    #[arg(value_enum, ignore_case = true)]
    pub key_type: KeyKind,
}

/// `wash keys get`.
#[derive(Debug, clap::Args)]
pub struct GetKey {
    /// Name of the key, with or without `.nk`
    pub name: String,
    /// Directory of keys
    #[arg(short = 'd', long, env = "WASH_KEYS", value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// `wash keys list`.
#[derive(Debug, clap::Args)]
pub struct ListKeys {
    /// Directory of keys
    #[arg(short = 'd', long, env = "WASH_KEYS", value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Names of keys.
pub struct KeyList {
    names: Vec<String>,
    directory: PathBuf,
}

impl Answer for KeyList {
    fn text(&self, _: &Style) -> String {
        match self.names.as_slice() {
            [] => format!(
                "No keys in {}. Make one with `wash keys gen`.",
                self.directory.display()
            ),
            names => names.join("\n"),
        }
    }

    fn json(&self) -> Map<String, Value> {
        keys([("keys", self.names.clone().into())])
    }
}

fn directory(given: Option<PathBuf>) -> Result<PathBuf, WashError> {
    match given {
        Some(directory) => Ok(directory),
        None => Ok(Dirs::from_env()?.keys()),
    }
}

impl KeyKind {
    /// A new key: public part and seed.
    fn make(self) -> Result<(String, String), KeyError> {
        let pair = match self {
            Self::Curve => {
                let key = XKey::new();
                return Ok((key.public_key(), key.seed().map_err(|_| KeyError::NoSeed)?));
            }
            Self::Account => KeyPair::new_account(),
            Self::User => KeyPair::new_user(),
            Self::Module => KeyPair::new_module(),
            Self::Service => KeyPair::new_service(),
            Self::Server => KeyPair::new_server(),
            Self::Operator => KeyPair::new_operator(),
            Self::Cluster => KeyPair::new_cluster(),
        };
        Ok((
            pair.public_key(),
            pair.seed().map_err(|_| KeyError::NoSeed)?,
        ))
    }
}

impl KeysCommand {
    /// Does it.
    pub fn run(self) -> Result<Outcome, WashError> {
        match self {
            Self::Gen(generate) => {
                let (public_key, seed) = generate.key_type.make()?;
                let text = format!(
                    "Public key: {public_key}\nSeed: {seed}\n\nThe seed is the secret: keep it where nobody else reads it."
                );
                Ok(Done::new(text)
                    .with("public_key", public_key)
                    .with("seed", seed)
                    .into())
            }
            Self::Get(get) => {
                let name = get.name.strip_suffix(".nk").unwrap_or(&get.name);
                let path = directory(get.directory)?.join(format!("{name}.nk"));
                if !path.is_file() {
                    return Err(KeyError::Missing(path).into());
                }
                let seed = std::fs::read_to_string(&path)
                    .map_err(|source| FileError::new("read", path, source))?;
                let seed = seed.trim().to_owned();
                Ok(Done::new(seed.clone()).with("seed", seed).into())
            }
            Self::List(list) => {
                let directory = directory(list.directory)?;
                let entries = std::fs::read_dir(&directory)
                    .into_iter()
                    .flatten()
                    .flatten();
                let mut names: Vec<String> = entries
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .filter(|name| name.ends_with(".nk"))
                    .collect();
                names.sort();
                Ok(KeyList { names, directory }.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_starts_with_its_letter() {
        for (kind, letter) in [
            (KeyKind::Account, "A"),
            (KeyKind::User, "U"),
            (KeyKind::Module, "M"),
            (KeyKind::Service, "V"),
            (KeyKind::Server, "N"),
            (KeyKind::Operator, "O"),
            (KeyKind::Cluster, "C"),
            (KeyKind::Curve, "X"),
        ] {
            let (public_key, seed) = kind.make().unwrap();
            assert!(
                public_key.starts_with(letter) && public_key.len() == 56,
                "{public_key}"
            );
            assert!(
                seed.starts_with(&format!("S{letter}")) && seed.len() == 58,
                "{letter}"
            );
        }
    }
}
