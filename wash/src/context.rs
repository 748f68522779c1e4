//! Contexts: named sets of connection settings, one JSON file each, as upstream writes them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dirs;
use crate::error::{Advice, FileError};

/// The name of the context that exists without anybody making it.
pub const FIRST: &str = "host_config";
/// The file that holds the name of the default context.
const DEFAULT_FILE: &str = "default";

/// Connection settings of one lattice. Empty strings count as "not set", as upstream writes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// The name, equal to the file's.
    pub name: String,
    /// Kept for upstream; unused.
    pub cluster_seed: String,
    /// NATS host for control requests.
    pub ctl_host: String,
    /// Its port.
    pub ctl_port: u16,
    /// A user JWT, or a file with one.
    pub ctl_jwt: String,
    /// A seed, or a file with one.
    pub ctl_seed: String,
    /// A credentials file.
    pub ctl_credsfile: Option<PathBuf>,
    /// Milliseconds to wait for an answer.
    pub ctl_timeout: u64,
    /// Certificates to trust.
    pub ctl_tls_ca_file: Option<PathBuf>,
    /// TLS before the server's greeting.
    pub ctl_tls_first: Option<bool>,
    /// Ours: the certificate for a server that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctl_tls_cert_file: Option<PathBuf>,
    /// Ours: the key of that certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctl_tls_key_file: Option<PathBuf>,
    /// The lattice.
    #[serde(alias = "lattice_prefix")]
    pub lattice: String,
    /// The JetStream domain.
    pub js_domain: Option<String>,
    /// Ours: first part of the subjects on which answers arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats_inbox_prefix: Option<String>,
    /// NATS host for calls.
    pub rpc_host: String,
    /// Its port.
    pub rpc_port: u16,
    /// A user JWT, or a file with one.
    pub rpc_jwt: String,
    /// A seed, or a file with one.
    pub rpc_seed: String,
    /// A credentials file.
    pub rpc_credsfile: Option<PathBuf>,
    /// Milliseconds to wait for the answer to a call.
    pub rpc_timeout: u64,
    /// Certificates to trust.
    pub rpc_tls_ca_file: Option<PathBuf>,
    /// TLS before the server's greeting.
    pub rpc_tls_first: Option<bool>,
    /// Ours: the certificate for a server that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc_tls_cert_file: Option<PathBuf>,
    /// Ours: the key of that certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc_tls_key_file: Option<PathBuf>,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            name: FIRST.into(),
            cluster_seed: String::new(),
            ctl_host: "127.0.0.1".into(),
            ctl_port: 4222,
            ctl_jwt: String::new(),
            ctl_seed: String::new(),
            ctl_credsfile: None,
            ctl_timeout: 2000,
            ctl_tls_ca_file: None,
            ctl_tls_first: None,
            ctl_tls_cert_file: None,
            ctl_tls_key_file: None,
            lattice: "default".into(),
            js_domain: None,
            nats_inbox_prefix: None,
            rpc_host: "127.0.0.1".into(),
            rpc_port: 4222,
            rpc_jwt: String::new(),
            rpc_seed: String::new(),
            rpc_credsfile: None,
            rpc_timeout: 2000,
            rpc_tls_ca_file: None,
            rpc_tls_first: None,
            rpc_tls_cert_file: None,
            rpc_tls_key_file: None,
        }
    }
}

impl Context {
    /// Our certificate and its key, for control requests.
    pub fn ctl_tls_identity(&self) -> Option<(PathBuf, PathBuf)> {
        self.ctl_tls_cert_file
            .clone()
            .zip(self.ctl_tls_key_file.clone())
    }

    /// Our certificate and its key, for calls.
    pub fn rpc_tls_identity(&self) -> Option<(PathBuf, PathBuf)> {
        self.rpc_tls_cert_file
            .clone()
            .zip(self.rpc_tls_key_file.clone())
    }
}

