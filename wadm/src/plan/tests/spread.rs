use super::*;

#[test]
fn weights_divide_and_the_heaviest_take_the_rest() {
    for (total, weights, expected) in [
        (10, &[80, 20][..], &[8, 2][..]),
        (7, &[80, 20], &[6, 1]),
        (4, &[80, 20], &[4, 0]),
        (6, &[2, 1], &[4, 2]),
        (5, &[1, 1, 1], &[2, 2, 1]),
        (1, &[1, 5], &[0, 1]),
        (0, &[1, 1], &[0, 0]),
        (3, &[0, 1], &[0, 3]),
        (3, &[0, 0], &[0, 0]),
        (
            u32::MAX,
            &[u32::MAX, u32::MAX],
            &[u32::MAX / 2 + 1, u32::MAX / 2],
        ),
    ] {
        assert_eq!(divide(total, weights), expected, "{total} over {weights:?}");
    }
}

#[test]
fn instances_spread_by_weight_over_groups_and_evenly_inside_them() {
    for (case, text, hosts, expected) in [
        (
            "two to one",
            "web=6 zone=e*2 zone=w*1",
            "h1 zone=e: | h2 zone=w:",
            "h1: web=4 | h2: web=2",
        ),
        (
            "evenly in a group",
            "web=6 zone=e*2 zone=w*1",
            "h1 zone=e: | h2 zone=w: | h3 zone=e:",
            "h1: web=2 | h2: web=2 | h3: web=2",
        ),
        (
            "no groups",
            "web=10",
            "h1: | h2: | h3:",
            "h1: web=4 | h2: web=3 | h3: web=3",
        ),
        (
            "fewer than hosts",
            "web=2",
            "h1: | h2: | h3:",
            "h1: web=1 | h2: web=1 | h3:",
        ),
        (
            "the least loaded first",
            "web=1",
            "h1: x=1 | h2:",
            "h1: gone-x=1 | h2: web=1",
        ),
        ("none wanted", "web=0", "h1: | h2:", "h1: | h2:"),
        (
            "one group has no host",
            "web=6 zone=e*2 zone=w*1",
            "h1 zone=e:",
            "h1: web=4",
        ),
        (
            "groups that overlap",
            "web=4 zone=e*1 disk=big*1",
            "h1 zone=e disk=big: | h2 zone=e:",
            "h1: web=2 | h2: web=2",
        ),
        (
            "groups on one host",
            "web=4 zone=e*1 disk=big*1",
            "h1 zone=e disk=big:",
            "h1: web=4",
        ),
        (
            "daemon",
            "web=each2 zone=e",
            "h1 zone=e: | h2 zone=w: | h3 zone=e:",
            "h1: web=2 | h2: | h3: web=2",
        ),
        (
            "daemon on all",
            "web=each1",
            "h1: | h2:",
            "h1: web=1 | h2: web=1",
        ),
        (
            "providers count hosts",
            "+kv=2",
            "h1: | h2: | h3:",
            "h1: +kv | h2: +kv | h3:",
        ),
        (
            "more providers than hosts",
            "+kv=5",
            "h1: | h2:",
            "h1: +kv | h2: +kv",
        ),
        (
            "provider daemon",
            "+kv=each3",
            "h1: | h2:",
            "h1: +kv | h2: +kv",
        ),
        (
            "provider groups",
            "+kv=2 zone=e zone=w",
            "h1 zone=e: | h2 zone=w: | h3 zone=e:",
            "h1: +kv | h2: +kv | h3:",
        ),
        (
            "cordoned hosts get nothing",
            "web=4",
            "h1 lattice.cordon=true: | h2:",
            "h1: | h2: web=4",
        ),
        (
            "cordoned hosts keep what they have",
            "web=4",
            "h1 lattice.cordon=true: web=2 | h2:",
            "h1: web=2 | h2: web=2",
        ),
        (
            "and get no more when more is wanted",
            "web=6",
            "h1 lattice.cordon=true: web=1 | h2: web=1 | h3:",
            "h1: web=1 | h2: web=3 | h3: web=2",
        ),
        (
            "not even when there is no other host",
            "web=4",
            "h1 lattice.cordon=true: web=2",
            "h1: web=2",
        ),
        (
            "drained hosts lose what they have",
            "web=4",
            "h1 lattice.drain=true: web=4 | h2:",
            "h1: | h2: web=4",
        ),
        (
            "unless there is nowhere else",
            "web=4",
            "h1 lattice.drain=true: web=4",
            "h1: web=4",
        ),
    ] {
        let apps = deployed(&[app("a", text)]);
        let mut view = lattice(&apps, hosts);
        assert_eq!(settle(&apps, &mut view).0, expected, "{case}");
    }
}

#[test]
fn a_thousand_hosts_stay_within_one_of_even() {
    let apps = deployed(&[app("a", "web=2500")]);
    let hosts: Vec<String> = (0..1000).map(|n| format!("h{n:04}:")).collect();
    let mut view = lattice(&apps, &hosts.join(" | "));
    let (_, commands) = settle(&apps, &mut view);
    assert_eq!(commands, 1000);
    let counts: Vec<u32> = view
        .usable_hosts()
        .map(|h| h.instances.values().map(|i| i.count).sum())
        .collect();
    assert_eq!(
        (counts.iter().min(), counts.iter().max()),
        (Some(&2), Some(&3))
    );
}

#[test]
fn applications_share_the_hosts_out() {
    let apps: Vec<_> = ["a1", "a2", "a3", "a4"]
        .map(|name| app(name, "web=1"))
        .into();
    let apps = deployed(&apps);
    let mut view = lattice(&apps, "h1: | h2:");
    settle(&apps, &mut view);
    assert!(
        view.usable_hosts().all(|host| host.instances.len() == 2),
        "{}",
        running(&view)
    );
}
