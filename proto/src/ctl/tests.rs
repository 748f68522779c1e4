use super::*;
use crate::link::Link;
use crate::test::golden;

#[test]
fn replies_have_their_recorded_form() {
    golden::<CtlResponse>(r#"{"success":true,"message":"successfully set link"}"#);
    golden::<CtlResponse>(r#"{"success":true,"message":"","response":{"a":"b"}}"#);
    golden::<CtlResponse<Vec<Link>>>(r#"{"success":true,"message":"","response":[]}"#);
    golden::<CtlResponse>(r#"{"success":false,"message":"component nope not found"}"#);
}

#[test]
fn a_ping_answer_has_its_recorded_form() {
    golden::<CtlResponse<Host>>(
        r#"{"success":true,"message":"","response":{
            "rpc_host":"nats://127.0.0.1:4222","ctl_host":"nats://127.0.0.1:4222",
            "friendly_name":"black-ladybug-2424","id":"NDQQAVZ4",
            "labels":{"hostcore.arch":"x86_64","hostcore.os":"linux","hostcore.osfamily":"unix","zone":"a"},
            "lattice":"default","uptime_human":"37s","uptime_seconds":37,"version":"1.9.2"}}"#,
    );
}

#[test]
fn an_inventory_has_its_recorded_form() {
    golden::<HostInventory>(
        r#"{"components":[{"id":"web","image_ref":"ghcr.io/acme/web:0.3.0","name":"web",
             "annotations":{"wasmcloud.dev/managed-by":"wadm"},"revision":0,"max_instances":4,"limits":null}],
            "providers":[{"id":"httpd","image_ref":"ghcr.io/wasmcloud/http-server:0.28.0","name":"http-server",
             "revision":1,"annotations":{}}],
            "host_id":"NDQQ","friendly_name":"black-ladybug-2424","labels":{"zone":"a"},
            "version":"1.9.2","uptime_human":"53s","uptime_seconds":53}"#,
    );
}

#[test]
fn an_old_inventory_may_say_actors_and_little_else() {
    let found: HostInventory = serde_json::from_str(r#"{"actors":[],"providers":[]}"#).unwrap();
    assert_eq!(found.uptime_seconds, 0);
    assert!(serde_json::from_str::<HostInventory>(r#"{"components":[]}"#).is_err());
}

#[test]
fn one_strange_workload_does_not_hide_a_host() {
    let found: HostInventory = serde_json::from_str(
        r#"{"components":[{"id":"a b"},{"id":"web"},7],"providers":[{"id":""},{"id":"kv","revision":0}]}"#,
    )
    .unwrap();
    assert_eq!((found.components.len(), found.providers.len()), (1, 1));
}

#[test]
fn commands_have_their_recorded_form() {
    golden::<ComponentAuctionRequest>(
        r#"{"component_ref":"r","component_id":"web","constraints":{"zone":"a"}}"#,
    );
    golden::<ProviderAuctionRequest>(r#"{"provider_ref":"r","provider_id":"kv","constraints":{}}"#);
    golden::<ComponentAuctionAck>(
        r#"{"component_ref":"r","component_id":"r","host_id":"N1","constraints":{}}"#,
    );
    golden::<ProviderAuctionAck>(
        r#"{"host_id":"N1","provider_ref":"r","provider_id":"kv","constraints":{}}"#,
    );
    golden::<ScaleComponentCommand>(
        r#"{"component_ref":"ghcr.io/acme/web:0.3.0","component_id":"web","count":4,
            "host_id":"NDQQ","annotations":{"wasmcloud.dev/managed-by":"wadm"},
            "config":["web-defaults"],"allow_update":false}"#,
    );
    golden::<UpdateComponentCommand>(
        r#"{"component_id":"web","host_id":"N1","new_component_ref":"r:2","annotations":{"a":"b"}}"#,
    );
    golden::<StartProviderCommand>(
        r#"{"provider_id":"kv","provider_ref":"r","host_id":"N1","config":["c"],
            "fence":{"controller":"w1","term":7}}"#,
    );
    golden::<StopProviderCommand>(r#"{"host_id":"N1","provider_id":"kv"}"#);
    golden::<StopHostCommand>(r#"{"host_id":"NDQQ","timeout":2000}"#);
    golden::<HostLabel>(r#"{"key":"rack","value":"7"}"#);
    golden::<HostLabelIdentifier>(r#"{"key":"rack"}"#);
    golden::<DeleteLinkRequest>(
        r#"{"source_id":"web","name":"default","wit_namespace":"wasi","wit_package":"keyvalue"}"#,
    );
    golden::<RegistryCredential>(r#"{"username":"u","password":"p","registryType":"oci"}"#);
    golden::<ConfigServiceResponse>(
        r#"{"registryCredentials":{"ghcr.io":{"token":"t","registryType":"oci"}}}"#,
    );
}

#[test]
fn absent_fields_take_their_defaults() {
    let scale: ScaleComponentCommand = serde_json::from_str(r#"{"component_id":"web"}"#).unwrap();
    assert_eq!(
        (scale.count, scale.allow_update, scale.config.len()),
        (0, false, 0)
    );
    assert_eq!((scale.annotations, scale.fence), (None, None));
    let stop: StopProviderCommand = serde_json::from_str(r#"{"provider_ref":"kv"}"#).unwrap();
    assert_eq!(stop.provider_id, "kv");
    assert_eq!(
        serde_json::from_str::<StopHostCommand>("{}").unwrap(),
        StopHostCommand::default()
    );
    assert!(serde_json::from_str::<ScaleComponentCommand>("{}").is_err());
    assert!(serde_json::from_str::<ScaleComponentCommand>(r#"{"component_id":"a b"}"#).is_err());
    assert!(
        serde_json::from_str::<ComponentAuctionRequest>(r#"{"component_id":"a"}"#).is_err(),
        "constraints are required"
    );
}

#[test]
fn unknown_fields_are_ignored() {
    let label: HostLabelIdentifier =
        serde_json::from_str(r#"{"key":"rack","later":true}"#).unwrap();
    assert_eq!(label.key, "rack");
}

#[test]
fn a_limit_that_is_no_number_counts_as_absent() {
    let scale: ScaleComponentCommand = serde_json::from_str(
        r#"{"component_id":"w","component_limits":{"max_memory_limit":"1024","max_execution_time":"soon"}}"#,
    )
    .unwrap();
    assert_eq!(scale.limit(ScaleComponentCommand::MAX_MEMORY), Some(1024));
    assert_eq!(scale.limit(ScaleComponentCommand::MAX_TIME), None);
}

#[test]
fn built_in_labels_are_known_in_any_case() {
    assert!(is_builtin_label("hostcore.os"));
    assert!(is_builtin_label("HostCore.os"));
    assert!(!is_builtin_label("hostcore"));
    assert!(!is_builtin_label("zone"));
    assert!(!is_builtin_label("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"));
}

#[test]
fn credentials_do_not_show_in_debug_output() {
    let credential = RegistryCredential {
        username: Some("u".into()),
        password: Some("hush".into()),
        ..RegistryCredential::default()
    };
    assert!(!format!("{credential:?}").contains("hush"));
}
