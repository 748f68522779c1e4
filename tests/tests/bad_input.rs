//! Bad input gets a clear error, and nothing is lost.

use std::time::Duration;

use harness::{Lattice, Registry, eventually, repository};

const SOON: Duration = Duration::from_secs(30);

fn manifest(lattice: &Lattice, image: &str, zone: &str) -> anyhow::Result<String> {
    let text = format!(
        "apiVersion: core.oam.dev/v1beta1
kind: Application
metadata:
  name: bad
spec:
  components:
    - name: web
      type: component
      properties:
        image: {image}
      traits:
        - type: spreadscaler
          properties:
            instances: 1
            spread:
              - {{name: east, requirements: {{zone: {zone}}}}}
"
    );
    let file = lattice.folder().join("bad.wadm.yaml");
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}

#[tokio::test]
async fn a_misspelt_trait_is_refused_with_its_place_and_a_suggestion() -> anyhow::Result<()> {
    let lattice = Lattice::start().await?;
    let file = manifest(&lattice, "localhost:5000/web:1", "us-east")?;
    let text = std::fs::read_to_string(&file)?.replace("spreadscaler", "spreadscalar");
    std::fs::write(&file, text)?;
    let output = lattice.wash(&["app", "validate", &file]).await?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.contains("bad.wadm.yaml:12:17"),
        "no file and line: {said}"
    );
    assert!(said.contains("spreadscaler"), "no suggestion: {said}");
    Ok(())
}

#[tokio::test]
async fn an_unmet_requirement_says_how_close_the_lattice_is() -> anyhow::Result<()> {
    let mut lattice = Lattice::start().await?;
    lattice.start_wadm()?;
    lattice.start_host(&["zone=us-west"]).await?;
    lattice.start_host(&["zone=eu-central"]).await?;
    let image = repository("examples/http-hello/http-hello.wasm").canonicalize()?;
    let file = manifest(&lattice, &format!("file://{}", image.display()), "us-east")?;
    let output = lattice
        .wash(&["app", "deploy", &file, "--wait", "--timeout", "3s"])
        .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("zone=us-east: 0 of 2 hosts; seen: us-west, eu-central"),
        "{said}"
    );

    // The host that fits arrives, and the application with it.
    lattice.start_host(&["zone=us-east"]).await?;
    lattice.status_is("bad", "deployed", SOON).await
}

#[tokio::test]
async fn a_missing_image_shows_the_registrys_own_words() -> anyhow::Result<()> {
    let registry = Registry::start().await?;
    let mut lattice = Lattice::start().await?;
    lattice.start_wadm()?;
    let address = registry.address();
    let insecure = ["--allowed-insecure", address.as_str()];
    lattice
        .start_host_with(&["zone=us-east"], &insecure)
        .await?;
    let file = manifest(&lattice, &format!("{address}/nothing/here:1"), "us-east")?;
    let output = lattice
        .wash(&["app", "deploy", &file, "--wait", "--timeout", "5s"])
        .await?;
    assert!(!output.status.success());
    eventually("the reason in the status", SOON, || async {
        let status = lattice
            .wash_json(&["app", "status", "bad"])
            .await?
            .to_string();
        anyhow::ensure!(
            status.to_lowercase().contains("manifest unknown"),
            "{status}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_file_that_is_no_component_is_named_so() -> anyhow::Result<()> {
    let mut lattice = Lattice::start().await?;
    lattice.start_wadm()?;
    lattice.start_host(&["zone=us-east"]).await?;
    let junk = lattice.folder().join("junk.wasm");
    std::fs::write(&junk, b"this is no WebAssembly")?;
    let file = manifest(&lattice, &format!("file://{}", junk.display()), "us-east")?;
    let output = lattice
        .wash(&["app", "deploy", &file, "--wait", "--timeout", "5s"])
        .await?;
    assert!(!output.status.success());
    eventually("the reason in the status", SOON, || async {
        let status = lattice
            .wash_json(&["app", "status", "bad"])
            .await?
            .to_string();
        anyhow::ensure!(status.contains("not a component"), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn malformed_messages_get_an_error_and_the_host_goes_on() -> anyhow::Result<()> {
    use proto::subject::{Ctl, CtlSubject};
    let mut lattice = Lattice::start().await?;
    let host = lattice.start_host(&[]).await?;
    let client = lattice.nats.connect().await?;
    let name = proto::id::Lattice::new(lattice.name.clone())?;
    let id = proto::id::HostId::new(lattice.hosts[host].id.clone())?;
    for request in [
        Ctl::ScaleComponent(id.clone()),
        Ctl::UpdateComponent(id.clone()),
        Ctl::StartProvider(id.clone()),
        Ctl::StopProvider(id.clone()),
        Ctl::PutLabel(id.clone()),
        Ctl::PutLink,
        Ctl::DeleteLink,
    ] {
        let subject = CtlSubject::new(name.clone(), request).to_string();
        for body in [
            &b"{"[..],
            b"\xff\xfe",
            b"null",
            b"{\"component_id\": 7}",
            b"\"text\"",
        ] {
            let reply = client.request(subject.clone(), body.into()).await?;
            let reply: serde_json::Value = serde_json::from_slice(&reply.payload)?;
            assert_eq!(reply["success"], false, "{subject} took {body:?}: {reply}");
        }
    }
    assert_eq!(lattice.host_ids().await?, [lattice.hosts[host].id.clone()]);
    Ok(())
}
