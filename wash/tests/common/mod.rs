//! Runs the real `wash`, and a real nats-server with responders where one is needed.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::Value;
use tempfile::TempDir;

const READY: Duration = Duration::from_secs(20);

/// A home for one test: directories of its own, and nothing of the machine's environment.
pub struct Home {
    pub dir: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wash"));
        for (key, _) in std::env::vars_os() {
            let key = key.to_string_lossy().into_owned();
            if ["WASH_", "WASMCLOUD_", "LATTICE_", "NATS_", "WADM_"]
                .iter()
                .any(|prefix| key.starts_with(prefix))
            {
                command.env_remove(key);
            }
        }
        command
            .env("HOME", self.dir.path())
            .env("WASH_CONFIG_DIR", self.dir.path().join("config"))
            .env("WASH_DATA_DIR", self.dir.path().join("data"))
            .env("WASH_CACHE_DIR", self.dir.path().join("cache"))
            .env("DOCKER_CONFIG", self.dir.path())
            .env("COLUMNS", "100")
            .env_remove("EDITOR")
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub fn wash(&self, arguments: &[&str]) -> Said {
        Said::from(self.command().args(arguments).output().unwrap())
    }
}

/// What a run said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn error_json(&self) -> Value {
        serde_json::from_str(&self.err).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A nats-server of this test; ends with it.
pub struct Nats {
    process: Child,
    pub port: u16,
    _dir: TempDir,
}

impl Nats {
    pub fn start() -> Self {
        let port = free_port();
        let dir = tempfile::tempdir().unwrap();
        let program = std::env::var("WASH_NATS_SERVER").unwrap_or_else(|_| "nats-server".into());
        let process = Command::new(program)
            .args(["--addr", "127.0.0.1", "--jetstream", "--port"])
            .arg(port.to_string())
            .arg("--store_dir")
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server on PATH: `make test` installs it");
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < READY, "nats-server did not come up");
            std::thread::yield_now();
        }
        Self {
            process,
            port,
            _dir: dir,
        }
    }

    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(format!("127.0.0.1:{}", self.port))
            .await
            .unwrap()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Answers every message on `subject` with what `answer` makes of its payload.
pub async fn respond(
    client: &async_nats::Client,
    subject: String,
    answer: impl Fn(&str, &[u8]) -> Option<Value> + Send + 'static,
) {
    let mut messages = client.subscribe(subject).await.unwrap();
    client.flush().await.unwrap();
    let client = client.clone();
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let Some(reply) = message.reply.clone() else {
                continue;
            };
            if let Some(value) = answer(&message.subject, &message.payload) {
                client
                    .publish(reply, value.to_string().into())
                    .await
                    .unwrap();
                client.flush().await.unwrap();
            }
        }
    });
}
