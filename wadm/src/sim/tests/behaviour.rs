//! What people were promised, one rule to a test, in lattice time.

use std::sync::Arc;

use proto::manifest::Manifest;
use serde_json::json;

use super::*;

/// So many of our hosts in one zone, one controller, everything settled.
fn calm(seed: u64, hosts: usize, controllers: usize) -> World {
    let mut world = World::new(seed, Timing::default());
    world.tracing = true;
    world.start_ms = (100, 400);
    for number in 0..hosts {
        let id = HostId::new(format!("N{number}")).unwrap();
        let labels = [("zone".to_owned(), ZONES[number % 2].to_owned())].into();
        world.add_host(SimHost::new(id, labels, true, 1000));
    }
    for _ in 0..controllers {
        world.add_controller();
    }
    world.run_until(8_000);
    world
}

fn app(name: &str, instances: u32, image: &str) -> Arc<Manifest> {
    let link = json!({"type": "link", "properties": {
        "namespace": "wasi", "package": "keyvalue", "interfaces": ["store"], "target": {"name": "store"}}});
    let manifest = json!({
        "apiVersion": "v", "kind": "Application", "metadata": {"name": name, "annotations": {}},
        "spec": {"components": [{
            "name": "web", "type": "component", "properties": {"image": image},
            "traits": [{"type": "spreadscaler", "properties": {"instances": instances}}, link]
        }]}
    });
    Arc::new(serde_json::from_value(manifest).unwrap())
}

fn deploy(world: &mut World, name: &str, manifest: Option<Arc<Manifest>>) {
    world.fault(Fault::Deploy(name.to_owned(), manifest));
}

/// Runs until everything is as it should be; how long that took.
fn settle(world: &mut World, within: u64) -> u64 {
    let from = world.now;
    while world.now < from + within {
        world.run_until(world.now + 100);
        assert_eq!(world.tally.broken, None, "{}", world.trace());
        if world.differences().is_empty() {
            return world.now - from;
        }
    }
    panic!("{:?}\n{}", world.differences(), world.trace());
}

/// Commands sent in the time that follows.
fn commands_in(world: &mut World, time: u64) -> u64 {
    let before = world.tally.commands;
    world.run_until(world.now + time);
    world.tally.commands - before
}

#[test]
fn a_killed_host_is_replaced_within_five_seconds() {
    let mut worst = 0;
    for seed in 0..20 {
        let mut world = calm(seed, 3, 1);
        deploy(&mut world, "shop", Some(app("shop", 3, "web:1")));
        settle(&mut world, 5000);
        let wait = world.rng.between(2000, 4000);
        world.run_until(world.now + wait);
        world.fault(Fault::CrashHost(1));
        worst = worst.max(settle(&mut world, 5000));
    }
    assert!(worst < 5000, "{worst} ms");
}

#[test]
fn what_was_given_up_does_not_come_back_when_its_replacement_fails_too() {
    let mut world = calm(1, 3, 1);
    deploy(&mut world, "shop", Some(app("shop", 3, "web:1")));
    settle(&mut world, 5000);
    world.hosts[1].refuses = true;
    deploy(&mut world, "shop", Some(app("shop", 6, "web:2")));
    let commands = commands_in(&mut world, 60_000);
    assert_eq!(world.tally.broken, None, "{}", world.trace());
    assert!(commands < 40, "{commands} commands\n{}", world.trace());
}

#[test]
fn a_host_that_dies_before_its_first_pulse_is_missed_as_soon_as_any_other() {
    for life in [5, 100, 500, 900] {
        let mut world = calm(1, 2, 1);
        deploy(&mut world, "shop", Some(app("shop", 6, "web:1")));
        settle(&mut world, 5000);
        world.fault(Fault::CrashHost(1));
        world.fault(Fault::BootHost(1));
        world.run_until(world.now + life);
        world.fault(Fault::CrashHost(1));
        settle(&mut world, 5000);
    }
}

#[test]
fn a_host_that_is_cut_off_is_replaced_within_five_seconds_and_gives_back_when_it_returns() {
    let mut world = calm(1, 3, 1);
    deploy(&mut world, "shop", Some(app("shop", 3, "web:1")));
    settle(&mut world, 5000);
    world.run_until(world.now + 3000);
    world.fault(Fault::CutHost(1, true));
    world.run_until(world.now + 5000);
    let elsewhere: u32 = [0, 2]
        .iter()
        .flat_map(|host| world.hosts[*host].components.values())
        .map(|c| c.count)
        .sum();
    assert_eq!(elsewhere, 3, "{}", world.trace());
    world.run_until(world.now + 20_000);
    world.fault(Fault::CutHost(1, false));
    settle(&mut world, 5000);
    assert_eq!(commands_in(&mut world, 60_000), 0, "{}", world.trace());
}

