//! Links and configurations by the published control client.

use std::collections::HashMap;

use conformance::{Lab, Result, SETTLED, link};
use harness::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn links_are_put_listed_and_deleted() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    let control = &lab.control;
    let put = link("web", "kv", "default", &["store", "atomics"]);
    let answer = control.put_link(put.clone()).await?;
    assert!(answer.succeeded(), "{}", answer.message());
    let set = lab
        .event("linkdef_set", |data| data["source_id"] == "web")
        .await?;
    assert_eq!(set["target"], "kv");
    eventually("the link", SETTLED, || async {
        let links = control
            .get_links()
            .await
            .map_err(anyhow::Error::from_boxed)?;
        let links = links.into_data().unwrap_or_default();
        anyhow::ensure!(links.len() == 1 && links[0] == put, "{links:?}");
        Ok(())
    })
    .await?;

    let answer = control
        .put_link(link("web", "other", "default", &["store"]))
        .await?;
    assert!(
        !answer.succeeded(),
        "one interface cannot lead to two targets"
    );
    assert!(
        answer
            .message()
            .contains("link already exists with different target")
    );
    lab.event("linkdef_set_failed", |data| data["target"] == "other")
        .await?;
    let bad = wasmcloud_control_interface::Link::builder()
        .source_id("web")
        .target("kv2")
        .name("spare")
        .wit_namespace("wasi")
        .wit_package("keyvalue")
        .interfaces(vec!["store".into()])
        .target_config(vec!["nothing".into()])
        .build()?;
    let answer = control.put_link(bad).await?;
    assert!(!answer.succeeded());
    assert!(
        answer.message().contains("Configuration nothing not found"),
        "{}",
        answer.message()
    );

    let answer = control
        .delete_link("web", "default", "wasi", "keyvalue")
        .await?;
    assert!(answer.succeeded());
    let deleted = lab
        .event("linkdef_deleted", |data| data["source_id"] == "web")
        .await?;
    assert_eq!(deleted["target"], "kv");
    let answer = control
        .delete_link("nobody", "default", "wasi", "keyvalue")
        .await?;
    assert!(
        answer.succeeded(),
        "deleting what does not exist is no error"
    );
    assert!(
        control
            .get_links()
            .await?
            .into_data()
            .unwrap_or_default()
            .is_empty()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_links_of_one_source_lose_none() -> Result {
    let lab = Lab::start(&[&[], &[]]).await?;
    let control = &lab.control;
    let puts = (0..100).map(|n| control.put_link(link("web", "kv", &format!("n{n}"), &["store"])));
    for answer in futures::future::join_all(puts).await {
        let answer = answer?;
        assert!(answer.succeeded(), "{}", answer.message());
    }
    let count = async |wanted: usize| {
        eventually("the links", SETTLED, || async {
            let links = control
                .get_links()
                .await
                .map_err(anyhow::Error::from_boxed)?;
            let found = links.into_data().unwrap_or_default().len();
            anyhow::ensure!(found == wanted, "{found} links");
            Ok(())
        })
        .await
    };
    count(100).await?;
    let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let deletes = names
        .iter()
        .map(|name| control.delete_link("web", name, "wasi", "keyvalue"));
    for answer in futures::future::join_all(deletes).await {
        assert!(answer?.succeeded());
    }
    count(0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_are_put_read_and_deleted() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    let control = &lab.control;
    let value = HashMap::from([("greeting".to_owned(), "hi".to_owned())]);
    let answer = control.put_config("web-defaults", value.clone()).await?;
    assert!(answer.succeeded());
    lab.event("config_set", |data| data["config_name"] == "web-defaults")
        .await?;
    let answer = control.get_config("web-defaults").await?;
    assert!(answer.succeeded());
    assert_eq!(answer.into_data(), Some(value));
    let answer = control.delete_config("web-defaults").await?;
    assert!(answer.succeeded());
    lab.event("config_deleted", |data| {
        data["config_name"] == "web-defaults"
    })
    .await?;
    let answer = control.get_config("web-defaults").await?;
    assert!(answer.succeeded());
    assert_eq!(answer.message(), "Configuration not found");
    assert_eq!(answer.into_data(), None);
    assert!(
        control.delete_config("web-defaults").await?.succeeded(),
        "deleting twice is no error"
    );
    let answer = control.put_config("a.b", HashMap::new()).await?;
    assert!(!answer.succeeded(), "a name with a dot is no config name");
    Ok(())
}
