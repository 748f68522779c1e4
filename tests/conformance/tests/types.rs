//! Our types against those of the published crates, without any server: what they write we
//! read, what we write they read, and both mean the same.

use std::collections::HashMap;

use conformance::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wasmcloud_control_interface as theirs;
use wasmcloud_provider_sdk::core;

/// `json` read as `Ours`, written, read as `Theirs` and written is the same as without us.
#[track_caller]
fn same<Ours, Theirs>(json: Value)
where
    Ours: Serialize + DeserializeOwned,
    Theirs: Serialize + DeserializeOwned,
{
    let direct: Theirs = serde_json::from_value(json.clone()).expect("they read it");
    let ours: Ours = serde_json::from_value(json).expect("we read it");
    let ours = serde_json::to_value(ours).expect("we write it");
    let through: Theirs = serde_json::from_value(ours.clone()).expect("they read ours");
    let direct = serde_json::to_value(direct).expect("they write it");
    assert_eq!(
        serde_json::to_value(through).expect("they write it"),
        direct
    );
    let back: Ours = serde_json::from_value(direct).expect("we read theirs");
    assert_eq!(serde_json::to_value(back).expect("we write it"), ours);
}

#[test]
fn control_messages_mean_the_same_to_the_published_client() {
    same::<proto::ctl::Host, theirs::Host>(json!({
        "id": "NDQQ", "friendly_name": "f", "labels": {"zone": "a"}, "lattice": "default",
        "uptime_human": "37s", "uptime_seconds": 37, "version": "1.9.2",
        "rpc_host": "nats://127.0.0.1:4222", "ctl_host": "nats://127.0.0.1:4222"}));
    same::<proto::ctl::HostInventory, theirs::HostInventory>(json!({
        "components": [{"id": "web", "image_ref": "r", "name": "web", "annotations": {"a": "b"},
            "revision": 0, "max_instances": 4, "limits": {"max_memory_limit": "1"}}],
        "providers": [{"id": "kv", "image_ref": "r", "name": "n", "revision": 1, "annotations": {}}],
        "host_id": "N", "friendly_name": "f", "labels": {}, "version": "1.9.2",
        "uptime_human": "1s", "uptime_seconds": 1}));
    same::<proto::ctl::ComponentAuctionRequest, theirs::ComponentAuctionRequest>(
        json!({"component_ref": "r", "component_id": "web", "constraints": {"a": "b"}}),
    );
    same::<proto::ctl::ProviderAuctionRequest, theirs::ProviderAuctionRequest>(
        json!({"provider_ref": "r", "provider_id": "kv", "constraints": {}}),
    );
    same::<proto::ctl::ComponentAuctionAck, theirs::ComponentAuctionAck>(
        json!({"component_ref": "r", "component_id": "web", "host_id": "N", "constraints": {}}),
    );
    same::<proto::ctl::ProviderAuctionAck, theirs::ProviderAuctionAck>(
        json!({"provider_ref": "r", "provider_id": "kv", "host_id": "N", "constraints": {}}),
    );
    same::<proto::ctl::ScaleComponentCommand, theirs::ScaleComponentCommand>(json!({
        "component_ref": "r", "component_id": "web", "count": 4, "host_id": "N",
        "annotations": {"a": "b"}, "config": ["c"], "allow_update": true,
        "component_limits": {"max_memory_limit": "1"}}));
    same::<proto::ctl::UpdateComponentCommand, theirs::UpdateComponentCommand>(
        json!({"component_id": "web", "host_id": "N", "new_component_ref": "r"}),
    );
    same::<proto::ctl::StartProviderCommand, theirs::StartProviderCommand>(json!({
        "provider_id": "kv", "provider_ref": "r", "host_id": "N", "config": ["c"],
        "annotations": {"a": "b"}}));
    same::<proto::ctl::StopProviderCommand, theirs::StopProviderCommand>(
        json!({"provider_id": "kv", "host_id": "N"}),
    );
    same::<proto::ctl::StopHostCommand, theirs::StopHostCommand>(
        json!({"host_id": "N", "timeout": 5}),
    );
    same::<proto::link::Link, theirs::Link>(json!({
        "source_id": "a", "target": "b", "name": "default", "wit_namespace": "n",
        "wit_package": "p", "interfaces": ["i"], "source_config": ["c"], "target_config": []}));
    same::<proto::ctl::RegistryCredential, theirs::RegistryCredential>(
        json!({"username": "u", "password": "p", "registryType": "oci"}),
    );
    same::<proto::ctl::CtlResponse, theirs::CtlResponse<Value>>(
        json!({"success": true, "message": "m", "response": {"a": 1}}),
    );
}

#[test]
fn our_own_fields_do_not_disturb_the_published_types() {
    let command: theirs::ScaleComponentCommand = serde_json::from_value(json!({
        "component_ref": "r", "component_id": "web", "count": 4, "host_id": "N",
        "fence": {"controller": "w", "term": 3}}))
    .expect("they read it");
    assert_eq!(command.max_instances(), 4);
    let provider: theirs::ProviderDescription =
        serde_json::from_value(json!({"id": "kv", "revision": 0, "restarts": 2}))
            .expect("they read it");
    assert_eq!(provider.id(), "kv");
}

