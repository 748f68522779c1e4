use super::*;
use crate::test::golden;

#[test]
fn every_kind_of_data_has_its_recorded_form() {
    golden::<HostStarted>(
        r#"{"friendly_name":"f","labels":{"a":"b"},"uptime_seconds":0,"version":"1.9.2"}"#,
    );
    golden::<HostStopped>(r#"{"labels":{}}"#);
    golden::<ComponentScaled>(
        r#"{"annotations":{},"host_id":"N1","image_ref":"file:///w.wasm","max_instances":4,"component_id":"w"}"#,
    );
    golden::<ComponentScaled>(
        r#"{"public_key":"M1","claims":{"call_alias":null,"issuer":"A1","tags":["t"],"name":"w",
            "version":"1","revision":3,"not_before_human":"never","expires_human":"never"},
            "annotations":{"a":"b"},"host_id":"N1","image_ref":"r","max_instances":0,"component_id":"w"}"#,
    );
    golden::<ComponentScaleFailed>(
        r#"{"annotations":{},"host_id":"N1","image_ref":"r","max_instances":1,"component_id":"w","error":"e"}"#,
    );
    golden::<ProviderStarted>(
        r#"{"annotations":{"wasmcloud.dev/appspec":"shop"},
            "claims":{"expires_human":"never","issuer":"ACZR","name":"kv","not_before_human":"never","tags":null,"version":"0.4.1"},
            "host_id":"NDQQ","image_ref":"ghcr.io/wasmcloud/keyvalue-nats:0.4.1","instance_id":"shop-kv",
            "link_name":"default","provider_id":"shop-kv","public_key":"shop-kv"}"#,
    );
    golden::<ProviderStartFailed>(
        r#"{"provider_ref":"file:///x","provider_id":"kv","host_id":"N1","error":"e","link_name":"default"}"#,
    );
    golden::<ProviderStopped>(
        r#"{"host_id":"N1","provider_id":"kv","annotations":{},"reason":"stop","instance_id":"kv",
            "public_key":"kv","link_name":"default"}"#,
    );
    golden::<HealthCheckPassed>(r#"{"host_id":"N1","provider_id":"kv"}"#);
    golden::<LinkdefSet>(
        r#"{"source_id":"a","target":"b","name":"default","wit_namespace":"n","wit_package":"p",
            "interfaces":["i"],"source_config":[],"target_config":["c"]}"#,
    );
    golden::<LinkdefSetFailed>(
        r#"{"source_id":"a","target":"b","name":"default","wit_namespace":"n","wit_package":"p",
            "interfaces":["i"],"source_config":[],"target_config":[],"error":"no"}"#,
    );
    golden::<LinkdefDeleted>(
        r#"{"source_id":"a","name":"default","wit_namespace":"n","wit_package":"p"}"#,
    );
    golden::<LinkdefDeleted>(
        r#"{"source_id":"a","name":"default","wit_namespace":"n","wit_package":"p","target":"b","interfaces":["i"]}"#,
    );
    golden::<ConfigSet>(r#"{"config_name":"c1"}"#);
    golden::<LabelsChanged>(r#"{"host_id":"N1","labels":{"a":"b"}}"#);
}

const RECORDED: &str = r#"{"specversion":"1.0","id":"01a20287-4f32-8d38-c50e-2efed9e24ede",
    "type":"com.wasmcloud.lattice.config_set","source":"NDQQ",
    "datacontenttype":"application/json","time":"2026-11-22T09:12:31.794853297Z",
    "data":{"config_name":"c1"}}"#;

#[test]
fn an_event_has_its_recorded_form() {
    let event = CloudEvent::parse(RECORDED.as_bytes()).unwrap();
    assert_eq!(event.source, "NDQQ");
    assert_eq!(event.event.name(), "config_set");
    let written: Value = serde_json::from_slice(&event.to_bytes()).unwrap();
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    assert_eq!(written, recorded);
    let subject = event.event.subject(&Lattice::default());
    assert_eq!(subject.to_string(), "wasmbus.evt.default.config_set");
}

#[test]
fn an_event_of_another_kind_can_be_skipped() {
    for kind in ["com.wasmcloud.lattice.later", "com.wadm.manifest_published"] {
        let text = RECORDED.replace("com.wasmcloud.lattice.config_set", kind);
        assert!(CloudEvent::parse(text.as_bytes()).unwrap_err().is_unknown());
    }
    let text = RECORDED.replace("config_name", "other");
    assert!(!CloudEvent::parse(text.as_bytes()).unwrap_err().is_unknown());
    assert!(CloudEvent::parse(b"[]").is_err());
}

#[test]
fn a_heartbeat_is_an_inventory() {
    let text = RECORDED.replace("config_set", "host_heartbeat").replace(
        r#"{"config_name":"c1"}"#,
        r#"{"components":[],"providers":[]}"#,
    );
    let event = CloudEvent::parse(text.as_bytes()).unwrap().event;
    assert!(matches!(event, Event::HostHeartbeat(inventory) if inventory.components.is_empty()));
}

#[test]
fn an_event_id_is_a_ulid_in_the_form_of_a_uuid() {
    let ulid = Ulid::from(0x01a2_0287_4f32_8d38_c50e_2efe_d9e2_4ede_u128);
    assert_eq!(id_from(ulid), "01a20287-4f32-8d38-c50e-2efed9e24ede");
    assert_ne!(new_id(), new_id());
}
