//! How the host reaches NATS. Upstream's flags set host and port; ours set URLs and every way to
//! authenticate.

use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use secrecy::{ExposeSecret as _, SecretString};

use super::OptionError;

/// NATS flags.
#[derive(Args, Clone, Debug)]
pub struct NatsOptions {
    /// NATS servers, separated by commas, e.g. `nats://a:4222,tls://b:4222`; replaces host and port
    #[arg(long = "nats-url", env = "LATTICE_NATS_URL", value_delimiter = ',')]
    pub nats_urls: Vec<String>,

    /// NATS host
    #[arg(long, env = "WASMCLOUD_NATS_HOST", default_value = "127.0.0.1")]
    pub nats_host: String,

    /// NATS port
    #[arg(long, env = "WASMCLOUD_NATS_PORT", default_value = "4222")]
    pub nats_port: u16,

    /// User JWT for NATS
    #[arg(long, env = "WASMCLOUD_NATS_JWT", hide_env_values = true)]
    pub nats_jwt: Option<String>,

    /// Seed that goes with the user JWT
    #[arg(long, env = "WASMCLOUD_NATS_SEED", hide_env_values = true)]
    pub nats_seed: Option<String>,

    /// NATS credentials file
    #[arg(long, env = "WASMCLOUD_NATS_CREDS")]
    pub nats_creds: Option<PathBuf>,

    /// NATS user
    #[arg(long, env = "LATTICE_NATS_USER")]
    pub nats_user: Option<String>,

    /// NATS password
    #[arg(long, env = "LATTICE_NATS_PASSWORD", hide_env_values = true)]
    pub nats_password: Option<String>,

    /// NATS token
    #[arg(long, env = "LATTICE_NATS_TOKEN", hide_env_values = true)]
    pub nats_token: Option<String>,

    /// Seed of a NATS user nkey
    #[arg(long, env = "LATTICE_NATS_NKEY", hide_env_values = true)]
    pub nats_nkey: Option<String>,

    /// PEM file with the authority that signed the NATS servers' certificates
    #[arg(long, env = "LATTICE_NATS_TLS_CA")]
    pub nats_tls_ca: Option<PathBuf>,

    /// PEM file with this host's certificate for NATS
    #[arg(long, env = "LATTICE_NATS_TLS_CERT")]
    pub nats_tls_cert: Option<PathBuf>,

    /// PEM file with the key of that certificate
    #[arg(long, env = "LATTICE_NATS_TLS_KEY")]
    pub nats_tls_key: Option<PathBuf>,

    /// NATS host for control requests, events and records
    #[arg(long, env = "WASMCLOUD_CTL_HOST")]
    pub ctl_host: Option<String>,
    /// Port of that NATS host
    #[arg(long, env = "WASMCLOUD_CTL_PORT")]
    pub ctl_port: Option<u16>,
    /// User JWT there
    #[arg(long, env = "WASMCLOUD_CTL_JWT", hide_env_values = true)]
    pub ctl_jwt: Option<String>,
    /// Seed of that JWT
    #[arg(long, env = "WASMCLOUD_CTL_SEED", hide_env_values = true)]
    pub ctl_seed: Option<String>,
    /// Credentials file there
    #[arg(long, env = "WASMCLOUD_CTL_CREDS")]
    pub ctl_creds: Option<PathBuf>,
    /// TLS there
    #[arg(long, env = "WASMCLOUD_CTL_TLS", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub ctl_tls: bool,

    /// NATS host for calls and provider commands
    #[arg(long, env = "WASMCLOUD_RPC_HOST")]
    pub rpc_host: Option<String>,
    /// Port of that NATS host
    #[arg(long, env = "WASMCLOUD_RPC_PORT")]
    pub rpc_port: Option<u16>,
    /// User JWT there
    #[arg(long, env = "WASMCLOUD_RPC_JWT", hide_env_values = true)]
    pub rpc_jwt: Option<String>,
    /// Seed of that JWT
    #[arg(long, env = "WASMCLOUD_RPC_SEED", hide_env_values = true)]
    pub rpc_seed: Option<String>,
    /// Credentials file there
    #[arg(long, env = "WASMCLOUD_RPC_CREDS")]
    pub rpc_creds: Option<PathBuf>,
    /// TLS there
    #[arg(long, env = "WASMCLOUD_RPC_TLS", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub rpc_tls: bool,

    /// JetStream domain of the lattice's records
    #[arg(long, env = "WASMCLOUD_JS_DOMAIN")]
    pub js_domain: Option<String>,
}

/// How one connection is made.
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// Servers, any of which will do.
    pub urls: Vec<String>,
    /// Who the host is there.
    pub auth: Auth,
    /// Encryption.
    pub tls: TlsSettings,
}

impl NatsSettings {
    /// The address providers are told: with user and password, which have no other way there.
    pub fn provider_url(&self) -> String {
        let url = self.urls.first().cloned().unwrap_or_default();
        let Auth::User { user, password } = &self.auth else {
            return url;
        };
        match url.split_once("://") {
            Some((scheme, rest)) if !rest.contains('@') => {
                format!("{scheme}://{user}:{}@{rest}", password.expose_secret())
            }
            _ => url,
        }
    }
}

/// Encryption of a connection.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Without TLS there is no connection.
    pub required: bool,
    /// Further certificate authorities.
    pub ca_files: Vec<PathBuf>,
    /// This host's certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Who the host is for NATS.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Nobody in particular, or what the URL says.
    None,
    /// A user JWT and the seed that answers for it.
    Jwt {
        /// The JWT.
        jwt: String,
        /// The seed.
        seed: SecretString,
    },
    /// A user nkey.
    Nkey(SecretString),
    /// User and password.
    User {
        /// The user.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A token.
    Token(SecretString),
}

