//! A whole lattice of our programs, as processes.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::program;
use crate::road::Road;
use crate::servers::{Nats, free_port};
use crate::wait::{eventually, until};

/// How long one of our programs may take to be ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// A lattice with a name of its own on a NATS server of its own.
pub struct Lattice {
    /// The server that carries it.
    pub nats: Nats,
    /// Its name.
    pub name: String,
    /// Its hosts, in the order of their start.
    pub hosts: Vec<HostProcess>,
    /// Its controllers.
    pub wadm: Vec<Process>,
    folder: TempDir,
}

/// A host daemon.
pub struct HostProcess {
    /// The process; kill it as you like.
    pub process: Process,
    /// Its id on the lattice.
    pub id: String,
    /// The port of its default ingress (`--http-addr`).
    pub http_port: u16,
    /// Its way to NATS, if it was started with one that can be cut.
    pub road: Option<Road>,
    /// The arguments it was started with, to start it again.
    arguments: Vec<String>,
    name: String,
}

impl Lattice {
    /// Starts NATS and nothing else.
    ///
    /// # Errors
    /// When NATS does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        Self::on(Nats::start().await?)
    }

    /// Takes a server that runs already.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn on(nats: Nats) -> anyhow::Result<Self> {
        let name = format!("test-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        Ok(Self {
            nats,
            name,
            hosts: Vec::new(),
            wadm: Vec::new(),
            folder: TempDir::new()?,
        })
    }

    /// The folder for files of this lattice.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Starts a controller.
    ///
    /// # Errors
    /// When the program was not built.
    pub fn start_wadm(&mut self) -> anyhow::Result<()> {
        self.start_wadm_with(&[])
    }

    /// Starts a controller with more arguments.
    ///
    /// # Errors
    /// When the program was not built.
    pub fn start_wadm_with(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let name = format!("wadm-{}", self.wadm.len());
        let mut command = Command::new(program("wadm")?);
        command.args(self.nats.access().wadm(self.nats.port()));
        command.args(arguments);
        self.wadm
            .push(Process::start(&name, self.folder.path(), &mut command)?);
        Ok(())
    }

    /// Starts a host with labels (`zone=us-east`) and waits until it answers the lattice.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start_host(&mut self, labels: &[&str]) -> anyhow::Result<usize> {
        self.start_host_with(labels, &[]).await
    }

    /// Starts a host with labels and more arguments.
    ///
    /// # Errors
    /// When it does not answer the lattice.
    pub async fn start_host_with(
        &mut self,
        labels: &[&str],
        more: &[&str],
    ) -> anyhow::Result<usize> {
        self.start_host_on(None, labels, more).await
    }

    /// Starts a host with labels, whose way to NATS can be cut.
    ///
    /// # Errors
    /// When it does not answer the lattice.
    pub async fn start_host_on_a_road(&mut self, labels: &[&str]) -> anyhow::Result<usize> {
        let road = Road::to(self.nats.port()).await?;
        self.start_host_on(Some(road), labels, &[]).await
    }

    async fn start_host_on(
        &mut self,
        road: Option<Road>,
        labels: &[&str],
        more: &[&str],
    ) -> anyhow::Result<usize> {
        let name = format!("host-{}", self.hosts.len());
        let http_port = free_port()?;
        let data = self.folder.path().join(&name);
        let mut arguments: Vec<String> = vec![
            "--lattice".into(),
            self.name.clone(),
            "--http-addr".into(),
            format!("127.0.0.1:{http_port}"),
            "--data-dir".into(),
            data.display().to_string(),
            "--allow-file-load".into(),
        ];
        let nats_port = road.as_ref().map_or(self.nats.port(), Road::port);
        arguments.extend(self.nats.access().host(nats_port));
        for label in labels {
            arguments.extend(["--label".to_owned(), (*label).to_owned()]);
        }
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let known: Vec<String> = self.hosts.iter().map(|host| host.id.clone()).collect();
        let process = self.spawn_host(&name, &arguments)?;
        let id = self.new_host(&known, &process).await?;
        self.hosts.push(HostProcess {
            process,
            id,
            http_port,
            road,
            arguments,
            name,
        });
        Ok(self.hosts.len() - 1)
    }

    /// Starts a host again that was killed, with the same arguments and data.
    ///
    /// # Errors
    /// When it does not answer the lattice.
    pub async fn restart_host(&mut self, index: usize) -> anyhow::Result<()> {
        self.hosts[index].process.kill();
        let host = &mut self.hosts[index];
        let (name, arguments) = (host.name.clone(), host.arguments.clone());
        let (http_port, road) = (host.http_port, host.road.take());
        let known: Vec<String> = self.hosts.iter().map(|host| host.id.clone()).collect();
        let process = self.spawn_host(&name, &arguments)?;
        let own = known[index].clone();
        let others: Vec<String> = known.into_iter().filter(|id| *id != own).collect();
        let id = self.new_host(&others, &process).await?;
        self.hosts[index] = HostProcess {
            process,
            id,
            http_port,
            road,
            arguments,
            name,
        };
        Ok(())
    }

    fn spawn_host(&self, name: &str, arguments: &[String]) -> anyhow::Result<Process> {
        Process::start(
            name,
            self.folder.path(),
            Command::new(program("host")?).args(arguments),
        )
    }

    /// The id of the host that `known` does not have.
    async fn new_host(&self, known: &[String], process: &Process) -> anyhow::Result<String> {
        eventually("the host to join the lattice", READY_DEADLINE, || async {
            let hosts = self.host_ids().await?;
            hosts
                .into_iter()
                .find(|id| !known.contains(id))
                .with_context(|| format!("no new host answers; its log:\n{}", process.log()))
        })
        .await
    }

    /// The ids of the hosts that answer a ping within a moment.
    ///
    /// # Errors
    /// When NATS is down.
    pub async fn host_ids(&self) -> anyhow::Result<Vec<String>> {
        let lattice = proto::id::Lattice::new(self.name.clone())?;
        let subject =
            proto::subject::CtlSubject::new(lattice, proto::subject::Ctl::PingHosts).to_string();
        let client = self.nats.connect().await?;
        let answers = gather(&client, subject, Duration::from_millis(300)).await?;
        Ok(answers
            .iter()
            .filter_map(|answer| answer["response"]["id"].as_str().map(str::to_owned))
            .collect())
    }

    /// Runs `wash` on this lattice and waits for its end.
    ///
    /// # Errors
    /// When the program was not built.
    pub async fn wash(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = tokio::process::Command::new(program("wash")?);
        command
            .args(arguments)
            .envs(self.nats.access().wash(self.nats.port()))
            .env("WASMCLOUD_LATTICE", &self.name)
            .env("WASH_CONFIG_DIR", self.folder.path().join("wash-config"))
            .env("WASH_DATA_DIR", self.folder.path().join("wash-data"))
            .env("WASH_CACHE_DIR", self.folder.path().join("wash-cache"))
            .env("RUST_BACKTRACE", "0")
            .kill_on_drop(true);
        command.output().await.context("running wash")
    }

    /// Runs `wash` and expects success; what it printed.
    ///
    /// # Errors
    /// When it ends with another code than 0, with all it printed.
    pub async fn wash_ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.wash(arguments).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(
            output.status.success(),
            "wash {arguments:?} ended with {}:\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// Runs `wash -o json` and expects success; the value it printed.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub async fn wash_json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self.wash_ok(&[arguments, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&text).with_context(|| format!("wash {arguments:?} printed:\n{text}"))
    }

    /// Waits until an application's status has this type (`deployed`, `failed`, …).
    ///
    /// # Errors
    /// At the deadline, with the last status.
    pub async fn status_is(
        &self,
        app: &str,
        wanted: &str,
        deadline: Duration,
    ) -> anyhow::Result<()> {
        eventually(&format!("{app} to be {wanted}"), deadline, || async {
            let answer = self.wash_json(&["app", "status", app]).await?;
            let is = answer["status"]["status"]["type"]
                .as_str()
                .unwrap_or_default();
            anyhow::ensure!(is == wanted, "status: {answer}");
            Ok(())
        })
        .await
    }

    /// How many instances of a component each host runs: (host's `zone` label, count), sorted.
    ///
    /// # Errors
    /// When wash fails.
    pub async fn instances(&self, component: &str) -> anyhow::Result<Vec<(String, u64)>> {
        let answer = self.wash_json(&["get", "inventory"]).await?;
        let mut found = Vec::new();
        for host in answer["inventories"].as_array().into_iter().flatten() {
            let zone = host["labels"]["zone"].as_str().unwrap_or_default();
            for running in host["components"].as_array().into_iter().flatten() {
                if running["id"] == component {
                    let count = running["max_instances"].as_u64().unwrap_or_default();
                    found.push((zone.to_owned(), count));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Sends a request that many answer, and takes what comes within `wait`.
///
/// # Errors
/// When NATS is down.
pub async fn gather(
    client: &async_nats::Client,
    subject: String,
    wait: Duration,
) -> anyhow::Result<Vec<Value>> {
    use futures::StreamExt as _;
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await?;
    client
        .publish_with_reply(subject, inbox, bytes::Bytes::new())
        .await?;
    let mut answers = Vec::new();
    let end = tokio::time::Instant::now() + wait;
    while let Ok(Some(message)) = tokio::time::timeout_at(end, replies.next()).await {
        if let Ok(answer) = serde_json::from_slice(&message.payload) {
            answers.push(answer);
        }
    }
    Ok(answers)
}

/// Sends an HTTP request to a port on loopback; the status and the body.
///
/// # Errors
/// When nobody answers there.
pub async fn http(
    port: u16,
    host: &str,
    method: &str,
    path: &str,
    body: &str,
) -> anyhow::Result<(u16, String)> {
    use http_body_util::{BodyExt as _, Full};
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .body(Full::new(bytes::Bytes::copy_from_slice(body.as_bytes())))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Waits until an HTTP request is answered with this status; the body.
///
/// # Errors
/// At the deadline, with the last answer.
pub async fn http_answers(
    port: u16,
    host: &str,
    path: &str,
    status: u16,
    deadline: Duration,
) -> anyhow::Result<String> {
    eventually(&format!("{status} from {host}{path}"), deadline, || async {
        let (is, body) = http(port, host, "GET", path, "").await?;
        anyhow::ensure!(is == status, "answered {is}: {body}");
        Ok(body)
    })
    .await
}

/// Waits until a TCP port on loopback takes connections.
///
/// # Errors
/// At the deadline.
pub async fn listening(port: u16, deadline: Duration) -> anyhow::Result<()> {
    until(&format!("port {port}"), deadline, || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_ok()
    })
    .await
}
