//! Real servers for tests, on loopback, ended with the test.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for a server to take connections.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A server process.
pub(crate) struct Server {
    process: Child,
    port: u16,
    _data: TempDir,
}

impl Server {
    /// A NATS server with JetStream.
    pub(crate) fn nats() -> Self {
        Self::start(|port, data| {
            let mut command = Command::new("nats-server");
            command
                .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
                .arg(data);
            command
        })
    }

    /// A Redis server that keeps nothing.
    pub(crate) fn redis() -> Self {
        Self::start(|port, data| {
            let mut command = Command::new("redis-server");
            let port = port.to_string();
            command
                .args([
                    "--bind",
                    "127.0.0.1",
                    "--port",
                    &port,
                    "--save",
                    "",
                    "--dir",
                ])
                .arg(data);
            command
        })
    }

    /// Where it listens: `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn start(command: impl Fn(u16, &std::path::Path) -> Command) -> Self {
        let data = TempDir::new().expect("a temporary directory");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let mut command = command(port, data.path());
        let process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}; `make tools` gets the servers"));
        let server = Self {
            process,
            port,
            _data: data,
        };
        let give_up = Instant::now() + READY_WITHIN;
        while std::net::TcpStream::connect(server.address()).is_err() {
            assert!(Instant::now() < give_up, "{command:?} takes no connections");
            std::thread::yield_now();
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
