use std::time::Duration;

use super::*;
use crate::core::CommandId;

/// One pass in each of these situations.
#[test]
fn one_pass_sends_what_is_needed_and_no_more() {
    for (case, text, hosts, expected) in [
        (
            "nothing runs yet",
            "web=3",
            "h1: | h2:",
            "h1 web=2, h2 web=1",
        ),
        ("already there", "web=3", "h1: web=2 | h2: web=1", ""),
        (
            "the other way round is as good",
            "web=3",
            "h1: web=1 | h2: web=2",
            "",
        ),
        ("a host went away", "web=3", "h1: web=2", "h1 web=3"),
        (
            "a host came",
            "web=3",
            "h1: web=2 | h2: web=1 | h3:",
            "h3 web=1",
        ),
        (
            "and then the fullest gives",
            "web=3",
            "h1: web=2 | h2: web=1 | h3: web=1",
            "h1 web=1",
        ),
        (
            "a label changed: first elsewhere",
            "web=2 zone=e",
            "h1 zone=w: web=2 | h2 zone=e:",
            "h2 web=2",
        ),
        (
            "and then away",
            "web=2 zone=e",
            "h1 zone=w: web=2 | h2 zone=e: web=2",
            "h1 web=0",
        ),
        (
            "nowhere allowed",
            "web=2 zone=e",
            "h1 zone=w: web=2",
            "h1 web=0",
        ),
        ("fewer wanted", "web=2", "h1: web=3 | h2: web=1", "h1 web=1"),
        ("no longer wanted", "+kv=1", "h1: a/web=2 +kv", "h1 web=0"),
        ("another application's", "+kv=1", "h1: b/web=2 +kv", ""),
        (
            "a provider too many",
            "+kv=1",
            "h1: +kv | h2: +kv",
            "h2 -kv",
        ),
        (
            "a provider started by hand counts",
            "+kv=1",
            "h1: | h2: ?+kv",
            "",
        ),
        (
            "a component started by hand is taken over",
            "web=1",
            "h1: ?web=1",
            "h1 web=1",
        ),
        (
            "a daemon on a host that no longer fits",
            "web=each1 zone=e",
            "h1 zone=w: web=1 | h2 zone=e: web=1",
            "h1 web=0",
        ),
    ] {
        let apps = deployed(&[app("a", text)]);
        let view = lattice(&apps, hosts);
        assert_eq!(show(&pass(&apps, &view)), expected, "{case}");
    }
}

#[test]
fn a_new_image_rolls_over_one_host_at_a_time() {
    for (case, text, hosts, expected) in [
        (
            "ours are updated in place",
            "web@web:2=4",
            "h1: web@web:1=2 | h2: web@web:1=2",
            "h1 web=2@web:2",
        ),
        (
            "the next one after the first",
            "web@web:2=4",
            "h1: web=2 | h2: web@web:1=2",
            "h2 web=2@web:2",
        ),
        (
            "with another count in one go",
            "web@web:2=6",
            "h1: web@web:1=2 | h2: web@web:1=2",
            "h1 web=3@web:2",
        ),
        (
            "upstream's are stopped first",
            "web@web:2=4",
            "h1!: web@web:1=2 | h2!: web@web:1=2",
            "h1 web=0",
        ),
        (
            "then started",
            "web@web:2=4",
            "h1!: | h2!: web@web:1=2",
            "h1 web=2",
        ),
        (
            "providers too",
            "+kv@kv:2=2",
            "h1: +kv@kv:1 | h2: +kv@kv:1",
            "h1 -kv",
        ),
        (
            "other settings, same image",
            "web=2",
            "h1: ~web=1 | h2: ~web=1",
            "h1 web=1",
        ),
        (
            "what is missing does not wait",
            "web@web:2=4",
            "h1: | h2: web@web:1=2",
            "h1 web=2",
        ),
    ] {
        let apps = deployed(&[app("a", text)]);
        let view = lattice(&apps, hosts);
        assert_eq!(show(&pass(&apps, &view)), expected, "{case}");
    }
}

#[test]
fn moves_keep_enough_running_all_along() {
    let apps = deployed(&[app("a", "web=12")]);
    let mut view = lattice(&apps, "h1: web=6 | h2: web=6 | h3: | h4:");
    for _ in 0..20 {
        let plan = pass(&apps, &view);
        for planned in &plan.commands {
            view.pretend(&planned.command, NOW);
            let running: u32 = view
                .usable_hosts()
                .flat_map(|h| h.instances.values())
                .map(|i| i.count)
                .sum();
            assert!(running >= 12, "{} left", running);
        }
    }
    assert_eq!(
        running(&view),
        "h1: web=3 | h2: web=3 | h3: web=3 | h4: web=3"
    );
}

