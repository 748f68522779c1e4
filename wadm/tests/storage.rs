//! Buckets, streams and leases on a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may unwrap")]

mod support;

use std::time::Duration;

use clap::Parser as _;
use harness::Nats;
use proto::id::Lattice;
use proto::subject::WadmApi;
use proto::subject::wadm::{CONTROL_BUCKET, MANIFEST_BUCKET};
use serde_json::json;
use support::{DEADLINE, Wadm, ask, manifest, spread};
use tokio_util::sync::CancellationToken;
use wadm::lease::{Leadership, Lease};
use wadm::nats::connect;
use wadm::store::{Bucket, ensure_bucket};

async fn open(url: &str, more: &[&str]) -> wadm::nats::Nats {
    let mut line = vec!["wadm", "-s", url];
    line.extend_from_slice(more);
    let args = wadm::Args::try_parse_from(line).unwrap().serve;
    connect(&args.nats, "test", &CancellationToken::new())
        .await
        .unwrap()
}

fn bucket(name: &str, replicas: usize) -> Bucket {
    Bucket {
        name: name.into(),
        replicas,
        max_bytes: -1,
        storage: async_nats::jetstream::stream::StorageType::File,
    }
}

#[tokio::test]
async fn manifests_are_stored_in_upstreams_layout_and_upstreams_are_read() {
    let nats = Nats::start().await.unwrap();
    let client = nats.connect().await.unwrap();
    let js = async_nats::jetstream::new(client.clone());
    // A bucket as an operator or upstream made it, with more history than ours, is taken as it is.
    let kv = js
        .create_key_value(async_nats::jetstream::kv::Config {
            bucket: MANIFEST_BUCKET.into(),
            history: 3,
            ..Default::default()
        })
        .await
        .unwrap();
    let theirs = json!({"manifests": {"v1": {"apiVersion": "core.oam.dev/v1beta1", "kind": "Application",
        "metadata": {"name": "old-shop", "annotations": {"version": "v1"}}, "spec": {"components": []},
        "future": true}}, "deployed_version": null});
    kv.put("east-1-old-shop", theirs.to_string().into())
        .await
        .unwrap();
    kv.put("east-1", r#"["old-shop"]"#.into()).await.unwrap();

    let _wadm = Wadm::start(&nats, &[]);
    let lattice = Lattice::new("east-1").unwrap();
    let got = ask(&client, &lattice, WadmApi::Get("old-shop".into()), "").await;
    assert_eq!(
        got["manifest"]["future"], true,
        "what we do not know comes back"
    );
    ask(
        &client,
        &lattice,
        WadmApi::Put,
        &manifest("a-shop", "v2", "a:1", &spread(1)),
    )
    .await;
    let names = kv.get("east-1").await.unwrap().unwrap();
    assert_eq!(&names[..], br#"["a-shop","old-shop"]"#);
    let ours = kv.get("east-1-a-shop").await.unwrap().unwrap();
    let ours: serde_json::Value = serde_json::from_slice(&ours).unwrap();
    assert_eq!(ours["deployed_version"], json!(null));
    assert!(ours["manifests"]["v2"]["metadata"].is_object());
    ask(&client, &lattice, WadmApi::Delete("a-shop".into()), "").await;
    assert!(kv.get("east-1-a-shop").await.unwrap().is_none());
    assert_eq!(kv.status().await.unwrap().history(), 3);
}

#[tokio::test]
async fn a_refusal_by_nats_names_what_is_missing() {
    let config = r#"
        authorization { users: [
          {user: full, password: p},
          {user: poor, password: p, permissions: {publish: {deny: ["$JS.API.STREAM.CREATE.>"]}}}
        ] }"#;
    let nats = Nats::start_with(Some(config.into())).await.unwrap();
    let url = |user: &str| format!("nats://{user}:p@127.0.0.1:{}", nats.port());
    let poor = open(&url("poor"), &[]).await;
    let error = ensure_bucket(&poor, &bucket("b", 1))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot use bucket `b`"), "{error}");
    assert!(
        error.to_lowercase().contains("permissions violation"),
        "{error}"
    );
    assert!(error.contains("STREAM.CREATE"), "{error}");

    let full = open(&url("full"), &[]).await;
    let error = ensure_bucket(&full, &bucket("b", 3))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("--replicas 1"), "{error}");
    ensure_bucket(&full, &bucket("b", 1)).await.unwrap();
    // Once it exists, nobody needs the permission to make it.
    ensure_bucket(&poor, &bucket("b", 1)).await.unwrap();

    let nowhere = open(&url("full"), &["--js-domain", "nowhere"]).await;
    let error = ensure_bucket(&nowhere, &bucket("b", 1))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("domain `nowhere`"), "{error}");
}

#[tokio::test]
async fn one_leader_at_a_time_and_the_next_has_a_higher_term() {
    let nats = Nats::start().await.unwrap();
    let connection = open(&nats.url(), &[]).await;
    let kv = ensure_bucket(&connection, &bucket(CONTROL_BUCKET, 1))
        .await
        .unwrap();
    let time = Duration::from_secs(2);
    let lease = |name: &str| Lease::new(kv.clone(), Lattice::default(), name.into(), time);
    let (mut a, mut b) = (lease("a"), lease("b"));
    a.tick().await.unwrap();
    b.tick().await.unwrap();
    let first = a
        .leadership()
        .acting_term()
        .expect("the first takes the free lease");
    assert_eq!(
        b.leadership(),
        Leadership::Standby {
            holder: Some("a".into())
        }
    );

    // Given back: the other need not wait.
    a.release().await;
    b.tick().await.unwrap();
    let second = b
        .leadership()
        .acting_term()
        .expect("a free lease is taken at once");
    assert!(second > first);

    // Silent: the other waits for a whole lease time, on its own clock, and by then b must not act.
    a.tick().await.unwrap();
    assert_eq!(
        a.leadership(),
        Leadership::Standby {
            holder: Some("b".into())
        }
    );
    let a = tokio::sync::Mutex::new(a);
    let third = harness::eventually("a takes over", DEADLINE, || async {
        let mut a = a.lock().await;
        a.tick().await?;
        a.leadership()
            .acting_term()
            .ok_or_else(|| anyhow::anyhow!("not yet"))
    })
    .await
    .unwrap();
    assert!(third > second);
    assert_eq!(
        b.leadership().acting_term(),
        None,
        "the old leader's time ended before"
    );
    b.tick().await.unwrap();
    assert_eq!(b.leadership().acting_term(), None);
}
