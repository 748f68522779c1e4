//! Commands that talk to hosts and wadm, over a real NATS server with stand-ins that answer.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use common::{Home, Nats, Said, respond};
use serde_json::{Value, json};

const HOST: &str = "NDQQAVZ4UXWLPP7W6MPLQZNZBVK7Y3NJFVZMKUWPL6RWYNQ7V2ZSTEST";

fn ok(response: Value) -> Option<Value> {
    Some(json!({"success": true, "message": "", "response": response}))
}

fn host() -> Value {
    json!({"id": HOST, "friendly_name": "black-ladybug-2424", "labels": {"zone": "a"}, "lattice": "default",
           "uptime_seconds": 37, "uptime_human": "37s", "version": "1.0.0",
           "rpc_host": "nats://127.0.0.1:4222", "ctl_host": "nats://127.0.0.1:4222"})
}

fn inventory() -> Value {
    json!({"host_id": HOST, "friendly_name": "black-ladybug-2424", "labels": {"zone": "a"}, "version": "1.0.0",
           "uptime_human": "37s", "uptime_seconds": 37,
           "components": [{"id": "web", "image_ref": "ghcr.io/acme/web:1", "revision": 0, "max_instances": 4,
                           "limits": null}],
           "providers": [{"id": "kv", "image_ref": "ghcr.io/acme/kv:1", "revision": 0}]})
}

fn links() -> Value {
    let link = |name: &str, target: &str| {
        json!({"source_id": "web", "target": target, "name": name, "wit_namespace": "wasi",
               "wit_package": "keyvalue", "interfaces": ["store"], "source_config": [], "target_config": ["c"]})
    };
    json!([link("default", "kv"), link("cache", "kv2")])
}

/// A host that answers what these tests ask.
async fn stand_in(nats: &Nats) -> async_nats::Client {
    let client = nats.client().await;
    respond(&client, "wasmbus.ctl.v1.default.>".into(), |subject, body| {
        let tail = subject.trim_start_matches("wasmbus.ctl.v1.default.");
        match tail.split('.').take(2).collect::<Vec<_>>().as_slice() {
            ["host", "ping"] => ok(host()),
            ["host", "get"] => ok(inventory()),
            ["link", "get"] => ok(links()),
            ["claims", "get"] => ok(json!([{"sub": "MABC", "name": "web", "version": "1", "rev": "2", "iss": "AABC"}])),
            ["config", "get"] if tail.ends_with(".known") => ok(json!({"a": "b"})),
            ["config", "get"] => Some(json!({"success": true, "message": "Configuration not found"})),
            ["component", "auction"] => ok(json!({"component_ref": "x", "component_id": "x", "host_id": HOST, "constraints": {}})),
            ["component", "update"] => {
                let body: Value = serde_json::from_slice(body).unwrap();
                let id = body["component_id"].as_str().unwrap().to_owned();
                Some(json!({"success": true, "message": format!("component {id} updating")}))
            }
            ["provider", "start"] => Some(json!({"success": false, "message": "provider with that ID is already running"})),
            _ => Some(json!({"success": true, "message": "done"})),
        }
    })
    .await;
    // Scaling is answered at once, and the event follows.
    let events = client.clone();
    respond(&client, "wasmbus.ctl.v1.default.component.scale.*".into(), move |_, body| {
        let body: Value = serde_json::from_slice(body).unwrap();
        let failing = body["component_ref"] == "ghcr.io/acme/broken:1";
        let name = if failing { "component_scale_failed" } else { "component_scaled" };
        let mut data = json!({"annotations": {}, "host_id": HOST, "image_ref": body["component_ref"],
                              "max_instances": body["count"], "component_id": body["component_id"]});
        if failing {
            data["error"] = "401 unauthorized".into();
        }
        let event = json!({"specversion": "1.0", "id": "1", "type": format!("com.wasmcloud.lattice.{name}"),
                           "source": HOST, "datacontenttype": "application/json",
                           "time": "2026-11-22T09:12:31.794853297Z", "data": data});
        let events = events.clone();
        tokio::spawn(async move {
            let subject = format!("wasmbus.evt.default.{name}");
            events.publish(subject, event.to_string().into()).await.unwrap();
            events.flush().await.unwrap();
        });
        None
    })
    .await;
    client
}

async fn run(nats: &Nats, arguments: &[&str]) -> Said {
    let mut arguments: Vec<String> = arguments
        .iter()
        .map(|&argument| argument.to_owned())
        .collect();
    arguments.extend([
        "-p".into(),
        nats.port.to_string(),
        "-t".into(),
        "3000".into(),
    ]);
    tokio::task::spawn_blocking(move || {
        let home = Home::new();
        Said::from(home.command().args(arguments).output().unwrap())
    })
    .await
    .unwrap()
}