/// The flags of one of the two connections.
struct Side<'a> {
    host: Option<&'a str>,
    port: Option<u16>,
    jwt: Option<&'a String>,
    seed: Option<&'a String>,
    creds: Option<&'a Path>,
    tls: bool,
    names: (&'static str, &'static str),
}

impl NatsOptions {
    pub(super) fn ctl(&self, ca: &[PathBuf]) -> Result<NatsSettings, OptionError> {
        self.settings(
            ca,
            &Side {
                host: self.ctl_host.as_deref(),
                port: self.ctl_port,
                jwt: self.ctl_jwt.as_ref(),
                seed: self.ctl_seed.as_ref(),
                creds: self.ctl_creds.as_deref(),
                tls: self.ctl_tls,
                names: ("--ctl-jwt", "--ctl-seed"),
            },
        )
    }

    pub(super) fn rpc(&self, ca: &[PathBuf]) -> Result<NatsSettings, OptionError> {
        self.settings(
            ca,
            &Side {
                host: self.rpc_host.as_deref(),
                port: self.rpc_port,
                jwt: self.rpc_jwt.as_ref(),
                seed: self.rpc_seed.as_ref(),
                creds: self.rpc_creds.as_deref(),
                tls: self.rpc_tls,
                names: ("--rpc-jwt", "--rpc-seed"),
            },
        )
    }

    fn settings(&self, ca: &[PathBuf], side: &Side<'_>) -> Result<NatsSettings, OptionError> {
        let own_place = side.host.is_some() || side.port.is_some();
        let urls = if own_place || self.nats_urls.is_empty() {
            let host = side.host.unwrap_or(&self.nats_host);
            let port = side.port.unwrap_or(self.nats_port);
            // IPv6 addresses need brackets in a URL.
            let host = if host.contains(':') && !host.starts_with('[') {
                format!("[{host}]")
            } else {
                host.into()
            };
            vec![format!("nats://{host}:{port}")]
        } else {
            self.nats_urls.clone()
        };
        Ok(NatsSettings {
            auth: self.auth(side)?,
            tls: self.tls(ca, side.tls)?,
            urls,
        })
    }

    fn auth(&self, side: &Side<'_>) -> Result<Auth, OptionError> {
        if let Some(auth) = jwt_auth(side.jwt, side.seed, side.creds, side.names)? {
            return Ok(auth);
        }
        let names = ("--nats-jwt", "--nats-seed");
        if let Some(auth) = jwt_auth(
            self.nats_jwt.as_ref(),
            self.nats_seed.as_ref(),
            self.nats_creds.as_deref(),
            names,
        )? {
            return Ok(auth);
        }
        if let Some(seed) = &self.nats_nkey {
            return Ok(Auth::Nkey(seed.clone().into()));
        }
        if let Some(token) = &self.nats_token {
            return Ok(Auth::Token(token.clone().into()));
        }
        match (&self.nats_user, &self.nats_password) {
            (Some(user), Some(password)) => Ok(Auth::User {
                user: user.clone(),
                password: password.clone().into(),
            }),
            (None, None) => Ok(Auth::None),
            (Some(_), None) => Err(OptionError::Half {
                given: "--nats-user",
                missing: "--nats-password",
            }),
            (None, Some(_)) => Err(OptionError::Half {
                given: "--nats-password",
                missing: "--nats-user",
            }),
        }
    }

    fn tls(&self, ca: &[PathBuf], required: bool) -> Result<TlsSettings, OptionError> {
        let identity = match (&self.nats_tls_cert, &self.nats_tls_key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => {
                return Err(OptionError::Half {
                    given: "--nats-tls-cert",
                    missing: "--nats-tls-key",
                });
            }
            (None, Some(_)) => {
                return Err(OptionError::Half {
                    given: "--nats-tls-key",
                    missing: "--nats-tls-cert",
                });
            }
        };
        let ca_files = ca.iter().chain(&self.nats_tls_ca).cloned().collect();
        Ok(TlsSettings {
            required: required || self.nats_tls_ca.is_some(),
            ca_files,
            identity,
        })
    }
}

fn jwt_auth(
    jwt: Option<&String>,
    seed: Option<&String>,
    creds: Option<&Path>,
    (jwt_name, seed_name): (&'static str, &'static str),
) -> Result<Option<Auth>, OptionError> {
    match (jwt, seed, creds) {
        (Some(jwt), Some(seed), _) => Ok(Some(Auth::Jwt {
            jwt: jwt.clone(),
            seed: seed.clone().into(),
        })),
        (Some(_), None, _) => Err(OptionError::Half {
            given: jwt_name,
            missing: seed_name,
        }),
        (None, Some(_), _) => Err(OptionError::Half {
            given: seed_name,
            missing: jwt_name,
        }),
        (None, None, Some(path)) => credentials_file(path).map(Some),
        (None, None, None) => Ok(None),
    }
}

/// Reads JWT and seed from between the dashed lines of a credentials file.
fn credentials_file(path: &Path) -> Result<Auth, OptionError> {
    let fault = |reason: String| OptionError::File {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    let between = |name: &str| {
        let start = text.find(&format!("-----BEGIN {name}-----"))?;
        text[start..]
            .lines()
            .nth(1)
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
    };
    match (between("NATS USER JWT"), between("USER NKEY SEED")) {
        (Some(jwt), Some(seed)) => Ok(Auth::Jwt {
            jwt,
            seed: seed.into(),
        }),
        _ => Err(fault(
            "it is not a NATS credentials file: user JWT and nkey seed are needed".into(),
        )),
    }
}