fn flight(command: Command) -> Flight {
    Flight {
        id: CommandId(1),
        command,
        sent: NOW,
        accepted: None,
        deadline: NOW + Duration::from_secs(5),
        refreshes: None,
    }
}

#[test]
fn what_is_under_way_is_not_sent_again() {
    let apps = deployed(&[app("a", "web=3")]);
    let view = lattice(&apps, "h1: | h2:");
    let first = pass(&apps, &view);
    let mut pending = Pending::default();
    pending.send(flight(first.commands[0].command.clone()));
    assert_eq!(show(&plan(&apps, &view, &pending, NOW)), "h2 web=1");
    pending.send(Flight {
        id: CommandId(2),
        ..flight(first.commands[1].command.clone())
    });
    assert_eq!(show(&plan(&apps, &view, &pending, NOW)), "");
}

#[test]
fn a_failing_host_waits_and_the_others_take_its_share() {
    let apps = deployed(&[app("a", "web=2")]);
    let view = lattice(&apps, "h1: | h2: web=1");
    let mut pending = Pending::default();
    pending.failed(
        Subject::Workload(host("h1"), id("a-web")),
        "401".into(),
        Some("web:1".into()),
        NOW,
    );
    let waiting = plan(&apps, &view, &pending, NOW);
    assert_eq!(show(&waiting), "h2 web=2");
    let later = waiting.wakes["a"];
    assert!(
        (900..=1100).contains(&later.since(NOW).as_millis()),
        "{later}"
    );
    assert_eq!(
        show(&plan(&apps, &view, &pending, later)),
        "h1 web=1",
        "tried again after the pause"
    );
}

#[test]
fn a_move_to_a_failing_host_does_not_give_up_what_runs() {
    let apps = deployed(&[app("a", "web=2 zone=e")]);
    let view = lattice(&apps, "h1 zone=w: web=2 | h2 zone=e:");
    let mut pending = Pending::default();
    pending.failed(
        Subject::Workload(host("h2"), id("a-web")),
        "401".into(),
        None,
        NOW,
    );
    assert_eq!(show(&plan(&apps, &view, &pending, NOW)), "");
}

#[test]
fn a_rollout_halts_where_it_fails() {
    let apps = deployed(&[app("a", "web@web:2=4")]);
    let view = lattice(&apps, "h1: web@web:1=2 | h2: web@web:1=2");
    let mut pending = Pending::default();
    pending.failed(
        Subject::Workload(host("h1"), id("a-web")),
        "no such image".into(),
        Some("web:2".into()),
        NOW,
    );
    let plan = plan(&apps, &view, &pending, NOW);
    assert_eq!(show(&plan), "");
    let status = &plan.statuses["a"].status;
    assert_eq!(status.kind, proto::wadm_api::StatusType::Failed);
    assert_eq!(status.message, "web on h1: no such image");
}

#[test]
fn pauses_double_up_to_five_minutes() {
    let subject = Subject::Workload(host("h1"), id("web"));
    for (attempts, seconds) in [
        (1, 1.0),
        (2, 2.0),
        (3, 4.0),
        (9, 256.0),
        (10, 300.0),
        (40, 300.0),
        (100, 300.0),
    ] {
        let pause = backoff(&subject, attempts).as_secs_f64();
        assert!(
            (0.9 * seconds..=1.1 * seconds).contains(&pause),
            "{attempts}: {pause}"
        );
    }
    let mut at = 0.0;
    let mut attempts = 0;
    while at <= 600.0 {
        attempts += 1;
        at += backoff(&subject, attempts).as_secs_f64();
    }
    assert!(attempts <= 12, "{attempts} attempts in ten minutes");
}

#[test]
fn wadm_s_marks_are_upstream_s() {
    let apps = deployed(&[app("a", "web=1 zone=e; +kv=1")]);
    let view = lattice(&apps, "h1 zone=e:");
    let marks: Vec<_> = pass(&apps, &view)
        .commands
        .iter()
        .map(|planned| match &planned.command {
            Command::Scale { annotations, .. } | Command::StartProvider { annotations, .. } => {
                annotations.clone()
            }
            other => panic!("{other}"),
        })
        .collect();
    let scaler = |name: &str, image: &str| {
        let kind = proto::names::ScalerKind::Spread;
        proto::names::scaler_id(
            kind,
            "a",
            name,
            &format!("a-{name}"),
            image,
            std::iter::empty::<&str>(),
        )
    };
    assert_eq!(
        marks[0],
        proto::names::annotations("a", &scaler("web", "web:1"), "e")
    );
    assert_eq!(
        marks[1],
        proto::names::annotations("a", &scaler("kv", "kv:1"), "default")
    );
}
