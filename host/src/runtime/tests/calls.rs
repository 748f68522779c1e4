//! Exported functions: limits, links, failures.

use std::time::Duration;

use super::*;

const OPS_NAME: Option<&str> = Some("test:math/ops@0.1.0");

async fn run(component: &RunningComponent, a: u32, b: u32) -> Result<Vec<Val>, CallError> {
    component
        .call(
            CallContext::default(),
            None,
            "run",
            &[Val::U32(a), Val::U32(b)],
        )
        .await
}

async fn ops(
    component: &RunningComponent,
    function: &str,
    params: &[Val],
) -> Result<Vec<Val>, CallError> {
    component
        .call(CallContext::default(), OPS_NAME, function, params)
        .await
}

#[tokio::test]
async fn an_exported_function_is_called() {
    let ops_component = Host::new().start("ops", OPS, &[]).await;
    let sum = ops(&ops_component, "add", &[Val::U32(2), Val::U32(3)])
        .await
        .unwrap();
    assert_eq!(sum, [Val::U32(5)]);
    let names: Vec<_> = ops_component
        .exports()
        .iter()
        .map(|e| e.function.as_str())
        .collect();
    assert_eq!(names, ["add", "spin", "trap", "grow"]);
    let unversioned = Some("test:math/ops");
    let call = ops_component.call(
        CallContext::default(),
        unversioned,
        "add",
        &[Val::U32(1), Val::U32(1)],
    );
    assert_eq!(call.await.unwrap(), [Val::U32(2)]);
}

#[tokio::test]
async fn an_import_leads_where_its_link_leads() {
    let host = Host::new();
    host.start("ops", OPS, &[]).await;
    let caller = host
        .start("caller", CALLER, &[("test:math/ops", "ops")])
        .await;
    assert_eq!(
        run(&caller, 20, 1).await.unwrap(),
        [Val::U32(21)],
        "to a component here"
    );
    caller.set_links(LinkTable::new([link("caller", "test:math/ops", "far")]));
    assert_eq!(
        run(&caller, 20, 1).await.unwrap(),
        [Val::U32(42)],
        "to one elsewhere"
    );
}

#[tokio::test]
async fn a_missing_link_is_found_out_by_the_call_that_needs_it() {
    let host = Host::new();
    let caller = host.start("caller", CALLER, &[]).await;
    let error = run(&caller, 1, 1).await.unwrap_err().to_string();
    assert!(
        error.contains("no link grants `test:math/ops` to `caller`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_failure_comes_back_in_the_interfaces_own_error_type() {
    let host = Host::new();
    let asker = host.start("asker", ASKER, &[]).await;
    let call = |component: Arc<RunningComponent>| async move {
        component
            .call(CallContext::default(), None, "run", &[])
            .await
    };
    assert_eq!(
        call(Arc::clone(&asker)).await.unwrap(),
        [Val::U32(1)],
        "no link"
    );
    asker.set_links(LinkTable::new([link("asker", "test:store/kv", "nobody")]));
    assert_eq!(call(asker).await.unwrap(), [Val::U32(1)], "nobody answers");
}

#[tokio::test]
async fn links_in_a_circle_end_in_an_error() {
    let host = Host::new();
    let ring = host.start("ring", RING, &[("test:math/ops", "ring")]).await;
    let error = ops(&ring, "add", &[Val::U32(1), Val::U32(1)])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("make a circle"), "{error}");
}

#[tokio::test]
async fn a_trap_ends_one_call_only() {
    let component = Host::new().start("ops", OPS, &[]).await;
    let error = ops(&component, "trap", &[]).await.unwrap_err();
    assert!(matches!(error, CallError::Trap { .. }), "{error}");
    assert!(
        ops(&component, "add", &[Val::U32(1), Val::U32(1)])
            .await
            .is_ok()
    );
    assert_eq!(component.in_flight(), 0);
}

#[tokio::test]
async fn a_spinning_guest_is_ended_and_others_run_meanwhile() {
    let mut host = Host::new();
    host.limits.max_execution_time = Some(Duration::from_millis(1200));
    let component = host.start("ops", OPS, &[]).await;
    let other = Arc::clone(&component);
    // On one thread: the guest has to give way for the other call to run at all.
    let spin = tokio::spawn(async move { ops(&other, "spin", &[]).await });
    tokio::task::yield_now().await;
    assert!(
        ops(&component, "add", &[Val::U32(1), Val::U32(1)])
            .await
            .is_ok()
    );
    assert!(!spin.is_finished(), "the other call had to wait for it");
    let error = spin.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused() {
    let mut host = Host::new();
    host.limits.max_memory_bytes = Some(1 << 20);
    let component = host.start("ops", OPS, &[]).await;
    let grown = ops(&component, "grow", &[Val::U32(15)]).await.unwrap();
    assert_eq!(grown, [Val::U32(16)], "16 pages are 1 MiB");
    let error = ops(&component, "grow", &[Val::U32(16)]).await.unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Memory {
                limit: 1_048_576,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_above_the_limit_are_refused_and_the_next_ones_served() {
    let mut host = Host::new();
    host.limits.max_execution_time = Some(Duration::from_secs(1));
    host.max_instances = 2;
    let component = host.start("ops", OPS, &[]).await;
    let spinning: Vec<_> = (0..6)
        .map(|_| {
            let component = Arc::clone(&component);
            tokio::spawn(async move { ops(&component, "spin", &[]).await })
        })
        .collect();
    let (mut refused, mut ended) = (0, 0);
    for call in spinning {
        match call.await.unwrap().unwrap_err() {
            CallError::Overloaded { limit: 2, .. } => refused += 1,
            CallError::Deadline { .. } => ended += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((refused, ended), (4, 2));
    assert!(
        ops(&component, "add", &[Val::U32(1), Val::U32(1)])
            .await
            .is_ok()
    );
    assert_eq!(component.in_flight(), 0);
}

#[tokio::test]
async fn a_draining_component_takes_no_new_calls() {
    let component = Host::new().start("ops", OPS, &[]).await;
    assert!(component.drain(Duration::from_secs(5)).await);
    let error = ops(&component, "add", &[Val::U32(1), Val::U32(1)])
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Stopping { .. }), "{error}");
}

#[tokio::test]
async fn a_call_that_finds_its_component_replaced_goes_to_the_new_one() {
    let host = Host::new();
    let old = host.start("ops", OPS, &[]).await;
    let _new = host.start("ops", OPS, &[]).await;
    assert!(old.drain(Duration::from_secs(5)).await);
    assert!(ops(&old, "add", &[Val::U32(1), Val::U32(1)]).await.is_ok());
}
