//! A provider that several applications use stops with its last user, and removing one application
//! never disturbs another's: not for one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::lattice::http;
use harness::servers::free_port;
use harness::{Lattice, eventually, repository, until};
use proto::subject::{WadmApi, WadmApiSubject};

const SOON: Duration = Duration::from_secs(30);

/// Clients that ask without a pause.
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn removing_an_application_costs_its_neighbours_no_request() -> anyhow::Result<()> {
    let mut lattice = Lattice::start().await?;
    lattice.start_wadm()?;
    let host = lattice.start_host(&["zone=a"]).await?;
    let port = free_port()?;
    let server = format!(
        "    - name: http\n      type: capability\n      properties:\n\
         \x20       image: wasmcloud+builtin://http-server\n\
         \x20       config: [{{name: server, properties: {{routing_mode: path, default_address: '127.0.0.1:{port}'}}}}]\n"
    );
    let shared = "    - name: http\n      type: capability\n\
                  \x20     properties: {application: {name: edge, component: http}}\n";
    let edge = format!(
        "{}{server}",
        head("edge", "experimental.wasmcloud.dev/shared: 'true'")
    );
    deploy(&lattice, "edge", edge).await?;
    // B uses the shared server, A too, and C brings a server of its own for the same port.
    deploy(&lattice, "b", app("b", shared, "/health")?).await?;
    deploy(&lattice, "a", app("a", shared, "/a")?).await?;
    deploy(&lattice, "c", app("c", &server, "/c")?).await?;
    for (name, path) in [("b", "/health"), ("a", "/a"), ("c", "/c")] {
        let served = eventually(path, SOON, || async {
            let (status, body) = http(port, "localhost", "GET", path, "").await?;
            anyhow::ensure!(status == 200 || body == "Not Found", "{status} {body}");
            Ok(())
        });
        if let Err(error) = served.await {
            let status = ask(&lattice, WadmApi::Status(name.into()), String::new()).await?;
            return Err(error.context(status.to_string()));
        }
    }

    let load = Load::start(port);
    until("some load", SOON, || async { load.asked() > 200 }).await?;
    for name in ["a", "c"] {
        let reply = ask(&lattice, WadmApi::Delete(name.into()), String::new()).await?;
        anyhow::ensure!(reply["result"] == "deleted", "{reply}");
        let id = format!("{name}-web");
        eventually("it to be gone", SOON, || async {
            let left = lattice.instances(&id).await?;
            anyhow::ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
    }
    let (after, started) = (load.asked(), Instant::now());
    until("some more load", SOON, || async {
        load.asked() > after + 200 && started.elapsed() > Duration::from_secs(2)
    })
    .await?;
    let (asked, failed) = load.stop().await;
    println!("{asked} requests to B while A and C were removed, {failed} failed");
    anyhow::ensure!(
        failed == 0,
        "{failed} of {asked} failed; {}",
        lattice.hosts[host].process.log()
    );
    Ok(())
}

fn head(name: &str, annotation: &str) -> String {
    format!(
        "apiVersion: core.oam.dev/v1beta1\nkind: Application\n\
         metadata: {{name: {name}, annotations: {{{annotation}}}}}\nspec:\n  components:\n"
    )
}

fn app(name: &str, server: &str, path: &str) -> anyhow::Result<String> {
    let image = repository("examples/http-hello/http-hello.wasm").canonicalize()?;
    Ok(format!(
        "{}    - name: web\n      type: component\n      properties: {{image: 'file://{}'}}\n\
         \x20     traits: [{{type: spreadscaler, properties: {{instances: 4}}}}]\n\
         {server}      traits:\n        - type: link\n          properties:\n\
         \x20           namespace: wasi\n            package: http\n            name: to-{name}\n            interfaces: [incoming-handler]\n\
         \x20           target: web\n\
         \x20           source: {{config: [{{name: route, properties: {{path: {path}}}}}]}}\n",
        head(name, ""),
        image.display(),
    ))
}

async fn ask(
    lattice: &Lattice,
    request: WadmApi,
    body: String,
) -> anyhow::Result<serde_json::Value> {
    let name = proto::id::Lattice::new(lattice.name.clone())?;
    let subject = WadmApiSubject::new(name, request).to_string();
    let client = lattice.nats.connect().await?;
    eventually(&subject.clone(), SOON, || async {
        let reply = client.request(subject.clone(), body.clone().into()).await?;
        Ok(serde_json::from_slice(&reply.payload)?)
    })
    .await
}

async fn deploy(lattice: &Lattice, name: &str, manifest: String) -> anyhow::Result<()> {
    let put = ask(lattice, WadmApi::Put, manifest).await?;
    anyhow::ensure!(put["name"] == name, "{put}");
    let deployed = ask(lattice, WadmApi::Deploy(name.into()), String::new()).await?;
    anyhow::ensure!(deployed["result"] == "acknowledged", "{deployed}");
    Ok(())
}

/// Clients that ask B over and over.
struct Load {
    asked: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(port: u16) -> Self {
        let (asked, failed): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|_| {
            let (asked, failed, stop) = (asked.clone(), failed.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = http(port, "localhost", "GET", "/health", "").await;
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !matches!(answer, Ok((200, _))) {
                        println!("failed: {answer:?}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        let clients = clients.collect();
        Self {
            asked,
            failed,
            stop,
            clients,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn stop(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            let _ = client.await;
        }
        (
            self.asked.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        )
    }
}