/// Why contexts could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// No file of that name.
    #[error("there is no context `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A context of that name exists already.
    #[error("the context `{0}` exists already")]
    Exists(String),
    /// A name that cannot be a file's.
    #[error("`{0}` cannot be the name of a context")]
    BadName(String),
    /// The default context cannot be removed.
    #[error("`{0}` is the default context")]
    IsDefault(String),
    /// The file does not hold a context.
    #[error("`{}` does not hold a context", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: serde_json::Error,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Advice for ContextError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { known, name } => match known.as_slice() {
                [] => format!("make it with `wash ctx new {name}`"),
                known => format!(
                    "choose one of {}, or make it with `wash ctx new {name}`",
                    known.join(", ")
                ),
            },
            Self::Exists(name) => format!("change it with `wash ctx edit {name}`"),
            Self::BadName(_) => "use letters, digits, `-` and `_`".into(),
            Self::IsDefault(_) => "choose another default first: `wash ctx default NAME`".into(),
            Self::Broken { path, .. } => format!("mend or remove `{}`", path.display()),
            Self::File(error) => return error.hint(),
        })
    }
}

/// The directory of contexts.
#[derive(Debug, Clone)]
pub struct Contexts {
    dir: PathBuf,
}

impl Contexts {
    /// Contexts in this directory, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn path(&self, name: &str) -> Result<PathBuf, ContextError> {
        let good = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !good || name == DEFAULT_FILE {
            return Err(ContextError::BadName(name.to_owned()));
        }
        Ok(self.dir.join(format!("{name}.json")))
    }

    /// The file of a context that exists.
    pub fn file(&self, name: &str) -> Result<PathBuf, ContextError> {
        let path = self.path(name)?;
        if path.is_file() || name == FIRST {
            Ok(path)
        } else {
            Err(self.unknown(name))
        }
    }

    /// All names in order.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                let path = entry.path();
                let is_json = path
                    .extension()
                    .is_some_and(|extension| extension == "json");
                let name = path.file_stem()?.to_str()?.to_owned();
                (is_json && name != "index").then_some(name)
            })
            .collect();
        if !names.iter().any(|name| name == FIRST) {
            names.push(FIRST.into());
        }
        names.sort();
        names
    }

    /// The name of the default context.
    pub fn default_name(&self) -> String {
        let from_file = std::fs::read_to_string(self.dir.join(DEFAULT_FILE)).ok();
        let from_index = || {
            #[derive(Deserialize)]
            struct Index {
                name: String,
            }
            let text = std::fs::read_to_string(self.dir.join("index.json")).ok()?;
            serde_json::from_str::<Index>(&text)
                .ok()
                .map(|index| index.name)
        };
        from_file
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .or_else(from_index)
            .unwrap_or_else(|| FIRST.into())
    }

    /// Makes a context the default.
    pub fn set_default(&self, name: &str) -> Result<(), ContextError> {
        self.load(name)?;
        Ok(dirs::write_atomically(
            &self.dir.join(DEFAULT_FILE),
            name.as_bytes(),
            0o644,
        )?)
    }

    fn unknown(&self, name: &str) -> ContextError {
        ContextError::Unknown {
            name: name.to_owned(),
            known: self.names(),
        }
    }

    /// Reads one context; the first one exists without a file.
    pub fn load(&self, name: &str) -> Result<Context, ContextError> {
        let path = self.path(name)?;
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return if name == FIRST {
                    Ok(Context::default())
                } else {
                    Err(self.unknown(name))
                };
            }
            Err(source) => return Err(FileError::new("read", path, source).into()),
        };
        serde_json::from_str(&text).map_err(|source| ContextError::Broken { path, source })
    }

    /// Reads the named context, or a file given by path, or the default.
    pub fn choose(&self, name: Option<&str>) -> Result<Context, ContextError> {
        match name {
            Some(path) if path.contains('/') || path.ends_with(".json") => {
                let dir = Path::new(path).parent().unwrap_or(Path::new("."));
                let stem = Path::new(path)
                    .file_stem()
                    .and_then(|stem| stem.to_str())
                    .unwrap_or_default();
                Contexts::new(dir).load(stem)
            }
            Some(name) => self.load(name),
            None => self.load(&self.default_name()),
        }
    }

    /// Writes a new context.
    pub fn create(&self, context: &Context) -> Result<(), ContextError> {
        let path = self.path(&context.name)?;
        if path.exists() {
            return Err(ContextError::Exists(context.name.clone()));
        }
        self.write(&path, context)
    }

    /// Writes the file of the first context if it was never written, so that it can be edited.
    pub fn materialise(&self, name: &str) -> Result<PathBuf, ContextError> {
        let path = self.file(name)?;
        if !path.exists() {
            self.write(
                &path,
                &Context {
                    name: name.to_owned(),
                    ..Context::default()
                },
            )?;
        }
        Ok(path)
    }

    fn write(&self, path: &Path, context: &Context) -> Result<(), ContextError> {
        let text =
            serde_json::to_string_pretty(context).map_err(|source| ContextError::Broken {
                path: path.to_owned(),
                source,
            })?;
        // The file may hold a seed.
        Ok(dirs::write_atomically(path, text.as_bytes(), 0o600)?)
    }

    /// Removes a context.
    pub fn remove(&self, name: &str) -> Result<(), ContextError> {
        let path = self.path(name)?;
        if name == self.default_name() {
            return Err(ContextError::IsDefault(name.to_owned()));
        }
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(self.unknown(name)),
            Err(source) => Err(FileError::new("remove", path, source).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> (tempfile::TempDir, Contexts) {
        let dir = tempfile::tempdir().unwrap();
        let contexts = Contexts::new(dir.path().join("contexts"));
        (dir, contexts)
    }

    #[test]
    fn the_first_context_needs_no_file() {
        let (_dir, contexts) = contexts();
        assert_eq!(contexts.choose(None).unwrap(), Context::default());
        assert_eq!(contexts.names(), [FIRST]);
    }

    #[test]
    fn a_new_context_can_be_chosen_made_default_and_removed() {
        let (_dir, contexts) = contexts();
        let edge = Context {
            name: "edge".into(),
            ctl_host: "10.0.0.1".into(),
            ..Context::default()
        };
        contexts.create(&edge).unwrap();
        assert!(matches!(
            contexts.create(&edge),
            Err(ContextError::Exists(_))
        ));
        contexts.set_default("edge").unwrap();
        assert_eq!(contexts.choose(None).unwrap().ctl_host, "10.0.0.1");
        assert!(matches!(
            contexts.remove("edge"),
            Err(ContextError::IsDefault(_))
        ));
        contexts.set_default(FIRST).unwrap();
        contexts.remove("edge").unwrap();
        assert!(matches!(
            contexts.load("edge"),
            Err(ContextError::Unknown { .. })
        ));
    }

    #[test]
    fn upstreams_file_is_read_with_its_old_key() {
        let (_dir, contexts) = contexts();
        std::fs::create_dir_all(&contexts.dir).unwrap();
        let text = r#"{"name":"old","cluster_seed":"","ctl_host":"h","ctl_port":1,"ctl_jwt":"","ctl_seed":"",
            "ctl_credsfile":null,"ctl_timeout":500,"lattice_prefix":"l","rpc_host":"h","rpc_port":2,"extra":1}"#;
        std::fs::write(contexts.dir.join("old.json"), text).unwrap();
        std::fs::write(contexts.dir.join("index.json"), r#"{"name":"old"}"#).unwrap();
        let context = contexts.choose(None).unwrap();
        assert_eq!((context.lattice.as_str(), context.ctl_timeout), ("l", 500));
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        let (_dir, contexts) = contexts();
        for name in ["../x", "", "a b", "default"] {
            assert!(
                matches!(contexts.load(name), Err(ContextError::BadName(_))),
                "{name}"
            );
        }
    }
}
