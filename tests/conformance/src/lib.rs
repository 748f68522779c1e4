//! Our programs under test by code that we did not write: the published client crates, and a
//! capability provider built with the published SDK.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use harness::eventually;
use serde_json::Value;

pub mod shapes;

/// What tests return: the error type of the published control client, which takes any other.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long a workload may take to start, stop or fail on a busy machine.
pub const SETTLED: Duration = Duration::from_secs(40);
/// How long requests that many may answer wait for the answers.
const GATHER: Duration = Duration::from_millis(800);

/// A lattice of our programs, and the published clients on it.
pub struct Lab {
    /// The programs.
    pub lattice: harness::Lattice,
    /// The published control client.
    pub control: wasmcloud_control_interface::Client,
    /// The published application client.
    pub applications: wadm_client::Client,
    /// A connection of the version the published clients use.
    pub nats: async_nats::Client,
    /// What hosts have announced since the start.
    pub events: Record,
}

impl Lab {
    /// Starts NATS, then a host for each list of labels.
    ///
    /// # Errors
    /// When a program does not come up.
    pub async fn start(hosts: &[&[&str]]) -> Result<Self> {
        let lattice = harness::Lattice::start().await?;
        let nats = async_nats::connect(lattice.nats.url()).await?;
        let mut lab = Self::on(lattice, nats).await?;
        for labels in hosts {
            lab.lattice.start_host(labels).await?;
        }
        Ok(lab)
    }

    /// Puts the published clients on a lattice, with a connection to its NATS.
    ///
    /// # Errors
    /// When NATS does not let them listen.
    pub async fn on(lattice: harness::Lattice, nats: async_nats::Client) -> Result<Self> {
        let name = proto::Lattice::new(lattice.name.clone())?;
        let subject = proto::subject::EventSubject::all(&name);
        let events = Record::start(&nats, subject).await?;
        let control = wasmcloud_control_interface::ClientBuilder::new(nats.clone())
            .lattice(lattice.name.clone())
            .timeout(Duration::from_secs(10))
            .auction_timeout(GATHER)
            .build();
        let applications = wadm_client::Client::from_nats_client(&lattice.name, None, nats.clone());
        Ok(Self {
            lattice,
            control,
            applications,
            nats,
            events,
        })
    }

    /// The id of a host.
    #[must_use]
    pub fn host(&self, index: usize) -> &str {
        &self.lattice.hosts[index].id
    }

    /// The lattice's name as a checked value.
    ///
    /// # Errors
    /// Never for the names the harness makes.
    pub fn name(&self) -> Result<proto::Lattice> {
        Ok(proto::Lattice::new(self.lattice.name.clone())?)
    }

    /// Waits for an event of this name whose data satisfies `fits`; its data.
    ///
    /// # Errors
    /// At the deadline, with what was heard instead.
    pub async fn event(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let kind = format!("com.wasmcloud.lattice.{name}");
        let event = self
            .events
            .wait(name, |event| {
                event["type"] == kind.as_str() && fits(&event["data"])
            })
            .await?;
        Ok(event["data"].clone())
    }
}

/// The messages of one subject since a moment, as JSON.
pub struct Record {
    messages: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Record {
    /// Starts to listen.
    ///
    /// # Errors
    /// When NATS is down.
    pub async fn start(nats: &async_nats::Client, subject: String) -> Result<Self> {
        let mut heard = nats.subscribe(subject).await?;
        nats.flush().await?;
        let messages = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&messages);
        let task = tokio::spawn(async move {
            while let Some(message) = heard.next().await {
                let value = serde_json::from_slice(&message.payload).unwrap_or_default();
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(value);
            }
        });
        Ok(Self { messages, task })
    }

    /// Everything heard so far.
    #[must_use]
    pub fn all(&self) -> Vec<Value> {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for a message that fits.
    ///
    /// # Errors
    /// At the deadline, with what was heard instead.
    pub async fn wait(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        self.wait_for(what, 1, fits).await
    }

    /// Waits for `count` messages that fit; the last of them.
    ///
    /// # Errors
    /// At the deadline, with what was heard instead.
    pub async fn wait_for(
        &self,
        what: &str,
        count: usize,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let found = eventually(what, SETTLED, || {
            let all = self.all();
            let found = all.iter().filter(|message| fits(message)).nth(count - 1);
            let found = found.cloned().with_context(|| {
                let lines: Vec<String> = all.iter().map(Value::to_string).collect();
                format!("heard only:\n{}", lines.join("\n"))
            });
            std::future::ready(found)
        })
        .await?;
        Ok(found)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A component of the examples, as a reference to its file.
#[must_use]
pub fn example(path: &str) -> String {
    let file = harness::repository("examples").join(path);
    let file = file.canonicalize().unwrap_or(file);
    format!("file://{}", file.display())
}

/// The HTTP component of the examples.
#[must_use]
pub fn hello() -> String {
    example("http-hello/http-hello.wasm")
}

/// The key-value component of the examples.
#[must_use]
pub fn counter() -> String {
    example("kv-counter/kv-counter.wasm")
}

/// Packs an executable as a provider archive, with the published packer; a reference to it.
///
/// # Errors
/// When the archive cannot be written.
pub async fn pack(folder: &Path, executable: &Path) -> Result<String> {
    let mut archive = provider_archive::ProviderArchive::new(
        "memory-provider",
        "acme",
        Some(1),
        Some("0.1.0".into()),
    );
    let target = proto::provider::archive::this_target();
    archive.add_library(&target, &tokio::fs::read(executable).await?)?;
    let file: PathBuf = folder.join("memory-provider.par.gz");
    let (issuer, subject) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_service());
    archive.write(&file, &issuer, &subject, true).await?;
    Ok(format!("file://{}", file.display()))
}

/// Owned copies of these pairs.
#[must_use]
pub fn map(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A key-value link.
///
/// # Panics
/// When a name is none.
#[must_use]
pub fn link(
    source: &str,
    target: &str,
    name: &str,
    interfaces: &[&str],
) -> wasmcloud_control_interface::Link {
    wasmcloud_control_interface::Link::builder()
        .source_id(source)
        .target(target)
        .name(name)
        .wit_namespace("wasi")
        .wit_package("keyvalue")
        .interfaces(
            interfaces
                .iter()
                .map(|&interface| interface.to_owned())
                .collect(),
        )
        .build()
        .expect("a whole link")
}