#[test]
fn a_slow_host_is_not_taken_for_a_lost_one() {
    let mut lost = 0;
    for seed in 0..300 {
        let mut world = calm(seed, 3, 1);
        deploy(&mut world, "shop", Some(app("shop", 3, "web:1")));
        settle(&mut world, 5000);
        world.run_until(world.now + 3000);
        world.weather.loss = 30;
        world.run_until(world.now + 4000);
        world.weather.loss = 0;
        lost += u32::from(commands_in(&mut world, 4000) > 0);
    }
    assert!(lost <= 1, "{lost} of 300 storms moved something");
}

#[test]
fn deploying_the_same_again_sends_nothing() {
    let mut world = calm(1, 3, 1);
    deploy(&mut world, "shop", Some(app("shop", 5, "web:1")));
    settle(&mut world, 5000);
    deploy(&mut world, "shop", Some(app("shop", 5, "web:1")));
    assert_eq!(commands_in(&mut world, 40_000), 0, "{}", world.trace());
}

#[test]
fn groups_that_fit_the_same_hosts_do_not_take_each_others_places() {
    let mut world = World::new(1, Timing::default());
    world.tracing = true;
    for number in 0..5 {
        let id = HostId::new(format!("N{number}")).unwrap();
        let labels = [("zone".to_owned(), ZONES[0].to_owned())].into();
        world.add_host(SimHost::new(id, labels, true, 1000));
    }
    world.add_controller();
    world.run_until(8_000);
    for instances in [6, 9, 7, 4, 6] {
        let manifest = json!({
            "apiVersion": "v", "kind": "Application", "metadata": {"name": "shop", "annotations": {}},
            "spec": {"components": [{
                "name": "web", "type": "component", "properties": {"image": "web:1"},
                "traits": [{"type": "spreadscaler", "properties": {"instances": instances, "spread": [
                    {"name": "near", "requirements": {"zone": ZONES[0]}, "weight": 2},
                    {"name": "anywhere", "requirements": {}, "weight": 1}
                ]}}]
            }]}
        });
        let manifest = Arc::new(serde_json::from_value(manifest).unwrap());
        deploy(&mut world, "shop", Some(manifest));
        settle(&mut world, 5000);
        world.run_until(world.now + 1000);
        assert_eq!(commands_in(&mut world, 60_000), 0, "{}", world.trace());
    }
}

#[test]
fn a_restarted_controller_sends_nothing() {
    let mut world = calm(1, 3, 1);
    deploy(&mut world, "shop", Some(app("shop", 5, "web:1")));
    settle(&mut world, 5000);
    world.fault(Fault::CrashController(0));
    world.run_until(world.now + 5000);
    world.fault(Fault::StartController(0));
    assert_eq!(commands_in(&mut world, 60_000), 0, "{}", world.trace());
}

#[test]
fn a_standby_takes_over_within_fifteen_seconds_and_restarts_nothing() {
    let mut world = calm(2, 4, 3);
    deploy(&mut world, "shop", Some(app("shop", 5, "web:1")));
    settle(&mut world, 5000);
    let leader = world
        .controllers
        .iter()
        .position(|controller| controller.fence.is_some())
        .unwrap();
    world.fault(Fault::CrashController(leader));
    world.fault(Fault::CrashHost(0));
    let took = settle(&mut world, 15_000);
    assert!(took < 15_000, "{took} ms");
    assert_eq!(commands_in(&mut world, 60_000), 0, "{}", world.trace());
}

#[test]
fn nats_away_for_a_minute_moves_nothing() {
    let mut world = calm(1, 3, 2);
    deploy(&mut world, "shop", Some(app("shop", 5, "web:1")));
    settle(&mut world, 5000);
    world.fault(Fault::Nats(true));
    world.run_until(world.now + 60_000);
    world.fault(Fault::Nats(false));
    assert_eq!(commands_in(&mut world, 60_000), 0, "{}", world.trace());
}

/// The moments of the attempts to start something that always fails, in seconds after the first.
fn attempts(world: &mut World, time: u64) -> Vec<f64> {
    world.tally.attempts.clear();
    world.run_until(world.now + time);
    let mut times: Vec<u64> = world.tally.attempts.values().flatten().copied().collect();
    times.sort_unstable();
    let first = times.first().copied().unwrap_or_default();
    times
        .iter()
        .map(|time| (time - first) as f64 / 1000.0)
        .collect()
}

