//! What our host says of itself: events, records, and its answers to nonsense.

use std::collections::HashMap;
use std::time::Duration;

use conformance::{Lab, Result, SETTLED, hello, link, shapes};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_event_stream_carries_our_events() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    let mut events = lab
        .control
        .events_receiver(vec!["config_set".into()])
        .await?;
    lab.nats.flush().await?;
    lab.control.put_config("c1", HashMap::new()).await?;
    let event = tokio::time::timeout(SETTLED, events.recv())
        .await?
        .expect("an event");
    let event = serde_json::to_value(event)?;
    assert_eq!(event["type"], "com.wasmcloud.lattice.config_set");
    assert_eq!(event["source"], lab.host(0));
    assert_eq!(event["data"]["config_name"], "c1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_records_have_their_recorded_shapes() -> Result {
    let mut lab = Lab::start(&[]).await?;
    lab.lattice
        .start_host_with(&["zone=a"], &["--heartbeat-interval-seconds", "1"])
        .await?;
    let (control, host) = (&lab.control, lab.host(0).to_owned());
    lab.event("host_started", |_| true).await?;
    control
        .scale_component(&host, &hello(), "hello", 1, None, vec![], false)
        .await?;
    lab.event("component_scaled", |_| true).await?;
    control
        .scale_component(&host, "file:///none", "bad", 1, None, vec![], false)
        .await?;
    let builtin = "wasmcloud+builtin://keyvalue-memory";
    assert!(
        control
            .start_provider(&host, builtin, "kv", None, vec![])
            .await?
            .succeeded()
    );
    lab.event("provider_started", |_| true).await?;
    control
        .start_provider(&host, "file:///none.par", "gone", None, vec![])
        .await?;
    lab.event("provider_start_failed", |_| true).await?;
    control
        .put_link(link("hello", "kv", "default", &["store"]))
        .await?;
    control
        .put_link(link("hello", "kv2", "default", &["store"]))
        .await?;
    lab.event("linkdef_set_failed", |_| true).await?;
    let key = proto::subject::RecordKey::Component(proto::ComponentId::new("hello")?);
    let bucket = proto::subject::bucket::lattice_data(&lab.name()?);
    let store = async_nats::jetstream::new(lab.nats.clone())
        .get_key_value(bucket)
        .await?;
    let record = store.get(key.to_string()).await?.expect("a record");
    let record: Value = serde_json::from_slice(&record)?;
    assert_eq!(shapes::component_record(&record), Vec::<String>::new());
    assert_eq!(
        (&record["url"], record["links"].as_array().map(Vec::len)),
        (&hello().into(), Some(1))
    );
    control
        .delete_link("hello", "default", "wasi", "keyvalue")
        .await?;
    control.put_config("c", HashMap::new()).await?;
    control.delete_config("c").await?;
    control.put_label(&host, "rack", "7").await?;
    assert!(control.stop_provider(&host, "kv").await?.succeeded());
    let answer = control.stop_provider(&host, "kv").await?;
    assert_eq!(answer.message(), "provider with that ID is not running");
    lab.event("host_heartbeat", |data| {
        data["components"].as_array().is_some_and(|l| !l.is_empty())
    })
    .await?;
    control.stop_host(&host, None).await?;
    lab.event("host_stopped", |_| true).await?;
    let mut seen = std::collections::BTreeSet::new();
    for event in lab.events.all() {
        let wrong = shapes::event(&event);
        assert!(wrong.is_empty(), "{wrong:?} in {event}");
        let kind = event["type"].as_str().unwrap_or_default();
        seen.insert(kind.rsplit('.').next().unwrap_or_default().to_owned());
    }
    let missing: Vec<&str> = shapes::event_names()
        .filter(|name| !name.starts_with("health_check") && !seen.contains(*name))
        .collect();
    assert!(missing.is_empty(), "never announced: {missing:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_and_the_host_goes_on() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    let base =
        proto::subject::ctl::every_request(proto::subject::ctl::DEFAULT_PREFIX, &lab.name()?);
    let base = base.trim_end_matches('>');
    let host = lab.host(0);
    for (tail, body) in [
        (format!("component.scale.{host}"), "not json"),
        (format!("component.scale.{host}"), "{}"),
        (
            format!("component.scale.{host}"),
            r#"{"component_id":"a b"}"#,
        ),
        (format!("component.bogus.{host}"), "{}"),
        (format!("provider.start.{host}"), "[1,2"),
        ("link.put".to_owned(), r#"{"source_id":1}"#),
        ("link.bogus".to_owned(), ""),
        ("config.put.c".to_owned(), r#"{"a":1}"#),
        ("config.put.a.b".to_owned(), "{}"),
        (format!("label.put.{host}"), "\u{1}"),
    ] {
        let request = lab
            .nats
            .request(format!("{base}{tail}"), body.to_owned().into());
        let reply = tokio::time::timeout(Duration::from_secs(10), request).await??;
        let reply: Value = serde_json::from_slice(&reply.payload)?;
        assert_eq!(reply["success"], false, "{tail} {body}: {reply}");
        assert!(
            !reply["message"].as_str().unwrap_or_default().is_empty(),
            "{tail} {body}"
        );
    }
    assert_eq!(lab.control.get_hosts().await?.len(), 1);
    Ok(())
}