#[test]
fn start_up_data_means_the_same_to_the_published_sdk() {
    let link = json!({"source_id": "a", "target": "kv", "name": "default", "wit_namespace": "n",
        "wit_package": "p", "interfaces": ["i"], "source_config": {}, "target_config": {"b": "c"},
        "source_secrets": null, "target_secrets": [120, 107, 118, 49]});
    same::<proto::link::InterfaceLinkDefinition, core::InterfaceLinkDefinition>(link.clone());
    same::<proto::provider::HostData, core::HostData>(json!({
        "host_id": "N", "lattice_rpc_prefix": "default", "link_name": "default",
        "lattice_rpc_user_jwt": "", "lattice_rpc_user_seed": "", "lattice_rpc_url": "nats://h:1",
        "provider_key": "kv", "env_values": {}, "instance_id": "u", "link_definitions": [link],
        "cluster_issuers": [], "config": {"a": "b"},
        "secrets": {"s": {"kind": "String", "value": "v"}, "t": {"kind": "Bytes", "value": [1]}},
        "host_xkey_public_key": "XA", "provider_xkey_private_key": "SX",
        "default_rpc_timeout_ms": 2000, "structured_logging": true, "log_level": "info",
        "otel_config": {"enable_observability": true, "enable_traces": true, "protocol": "Grpc",
            "trace_level": "info"}}));
    same::<proto::provider::HealthCheckResponse, core::HealthCheckResponse>(
        json!({"healthy": true, "message": "m"}),
    );
}

/// The smallest component, with a custom section so that there is something to sign.
const COMPONENT: [u8; 15] = [
    0, b'a', b's', b'm', 0x0d, 0, 1, 0, 0, 5, 3, b'a', b'b', b'c', 7,
];

#[test]
fn a_component_signed_by_either_side_is_accepted_by_the_other() -> Result {
    let (issuer, module) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_module());
    let about = proto::claims::Component {
        name: Some("web".into()),
        ver: Some("1".into()),
        rev: Some(3),
        tags: Some(vec!["t".into()]),
        ..Default::default()
    };
    let claims = proto::claims::Claims::new(module.public_key(), 1, about);
    let signed = proto::claims::sign_component(&COMPONENT, claims, &issuer)?;
    let token = wascap::wasm::extract_claims(&signed)?.expect("they find our token");
    assert_eq!(token.claims.subject, module.public_key());
    assert_eq!(token.claims.issuer, issuer.public_key());
    assert!(!wascap::jwt::validate_token::<wascap::jwt::Component>(&token.jwt)?.expired);

    let signed = wascap::wasm::sign_buffer_with_claims(
        "web".into(),
        COMPONENT,
        &nkeys::KeyPair::new_module(),
        &nkeys::KeyPair::new_account(),
        None,
        None,
        vec!["t".into()],
        false,
        Some(3),
        Some("1".into()),
        Some("alias".into()),
    )?;
    let found = proto::claims::read_component(&signed, 1)?.expect("we find their token");
    let about = found.claims.metadata.expect("they say something");
    assert_eq!(about.name.as_deref(), Some("web"));
    assert_eq!(about.call_alias.as_deref(), Some("alias"));
    Ok(())
}

#[test]
fn a_real_component_hashes_alike_on_both_sides() -> Result {
    let file = conformance::counter();
    let wasm = std::fs::read(file.trim_start_matches("file://"))?;
    let signed = wascap::wasm::sign_buffer_with_claims(
        "counter".into(),
        &wasm,
        &nkeys::KeyPair::new_module(),
        &nkeys::KeyPair::new_account(),
        None,
        None,
        vec![],
        false,
        None,
        None,
        None,
    )?;
    assert!(proto::claims::read_component(&signed, 1)?.is_some());
    Ok(())
}

#[tokio::test]
async fn claims_of_a_published_archive_are_read() -> Result {
    let folder = std::env::temp_dir();
    let file = folder.join(format!("claims-{}.par", std::process::id()));
    let mut archive =
        provider_archive::ProviderArchive::new("kv", "acme", Some(2), Some("0.4.1".into()));
    archive.add_library("x86_64-linux", b"binary")?;
    let (issuer, subject) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_service());
    archive.write(&file, &issuer, &subject, false).await?;
    let loaded = provider_archive::ProviderArchive::try_load_file(&file).await?;
    std::fs::remove_file(&file)?;
    let token = loaded.claims_token().expect("a token").jwt;
    let claims = proto::claims::Claims::<proto::claims::Provider>::decode(&token)?;
    assert_eq!(claims.subject, subject.public_key());
    let about = claims.metadata.expect("they say something");
    assert_eq!((about.name.as_deref(), about.rev), (Some("kv"), Some(2)));
    assert!(about.target_hashes.contains_key("x86_64-linux"));
    Ok(())
}

#[test]
fn a_box_sealed_by_either_side_is_opened_by_the_other() -> Result {
    let (host, provider) = (nkeys::XKey::new(), nkeys::XKey::new());
    let secrets: HashMap<String, core::secrets::SecretValue> =
        HashMap::from([("a".into(), core::secrets::SecretValue::String("b".into()))]);
    let text = serde_json::to_vec(&secrets)?;
    let sealed = proto::xkey::seal(&host, &provider.public_key(), &text)?;
    assert_eq!(provider.open(&sealed, &host)?, text);
    let sealed = host.seal(&text, &provider)?;
    assert_eq!(
        proto::xkey::open(&provider, &host.public_key(), &sealed)?,
        text
    );
    let ours: std::collections::BTreeMap<String, proto::provider::SecretValue> =
        serde_json::from_slice(&text)?;
    assert_eq!(ours["a"], proto::provider::SecretValue::String("b".into()));
    Ok(())
}
