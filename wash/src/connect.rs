//! Connection options of every command that talks to a lattice, and the connection itself.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host::lattice::Trouble;
use proto::nats_url::{self, Login};
use proto::subject::inbox;

use crate::context::{Context, Contexts};
use crate::dirs::Dirs;
use crate::error::{Advice, WashError};
use crate::exit::Exit;

/// The name of our NATS connections.
const CONNECTION_NAME: &str = "wash-lib";

/// Where the lattice is and who we are.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectOptions {
    /// NATS host, or a URL such as tls://user:password@nats.example:4222
    #[arg(short = 'r', long, env = "WASMCLOUD_CTL_HOST", value_name = "HOST")]
    pub ctl_host: Option<String>,
    /// NATS port
    #[arg(short = 'p', long, env = "WASMCLOUD_CTL_PORT", value_name = "PORT")]
    pub ctl_port: Option<u16>,
    /// User JWT, or a file with one; needs --ctl-seed
    #[arg(
        long,
        env = "WASMCLOUD_CTL_JWT",
        value_name = "JWT",
        hide_env_values = true
    )]
    pub ctl_jwt: Option<String>,
    /// Seed of an nkey, or a file with one
    #[arg(
        long,
        env = "WASMCLOUD_CTL_SEED",
        value_name = "SEED",
        hide_env_values = true
    )]
    pub ctl_seed: Option<String>,
    /// NATS credentials file
    #[arg(long, env = "WASH_CTL_CREDS", value_name = "FILE")]
    pub ctl_credsfile: Option<PathBuf>,
    /// Certificates to trust beside the system's
    #[arg(long, env = "WASH_CTL_TLS_CA_FILE", value_name = "FILE")]
    pub ctl_tls_ca_file: Option<PathBuf>,
    /// Our certificate, for a server that asks for one
    #[arg(
        long,
        env = "WASH_CTL_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "ctl_tls_key_file"
    )]
    pub ctl_tls_cert_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(
        long,
        env = "WASH_CTL_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "ctl_tls_cert_file"
    )]
    pub ctl_tls_key_file: Option<PathBuf>,
    /// Start TLS before the server's greeting
    #[arg(long, env = "WASH_CTL_TLS_FIRST", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub ctl_tls_first: Option<bool>,
    /// First part of the subjects on which answers arrive [default: _INBOX]
    #[arg(long, env = "WASH_NATS_INBOX_PREFIX", value_parser = inbox::prefix, value_name = "PREFIX")]
    pub nats_inbox_prefix: Option<String>,
    /// JetStream domain
    #[arg(
        long,
        alias = "domain",
        env = "WASMCLOUD_JS_DOMAIN",
        value_name = "DOMAIN"
    )]
    pub js_domain: Option<String>,
    /// Lattice
    #[arg(short = 'x', long, env = "WASMCLOUD_LATTICE", value_name = "LATTICE")]
    pub lattice: Option<String>,
    /// Milliseconds to wait for an answer [default: 2000]
    #[arg(short = 't', long, env = "WASMCLOUD_CTL_TIMEOUT_MS", value_name = "MS")]
    pub timeout_ms: Option<u64>,
    /// Context (a name, or the path of its file) to take what is not given from
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// One NATS connection's settings after flags, environment and context are put together.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address, with a scheme.
    pub url: String,
    /// Who we are.
    pub auth: Auth,
    /// Certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// TLS before the greeting.
    pub tls_first: bool,
    /// First part of the subjects on which answers arrive.
    pub inbox_prefix: Option<String>,
    /// How long to wait, for a connection and for an answer.
    pub timeout: Duration,
}

/// How we show who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Not at all (or in the URL).
    None,
    /// A credentials file.
    Credentials(PathBuf),
    /// A user JWT and its seed.
    Jwt(String, String),
    /// An nkey's seed.
    Seed(String),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, or too slowly.
    #[error("cannot reach NATS at {url}")]
    Unreachable {
        /// The address.
        url: String,
        /// What the client says.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server does not let us in.
    #[error("NATS at {url} refused the credentials")]
    Refused {
        /// The address.
        url: String,
        /// What the client says.
        #[source]
        source: async_nats::ConnectError,
    },
    /// TLS failed.
    #[error("no TLS connection to NATS at {url}")]
    Tls {
        /// The address.
        url: String,
        /// What the client says.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The address cannot be one.
    #[error("`{0}` is no NATS address")]
    BadAddress(String),
    /// A file with credentials or certificates cannot be read.
    #[error("cannot read the {what} `{}`", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// The options that name it.
        options: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A JWT without its seed.
    #[error("a user JWT was given without its seed")]
    JwtWithoutSeed,
    /// The seed is not one.
    #[error("the NATS seed is not an nkey seed")]
    BadSeed(#[source] nkeys::error::Error),
}

impl Advice for ConnectError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { .. } => {
                "start one with `wash up`, or name another with --ctl-host and --ctl-port".into()
            }
            Self::Refused { .. } => {
                "give those of a user this server knows: --ctl-credsfile (for calls: --rpc-credsfile), --ctl-seed \
                 with or without --ctl-jwt, or user and password in the address, nats://USER:PASSWORD@HOST"
                    .into()
            }
            Self::Tls { .. } => {
                "name the certificate authority with --ctl-tls-ca-file (for calls: --rpc-ca-file), and where the \
                 server asks for it, add --ctl-tls-first, or a certificate of ours with --ctl-tls-cert-file and \
                 --ctl-tls-key-file"
                    .into()
            }
            Self::BadAddress(_) => "write it as HOST, or nats://HOST:PORT".into(),
            Self::File { options, .. } => format!("check {options}"),
            Self::JwtWithoutSeed => "add --ctl-seed, or use a credentials file: --ctl-credsfile".into(),
            Self::BadSeed(_) => "a user seed starts with SU and has 58 characters".into(),
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Tls { .. } => Exit::Unreachable,
            Self::BadAddress(_) | Self::JwtWithoutSeed | Self::BadSeed(_) => Exit::Usage,
            Self::File { .. } => Exit::Failed,
        }
    }
}

