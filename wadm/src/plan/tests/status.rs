use proto::wadm_api::{PlannedAction, StatusType};

use super::*;

#[test]
fn the_status_says_what_is_and_what_is_in_the_way() {
    for (case, text, hosts, kind, message) in [
        ("all well", "web=2", "h1: web=2", StatusType::Deployed, ""),
        (
            "on the way",
            "web=2",
            "h1:",
            StatusType::Reconciling,
            "Scaling component on 1 host(s)",
        ),
        (
            "a provider on the way",
            "+kv=2",
            "h1: | h2:",
            StatusType::Reconciling,
            "Scaling provider on 2 host(s)",
        ),
        (
            "no host at all",
            "web=2",
            "",
            StatusType::Waiting,
            "web: any host: 0 eligible hosts, the lattice has no hosts",
        ),
        (
            "no host fits",
            "web=2 zone=us-east",
            "h1 zone=us-west: | h2 zone=eu-central: | h3 zone=us-west:",
            StatusType::Waiting,
            "web: zone=us-east: 0 of 3 hosts; seen: us-west, eu-central",
        ),
        (
            "no host has the label",
            "web=2 gpu=yes",
            "h1: | h2:",
            StatusType::Waiting,
            "web: gpu=yes: 0 of 2 hosts; no host has the label gpu",
        ),
        (
            "one group is unmet, the other runs",
            "web=2 zone=e zone=w",
            "h1 zone=e: web=1",
            StatusType::Waiting,
            "web: zone=w: 0 of 1 hosts; seen: e",
        ),
        (
            "too few hosts for the providers",
            "+kv=3 zone=e",
            "h1 zone=e: +kv | h2 zone=w:",
            StatusType::Waiting,
            "kv: zone=e: 1 of 2 hosts, 3 wanted",
        ),
        (
            "being replaced",
            "web@web:2=2",
            "h1: web@web:1=2",
            StatusType::Reconciling,
            "Scaling component on 1 host(s)",
        ),
    ] {
        let apps = deployed(&[app("a", text)]);
        let view = lattice(&apps, hosts);
        let status = &pass(&apps, &view).statuses["a"].status;
        assert_eq!(
            (status.kind, status.message.as_str()),
            (kind, message),
            "{case}"
        );
    }
}

#[test]
fn the_detail_lists_each_host_with_its_error_and_next_try() {
    let apps = deployed(&[app("a", "web=2")]);
    let view = lattice(&apps, "h1: web=1 | h2:");
    let mut pending = Pending::default();
    for _ in 0..3 {
        pending.failed(
            Subject::Workload(host("h2"), id("a-web")),
            "401: denied".into(),
            None,
            NOW,
        );
    }
    let status = plan(&apps, &view, &pending, NOW).statuses["a"].clone();
    let component = &status.detail.unwrap().components[0];
    assert_eq!((component.desired, component.running), (2, 1));
    let failed = component
        .hosts
        .iter()
        .find(|host| host.host_id == "h2")
        .unwrap();
    assert_eq!(
        (
            failed.state.as_str(),
            failed.error.as_deref(),
            failed.attempts
        ),
        ("failed", Some("401: denied"), 3)
    );
    assert!(failed.next_retry.is_some());
}

#[test]
fn a_preview_lists_changes_before_and_none_after() {
    let old = app("a", "web=2; +kv; web->kv wasi:keyvalue");
    let new = app("a", "web@web:2=3 config:c; api=1");
    let mut apps = deployed(&[old]);
    let mut view = lattice(&apps, "h1: | h2:");
    settle(&apps, &mut view);
    let changes = preview(&apps, &view, Arc::clone(&new), NOW).changes;
    let mut actions: Vec<_> = changes
        .iter()
        .map(|change| (change.action, change.what.as_str()))
        .collect();
    actions.sort_by_key(|(action, what)| (format!("{action:?}"), *what));
    assert_eq!(
        actions,
        [
            (PlannedAction::PutConfig, "a-c"),
            (PlannedAction::Start, "a-api"),
            (PlannedAction::Stop, "a-kv"),
            (PlannedAction::Unlink, "a-web wasi:keyvalue (default)"),
            (PlannedAction::Update, "a-web"),
            (PlannedAction::Update, "a-web"),
        ]
    );
    apps.set("a", Some(Arc::clone(&new)));
    settle(&apps, &mut view);
    assert_eq!(preview(&apps, &view, new, NOW).changes, []);
}
