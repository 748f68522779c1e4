//! The application API: upstream's replies and texts, without any host.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may unwrap")]

mod support;

use harness::Nats;
use proto::id::Lattice;
use proto::subject::WadmApi;
use serde_json::json;
use support::{Wadm, ask, ask_subject, deploy, manifest, spread};

#[tokio::test]
async fn an_application_goes_through_its_life_with_upstreams_words() {
    let nats = Nats::start().await.unwrap();
    let _wadm = Wadm::start(&nats, &[]);
    let client = nats.connect().await.unwrap();
    let lattice = Lattice::default();
    let on = |request, body: &'static str| ask(&client, &lattice, request, body);
    let shop = || "shop".to_owned();

    assert_eq!(on(WadmApi::List, "").await, json!([]));
    let put = ask(
        &client,
        &lattice,
        WadmApi::Put,
        &manifest("shop", "v1", "a:1", &spread(2)),
    )
    .await;
    assert_eq!(
        put,
        json!({"result": "created", "total_versions": 1, "current_version": "v1",
               "message": "Successfully put manifest shop ", "name": "shop"})
    );
    let again = ask(
        &client,
        &lattice,
        WadmApi::Put,
        &manifest("shop", "v1", "a:1", &spread(2)),
    )
    .await;
    assert_eq!(
        again,
        json!({"result": "error", "message": "Manifest version v1 already exists"})
    );
    let put = ask(
        &client,
        &lattice,
        WadmApi::Put,
        &manifest("shop", "v2", "a:1", &spread(3)),
    )
    .await;
    assert_eq!(
        (&put["result"], &put["message"]),
        (
            &json!("newversion"),
            &json!("Successfully put manifest shop v1")
        )
    );

    let got = on(WadmApi::Get(shop()), r#"{"version":"v1"}"#).await;
    assert_eq!(got["message"], "Successfully fetched application shop v1");
    assert_eq!(
        got["manifest"]["spec"]["components"][0]["traits"][0]["properties"]["instances"],
        2
    );
    let got = on(WadmApi::Get(shop()), r#"{"version":"v9"}"#).await;
    assert_eq!(
        got,
        json!({"result": "notfound", "message": "Application shop with version v9 doesn't exist"})
    );
    let got = on(WadmApi::Get("nope".into()), "").await;
    assert_eq!(
        got,
        json!({"result": "notfound", "message": "Application with the name nope not found"})
    );

    let status = on(WadmApi::Status(shop()), "").await;
    assert_eq!(status["status"]["status"], json!({"type": "undeployed"}));
    let list = on(WadmApi::GetAll, "").await;
    assert_eq!(list["models"][0]["status"], "undeployed");
    assert_eq!(
        list["models"][0]["detailed_status"]["status"]["type"],
        "waiting"
    );

    let deployed = on(WadmApi::Deploy(shop()), r#"{"version":"v9"}"#).await;
    assert_eq!(
        deployed["message"],
        "Application with the name 'shop' does not have a version 'v9' to deploy"
    );
    let deployed = on(WadmApi::Deploy("nope".into()), "").await;
    assert_eq!(deployed["result"], "notfound");
    let deployed = on(WadmApi::Deploy(shop()), "").await;
    assert_eq!(
        deployed,
        json!({"result": "acknowledged", "message": "Successfully deployed application shop v2", "name": "shop",
               "version": "v2"})
    );
    let versions = on(WadmApi::Versions(shop()), "").await;
    assert_eq!(
        versions["versions"],
        json!([{"version": "v1", "deployed": false}, {"version": "v2", "deployed": true}])
    );
    let list = on(WadmApi::GetAll, "").await;
    assert_eq!(list["message"], "Successfully fetched list of applications");
    assert_eq!(list["models"][0]["deployed_version"], "v2");
    assert_eq!(list["models"][0]["description"], "a test");

    let undeployed = on(WadmApi::Undeploy(shop()), "").await;
    assert_eq!(
        undeployed["message"],
        "Successfully undeployed application shop"
    );
    let undeployed = on(WadmApi::Undeploy(shop()), "{}").await;
    assert_eq!(
        undeployed["message"],
        "Application shop was already undeployed"
    );
    let deleted = on(WadmApi::Delete(shop()), r#"{"version":"v1"}"#).await;
    assert_eq!(
        deleted,
        json!({"result": "deleted", "message": "Successfully deleted version v1 of application shop",
               "undeploy": false})
    );
    let deleted = on(WadmApi::Delete(shop()), "").await;
    assert_eq!(
        deleted,
        json!({"result": "deleted", "message": "Successfully deleted application shop", "undeploy": true})
    );
    let deleted = on(WadmApi::Delete(shop()), "").await;
    assert_eq!(deleted["result"], "noop");
    assert_eq!(on(WadmApi::List, "").await, json!([]));
}

#[tokio::test]
async fn what_is_malformed_gets_an_error_and_nothing_else() {
    let nats = Nats::start().await.unwrap();
    let _wadm = Wadm::start(&nats, &[]);
    let client = nats.connect().await.unwrap();
    for (tail, body, begins) in [
        ("default.model.bogus", "", "Unsupported subject: "),
        (
            "default.model.get.a.b",
            "",
            "Invalid subject: Found extra components of subject",
        ),
        ("default", "", "Unsupported subject: "),
        ("default.model.put", ": : :", "Unable to parse manifest: "),
        ("default.model.put", "[]", "Unable to parse manifest: "),
        ("default.model.get.shop", "{", "Unable to parse the request"),
        (
            "default.model.history.shop",
            "",
            "Model deployment history is not currently supported",
        ),
    ] {
        let prefix = proto::subject::wadm::DEFAULT_API_PREFIX;
        let reply = ask_subject(&client, &format!("{prefix}.{tail}"), body).await;
        assert_eq!(reply["result"], "error", "{tail}: {reply}");
        let message = reply["message"].as_str().unwrap();
        assert!(message.starts_with(begins), "{tail}: {message}");
        assert_eq!(reply.as_object().unwrap().len(), 2, "{reply}");
    }
}

#[tokio::test]
async fn an_id_or_a_port_that_another_application_has_is_refused_with_its_name() {
    let nats = Nats::start().await.unwrap();
    let _wadm = Wadm::start(&nats, &[]);
    let client = nats.connect().await.unwrap();
    let lattice = Lattice::default();
    let app = |name: &str, port: u16| {
        format!(
            "apiVersion: core.oam.dev/v1beta1\nkind: Application\nmetadata: {{name: {name}, annotations: {{}}}}\n\
             spec:\n  components:\n    - name: web\n      type: component\n      properties: {{image: a:1}}\n\
             \x20   - name: http\n      type: capability\n      properties: {{image: h:1}}\n      traits:\n\
             \x20       - type: link\n          properties:\n            namespace: wasi\n            package: http\n\
             \x20           interfaces: [incoming-handler]\n            target: web\n\
             \x20           source: {{config: [{{name: c, properties: {{address: '0.0.0.0:{port}'}}}}]}}\n"
        )
    };
    deploy(&client, &lattice, &app("first", 8080)).await;
    ask(&client, &lattice, WadmApi::Put, &app("second", 8080)).await;
    let refused = ask(&client, &lattice, WadmApi::Deploy("second".into()), "").await;
    assert_eq!(refused["result"], "error");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("application 'first'"),
        "{refused}"
    );
    deploy(&client, &lattice, &app("third", 8081)).await;
}

#[tokio::test]
async fn a_hundred_puts_at_once_are_all_kept() {
    let nats = Nats::start().await.unwrap();
    let _one = Wadm::start(&nats, &[]);
    let _two = Wadm::start(&nats, &[]);
    let client = nats.connect().await.unwrap();
    let lattice = Lattice::default();
    ask(&client, &lattice, WadmApi::List, "").await;
    let puts = (0..100).map(|n| {
        let (client, lattice) = (client.clone(), lattice.clone());
        let text = manifest(
            &format!("app-{}", n % 50),
            &format!("v{n}"),
            "a:1",
            &spread(1),
        );
        async move { ask(&client, &lattice, WadmApi::Put, &text).await }
    });
    for put in futures::future::join_all(puts).await {
        assert_ne!(put["result"], "error", "{put}");
    }
    let list = ask(&client, &lattice, WadmApi::List, "").await;
    assert_eq!(list.as_array().unwrap().len(), 50);
    let versions = ask(&client, &lattice, WadmApi::Versions("app-7".into()), "").await;
    assert_eq!(versions["versions"].as_array().unwrap().len(), 2);
}
