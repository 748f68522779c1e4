//! The servers a lattice needs: NATS, an OCI registry, Redis. Real ones.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::access::Access;
use crate::process::Process;
use crate::wait::{eventually, until};

/// How long a server may take to answer.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A TCP port on loopback that was free a moment ago.
///
/// # Errors
/// When the machine has none left.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A server's program: on PATH, or where `deploy/tools.sh` puts it.
fn tool(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    match cache.map(|cache| cache.join("lattice/tools").join(name)) {
        Some(cached) if !on_path && cached.is_file() => Command::new(cached),
        _ => Command::new(name),
    }
}

async fn answers(port: u16) -> bool {
    tokio::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))
        .await
        .is_ok()
}

/// Starts a server on a free port; another program may take the port first, so tries again.
async fn start_on_free_port(
    name: &str,
    folder: &Path,
    command: impl Fn(u16) -> anyhow::Result<Command>,
) -> anyhow::Result<(Process, u16)> {
    let mut last = None;
    for _ in 0..5 {
        let port = free_port()?;
        let mut process = Process::start(name, folder, &mut command(port)?)?;
        let up = eventually(name, START_DEADLINE, || {
            let running = process.is_running();
            async move {
                // Ended: no use waiting for the deadline.
                if running {
                    anyhow::ensure!(answers(port).await, "no answer on port {port}");
                }
                Ok(running)
            }
        })
        .await;
        match up {
            Ok(true) => return Ok((process, port)),
            Ok(false) => last = Some(anyhow::anyhow!("{name} ended: {}", process.log())),
            Err(error) => last = Some(error.context(process.log())),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("{name} did not start")))
}

/// A NATS server with JetStream that can be stopped and started again with its data.
pub struct Nats {
    folder: TempDir,
    process: Option<Process>,
    port: u16,
    config: Option<String>,
    access: Access,
}

impl Nats {
    /// Starts one with no authentication.
    ///
    /// # Errors
    /// When nats-server is not on PATH or does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(None).await
    }

    /// Starts one with more configuration (accounts, users, TLS); `{folder}` in it is replaced.
    ///
    /// # Errors
    /// When nats-server is not on PATH or does not come up.
    pub async fn start_with(config: Option<String>) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().to_path_buf();
        let (process, port) = start_on_free_port("nats-server", &path, |port| {
            Self::command(&path, port, config.as_deref())
        })
        .await?;
        Ok(Self {
            folder,
            process: Some(process),
            port,
            config,
            access: Access::default(),
        })
    }

    fn command(folder: &Path, port: u16, config: Option<&str>) -> anyhow::Result<Command> {
        let shown = folder.display().to_string();
        let mut command = tool("nats-server");
        command.args([
            "-a",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-js",
            "-sd",
            &shown,
        ]);
        if let Some(config) = config {
            let file = folder.join("nats.conf");
            std::fs::write(&file, config.replace("{folder}", &shown))?;
            command.arg("-c").arg(file);
        }
        Ok(command)
    }

    /// Starts one with `deploy/nats/lattice.conf`: a user for each part of the lattice `default`.
    ///
    /// # Errors
    /// When nats-server is not on PATH or does not come up.
    pub async fn start_secured() -> anyhow::Result<Self> {
        let config = std::fs::read_to_string(crate::repository("deploy/nats/lattice.conf"))?;
        let mut nats = Self::start_with(Some(config)).await?;
        nats.access = Access::of_the_parts();
        Ok(nats)
    }

    /// How the parts show it who they are.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Has the parts started from now on show who they are in another way.
    pub fn set_access(&mut self, access: Access) {
        self.access = access;
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Its port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A client connection, with wash's credentials where the server asks for some.
    ///
    /// # Errors
    /// When the server is down.
    pub async fn connect(&self) -> anyhow::Result<async_nats::Client> {
        let options = self.access.as_wash().await?;
        options
            .connect(self.url())
            .await
            .context("connecting to the test's NATS")
    }

    /// Kills the server; its data stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port with the same data.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        let folder = self.folder.path();
        let mut command = Self::command(folder, self.port, self.config.as_deref())?;
        self.process = Some(Process::start("nats-server", folder, &mut command)?);
        let port = self.port;
        until("NATS after its restart", START_DEADLINE, || answers(port)).await
    }
}

/// An OCI registry without authentication, storing in a temporary folder.
pub struct Registry {
    process: Option<Process>,
    port: u16,
    _folder: TempDir,
}

impl Registry {
    /// Starts one.
    ///
    /// # Errors
    /// When docker-registry is not on PATH or does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().to_path_buf();
        let (process, port) = start_on_free_port("docker-registry", &path, |port| {
            let config = path.join("registry.yml");
            let text = format!(
                "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
                 delete: {{enabled: true}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
                path.join("data").display()
            );
            std::fs::write(&config, text)?;
            let mut command = tool("docker-registry");
            command.arg("serve").arg(config);
            Ok(command)
        })
        .await?;
        Ok(Self {
            process: Some(process),
            port,
            _folder: folder,
        })
    }

    /// What stands before the image's name: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Takes the registry away for the rest of the test.
    pub fn stop(&mut self) {
        self.process = None;
    }
}

/// A Redis server without persistence.
pub struct Redis {
    _process: Process,
    port: u16,
    _folder: TempDir,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// When redis-server is not on PATH or does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().to_path_buf();
        let (process, port) = start_on_free_port("redis-server", &path, |port| {
            let mut command = tool("redis-server");
            command
                .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
                .arg(&path);
            command.args(["--port", &port.to_string()]);
            Ok(command)
        })
        .await?;
        Ok(Self {
            _process: process,
            port,
            _folder: folder,
        })
    }

    /// Its address, `redis://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}
