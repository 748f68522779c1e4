use proto::link::Link;

use super::*;

#[test]
fn links_and_configs_are_put_before_what_needs_them_starts() {
    let apps = deployed(&[app("a", "web=1 config:c; +kv; web->kv wasi:keyvalue lc")]);
    let mut view = lattice(&apps, "h1:");
    let first = pass(&apps, &view);
    assert_eq!(show(&first), "config c, config lc, h1 +kv");
    for planned in &first.commands {
        view.pretend(&planned.command, NOW);
    }
    let second = pass(&apps, &view);
    assert_eq!(show(&second), "h1 web=1, link web-wasi:keyvalue->kv");
    for planned in &second.commands {
        view.pretend(&planned.command, NOW);
    }
    assert_eq!(show(&pass(&apps, &view)), "");
}

#[test]
fn a_link_with_other_settings_is_put_again_and_one_that_leads_elsewhere_removed_first() {
    let apps = deployed(&[app("a", "web=1; +kv; web->kv wasi:keyvalue")]);
    let link = |target: &str, interfaces: &[&str]| {
        Link::new(
            id("a-web"),
            id(target),
            "wasi",
            "keyvalue",
            interfaces.iter().copied(),
        )
    };
    for (case, present, expected) in [
        ("as it should be", link("a-kv", &["store"]), ""),
        (
            "other interfaces",
            link("a-kv", &["store", "batch"]),
            "link web-wasi:keyvalue->kv",
        ),
        (
            "leads elsewhere",
            link("a-kw", &["store"]),
            "unlink web-wasi:keyvalue",
        ),
        (
            "elsewhere, for another interface",
            link("a-kw", &["batch"]),
            "link web-wasi:keyvalue->kv",
        ),
    ] {
        let mut view = lattice(&apps, "h1: web=1 +kv");
        view.apply_links(vec![present]);
        assert_eq!(show(&pass(&apps, &view)), expected, "{case}");
    }
}

#[test]
fn an_undeclared_target_becomes_a_built_in_beside_its_users() {
    let seed = app("a", "web=2; web->keyvalue-store wasi:keyvalue");
    let apps = deployed(&[Arc::clone(&seed)]);
    let mut view = lattice(&apps, "h1: | h2: | h3:");
    let (running, _) = settle(&apps, &mut view);
    assert_eq!(
        running,
        "h1: web=1 +keyvalue-store | h2: web=1 +keyvalue-store | h3:"
    );
    let status = &pass(&apps, &view).statuses["a"];
    assert_eq!(status.status.kind, proto::wadm_api::StatusType::Deployed);
    assert_eq!(
        status.detail.as_ref().unwrap().notes,
        [
            "target 'keyvalue-store' is served by the built-in keyvalue-nats, started and shared under that name"
        ]
    );
    let links: Vec<&str> = view
        .links_of(&id("a-web"))
        .iter()
        .map(|link| link.target.as_str())
        .collect();
    assert_eq!(links, ["keyvalue-store"]);
}

#[test]
fn a_shared_built_in_stays_until_its_last_user_is_gone() {
    let one = app("a", "web=1; web->store wasi:keyvalue");
    let two = app("b", "api=1; api->store wasi:keyvalue");
    let mut apps = deployed(&[one, two]);
    let mut view = lattice(&apps, "h1:");
    assert_eq!(settle(&apps, &mut view).0, "h1: web=1 b-api=1 +store");
    apps.set("a", None);
    assert_eq!(settle(&apps, &mut view).0, "h1: b-api=1 +store");
    apps.set("b", None);
    assert_eq!(settle(&apps, &mut view).0, "h1:");
    assert!(view.links_of(&id("a-web")).is_empty());
}

#[test]
fn built_ins_go_only_to_our_hosts() {
    let apps = deployed(&[app("a", "web=1; web->store wasi:keyvalue")]);
    let mut view = lattice(&apps, "h1!: | h2: x=1 y=1");
    assert_eq!(
        settle(&apps, &mut view).0,
        "h1: web=1 | h2: gone-x=1 gone-y=1 +store"
    );
}

#[test]
fn an_undeclared_target_is_first_looked_for() {
    let one = app("a", "web=1; web->cache wasi:keyvalue");
    let two = app("b", "+cache");
    let apps = deployed(&[Arc::clone(&one), two]);
    let mut view = lattice(&apps, "h1:");
    settle(&apps, &mut view);
    assert_eq!(
        view.links_of(&id("a-web"))[0].target,
        id("b-cache"),
        "in another application"
    );
    let apps = deployed(&[one]);
    let mut view = lattice(&apps, "h1: ?+cache");
    let cache = view
        .usable_hosts()
        .next()
        .unwrap()
        .instances
        .keys()
        .next()
        .unwrap()
        .clone();
    assert_eq!(cache, id("gone-cache"));
    let by_id = deployed(&[app("a", "web=1; web->gone-cache acme:thing")]);
    settle(&by_id, &mut view);
    assert_eq!(
        view.links_of(&id("a-web"))[0].target,
        cache,
        "running on the lattice"
    );
}

