//! Bodies stream: a gibibyte up and down through a component on another host, in little memory.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use harness::{Lattice, Process, repository};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

const SOON: Duration = Duration::from_secs(30);
/// One gibibyte.
const BODY_BYTES: u64 = 1 << 30;
const PIECE_BYTES: usize = 64 * 1024;
/// What a host may need above its idle memory while the body passes through it.
const MEMORY_OVER_IDLE_KIB: u64 = 64 * 1024;

/// A line of `/proc/PID/status` in KiB: `VmRSS` is now, `VmHWM` the highest so far.
fn memory_kib(process: &Process, line: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let found = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let kib = found.and_then(|text| text.split_whitespace().next());
    kib.and_then(|text| text.parse().ok())
        .ok_or_else(|| anyhow::anyhow!("no {line} in {status}"))
}

/// Sends the body to `/echo` and counts what comes back; both at once.
async fn echo(port: u16) -> anyhow::Result<u64> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let driver = tokio::spawn(connection);
    let piece = Bytes::from(vec![0x5a_u8; PIECE_BYTES]);
    let pieces = BODY_BYTES / PIECE_BYTES as u64;
    let body = futures::stream::iter(0..pieces)
        .map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone())));
    let request = hyper::Request::builder()
        .method("POST")
        .uri("/echo")
        .header("host", "stream.localhost")
        .body(StreamBody::new(body))?;
    let response = sender.send_request(request).await?;
    anyhow::ensure!(response.status() == 200, "answered {}", response.status());
    let mut body = response.into_body();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        anyhow::ensure!(
            data.iter().all(|&byte| byte == 0x5a),
            "other bytes came back"
        );
        received += data.len() as u64;
    }
    driver.abort();
    Ok(received)
}

#[tokio::test]
async fn a_gibibyte_streams_through_a_component_on_another_host() -> anyhow::Result<()> {
    let mut lattice = Lattice::start().await?;
    lattice.start_wadm()?;
    let edge = lattice.start_host(&["zone=edge"]).await?;
    let core = lattice.start_host(&["zone=core"]).await?;
    let port = harness::servers::free_port()?;
    let image = repository("examples/http-hello/http-hello.wasm").canonicalize()?;
    let manifest = format!(
        "apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {{name: stream}}
spec:
  components:
    - name: echo
      type: component
      properties: {{image: 'file://{image}'}}
      traits:
        - type: spreadscaler
          properties: {{instances: 4, spread: [{{name: core, requirements: {{zone: core}}}}]}}
    - name: http
      type: capability
      properties: {{image: 'wasmcloud+builtin://http-server'}}
      traits:
        - type: spreadscaler
          properties: {{instances: 1, spread: [{{name: edge, requirements: {{zone: edge}}}}]}}
        - type: link
          properties:
            namespace: wasi
            package: http
            interfaces: [incoming-handler]
            target: {{name: echo}}
            source:
              config: [{{name: address, properties: {{address: '127.0.0.1:{port}'}}}}]
",
        image = image.display()
    );
    let file = lattice.folder().join("app.wadm.yaml");
    std::fs::write(&file, manifest)?;
    let file = file.display().to_string();
    lattice
        .wash_ok(&["app", "deploy", &file, "--wait", "--timeout", "60s"])
        .await?;
    harness::lattice::http_answers(port, "stream.localhost", "/", 200, SOON).await?;

    let mut idle = Vec::new();
    for host in &lattice.hosts {
        idle.push(memory_kib(&host.process, "VmRSS")?);
    }
    assert_eq!(echo(port).await?, BODY_BYTES);
    for (index, name) in [(edge, "edge"), (core, "core")] {
        let peak = memory_kib(&lattice.hosts[index].process, "VmHWM")?;
        let over = peak.saturating_sub(idle[index]);
        println!(
            "{name}: idle {} MiB, peak {} MiB, {} MiB over idle",
            idle[index] >> 10,
            peak >> 10,
            over >> 10
        );
        assert!(
            over < MEMORY_OVER_IDLE_KIB,
            "{name} took {over} KiB over idle"
        );
    }
    Ok(())
}
