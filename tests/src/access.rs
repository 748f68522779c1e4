//! How the parts of a lattice show a NATS server who they are.

use std::path::PathBuf;

use async_nats::ConnectOptions;

/// Who one part is for NATS.
#[derive(Clone, Debug, Default)]
pub enum Who {
    /// Nobody in particular.
    #[default]
    Nobody,
    /// A user with a password.
    User {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// The owner of an nkey, by its seed.
    Nkey(String),
    /// A user whose JWT and seed stand in a credentials file.
    Credentials(PathBuf),
}

/// Who the parts are, and what else they have to know of the server.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The hosts.
    pub host: Who,
    /// The controllers.
    pub wadm: Who,
    /// wash, and the test itself.
    pub wash: Who,
    /// Provider programs.
    pub provider: Who,
    /// The authority that signed the server's certificate; with it, everything is encrypted.
    pub authority: Option<PathBuf>,
    /// The parts' certificate and its key, for a server that asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether each part has inboxes of its own, as `deploy/nats/lattice.conf` wants it.
    pub own_inboxes: bool,
}

impl Who {
    /// A user with a password.
    #[must_use]
    pub fn user(user: &str, password: &str) -> Self {
        Self::User {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    /// The server's address with user and password, where there are any.
    fn url(&self, port: u16) -> String {
        let url = format!("nats://127.0.0.1:{port}");
        match self {
            Self::User { user, password } => proto::nats_url::with_user(&url, user, password),
            _ => url,
        }
    }
}

impl Access {
    /// The users of `deploy/nats/lattice.conf`.
    #[must_use]
    pub fn of_the_parts() -> Self {
        let part = |name: &str| Who::user(name, &format!("change-me-{name}"));
        Self {
            host: part("host"),
            wadm: part("wadm"),
            wash: part("wash"),
            provider: part("provider"),
            own_inboxes: true,
            ..Self::default()
        }
    }

    /// The same `who` for everybody.
    #[must_use]
    pub fn all(who: Who) -> Self {
        Self {
            host: who.clone(),
            wadm: who.clone(),
            wash: who.clone(),
            provider: who,
            ..Self::default()
        }
    }

    fn inbox(&self, part: &str) -> Option<String> {
        self.own_inboxes.then(|| format!("_INBOX_{part}"))
    }

    fn authority(&self) -> Option<String> {
        Some(self.authority.as_ref()?.display().to_string())
    }

    /// A host's arguments.
    #[must_use]
    pub fn host(&self, port: u16) -> Vec<String> {
        let mut flags = vec![
            ("--nats-host", "127.0.0.1".to_owned()),
            ("--nats-port", port.to_string()),
        ];
        match &self.host {
            Who::Nobody => {}
            Who::User { user, password } => {
                flags.push(("--nats-user", user.clone()));
                flags.push(("--nats-password", password.clone()));
            }
            Who::Nkey(seed) => flags.push(("--nats-nkey", seed.clone())),
            Who::Credentials(file) => flags.push(("--nats-creds", file.display().to_string())),
        }
        flags.extend(
            self.authority()
                .map(|authority| ("--nats-tls-ca", authority)),
        );
        if let Some((certificate, key)) = &self.identity {
            flags.push(("--nats-tls-cert", certificate.display().to_string()));
            flags.push(("--nats-tls-key", key.display().to_string()));
        }
        flags.extend(
            self.inbox("host")
                .map(|inbox| ("--nats-inbox-prefix", inbox)),
        );
        flat(flags)
    }

    /// A controller's arguments.
    #[must_use]
    pub fn wadm(&self, port: u16) -> Vec<String> {
        let mut flags = vec![("--nats-server", self.wadm.url(port))];
        match &self.wadm {
            Who::Nobody | Who::User { .. } => {}
            Who::Nkey(seed) => flags.push(("--nats-seed", seed.clone())),
            Who::Credentials(file) => flags.push(("--nats-creds-file", file.display().to_string())),
        }
        flags.extend(
            self.authority()
                .map(|authority| ("--nats-tls-ca-file", authority)),
        );
        if let Some((certificate, key)) = &self.identity {
            flags.push(("--nats-tls-cert-file", certificate.display().to_string()));
            flags.push(("--nats-tls-key-file", key.display().to_string()));
        }
        flags.extend(
            self.inbox("wadm")
                .map(|inbox| ("--nats-inbox-prefix", inbox)),
        );
        flat(flags)
    }

    /// wash's environment.
    #[must_use]
    pub fn wash(&self, port: u16) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("WASMCLOUD_CTL_HOST", self.wash.url(port)),
            ("WASMCLOUD_CTL_PORT", port.to_string()),
            ("WASMCLOUD_RPC_HOST", self.wash.url(port)),
            ("WASMCLOUD_RPC_PORT", port.to_string()),
        ];
        match &self.wash {
            Who::Nobody | Who::User { .. } => {}
            Who::Nkey(seed) => {
                variables.push(("WASMCLOUD_CTL_SEED", seed.clone()));
                variables.push(("WASMCLOUD_RPC_SEED", seed.clone()));
            }
            Who::Credentials(file) => {
                variables.push(("WASH_CTL_CREDS", file.display().to_string()));
                variables.push(("WASH_RPC_CREDS", file.display().to_string()));
            }
        }
        if let Some(authority) = self.authority() {
            variables.push(("WASH_CTL_TLS_CA_FILE", authority.clone()));
            variables.push(("WASH_RPC_TLS_CA_FILE", authority));
        }
        if let Some((certificate, key)) = &self.identity {
            let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
            variables.push(("WASH_CTL_TLS_CERT_FILE", certificate.clone()));
            variables.push(("WASH_CTL_TLS_KEY_FILE", key.clone()));
            variables.push(("WASH_RPC_TLS_CERT_FILE", certificate));
            variables.push(("WASH_RPC_TLS_KEY_FILE", key));
        }
        if let Some(inbox) = self.inbox("wash") {
            variables.push(("WASH_NATS_INBOX_PREFIX", inbox));
        }
        variables
    }

    /// How a client in the test connects as wash.
    ///
    /// # Errors
    /// When the credentials file cannot be read.
    pub async fn as_wash(&self) -> anyhow::Result<ConnectOptions> {
        let options = self.client(&self.wash).await?;
        Ok(match self.inbox("wash") {
            Some(inbox) => options.custom_inbox_prefix(inbox),
            None => options,
        })
    }

    /// How a client in the test connects as a provider, with the inboxes that its SDK gives it.
    ///
    /// # Errors
    /// When the credentials file cannot be read.
    pub async fn as_provider(&self) -> anyhow::Result<ConnectOptions> {
        self.client(&self.provider).await
    }

    async fn client(&self, who: &Who) -> anyhow::Result<ConnectOptions> {
        let options = ConnectOptions::new();
        let options = match who {
            Who::Nobody => options,
            Who::User { user, password } => {
                options.user_and_password(user.clone(), password.clone())
            }
            Who::Nkey(seed) => options.nkey(seed.clone()),
            Who::Credentials(file) => options.credentials_file(file).await?,
        };
        let options = match &self.authority {
            Some(file) => options
                .add_root_certificates(file.clone())
                .require_tls(true),
            None => options,
        };
        Ok(match self.identity.clone() {
            Some((certificate, key)) => options.add_client_certificate(certificate, key),
            None => options,
        })
    }
}

fn flat(flags: Vec<(&'static str, String)>) -> Vec<String> {
    flags
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
}
