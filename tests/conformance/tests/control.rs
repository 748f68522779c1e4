//! Hosts, components and labels by every call of the published control client, against our host.

use std::collections::HashMap;

use conformance::{Lab, Result, SETTLED, counter, hello, map};
use harness::eventually;
use serde_json::Value;
use wasmcloud_control_interface::RegistryCredential;

#[tokio::test(flavor = "multi_thread")]
async fn hosts_answer_pings_and_show_their_inventory() -> Result {
    let lab = Lab::start(&[&["zone=a"], &["zone=b"]]).await?;
    let hosts = lab.control.get_hosts().await?;
    assert_eq!(hosts.len(), 2);
    for answer in hosts {
        assert!(answer.succeeded());
        let host = answer.into_data().expect("a host");
        assert_eq!(host.lattice(), lab.lattice.name);
        assert!(
            host.id().starts_with('N') && host.id().len() == 56,
            "{}",
            host.id()
        );
        for label in ["hostcore.arch", "hostcore.os", "hostcore.osfamily", "zone"] {
            assert!(host.labels().contains_key(label), "{label}");
        }
        assert!(!host.friendly_name().is_empty());
        assert!(
            host.version()
                .is_some_and(|version| version.split('.').count() >= 3)
        );
        assert!(host.uptime_human().is_some());
        let inventory = lab.control.get_host_inventory(host.id()).await?;
        let inventory = inventory.into_data().expect("an inventory");
        assert_eq!(inventory.host_id(), host.id());
        assert_eq!(inventory.labels(), host.labels());
        assert!(inventory.components().is_empty() && inventory.providers().is_empty());
    }
    assert!(lab.control.get_host_inventory("NOBODY").await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_suitable_hosts_answer_auctions() -> Result {
    let lab = Lab::start(&[&["zone=a"], &["zone=b"]]).await?;
    let control = &lab.control;
    for (labels, hosts) in [
        (map(&[("zone", "a")]), vec![lab.host(0)]),
        (map(&[("zone", "c")]), vec![]),
        (map(&[("zone", "a"), ("hostcore.os", "plan9")]), vec![]),
    ] {
        let acks = control
            .perform_component_auction(&hello(), "hello", labels.clone())
            .await?;
        let found: Vec<String> = acks
            .into_iter()
            .filter_map(|ack| ack.into_data().map(|ack| ack.host_id().to_owned()))
            .collect();
        assert_eq!(found, hosts);
        let acks = control
            .perform_provider_auction("r/p:1", "kv", labels)
            .await?;
        let found: Vec<String> = acks
            .into_iter()
            .filter_map(|ack| ack.into_data().map(|ack| ack.host_id().to_owned()))
            .collect();
        assert_eq!(found, hosts);
    }
    let acks = control
        .perform_component_auction(&hello(), "hello", map(&[]))
        .await?;
    assert_eq!(acks.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_scaled_up_resized_and_stopped() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    let (control, host) = (&lab.control, lab.host(0));
    let first = map(&[("wasmcloud.dev/managed-by", "test")]);
    let answer = control
        .scale_component(
            host,
            &hello(),
            "hello",
            3,
            Some(first.clone()),
            vec![],
            false,
        )
        .await?;
    assert!(answer.succeeded());
    assert_eq!(answer.message(), "");
    let scaled = lab
        .event("component_scaled", |data| data["max_instances"] == 3)
        .await?;
    assert_eq!(scaled["component_id"], "hello");
    assert_eq!(scaled["image_ref"], hello());
    assert_eq!(scaled["annotations"]["wasmcloud.dev/managed-by"], "test");
    assert!(
        scaled.get("claims").is_none(),
        "an unsigned component shows no claims"
    );
    let inventory = control
        .get_host_inventory(host)
        .await?
        .into_data()
        .expect("an inventory");
    let running = &inventory.components()[0];
    assert_eq!((running.id(), running.max_instances()), ("hello", 3));
    assert_eq!(running.image_ref(), hello());
    assert_eq!(running.annotations(), Some(&first));
    assert_eq!(running.name(), None);

    // Another count stores the new annotations and announces the old ones.
    let second = map(&[("wasmcloud.dev/managed-by", "another")]);
    control
        .scale_component(
            host,
            &hello(),
            "hello",
            7,
            Some(second.clone()),
            vec![],
            false,
        )
        .await?;
    let scaled = lab
        .event("component_scaled", |data| data["max_instances"] == 7)
        .await?;
    assert_eq!(scaled["annotations"]["wasmcloud.dev/managed-by"], "test");
    let inventory = control
        .get_host_inventory(host)
        .await?
        .into_data()
        .expect("an inventory");
    assert_eq!(inventory.components()[0].annotations(), Some(&second));

    control
        .scale_component(host, &hello(), "hello", 0, None, vec![], false)
        .await?;
    let stopped = lab
        .event("component_scaled", |data| data["max_instances"] == 0)
        .await?;
    assert_eq!(
        stopped["annotations"]["wasmcloud.dev/managed-by"],
        "another"
    );
    let inventory = control
        .get_host_inventory(host)
        .await?
        .into_data()
        .expect("an inventory");
    assert!(inventory.components().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_image_is_taken_by_an_update_only() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    let (control, host) = (&lab.control, lab.host(0));
    let answer = control
        .update_component(host, "web", &hello(), None)
        .await?;
    assert!(!answer.succeeded());
    assert_eq!(answer.message(), "component web not found");
    control
        .scale_component(host, &hello(), "web", 2, None, vec![], false)
        .await?;
    lab.event("component_scaled", |data| data["max_instances"] == 2)
        .await?;
    let answer = control
        .scale_component(host, &counter(), "web", 2, None, vec![], false)
        .await?;
    assert!(answer.succeeded());
    assert!(
        answer
            .message()
            .starts_with("Requested to scale existing component to a different image")
    );
    let inventory = control
        .get_host_inventory(host)
        .await?
        .into_data()
        .expect("an inventory");
    assert_eq!(inventory.components()[0].image_ref(), hello());

    let answer = control
        .update_component(host, "web", &hello(), None)
        .await?;
    assert!(answer.succeeded());
    assert_eq!(
        answer.message(),
        format!("component web already updated to {}", hello())
    );
    let answer = control
        .update_component(host, "web", &counter(), None)
        .await?;
    assert!(answer.succeeded());
    assert_eq!(
        answer.message(),
        format!("component web updating from {} to {}", hello(), counter())
    );
    eventually("the new image", SETTLED, || async {
        let answer = control
            .get_host_inventory(host)
            .await
            .map_err(anyhow::Error::from_boxed)?;
        let inventory = answer.into_data().expect("an inventory");
        let running = &inventory.components()[0];
        anyhow::ensure!(
            running.image_ref() == counter(),
            "runs {}",
            running.image_ref()
        );
        anyhow::ensure!(running.max_instances() == 2);
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_cannot_start_is_announced_with_its_reason() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    let (control, host) = (&lab.control, lab.host(0));
    let marks = map(&[("a", "b")]);
    let answer = control
        .scale_component(
            host,
            "file:///no/such/file.wasm",
            "gone",
            1,
            Some(marks),
            vec![],
            false,
        )
        .await?;
    assert!(
        answer.succeeded(),
        "a scale request is accepted; the outcome is an event"
    );
    let failed = lab
        .event("component_scale_failed", |data| {
            data["component_id"] == "gone"
        })
        .await?;
    assert_eq!(failed["annotations"]["a"], "b");
    assert!(!failed["error"].as_str().unwrap_or_default().is_empty());
    control
        .scale_component(
            host,
            &hello(),
            "bare",
            1,
            None,
            vec!["nothing".into()],
            false,
        )
        .await?;
    let failed = lab
        .event("component_scale_failed", |data| {
            data["component_id"] == "bare"
        })
        .await?;
    let error = failed["error"].as_str().unwrap_or_default();
    assert!(error.contains("nothing"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_change_while_a_host_runs() -> Result {
    let lab = Lab::start(&[&["zone=a"]]).await?;
    let (control, host) = (&lab.control, lab.host(0));
    let answer = control.put_label(host, "rack", "7").await?;
    assert!(answer.succeeded());
    let changed = lab
        .event("labels_changed", |data| data["labels"]["rack"] == "7")
        .await?;
    assert_eq!(changed["labels"]["zone"], "a");
    let inventory = control
        .get_host_inventory(host)
        .await?
        .into_data()
        .expect("an inventory");
    assert_eq!(
        inventory.labels().get("rack").map(String::as_str),
        Some("7")
    );
    let answer = control.put_label(host, "hostcore.os", "plan9").await?;
    assert!(!answer.succeeded());
    assert!(control.delete_label(host, "rack").await?.succeeded());
    lab.event("labels_changed", |data| {
        data["labels"].get("rack").is_none()
    })
    .await?;
    let answer = control.delete_label(host, "rack").await?;
    assert!(answer.succeeded());
    assert!(
        answer.message().contains("no such label"),
        "{}",
        answer.message()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_credentials_are_taken() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    let credential = RegistryCredential::from_username_password("u", "p", "oci");
    let registries = HashMap::from([("ghcr.io".to_owned(), credential)]);
    assert!(
        lab.control
            .put_registries(registries.clone())
            .await?
            .succeeded()
    );
    let subject = proto::subject::CtlSubject::new(lab.name()?, proto::subject::Ctl::PutRegistries);
    let body = serde_json::to_vec(&registries)?;
    let reply = lab.nats.request(subject.to_string(), body.into()).await?;
    let reply: Value = serde_json::from_slice(&reply.payload)?;
    assert_eq!(reply["success"], true);
    assert_eq!(reply["message"], "successfully put registries");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_a_signed_component_are_listed() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    let wasm = std::fs::read(hello().trim_start_matches("file://"))?;
    let (module, issuer) = (nkeys::KeyPair::new_module(), nkeys::KeyPair::new_account());
    let key = module.public_key();
    let signed = wascap::wasm::sign_buffer_with_claims(
        "Hello".into(),
        wasm,
        &module,
        &issuer,
        None,
        None,
        vec!["tag".into()],
        false,
        Some(3),
        Some("0.3.0".into()),
        None,
    )?;
    let file = lab.lattice.folder().join("signed.wasm");
    std::fs::write(&file, signed)?;
    let image = format!("file://{}", file.display());
    lab.control
        .scale_component(lab.host(0), &image, "signed", 1, None, vec![], false)
        .await?;
    let scaled = lab
        .event("component_scaled", |data| data["component_id"] == "signed")
        .await?;
    assert_eq!(scaled["public_key"], key);
    assert_eq!(scaled["claims"]["name"], "Hello");
    assert_eq!(scaled["claims"]["expires_human"], "never");
    let claims = eventually("the claims", SETTLED, || async {
        let answer = lab
            .control
            .get_claims()
            .await
            .map_err(anyhow::Error::from_boxed)?;
        answer
            .into_data()
            .unwrap_or_default()
            .into_iter()
            .find(|claims| claims.get("sub") == Some(&key))
            .ok_or_else(|| anyhow::anyhow!("not listed"))
    })
    .await?;
    for field in [
        "call_alias",
        "iss",
        "issuer",
        "name",
        "rev",
        "revision",
        "sub",
        "subject",
        "tags",
        "version",
    ] {
        assert!(claims.contains_key(field), "{field}: {claims:?}");
    }
    assert_eq!(
        (claims["revision"].as_str(), claims["tags"].as_str()),
        ("3", "tag")
    );
    let inventory = lab
        .control
        .get_host_inventory(lab.host(0))
        .await?
        .into_data()
        .expect("one");
    assert_eq!(inventory.components()[0].name(), Some("Hello"));
    assert_eq!(inventory.components()[0].revision(), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_stops_when_told_and_says_goodbye() -> Result {
    let mut lab = Lab::start(&[&["zone=a"]]).await?;
    let host = lab.host(0).to_owned();
    let wrong = proto::subject::Ctl::StopHost(proto::HostId::new(host.clone())?);
    let subject = proto::subject::CtlSubject::new(lab.name()?, wrong);
    let reply = lab
        .nats
        .request(subject.to_string(), r#"{"host_id":"NOTHER"}"#.into())
        .await?;
    let reply: Value = serde_json::from_slice(&reply.payload)?;
    assert_eq!(reply["success"], false, "another host's id is refused");
    let answer = lab.control.stop_host(&host, Some(5000)).await?;
    assert!(answer.succeeded());
    let stopped = lab.event("host_stopped", |_| true).await?;
    assert_eq!(stopped["labels"]["zone"], "a");
    lab.lattice.hosts[0].process.ended(SETTLED).await?;
    assert!(lab.control.get_hosts().await?.is_empty());
    Ok(())
}
