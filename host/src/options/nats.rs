//! How the host reaches NATS. Upstream's flags set host and port; ours set URLs and every way to
//! authenticate.

use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use proto::nats_url::{self, Login};
use proto::subject::inbox;
use secrecy::{ExposeSecret as _, SecretString};

use super::OptionError;

/// NATS flags.
#[derive(Args, Clone, Debug)]
pub struct NatsOptions {
    /// NATS servers, separated by commas, e.g. `nats://a:4222,tls://b:4222`; replaces host and port. User and
    /// password may stand in them: `nats://USER:PASSWORD@a:4222`
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

    /// First part of the subjects on which this host gets answers; another than other programs' keeps those
    /// from listening
    #[arg(long, env = "LATTICE_NATS_INBOX_PREFIX", default_value = inbox::DEFAULT_PREFIX, value_parser = inbox::prefix, value_name = "PREFIX")]
    pub nats_inbox_prefix: String,

    /// NATS user that external providers get instead of this host's credentials
    #[arg(long, env = "LATTICE_PROVIDER_NATS_USER", value_name = "USER")]
    pub provider_nats_user: Option<String>,

    /// Password of that user
    #[arg(
        long,
        env = "LATTICE_PROVIDER_NATS_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    pub provider_nats_password: Option<String>,

    /// NATS credentials file that external providers get instead of this host's credentials
    #[arg(long, env = "LATTICE_PROVIDER_NATS_CREDS", value_name = "FILE")]
    pub provider_nats_creds: Option<PathBuf>,

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
    /// First part of the subjects on which answers arrive.
    pub inbox_prefix: String,
}

/// How external providers reach NATS.
#[derive(Clone, Debug)]
pub struct ProviderLogin {
    /// Where, with user and password, which have no other way there.
    pub url: SecretString,
    /// A user JWT, or nothing.
    pub jwt: String,
    /// Its seed, or nothing.
    pub seed: SecretString,
}

impl ProviderLogin {
    fn new(urls: &[String], auth: &Auth) -> Self {
        let url = urls.first().cloned().unwrap_or_default();
        let (jwt, seed) = match auth {
            Auth::Jwt { jwt, seed } => (jwt.clone(), seed.clone()),
            _ => (String::new(), String::new().into()),
        };
        let url = match auth {
            Auth::User { user, password } => {
                nats_url::with_user(&url, user, password.expose_secret())
            }
            Auth::Jwt { .. } => nats_url::without_login(&url),
            Auth::None | Auth::Nkey(_) | Auth::Token(_) => url,
        };
        Self {
            url: url.into(),
            jwt,
            seed,
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
    /// Nobody in particular.
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

    /// How external providers reach NATS: with what is meant for them, else with the host's own.
    pub(super) fn provider(&self, rpc: &NatsSettings) -> Result<ProviderLogin, OptionError> {
        let names = ("--provider-nats-user", "--provider-nats-password");
        let user = pair(
            self.provider_nats_user.as_ref(),
            self.provider_nats_password.as_ref(),
            names,
        )?;
        let own = match (&self.provider_nats_creds, user) {
            (Some(path), _) => Some(credentials_file(path)?),
            (None, Some((user, password))) => Some(Auth::User {
                user: user.clone(),
                password: password.clone().into(),
            }),
            (None, None) => None,
        };
        Ok(ProviderLogin::new(
            &rpc.urls,
            own.as_ref().unwrap_or(&rpc.auth),
        ))
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
            auth: match self.auth(side)? {
                Auth::None => in_urls(&urls),
                auth => auth,
            },
            tls: self.tls(ca, side.tls)?,
            inbox_prefix: self.nats_inbox_prefix.clone(),
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
        let names = ("--nats-user", "--nats-password");
        let user = pair(self.nats_user.as_ref(), self.nats_password.as_ref(), names)?;
        Ok(match user {
            Some((user, password)) => Auth::User {
                user: user.clone(),
                password: password.clone().into(),
            },
            None => Auth::None,
        })
    }

    fn tls(&self, ca: &[PathBuf], required: bool) -> Result<TlsSettings, OptionError> {
        let names = ("--nats-tls-cert", "--nats-tls-key");
        let identity = pair(
            self.nats_tls_cert.as_ref(),
            self.nats_tls_key.as_ref(),
            names,
        )?;
        let identity = identity.map(|(cert, key)| (cert.clone(), key.clone()));
        let ca_files: Vec<_> = ca.iter().chain(&self.nats_tls_ca).cloned().collect();
        let own = identity.iter().flat_map(|(cert, key)| [cert, key]);
        ca_files.iter().chain(own).try_for_each(readable)?;
        Ok(TlsSettings {
            required: required || self.nats_tls_ca.is_some() || identity.is_some(),
            ca_files,
            identity,
        })
    }
}

/// A file that is not there would show as a connection that never comes.
fn readable(path: &PathBuf) -> Result<(), OptionError> {
    let opened = std::fs::File::open(path);
    opened.map(|_| ()).map_err(|error| OptionError::File {
        path: path.clone(),
        reason: error.to_string(),
    })
}

/// Both, or neither.
fn pair<T>(
    first: Option<T>,
    second: Option<T>,
    names: (&'static str, &'static str),
) -> Result<Option<(T, T)>, OptionError> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(OptionError::Half {
            given: names.0,
            missing: names.1,
        }),
        (None, Some(_)) => Err(OptionError::Half {
            given: names.1,
            missing: names.0,
        }),
    }
}

/// Who connects, if the first address that says so is right.
fn in_urls(urls: &[String]) -> Auth {
    match urls.iter().find_map(|url| nats_url::login(url)) {
        Some(Login::User { user, password }) => Auth::User {
            user,
            password: password.into(),
        },
        Some(Login::Token(token)) => Auth::Token(token.into()),
        None => Auth::None,
    }
}

fn jwt_auth(
    jwt: Option<&String>,
    seed: Option<&String>,
    creds: Option<&Path>,
    names: (&'static str, &'static str),
) -> Result<Option<Auth>, OptionError> {
    match (pair(jwt, seed, names)?, creds) {
        (Some((jwt, seed)), _) => Ok(Some(Auth::Jwt {
            jwt: jwt.clone(),
            seed: seed.clone().into(),
        })),
        (None, Some(path)) => credentials_file(path).map(Some),
        (None, None) => Ok(None),
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
