//! Every call of the published application client, against our controller and host.

use std::time::Duration;

use conformance::{Lab, Result, SETTLED, hello};
use futures::StreamExt as _;
use harness::eventually;
use wadm_client::error::ClientError;
use wadm_types::Manifest;
use wadm_types::api::StatusType;

fn manifest(version: &str, instances: u32) -> Vec<u8> {
    format!(
        r"
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata:
  name: hello
  annotations:
    version: {version}
    description: says hello
spec:
  components:
    - name: web
      type: component
      properties:
        image: {image}
        config:
          - name: greeting
            properties: {{text: hi}}
      traits:
        - type: spreadscaler
          properties:
            instances: {instances}
",
        image = hello()
    )
    .into_bytes()
}

/// A lattice with a controller that answers.
async fn lab(hosts: &[&[&str]]) -> Result<Lab> {
    let mut lab = Lab::start(hosts).await?;
    lab.lattice.start_wadm()?;
    eventually("the controller", SETTLED, || async {
        Ok(lab.applications.list_manifests().await?)
    })
    .await?;
    Ok(lab)
}

async fn becomes(lab: &Lab, wanted: StatusType) -> Result {
    eventually(&format!("status {wanted:?}"), SETTLED, || async {
        let status = lab.applications.get_manifest_status("hello").await?;
        anyhow::ensure!(status.info.status_type == wanted, "{status:?}");
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_put_listed_read_and_deleted() -> Result {
    let lab = lab(&[]).await?;
    let client = &lab.applications;
    assert!(client.list_manifests().await?.is_empty());
    let (name, version) = client.put_manifest(manifest("v1", 1)).await?;
    assert_eq!((name.as_str(), version.as_str()), ("hello", "v1"));
    let again = client
        .put_manifest(manifest("v1", 1))
        .await
        .expect_err("a version is put once");
    assert!(again.to_string().contains("already exists"), "{again}");
    client.put_manifest(manifest("v2", 2)).await?;

    let list = client.list_manifests().await?;
    assert_eq!(list.len(), 1);
    assert_eq!(
        (list[0].name.as_str(), list[0].version.as_str()),
        ("hello", "v2")
    );
    assert_eq!(list[0].description.as_deref(), Some("says hello"));
    assert_eq!(list[0].deployed_version, None);

    let newest = client.get_manifest("hello", None).await?;
    assert_eq!(newest.version(), "v2");
    let old = client.get_manifest("hello", Some("v1")).await?;
    assert_eq!(old.version(), "v1");
    assert_eq!(old.spec.components.len(), 1);
    let versions = client.list_versions("hello").await?;
    let versions: Vec<(&str, bool)> = versions
        .iter()
        .map(|v| (v.version.as_str(), v.deployed))
        .collect();
    assert_eq!(versions, [("v1", false), ("v2", false)]);

    assert!(client.delete_manifest("hello", Some("v1")).await?);
    assert!(
        !client.delete_manifest("hello", Some("v1")).await?,
        "gone already"
    );
    assert!(client.delete_manifest("hello", None).await?);
    assert!(
        !client.delete_manifest("hello", None).await?,
        "gone already"
    );
    assert!(client.list_manifests().await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_reported_as_the_client_expects() -> Result {
    let lab = lab(&[]).await?;
    let client = &lab.applications;
    assert!(matches!(
        client.get_manifest("no", None).await,
        Err(ClientError::NotFound(_))
    ));
    assert!(matches!(
        client.list_versions("no").await,
        Err(ClientError::NotFound(_))
    ));
    assert!(matches!(
        client.deploy_manifest("no", None).await,
        Err(ClientError::NotFound(_))
    ));
    client.put_manifest(manifest("v1", 1)).await?;
    let error = client
        .deploy_manifest("hello", Some("v9"))
        .await
        .expect_err("no such version");
    assert!(matches!(error, ClientError::ApiError(_)), "{error}");
    assert!(error.to_string().contains("v9"), "{error}");
    let status = client.get_manifest_status("hello").await?;
    assert!(
        matches!(
            status.info.status_type,
            StatusType::Undeployed | StatusType::Waiting
        ),
        "{status:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_manifest_is_refused_with_its_reason() -> Result {
    let lab = lab(&[]).await?;
    let mut broken: Manifest = serde_json::from_value(serde_json::json!({
        "apiVersion": "core.oam.dev/v1beta1", "kind": "Application",
        "metadata": {"name": "twice", "annotations": {}},
        "spec": {"components": [
            {"name": "web", "type": "component", "properties": {"image": "r/a:1"}},
            {"name": "web", "type": "component", "properties": {"image": "r/b:1"}}]}}))?;
    let error = lab
        .applications
        .put_manifest(&broken)
        .await
        .expect_err("two components, one name");
    assert!(
        error.to_string().contains("Duplicate component name"),
        "{error}"
    );
    broken.metadata.name = "a b".into();
    broken.spec.components.pop();
    let error = lab
        .applications
        .put_manifest(&broken)
        .await
        .expect_err("no name");
    assert!(
        error.to_string().contains("contains invalid characters"),
        "{error}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_deployed_changed_and_undeployed() -> Result {
    let lab = lab(&[&[]]).await?;
    let client = &lab.applications;
    let mut statuses = Box::pin(client.subscribe_to_status("hello").await?);
    lab.nats.flush().await?;
    let (name, version) = client.put_and_deploy_manifest(manifest("v1", 3)).await?;
    assert_eq!((name.as_str(), version.as_str()), ("hello", "v1"));
    becomes(&lab, StatusType::Deployed).await?;
    let scaled = lab
        .event("component_scaled", |data| data["max_instances"] == 3)
        .await?;
    assert_eq!(scaled["component_id"], "hello-web");
    let marks = &scaled["annotations"];
    assert_eq!(marks["wasmcloud.dev/managed-by"], "wadm");
    assert_eq!(marks["wasmcloud.dev/appspec"], "hello");
    let id = proto::names::scaler_id(
        proto::names::ScalerKind::Spread,
        "hello",
        "web",
        "hello-web",
        &hello(),
        ["hello-greeting"],
    );
    assert_eq!(
        marks["wasmcloud.dev/scaler"], id,
        "the id upstream's controller would compute"
    );
    assert_eq!(
        lab.control
            .get_config("hello-greeting")
            .await?
            .into_data()
            .map(|c| c.len()),
        Some(1)
    );
    let message = tokio::time::timeout(SETTLED, statuses.next())
        .await?
        .expect("a status");
    let _: wadm_types::api::Status = serde_json::from_slice(&message.payload)?;
    let list = client.list_manifests().await?;
    assert_eq!(list[0].deployed_version.as_deref(), Some("v1"));
    let status = client.get_manifest_status("hello").await?;
    assert!(
        status.scalers.iter().any(|scaler| scaler.id == id),
        "{status:?}"
    );

    client.put_manifest(manifest("v2", 5)).await?;
    let (_, version) = client.deploy_manifest("hello", None).await?;
    assert_eq!(version.as_deref(), Some("v2"));
    lab.event("component_scaled", |data| data["max_instances"] == 5)
        .await?;
    becomes(&lab, StatusType::Deployed).await?;
    let versions = client.list_versions("hello").await?;
    assert!(
        versions.iter().all(|v| v.deployed == (v.version == "v2")),
        "{versions:?}"
    );

    assert_eq!(client.undeploy_manifest("hello").await?, "hello");
    lab.event("component_scaled", |data| data["max_instances"] == 0)
        .await?;
    becomes(&lab, StatusType::Undeployed).await?;
    eventually("the configuration to go", SETTLED, || async {
        let answer = lab.control.get_config("hello-greeting").await;
        let answer = answer.map_err(anyhow::Error::from_boxed)?;
        anyhow::ensure!(answer.into_data().is_none());
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_host_an_application_says_what_it_waits_for() -> Result {
    let lab = lab(&[]).await?;
    lab.applications
        .put_and_deploy_manifest(manifest("v1", 1))
        .await?;
    eventually("a reason", Duration::from_secs(20), || async {
        let status = lab.applications.get_manifest_status("hello").await?;
        anyhow::ensure!(status.info.status_type != StatusType::Deployed);
        anyhow::ensure!(!status.info.message.is_empty(), "{status:?}");
        Ok(())
    })
    .await?;
    Ok(())
}
