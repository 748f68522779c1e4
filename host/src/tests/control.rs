//! Control requests and their exact answers.

use proto::subject::Ctl;
use serde_json::json;
use tempfile::TempDir;

use super::harness::{Client, Nats, eventually, host, joined};

#[tokio::test(flavor = "multi_thread")]
async fn every_request_gets_the_protocols_answer() {
    let nats = Nats::start();
    let client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &["--label", "zone=a"]).await;
    joined(&host).await;
    let id = host.id().clone();
    let own = |request: fn(proto::HostId) -> Ctl| request(id.clone());
    let link = json!({"source_id": "a", "target": "b", "wit_namespace": "wasi", "wit_package": "keyvalue",
        "interfaces": ["store"]});
    let other = json!({"source_id": "a", "target": "c", "wit_namespace": "wasi", "wit_package": "keyvalue",
        "interfaces": ["store", "batch"]});
    let needy = json!({"source_id": "a", "target": "b", "name": "n", "wit_namespace": "wasi",
        "wit_package": "keyvalue", "interfaces": ["store"], "target_config": ["c9", "SECRET_s"]});
    let key = json!({"source_id": "a", "name": "default", "wit_namespace": "wasi", "wit_package": "keyvalue"});
    let nobody = json!({"source_id": "z", "name": "default", "wit_namespace": "wasi", "wit_package": "keyvalue"});
    let config = || Ctl::PutConfig("c1".parse().expect("a name"));
    for (request, body, success, message) in [
        (
            own(Ctl::UpdateComponent),
            json!({"component_id": "x", "new_component_ref": "r"}),
            false,
            "component x not found",
        ),
        (
            own(Ctl::StopProvider),
            json!({"provider_id": "x"}),
            false,
            "provider with that ID is not running",
        ),
        (
            own(Ctl::PutLabel),
            json!({"key": "rack", "value": "7"}),
            true,
            "successfully put label",
        ),
        (
            own(Ctl::PutLabel),
            json!({"key": "HostCore.os", "value": "x"}),
            false,
            "hostcore.* labels cannot be set dynamically",
        ),
        (
            own(Ctl::DeleteLabel),
            json!({"key": "rack"}),
            true,
            "successfully deleted label",
        ),
        (
            own(Ctl::DeleteLabel),
            json!({"key": "rack"}),
            true,
            "successfully deleted label (no such label)",
        ),
        (
            own(Ctl::StopHost),
            json!({"host_id": "other"}),
            false,
            "invalid host_id [other]",
        ),
        (Ctl::PutLink, link.clone(), true, "successfully set link"),
        (Ctl::PutLink, link, true, "successfully set link"),
        (
            Ctl::PutLink,
            other,
            false,
            "link already exists with different target, consider deleting the existing link \
            or using a different link name",
        ),
        (
            Ctl::PutLink,
            needy,
            false,
            "Failed to validate configuration and secrets. Configuration c9 not found in \
            config store. Secret reference SECRET_s not found in config store. ",
        ),
        (
            Ctl::DeleteLink,
            nobody,
            true,
            "successfully deleted link (spec doesn't exist)",
        ),
        (
            Ctl::DeleteLink,
            key.clone(),
            true,
            "successfully deleted link",
        ),
        (Ctl::DeleteLink, key, true, "successfully deleted link"),
        (config(), json!({"a": "b"}), true, "successfully put config"),
        (
            config(),
            json!({"a": 1}),
            false,
            "config data should be a map of string -> string",
        ),
        (
            Ctl::GetConfig("none".parse().expect("a name")),
            json!(""),
            true,
            "Configuration not found",
        ),
        (
            Ctl::DeleteConfig("none".parse().expect("a name")),
            json!(""),
            true,
            "successfully deleted config",
        ),
        (
            Ctl::PutRegistries,
            json!({"r.example": {"username": "u", "password": "p"}}),
            true,
            "successfully put registries",
        ),
    ] {
        let answer = client.ask(request.clone(), body).await;
        assert_eq!(
            (answer.success, answer.message.as_str()),
            (success, message),
            "{request}"
        );
    }
    let got = client
        .ask(Ctl::GetConfig("c1".parse().expect("a name")), json!(""))
        .await;
    assert_eq!(got.response, Some(json!({"a": "b"})));
    host.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_and_the_host_goes_on() {
    let nats = Nats::start();
    let client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &[]).await;
    joined(&host).await;
    let id = host.id().clone();
    for (request, message) in [
        (
            Ctl::ScaleComponent(id.clone()),
            "failed to deserialize component scale command",
        ),
        (
            Ctl::UpdateComponent(id.clone()),
            "failed to deserialize component update command",
        ),
        (
            Ctl::StartProvider(id.clone()),
            "failed to deserialize provider start command",
        ),
        (
            Ctl::StopProvider(id.clone()),
            "failed to deserialize provider stop command",
        ),
        (
            Ctl::AuctionComponent,
            "failed to deserialize component auction command",
        ),
        (Ctl::PutLink, "failed to deserialize wrpc link definition"),
    ] {
        for body in [
            b"{".to_vec(),
            Vec::new(),
            b"[[[[".to_vec(),
            b"\xff\xfe".to_vec(),
            b"null".to_vec(),
        ] {
            let answer = client.send(request.clone(), body).await;
            assert_eq!(
                (answer.success, answer.message.as_str()),
                (false, message),
                "{request}"
            );
        }
    }
    let subject = format!(
        "{}.a.b",
        proto::subject::CtlSubject::new(
            proto::Lattice::default(),
            Ctl::PutConfig("x".parse().expect("a name"))
        )
    );
    let answer = client
        .nats()
        .request(subject, "{}".into())
        .await
        .expect("an answer");
    assert_eq!(
        answer.payload,
        r#"{"success":false,"message":"unsupported subject"}"#
    );
    assert!(
        client.send(Ctl::PingHosts, Vec::new()).await.success,
        "the host goes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_hosts_that_fit_answer_an_auction() {
    let nats = Nats::start();
    let client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &["--label", "zone=a"]).await;
    joined(&host).await;
    let auction = |zone: &str| json!({"component_ref": "r", "component_id": "web", "constraints": {"zone": zone}});
    let subject = proto::subject::CtlSubject::new(proto::Lattice::default(), Ctl::AuctionComponent)
        .to_string();
    // Silence is shown by the order of answers: the one that does not fit is asked first.
    let inbox = client.nats().new_inbox();
    let mut answers = client
        .nats()
        .subscribe(inbox.clone())
        .await
        .expect("a subscription");
    for zone in ["b", "a"] {
        let body = auction(zone).to_string().into();
        client
            .nats()
            .publish_with_reply(subject.clone(), inbox.clone(), body)
            .await
            .expect("sent");
    }
    let answer = futures::StreamExt::next(&mut answers)
        .await
        .expect("an answer");
    let answer: proto::ctl::CtlResponse =
        serde_json::from_slice(&answer.payload).expect("an envelope");
    let ack = answer.response.expect("an ack");
    assert_eq!(
        (
            ack["component_id"].as_str(),
            ack["constraints"]["zone"].as_str()
        ),
        (Some("web"), Some("a"))
    );
    assert_eq!(ack["host_id"].as_str(), Some(host.id().as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_request_ends_the_host_with_a_goodbye() {
    let nats = Nats::start();
    let mut client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &[]).await;
    joined(&host).await;
    let answer = client
        .ask(Ctl::StopHost(host.id().clone()), json!({"timeout": 2000}))
        .await;
    assert_eq!(
        (answer.success, answer.message.as_str()),
        (true, "successfully handled stop host")
    );
    host.stop_asked().await;
    host.stop().await.expect("a clean end");
    client.event("host_stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_controller_is_refused() {
    let nats = Nats::start();
    let client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &[]).await;
    joined(&host).await;
    let scale = |term: u64| json!({"component_id": "web", "component_ref": "r", "count": 0, "fence": {"controller": "w", "term": term}});
    for (term, accepted) in [(7, true), (6, false), (7, true)] {
        let answer = client
            .ask(Ctl::ScaleComponent(host.id().clone()), scale(term))
            .await;
        assert_eq!(answer.success, accepted, "{}", answer.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_outlives_nats() {
    let mut nats = Nats::stopped();
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &[]).await;
    assert!(!*host.ready().borrow());
    nats.run();
    joined(&host).await;
    for _ in 0..3 {
        let client = Client::of(&nats).await;
        eventually(true, async || {
            let subject =
                proto::subject::CtlSubject::new(proto::Lattice::default(), Ctl::PingHosts)
                    .to_string();
            client.nats().request(subject, "".into()).await.is_ok()
        })
        .await;
        let link = json!({"source_id": "a", "target": "b", "wit_namespace": "wasi", "wit_package": "keyvalue",
            "interfaces": ["store"]});
        assert!(
            client.ask(Ctl::PutLink, link).await.success,
            "records can be written again"
        );
        nats.kill();
        nats.run();
    }
}