async fn run_json(nats: &Nats, arguments: &[&str]) -> Value {
    let said = run(nats, &[arguments, &["-o", "json"]].concat()).await;
    assert_eq!(said.code, 0, "{said:?}");
    let json = said.json();
    assert_eq!(json["success"], true, "{json}");
    json
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_listed_in_upstreams_keys() {
    let nats = Nats::start();
    let _client = stand_in(&nats).await;
    assert_eq!(run_json(&nats, &["get", "hosts"]).await["hosts"][0], host());
    assert_eq!(
        run_json(&nats, &["get", "inventory"]).await["inventories"][0]["components"][0]["id"],
        "web"
    );
    assert_eq!(
        run_json(&nats, &["get", "inventories", "ladybug"]).await["inventories"][0]["host_id"],
        HOST
    );
    assert_eq!(
        run_json(&nats, &["link", "query"]).await["links"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        run_json(&nats, &["get", "claims"]).await["claims"][0]["sub"],
        "MABC"
    );
    let text = run(&nats, &["get", "hosts"]).await;
    assert!(
        text.out.contains("black-ladybug-2424") && text.out.contains("zone=a"),
        "{text:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_the_event_that_tells_how_it_went() {
    let nats = Nats::start();
    let _client = stand_in(&nats).await;
    let started = run_json(
        &nats,
        &[
            "start",
            "component",
            "ghcr.io/acme/web:1",
            "web",
            "--max-instances",
            "4",
        ],
    )
    .await;
    assert_eq!(
        (
            started["host_id"].as_str(),
            started["component_id"].as_str()
        ),
        (Some(HOST), Some("web"))
    );
    let scaled = run_json(
        &nats,
        &[
            "scale",
            "component",
            HOST,
            "ghcr.io/acme/web:1",
            "web",
            "-c",
            "7",
        ],
    )
    .await;
    assert_eq!(scaled["component_ref"], "ghcr.io/acme/web:1");
    let stopped = run_json(&nats, &["stop", "component", "web"]).await;
    assert_eq!(stopped["result"], "Component web stopped");

    let failed = run(
        &nats,
        &[
            "start",
            "component",
            "ghcr.io/acme/broken:1",
            "b",
            "--host-id",
            HOST,
        ],
    )
    .await;
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.err.contains("401 unauthorized"), "{failed:?}");
    let refused = run(
        &nats,
        &[
            "start",
            "provider",
            "ghcr.io/acme/kv:1",
            "kv",
            "--host-id",
            HOST,
        ],
    )
    .await;
    assert!(
        refused
            .err
            .contains("provider with that ID is already running"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_configs_labels_and_updates_answer_in_upstreams_keys() {
    let nats = Nats::start();
    let _client = stand_in(&nats).await;
    let put = run_json(
        &nats,
        &[
            "link",
            "put",
            "web",
            "kv",
            "wasi",
            "keyvalue",
            "--interface",
            "store",
        ],
    )
    .await;
    assert_eq!(
        (put["source_id"].as_str(), put["target"].as_str()),
        (Some("web"), Some("kv"))
    );
    let del = run_json(
        &nats,
        &["link", "del", "web", "wasi", "keyvalue", "-l", "cache"],
    )
    .await;
    assert_eq!(del["link_name"], "cache");
    let several = run(&nats, &["link", "del", "web", "wasi", "keyvalue"]).await;
    assert!(
        several.err.contains("More than one similar link found"),
        "{several:?}"
    );
    let all = run_json(&nats, &["link", "del", "--all", "--force"]).await;
    assert_eq!(all["deleted"], 2);
    assert_eq!(run(&nats, &["link", "del", "--all"]).await.code, 1);

    assert!(run_json(&nats, &["config", "put", "c", "a=b"]).await["message"].is_string());
    let config = run(&nats, &["config", "get", "known", "-o", "json"]).await;
    assert_eq!(config.json(), json!({"a": "b"}));
    let missing = run(&nats, &["config", "get", "unknown"]).await;
    assert!(
        missing.code == 1 && missing.err.contains("Configuration not found"),
        "{missing:?}"
    );
    assert!(
        run_json(&nats, &["secrets", "put", "db", "nats-kv", "prod/db"]).await["message"]
            .is_string()
    );

    let labelled = run_json(&nats, &["label", "ladybug", "zone=b,rack=7"]).await;
    assert_eq!(labelled["processed"], json!([["zone", "b"], ["rack", "7"]]));
    let updated = run_json(&nats, &["update", "component", "web", "ghcr.io/acme/web:2"]).await;
    assert_eq!(updated["result"], "component web updating");
    let stopped = run_json(&nats, &["stop", "host", "ladybug"]).await;
    assert!(stopped["result"].as_str().unwrap().contains(HOST));
}

/// A wadm with one application, `shop`.
async fn wadm(nats: &Nats, status: Value) -> async_nats::Client {
    let client = nats.client().await;
    respond(&client, "wadm.api.default.>".into(), move |subject, body| {
        let tail = subject.trim_start_matches("wadm.api.default.model.");
        Some(match tail {
            "list" => json!([{"name": "shop", "version": "v2", "description": "d", "deployed_version": "v1",
                              "detailed_status": status, "status": "deployed", "status_message": null}]),
            "put" if body.starts_with(b"{") => json!({"result": "created", "total_versions": 1, "current_version": "v1",
                                                      "message": "Successfully put manifest shop ", "name": "shop"}),
            "put" => json!({"result": "error", "message": "Unable to parse manifest: not JSON"}),
            "deploy.shop" => json!({"result": "acknowledged", "message": "m", "name": "shop", "version": "v1"}),
            "status.shop" => json!({"result": "ok", "message": "m", "status": status}),
            "versions.shop" => json!({"result": "success", "message": "m", "versions": [{"version": "v1", "deployed": true}]}),
            "undeploy.shop" => json!({"result": "acknowledged", "message": "m", "name": "shop", "version": null}),
            "del.shop" => json!({"result": "deleted", "message": "Successfully deleted application shop", "undeploy": true}),
            "plan" => json!({"name": "shop", "version": "v2", "changes": [
                {"action": "start", "what": "web", "host_name": "red-fox-1", "text": "start web on red-fox-1: 2"}]}),
            _ => json!({"result": "notfound", "message": "Application with the name x not found", "versions": [], "models": []}),
        })
    })
    .await;
    client
}

const MANIFEST: &str = r"apiVersion: core.oam.dev/v1beta1
kind: Application
metadata:
  name: shop
  annotations: {version: v1}
spec:
  components:
    - name: web
      type: component
      properties: {image: ghcr.io/acme/web:1}
      traits:
        - type: spreadscaler
          properties: {instances: 2}
";

#[tokio::test(flavor = "multi_thread")]
async fn applications_answer_in_upstreams_keys() {
    let nats = Nats::start();
    let _wadm = wadm(
        &nats,
        json!({"status": {"type": "deployed"}, "version": "", "components": []}),
    )
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.wadm.yaml");
    std::fs::write(&file, MANIFEST).unwrap();
    let file = file.to_str().unwrap();

    assert_eq!(
        run_json(&nats, &["app", "list"]).await["applications"][0]["name"],
        "shop"
    );
    let put = run_json(&nats, &["app", "put", file]).await;
    assert_eq!(
        (put["model_name"].as_str(), put["model_version"].as_str()),
        (Some("shop"), Some("v1"))
    );
    let deployed = run_json(&nats, &["app", "deploy", file, "--wait"]).await;
    assert_eq!(
        (
            deployed["deployed"].as_bool(),
            deployed["status"]["status"]["type"].as_str()
        ),
        (Some(true), Some("deployed"))
    );
    assert_eq!(
        run_json(&nats, &["app", "deploy", "shop"]).await["model_version"],
        "v1"
    );
    assert_eq!(
        run_json(&nats, &["app", "status", "shop"]).await["status"]["status"]["type"],
        "deployed"
    );
    assert_eq!(
        run_json(&nats, &["app", "history", "shop"]).await["revisions"][0]["version"],
        "v1"
    );
    assert_eq!(
        run_json(&nats, &["app", "undeploy", file]).await["undeployed_application_names"],
        json!(["shop"])
    );
    assert_eq!(
        run_json(&nats, &["app", "delete", "shop"]).await["deleted"],
        true
    );

    let plan = run(&nats, &["app", "plan", file]).await;
    assert_eq!(plan.code, 2, "{plan:?}");
    assert!(plan.out.contains("start web on red-fox-1: 2"), "{plan:?}");
    let missing = run(&nats, &["app", "history", "x"]).await;
    assert!(
        missing.code == 1 && missing.err.contains("Model not found: x"),
        "{missing:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_is_not_reached_says_so_and_why() {
    let nats = Nats::start();
    let status = json!({"status": {"type": "waiting", "message": "m"}, "version": "", "components": [], "detail": {
        "deployed_version": "v1",
        "components": [{"name": "web", "id": "shop-web", "kind": "component", "image": "x", "desired": 2, "running": 0,
            "unmet": [{"spread": "east", "wanted": 2, "placeable": 0, "requirement": "zone=us-east",
                       "message": "zone=us-east: 0 of 3 hosts; seen: us-west, eu-central"}]}]}});
    let _wadm = wadm(&nats, status).await;
    let said = run(
        &nats,
        &["app", "deploy", "shop", "--wait", "--timeout", "700ms"],
    )
    .await;
    assert_eq!(said.code, 4, "{said:?}");
    assert!(
        said.err
            .contains("Waiting: web: zone=us-east: 0 of 3 hosts; seen: us-west, eu-central"),
        "{said:?}"
    );
    assert!(
        said.err
            .contains("error: application `shop` v1 was accepted, but"),
        "{said:?}"
    );
}
