//! A controller in the test's process, on a real NATS server.

#![allow(dead_code, reason = "each test uses its part")]

use std::time::Duration;

use clap::Parser as _;
use harness::Nats;
use proto::id::Lattice;
use proto::subject::{WadmApi, WadmApiSubject};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a condition may take to become true.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A running controller; dropped, it vanishes as if killed.
pub struct Wadm {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Wadm {
    /// Starts one with more arguments.
    pub fn start(nats: &Nats, more: &[&str]) -> Self {
        Self::start_at(&nats.url(), more)
    }

    /// Starts one that connects to `url`.
    pub fn start_at(url: &str, more: &[&str]) -> Self {
        let mut line = vec!["wadm", "--nats-server", url];
        line.extend_from_slice(more);
        let args = wadm::Args::try_parse_from(line).unwrap().serve;
        let stop = CancellationToken::new();
        let told = stop.clone();
        let task = tokio::spawn(async move { wadm::serve(args, told).await.unwrap() });
        Self {
            stop,
            task: Some(task),
        }
    }

    /// Tells it to stop and waits until it has.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            tokio::time::timeout(DEADLINE, task)
                .await
                .expect("the controller stops")
                .unwrap();
        }
    }
}

impl Drop for Wadm {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Asks the API; waits until somebody answers it.
pub async fn ask(
    client: &async_nats::Client,
    lattice: &Lattice,
    request: WadmApi,
    body: &str,
) -> Value {
    let subject = WadmApiSubject::new(lattice.clone(), request).to_string();
    ask_subject(client, &subject, body).await
}

/// Asks the API on any subject.
pub async fn ask_subject(client: &async_nats::Client, subject: &str, body: &str) -> Value {
    let body = body.to_owned();
    let reply = harness::eventually("the API answers", DEADLINE, || async {
        Ok(client
            .request(subject.to_owned(), body.clone().into())
            .await?)
    })
    .await
    .unwrap();
    serde_json::from_slice(&reply.payload).unwrap()
}

/// Puts and deploys a manifest.
pub async fn deploy(client: &async_nats::Client, lattice: &Lattice, manifest: &str) -> String {
    let put = ask(client, lattice, WadmApi::Put, manifest).await;
    let name = put["name"]
        .as_str()
        .unwrap_or_else(|| panic!("put refused: {put}"))
        .to_owned();
    let deployed = ask(client, lattice, WadmApi::Deploy(name.clone()), "").await;
    assert_eq!(deployed["result"], "acknowledged", "{deployed}");
    name
}

/// One component of one image, with scaler traits as given.
pub fn manifest(name: &str, version: &str, image: &str, traits: &str) -> String {
    format!(
        "apiVersion: core.oam.dev/v1beta1\nkind: Application\n\
         metadata:\n  name: {name}\n  annotations: {{version: {version}, description: a test}}\n\
         spec:\n  components:\n    - name: web\n      type: component\n      properties: {{image: '{image}'}}\n\
         \x20     traits: [{traits}]\n"
    )
}

/// A spreadscaler trait without groups.
pub fn spread(instances: u32) -> String {
    format!("{{type: spreadscaler, properties: {{instances: {instances}}}}}")
}
