//! A NATS server that can be stopped and started, hosts on it, and a client.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser;
use futures::StreamExt as _;
use proto::ctl::CtlResponse;
use proto::event::{CloudEvent, Event};
use proto::id::{HostId, Lattice};
use proto::subject::{Ctl, CtlSubject, EventSubject};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Host, HostOptions};

/// No condition takes longer, even on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: HostOptions,
}

/// A NATS server whose port and data outlive the process.
pub(super) struct Nats {
    port: u16,
    data: TempDir,
    process: Option<Child>,
}

impl Nats {
    /// A server that does not run yet.
    pub(super) fn stopped() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        Self {
            port,
            data: TempDir::new().expect("a directory"),
            process: None,
        }
    }

    pub(super) fn start() -> Self {
        let mut nats = Self::stopped();
        nats.run();
        nats
    }

    pub(super) fn run(&mut self) {
        let mut command = Command::new("nats-server");
        command
            .args([
                "-a",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-js",
                "-sd",
            ])
            .arg(self.data.path());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(process.expect("nats-server on PATH; `make tools` gets it"));
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a host on the server, with a directory of its own.
pub(super) async fn host(nats: &Nats, dir: &Path, more: &[&str]) -> Host {
    let (port, data) = (nats.port().to_string(), dir.display().to_string());
    let mut line = vec![
        "host",
        "--nats-port",
        &port,
        "--data-dir",
        &data,
        "--http-addr",
        "127.0.0.1:0",
    ];
    line.extend(["--allow-file-load", "--stop-grace", "5s"]);
    line.extend(more);
    Host::start(Cli::parse_from(line).options)
        .await
        .expect("a host")
}

/// Waits until the host is part of its lattice.
pub(super) async fn joined(host: &Host) {
    let mut ready = host.ready();
    let joined = tokio::time::timeout(PATIENCE, ready.wait_for(|ready| *ready)).await;
    joined.expect("in time").expect("the host lives");
}

/// An example component, as a reference.
pub(super) fn example(path: &str) -> String {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(path);
    format!(
        "file://{}",
        file.canonicalize().expect("built examples").display()
    )
}

/// Somebody else on the lattice.
pub(super) struct Client {
    nats: async_nats::Client,
    events: async_nats::Subscriber,
}

impl Client {
    pub(super) async fn of(nats: &Nats) -> Self {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let client = options
            .connect(format!("127.0.0.1:{}", nats.port()))
            .await
            .expect("a client");
        let events = client
            .subscribe(EventSubject::all(&Lattice::default()))
            .await
            .expect("a subscription");
        client.flush().await.expect("a connection");
        Self {
            nats: client,
            events,
        }
    }

    pub(super) fn nats(&self) -> &async_nats::Client {
        &self.nats
    }

    pub(super) async fn ask(&self, request: Ctl, body: impl Into<Value>) -> CtlResponse {
        self.send(request, body.into().to_string().into_bytes())
            .await
    }

    /// Sends raw bytes as a control request.
    pub(super) async fn send(&self, request: Ctl, body: Vec<u8>) -> CtlResponse {
        let subject = CtlSubject::new(Lattice::default(), request).to_string();
        let answer = tokio::time::timeout(PATIENCE, self.nats.request(subject, body.into())).await;
        let answer = answer.expect("in time").expect("an answer");
        serde_json::from_slice(&answer.payload).expect("an envelope")
    }

    /// The next event of this kind.
    pub(super) async fn event(&mut self, name: &str) -> Event {
        let next = async {
            loop {
                let message = self.events.next().await.expect("a subscription");
                let event = CloudEvent::parse(&message.payload).expect("an event").event;
                if event.name() == name {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next)
            .await
            .unwrap_or_else(|_| panic!("no event `{name}`"))
    }

    pub(super) async fn scale(
        &self,
        host: &HostId,
        id: &str,
        image: &str,
        count: u32,
    ) -> CtlResponse {
        let body = serde_json::json!({
            "component_id": id, "component_ref": image, "count": count,
            "annotations": {"wasmcloud.dev/appspec": "app"},
        });
        self.ask(Ctl::ScaleComponent(host.clone()), body).await
    }

    /// `id*count` of every component of the host.
    pub(super) async fn components(&self, host: &HostId) -> String {
        let answer = self.send(Ctl::Inventory(host.clone()), Vec::new()).await;
        let inventory = answer.response.expect("an inventory");
        let one = |component: &Value| {
            format!(
                "{}*{}",
                component["id"].as_str().unwrap_or_default(),
                component["max_instances"]
            )
        };
        let all = inventory["components"]
            .as_array()
            .expect("a list")
            .iter()
            .map(one);
        all.collect::<Vec<_>>().join(" ")
    }
}

/// Asks until the answer is as expected.
pub(super) async fn eventually<T: PartialEq + std::fmt::Debug>(
    expected: T,
    mut ask: impl AsyncFnMut() -> T,
) {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    loop {
        let found = ask().await;
        if found == expected {
            return;
        }
        assert!(
            tokio::time::Instant::now() < give_up,
            "still {found:?}, not {expected:?}"
        );
        pace.tick().await;
    }
}

/// Status code and body of a GET by host name; 0 when nobody takes the connection.
pub(super) async fn get(address: SocketAddr, name: &str, path: &str) -> (u16, String) {
    let fetch = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let Ok(answer) = fetch.await else {
        return (0, String::new());
    };
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    (status, body)
}
