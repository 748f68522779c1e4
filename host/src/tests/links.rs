//! Links and configs under many writers.

use std::collections::BTreeSet;

use proto::subject::{Ctl, RecordKey, bucket};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{Client, Nats, eventually, host, joined};

const COUNT: usize = 100;

async fn names(client: &Client) -> BTreeSet<String> {
    let answer = client.send(Ctl::GetLinks, Vec::new()).await;
    let links = answer.response.expect("links");
    let name = |link: &Value| link["name"].as_str().unwrap_or_default().to_owned();
    links.as_array().expect("a list").iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_links_put_at_once_are_all_there() {
    let nats = Nats::start();
    let client = Client::of(&nats).await;
    let dirs = [
        TempDir::new().expect("a directory"),
        TempDir::new().expect("a directory"),
    ];
    let hosts = [
        host(&nats, dirs[0].path(), &[]).await,
        host(&nats, dirs[1].path(), &[]).await,
    ];
    for host in &hosts {
        joined(host).await;
    }
    let puts = (0..COUNT).map(|number| {
        client.ask(
            Ctl::PutLink,
            json!({"source_id": "web", "target": "kv", "name": format!("l{number}"),
            "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["store"]}),
        )
    });
    for answer in futures::future::join_all(puts).await {
        assert!(answer.success, "{}", answer.message);
    }
    let all: BTreeSet<_> = (0..COUNT).map(|number| format!("l{number}")).collect();
    // Either host may answer: both must come to know all.
    for _ in 0..4 {
        eventually(all.clone(), async || names(&client).await).await;
    }
    let deletes = (0..COUNT).map(|number| {
        client.ask(
            Ctl::DeleteLink,
            json!({"source_id": "web", "name": format!("l{number}"),
            "wit_namespace": "wasi", "wit_package": "keyvalue"}),
        )
    });
    for answer in futures::future::join_all(deletes).await {
        assert!(answer.success, "{}", answer.message);
    }
    for _ in 0..4 {
        eventually(BTreeSet::new(), async || names(&client).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_other_programs_count_and_their_fields_are_kept() {
    let nats = Nats::start();
    let client = Client::of(&nats).await;
    let js = async_nats::jetstream::new(client.nats().clone());
    let lattice = proto::Lattice::default();
    let config = async_nats::jetstream::kv::Config {
        bucket: bucket::lattice_data(&lattice),
        ..async_nats::jetstream::kv::Config::default()
    };
    let store = js.create_key_value(config).await.expect("a bucket");
    let key = RecordKey::Component("web".parse().expect("an id")).to_string();
    let record = json!({"url": "r", "later": {"x": 1}, "links": [{"source_id": "web", "target": "kv",
        "wit_namespace": "a", "wit_package": "b", "interfaces": ["c"], "newer": true}]});
    store
        .put(&key, record.to_string().into())
        .await
        .expect("written");
    store.put("nonsense", "{".into()).await.expect("written");
    store
        .put("COMPONENT_bad", "{".into())
        .await
        .expect("written");

    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &[]).await;
    joined(&host).await;
    assert_eq!(
        names(&client).await,
        BTreeSet::from(["default".to_owned()]),
        "read at start"
    );
    let link = json!({"source_id": "web", "target": "kv", "name": "two", "wit_namespace": "a", "wit_package": "b",
        "interfaces": ["c"]});
    assert!(client.ask(Ctl::PutLink, link).await.success);
    let stored = store.get(&key).await.expect("read").expect("a record");
    let stored: Value = serde_json::from_slice(&stored).expect("JSON");
    assert_eq!(
        (
            &stored["later"]["x"],
            &stored["links"][0]["newer"],
            &stored["url"]
        ),
        (&json!(1), &json!(true), &json!("r"))
    );
    let links = json!({"url": "r", "links": []});
    store
        .put(&key, links.to_string().into())
        .await
        .expect("written");
    eventually(BTreeSet::new(), async || names(&client).await).await;
}