#[test]
fn a_failing_image_is_tried_at_one_two_four_seconds() {
    let mut world = calm(1, 1, 1);
    world.hosts[0].failing.insert("web:1".to_owned());
    deploy(&mut world, "shop", Some(app("shop", 1, "web:1")));
    let times = attempts(&mut world, 600_000);
    assert!(times.len() <= 12 && times.len() >= 8, "{times:?}");
    // Each pause is at least nine tenths of twice the one before, plus what an attempt takes.
    let pauses: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (index, pause) in pauses.iter().enumerate() {
        let least = 0.9 * f64::from(1 << index.min(8));
        assert!((least..least * 1.3 + 1.0).contains(pause), "{pauses:?}");
    }
    let status = &world.statuses["shop"];
    assert!(
        status.status.message.contains("401 denied"),
        "{}",
        status.status.message
    );
    let host = &status.detail.as_ref().unwrap().components[0].hosts[0];
    assert!(host.next_retry.is_some() && host.attempts >= 8);
    // Mended, and someone asks for it: at once.
    world.hosts[0].failing.clear();
    world.fault(Fault::Retry);
    assert!(settle(&mut world, 2000) < 2000);
}

#[test]
fn a_new_version_is_tried_at_once_though_the_old_one_failed() {
    let mut world = calm(1, 1, 1);
    world.hosts[0].failing.insert("web:1".to_owned());
    deploy(&mut world, "shop", Some(app("shop", 1, "web:1")));
    world.run_until(world.now + 120_000);
    deploy(&mut world, "shop", Some(app("shop", 1, "web:2")));
    assert!(settle(&mut world, 2000) < 2000);
}

#[test]
fn a_rollout_never_stops_serving() {
    let mut world = calm(1, 3, 1);
    deploy(&mut world, "shop", Some(app("shop", 3, "web:1")));
    settle(&mut world, 5000);
    deploy(&mut world, "shop", Some(app("shop", 3, "web:2")));
    for _ in 0..300 {
        world.run_until(world.now + 10);
        let serving = world
            .hosts
            .iter()
            .filter(|host| !host.components.is_empty())
            .count();
        assert_eq!(serving, 3, "{}", world.trace());
    }
    settle(&mut world, 5000);
}

#[test]
fn a_changed_label_moves_work_within_five_seconds_and_never_stops_serving() {
    let mut world = calm(1, 4, 1);
    let mut manifest = serde_json::to_value(&*app("shop", 4, "web:1")).unwrap();
    manifest["spec"]["components"][0]["traits"][0]["properties"]["spread"] =
        json!([{"name": "east", "requirements": {"zone": "east"}}]);
    deploy(
        &mut world,
        "shop",
        Some(Arc::new(serde_json::from_value(manifest).unwrap())),
    );
    settle(&mut world, 5000);
    world.fault(Fault::Label(0, "centre"));
    let from = world.now;
    loop {
        world.run_until(world.now + 10);
        let serving: u32 = world
            .hosts
            .iter()
            .flat_map(|host| host.components.values())
            .map(|c| c.count)
            .sum();
        assert!(serving >= 4, "{}", world.trace());
        if world.differences().is_empty() {
            break;
        }
        assert!(world.now < from + 5000, "{}", world.trace());
    }
}

#[test]
fn what_is_removed_while_a_host_is_away_is_stopped_when_it_returns() {
    let mut world = calm(1, 2, 1);
    deploy(&mut world, "shop", Some(app("shop", 2, "web:1")));
    settle(&mut world, 5000);
    world.fault(Fault::CutHost(1, true));
    world.run_until(world.now + 10_000);
    deploy(&mut world, "shop", None);
    world.run_until(world.now + 30_000);
    assert!(!world.hosts[1].components.is_empty());
    world.fault(Fault::CutHost(1, false));
    settle(&mut world, 5000);
}

#[test]
fn a_version_that_fails_goes_back_to_the_one_before() {
    let mut world = calm(1, 3, 1);
    deploy(&mut world, "shop", Some(app("shop", 3, "web:1")));
    settle(&mut world, 5000);
    world.hosts[1].failing.insert("web:2".to_owned());
    deploy(&mut world, "shop", Some(app("shop", 3, "web:2")));
    for _ in 0..600 {
        world.run_until(world.now + 100);
        let serving = world
            .hosts
            .iter()
            .filter(|host| !host.components.is_empty())
            .count();
        assert_eq!(serving, 3, "{}", world.trace());
    }
    let images: Vec<&str> = world
        .hosts
        .iter()
        .flat_map(|host| host.components.values())
        .map(|component| component.image.as_str())
        .collect();
    assert_eq!(images, ["web:1"; 3], "{}", world.trace());
    let message = &world.statuses["shop"].status.message;
    assert_eq!(
        message,
        "web:2 failed and went back to web:1: cannot fetch web:2: 401 denied"
    );
    assert_eq!(commands_in(&mut world, 60_000), 0, "{}", world.trace());
    world.hosts[1].failing.clear();
    world.fault(Fault::Retry);
    settle(&mut world, 5000);
}
