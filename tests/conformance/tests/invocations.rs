//! Invocations by the published wRPC client of functions that our host serves.

use std::sync::Arc;

use conformance::{Lab, Result, example};
use harness::eventually;
use wasmcloud_control_interface::Link;

mod client {
    wit_bindgen_wrpc::generate!({
        inline: r#"
            package edge:api@0.1.0;

            interface types {
                variant problem { not-found(string), invalid(string), unavailable(string) }
            }

            interface search {
                use types.{problem};
                add: func(id: string, text: string) -> result<_, problem>;
                find: func(text: string) -> result<list<string>, problem>;
            }

            world client {
                import search;
            }
        "#,
    });
}

use client::edge::api::{search, types::Problem};

async fn wrpc(lab: &Lab, target: &str) -> Result<wrpc_transport_nats::Client> {
    let prefix: Arc<str> = format!("{}.{target}", lab.lattice.name).into();
    Ok(wrpc_transport_nats::Client::new(lab.nats.clone(), prefix, None).await?)
}

/// The search component, with a store inside the host.
async fn start(lab: &Lab) -> Result {
    let control = &lab.control;
    let answer = control
        .start_provider(
            lab.host(0),
            "wasmcloud+builtin://keyvalue-memory",
            "kv",
            None,
            vec![],
        )
        .await?;
    assert!(answer.succeeded(), "{}", answer.message());
    let link = Link::builder()
        .source_id("search")
        .target("kv")
        .name("default")
        .wit_namespace("wasi")
        .wit_package("keyvalue")
        .interfaces(vec!["store".into(), "atomics".into()])
        .build()?;
    assert!(control.put_link(link).await?.succeeded());
    let image = example("edge-gateway/search.wasm");
    control
        .scale_component(lab.host(0), &image, "search", 4, None, vec![], false)
        .await?;
    lab.event("component_scaled", |data| data["component_id"] == "search")
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_client_calls_a_component() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    start(&lab).await?;
    let wrpc = wrpc(&lab, "search").await?;
    eventually("the first answer", conformance::SETTLED, || async {
        search::add(&wrpc, None, "1", "red apple")
            .await?
            .map_err(|p| anyhow::anyhow!("{p:?}"))
    })
    .await?;
    search::add(&wrpc, None, "2", "green apple")
        .await?
        .expect("added");
    assert_eq!(
        search::find(&wrpc, None, "apple").await?.expect("found"),
        ["1", "2"]
    );
    assert_eq!(
        search::find(&wrpc, None, "red apple")
            .await?
            .expect("found"),
        ["1"]
    );
    let calls = (0..50).map(|_| search::find(&wrpc, None, "green"));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer?.expect("found"), ["2"]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn long_parameters_and_results_arrive_whole() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    start(&lab).await?;
    let wrpc = wrpc(&lab, "search").await?;
    // Longer than one message may be, so both directions come in pieces.
    let long = "word ".repeat(500_000);
    let answer = search::find(&wrpc, None, &long).await?;
    assert!(
        matches!(answer, Ok(_) | Err(Problem::Invalid(_))),
        "{answer:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_serves_fails_at_once() -> Result {
    let lab = Lab::start(&[&[]]).await?;
    let wrpc = wrpc(&lab, "nobody").await?;
    let answer = tokio::time::timeout(
        std::time::Duration::from_secs(10),
        search::find(&wrpc, None, "x"),
    )
    .await?;
    assert!(answer.is_err());
    Ok(())
}