/// A file that is not there would show as trouble with TLS, without its name.
fn readable(
    what: &'static str,
    options: &'static str,
    path: &std::path::Path,
) -> Result<(), ConnectError> {
    let opened = std::fs::File::open(path);
    opened.map(|_| ()).map_err(|source| ConnectError::File {
        what,
        options,
        path: path.to_owned(),
        source,
    })
}

/// A literal, or the content of the file it names.
fn literal_or_file(text: &str) -> String {
    match std::fs::read_to_string(text) {
        Ok(content) => content.trim().to_owned(),
        Err(_) => text.trim().to_owned(),
    }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Puts `host` and `port` together; a URL keeps its own port.
pub fn address(host: &str, port: u16) -> Result<String, ConnectError> {
    let bad = || ConnectError::BadAddress(nats_url::without_login(host));
    let (scheme, rest) = host.split_once("://").unwrap_or(("nats", host));
    if !matches!(scheme, "nats" | "tls" | "ws" | "wss") {
        return Err(bad());
    }
    let host_part = rest.rsplit('@').next().unwrap_or(rest);
    let bare_v6 = host_part == rest && rest.matches(':').count() > 1 && !rest.contains('[');
    let text = if bare_v6 {
        format!("{scheme}://[{rest}]")
    } else {
        format!("{scheme}://{rest}")
    };
    let mut url = url::Url::parse(&text).map_err(|_| bad())?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad());
    }
    if url.port().is_none() {
        url.set_port(Some(port)).map_err(|()| bad())?;
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

impl Auth {
    /// The first of: credentials file, JWT with seed, seed.
    pub fn choose(
        credentials: Option<PathBuf>,
        jwt: Option<String>,
        seed: Option<String>,
    ) -> Result<Self, ConnectError> {
        if let Some(path) = credentials {
            return Ok(Self::Credentials(path));
        }
        match (
            jwt.as_deref().map(literal_or_file),
            seed.as_deref().map(literal_or_file),
        ) {
            (Some(jwt), Some(seed)) => Ok(Self::Jwt(jwt, seed)),
            (None, Some(seed)) => Ok(Self::Seed(seed)),
            (Some(_), None) => Err(ConnectError::JwtWithoutSeed),
            (None, None) => Ok(Self::None),
        }
    }
}

impl ConnectOptions {
    /// The context these options ask for.
    pub fn chosen_context(&self) -> Result<Context, WashError> {
        let dirs = Dirs::from_env()?;
        Ok(Contexts::new(dirs.contexts()).choose(self.context.as_deref())?)
    }

    /// The settings of the control connection: flag or environment first, then the context.
    pub fn target(&self, context: &Context) -> Result<Target, ConnectError> {
        let host = self.ctl_host.clone().or_else(|| given(&context.ctl_host));
        let port = self.ctl_port.unwrap_or(context.ctl_port);
        // A flag for one way in must not be overruled by another way in the context.
        let flags =
            self.ctl_credsfile.is_some() || self.ctl_jwt.is_some() || self.ctl_seed.is_some();
        let auth = if flags {
            Auth::choose(
                self.ctl_credsfile.clone(),
                self.ctl_jwt.clone(),
                self.ctl_seed.clone(),
            )?
        } else {
            Auth::choose(
                context.ctl_credsfile.clone(),
                given(&context.ctl_jwt),
                given(&context.ctl_seed),
            )?
        };
        Ok(Target {
            url: address(host.as_deref().unwrap_or("127.0.0.1"), port)?,
            auth,
            ca_file: self
                .ctl_tls_ca_file
                .clone()
                .or_else(|| context.ctl_tls_ca_file.clone()),
            identity: self
                .ctl_tls_cert_file
                .clone()
                .zip(self.ctl_tls_key_file.clone())
                .or_else(|| context.ctl_tls_identity()),
            tls_first: self
                .ctl_tls_first
                .or(context.ctl_tls_first)
                .unwrap_or(false),
            inbox_prefix: self
                .nats_inbox_prefix
                .clone()
                .or_else(|| context.nats_inbox_prefix.clone()),
            timeout: Duration::from_millis(self.timeout_ms.unwrap_or(context.ctl_timeout)),
        })
    }
}

/// What the server last complained about; a refused publish shows nowhere else.
#[derive(Debug, Clone, Default)]
pub struct Complaint(Arc<Mutex<Option<String>>>);

impl Complaint {
    fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// Takes what was last said.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Target {
    /// Opens the connection.
    pub async fn connect(&self) -> Result<(async_nats::Client, Complaint), ConnectError> {
        let complaint = Complaint::default();
        let heard = complaint.clone();
        let mut options = async_nats::ConnectOptions::new()
            .name(CONNECTION_NAME)
            .connection_timeout(self.timeout)
            .request_timeout(Some(self.timeout))
            .event_callback(move |event| {
                if let async_nats::Event::ServerError(error) = event {
                    heard.set(error.to_string());
                }
                std::future::ready(())
            });
        options = self.authenticate(options).await?;
        if let Some(prefix) = &self.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        if let Some(path) = &self.ca_file {
            let given_by = "--ctl-tls-ca-file or WASH_CTL_TLS_CA_FILE (for calls: --rpc-ca-file or \
                            WASH_RPC_TLS_CA_FILE)";
            readable("file of certificate authorities", given_by, path)?;
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &self.identity {
            let given_by = "--ctl-tls-cert-file and --ctl-tls-key-file (for calls: --rpc-cert-file and \
                            --rpc-key-file)";
            readable("certificate", given_by, certificate)?;
            readable("key of the certificate", given_by, key)?;
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        if self.ca_file.is_some() || self.identity.is_some() || self.url.starts_with("tls:") {
            options = options.require_tls(true);
        }
        if self.tls_first {
            options = options.tls_first();
        }
        let client = options
            .connect(&self.url)
            .await
            .map_err(|source| self.failed(source))?;
        Ok((client, complaint))
    }

    async fn authenticate(
        &self,
        options: async_nats::ConnectOptions,
    ) -> Result<async_nats::ConnectOptions, ConnectError> {
        Ok(match &self.auth {
            Auth::None => match nats_url::login(&self.url) {
                Some(Login::User { user, password }) => options.user_and_password(user, password),
                Some(Login::Token(token)) => options.token(token),
                None => options,
            },
            Auth::Credentials(path) => {
                options
                    .credentials_file(path)
                    .await
                    .map_err(|source| ConnectError::File {
                        what: "credentials file",
                        options: "--ctl-credsfile or WASH_CTL_CREDS (for calls: --rpc-credsfile or \
                              WASH_RPC_CREDS)",
                        path: path.clone(),
                        source,
                    })?
            }
            Auth::Jwt(jwt, seed) => {
                let pair =
                    Arc::new(nkeys::KeyPair::from_seed(seed).map_err(ConnectError::BadSeed)?);
                options.jwt(jwt.clone(), move |nonce| {
                    let pair = pair.clone();
                    async move { pair.sign(&nonce).map_err(async_nats::AuthError::new) }
                })
            }
            Auth::Seed(seed) => {
                nkeys::KeyPair::from_seed(seed).map_err(ConnectError::BadSeed)?;
                options.nkey(seed.clone())
            }
        })
    }

    fn failed(&self, source: async_nats::ConnectError) -> ConnectError {
        let url = nats_url::without_login(&self.url);
        if source.kind() == async_nats::ConnectErrorKind::ServerParse {
            return ConnectError::BadAddress(url);
        }
        match Trouble::of(&source) {
            Trouble::Refused => ConnectError::Refused { url, source },
            Trouble::Tls => ConnectError::Tls { url, source },
            Trouble::Unreachable => ConnectError::Unreachable { url, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_put_together_from_host_and_port() {
        for (host, expected) in [
            ("127.0.0.1", Some("nats://127.0.0.1:4222")),
            ("nats.example:4333", Some("nats://nats.example:4333")),
            ("tls://nats.example", Some("tls://nats.example:4222")),
            ("nats://u:p@h:1", Some("nats://u:p@h:1")),
            ("::1", Some("nats://[::1]:4222")),
            ("[::1]:5", Some("nats://[::1]:5")),
            ("http://h", None),
            ("", None),
        ] {
            assert_eq!(address(host, 4222).ok().as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        for address in ["nats://u:secret@h:none", "u:secret@"] {
            let said = super::address(address, 4222).unwrap_err().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn flags_win_over_the_context() {
        let context = Context {
            ctl_host: "far".into(),
            ctl_seed: "SUX".into(),
            ..Context::default()
        };
        let flags = ConnectOptions {
            ctl_host: Some("near".into()),
            ..ConnectOptions::default()
        };
        let target = flags.target(&context).unwrap();
        assert_eq!(target.url, "nats://near:4222");
        assert_eq!(target.auth, Auth::Seed("SUX".into()));
    }
}