#[test]
fn a_target_that_is_nowhere_is_named() {
    let apps = deployed(&[app("a", "web=1; web->thing acme:thing")]);
    let view = lattice(&apps, "h1: web=1");
    let plan = pass(&apps, &view);
    assert_eq!(show(&plan), "");
    let status = &plan.statuses["a"].status;
    assert_eq!(status.kind, proto::wadm_api::StatusType::Waiting);
    assert!(
        status
            .message
            .starts_with("link target 'thing' does not exist"),
        "{}",
        status.message
    );
}

#[test]
fn a_shared_component_outlives_its_application_while_it_is_used() {
    let base = app("base", "+kv config:c");
    let user = app("a", "web=1; kv=base/kv; web->kv wasi:keyvalue");
    let mut apps = deployed(&[base, user]);
    let mut view = lattice(&apps, "h1:");
    assert_eq!(settle(&apps, &mut view).0, "h1: web=1 +base-kv");
    assert_eq!(view.links_of(&id("a-web"))[0].target, id("base-kv"));
    apps.set("base", None);
    assert_eq!(show(&pass(&apps, &view)), "");
    let detail = pass(&apps, &view).statuses["base"].detail.clone().unwrap();
    assert_eq!(detail.notes, ["kv keeps running: application a uses it"]);
    apps.set("a", None);
    assert_eq!(settle(&apps, &mut view).0, "h1:");
    assert_eq!(
        view.config(&proto::ConfigName::new("base-c").unwrap()),
        Some(None),
        "its config is gone too"
    );
}

#[test]
fn removing_an_application_removes_all_of_it_and_nothing_else() {
    let one = app("a", "web=2 config:c; +kv; web->kv wasi:keyvalue");
    let two = app("b", "web=2 config:c; +kv; web->kv wasi:keyvalue");
    let mut apps = deployed(&[one, two]);
    let mut view = lattice(&apps, "h1: | h2:");
    settle(&apps, &mut view);
    let before = running(&view);
    apps.set("a", None);
    settle(&apps, &mut view);
    assert_eq!(
        before.replace(" web=1", "").replace(" +kv", ""),
        running(&view)
    );
    assert!(view.links_of(&id("a-web")).is_empty());
    assert_eq!(view.links_of(&id("b-web")).len(), 1);
    let plan = pass(&apps, &view);
    assert!(
        plan.cleaned.contains("a"),
        "the record of removals can be dropped"
    );
    assert_eq!(
        plan.statuses["a"].status.message,
        "Manifest has been undeployed"
    );
}

#[test]
fn a_new_version_removes_what_the_old_one_had() {
    let mut apps = deployed(&[app("a", "web=1; +kv config:c; web->kv wasi:keyvalue")]);
    let mut view = lattice(&apps, "h1:");
    settle(&apps, &mut view);
    apps.set(
        "a",
        Some(app("a", "web=1; +cache; web->cache wasi:keyvalue")),
    );
    assert_eq!(settle(&apps, &mut view).0, "h1: +cache web=1");
    let links: Vec<&str> = view
        .links_of(&id("a-web"))
        .iter()
        .map(|link| link.target.as_str())
        .collect();
    assert_eq!(links, ["a-cache"]);
    assert_eq!(
        view.config(&proto::ConfigName::new("a-c").unwrap()),
        Some(None)
    );
}

#[test]
fn marks_of_an_application_never_deployed_here_are_left_alone() {
    let apps = deployed(&[app("a", "web=1")]);
    let view = lattice(&apps, "h1: web=1 other/thing=3");
    assert_eq!(show(&pass(&apps, &view)), "");
}

#[test]
fn a_config_that_must_exist_is_named() {
    let manifest = app("a", "web=1");
    let mut json = serde_json::to_value(&*manifest).unwrap();
    json["spec"]["components"][0]["properties"]["config"] = json!([{"name": "outside"}]);
    let apps = deployed(&[Arc::new(serde_json::from_value(json).unwrap())]);
    let mut view = lattice(&apps, "h1:");
    let plan = pass(&apps, &view);
    assert_eq!(show(&plan), "");
    assert!(
        plan.statuses["a"]
            .status
            .message
            .starts_with("Config outside does not exist")
    );
    view.apply_config(
        &proto::ConfigName::new("outside").unwrap(),
        Some(BTreeMap::new()),
    );
    assert_eq!(show(&pass(&apps, &view)), "h1 web=1");
}
