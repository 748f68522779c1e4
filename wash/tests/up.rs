//! `wash up` and `wash down`: a whole lattice of real processes, and nothing left of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Home, free_port};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// An `up` in the foreground, ready.
struct Up {
    process: Child,
    summary: Value,
}

fn up(home: &Home, port: u16) -> Up {
    let mut process = home
        .command()
        .args([
            "up",
            "-o",
            "json",
            "--nats-port",
            &port.to_string(),
            "--http-addr",
        ])
        .arg(format!("127.0.0.1:{}", free_port()))
        .args(["--host", "zone=us-east", "--host", "zone=us-west"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let summary = loop {
        let line = lines
            .next()
            .expect("`wash up` ended before it was ready")
            .unwrap();
        text.push_str(&line);
        if let Ok(value) = serde_json::from_str(&text) {
            break value;
        }
    };
    Up { process, summary }
}

/// The processes whose parent was `wash up`, from its state file.
fn children(home: &Home, port: u16) -> Vec<i64> {
    let path = home.dir.path().join(format!("data/up/{port}/state.json"));
    let state: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let hosts = state["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|host| &host["process"]);
    let parts = hosts.chain([&state["nats"], &state["wadm"]]);
    parts.map(|part| part["pid"].as_i64().unwrap()).collect()
}

fn alive(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some(None | Some('Z')))
}

fn all_gone(pids: &[i64]) {
    let start = Instant::now();
    while pids.iter().any(|pid| alive(*pid)) {
        assert!(
            start.elapsed() < SOON,
            "left over: {:?}",
            pids.iter().filter(|pid| alive(**pid)).collect::<Vec<_>>()
        );
        std::thread::yield_now();
    }
}

#[test]
fn an_up_that_is_killed_outright_leaves_nothing_and_the_next_works() {
    let home = Home::new();
    let port = free_port();
    let mut first = up(&home, port);
    assert_eq!(
        first.summary["hosts"].as_array().unwrap().len(),
        2,
        "{}",
        first.summary
    );
    let pids = children(&home, port);
    assert_eq!(pids.len(), 4);

    let second = home.wash(&["up", "--nats-port", &port.to_string()]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(
        second.err.contains("already") && second.err.contains("wash down"),
        "{second:?}"
    );

    first.process.kill().unwrap();
    first.process.wait().unwrap();
    all_gone(&pids);

    let mut again = up(&home, port);
    let pids = children(&home, port);
    let hosts = home
        .wash(&["get", "hosts", "-p", &port.to_string(), "-o", "json"])
        .json();
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 2, "{hosts}");
    let id = i32::try_from(again.process.id()).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(id),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    assert!(again.process.wait().unwrap().success());
    all_gone(&pids);
}

#[test]
fn a_detached_up_is_ended_by_down() {
    let home = Home::new();
    let port = free_port().to_string();
    let http = format!("127.0.0.1:{}", free_port());
    let up = home.wash(&[
        "up",
        "-d",
        "--nats-port",
        &port,
        "--http-addr",
        &http,
        "-o",
        "json",
    ]);
    assert_eq!(up.code, 0, "{up:?}");
    assert_eq!(up.json()["kill_cmd"], "wash down");
    let pids = children(&home, port.parse().unwrap());
    assert!(pids.iter().all(|pid| alive(*pid)));

    // Any part can be killed: NATS comes back by itself.
    let nats = pids[1];
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(nats).unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let start = Instant::now();
    while home.wash(&["get", "hosts", "-p", &port, "-o", "json"]).code != 0 {
        assert!(start.elapsed() < SOON, "NATS did not come back");
    }

    let pids = children(&home, port.parse().unwrap());
    let down = home.wash(&["down", "-o", "json"]);
    assert_eq!(down.code, 0, "{down:?}");
    let json = down.json();
    assert_eq!(json["hosts_stopped"].as_array().unwrap().len(), 1);
    assert_eq!(
        (
            json["nats_stopped"].as_bool(),
            json["wadm_stopped"].as_bool()
        ),
        (Some(true), Some(true))
    );
    all_gone(&pids);
    assert_eq!(home.wash(&["down"]).code, 1);
}

#[test]
fn an_up_that_cannot_start_says_why_and_leaves_nothing() {
    let home = Home::new();
    let port = free_port().to_string();
    let broken = home.dir.path().join("nats-server");
    std::fs::write(&broken, "#!/bin/sh\necho 'no licence to run' >&2\nexit 7\n").unwrap();
    std::os::unix::fs::symlink(&broken, home.dir.path().join("link")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&broken, mode).unwrap();
    for detached in [&[][..], &["-d"][..]] {
        let server = broken.display().to_string();
        let said = home.wash(
            &[
                &["up", "--nats-port", &port, "--nats-server", &server],
                detached,
            ]
            .concat(),
        );
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.err.contains("exit code 7") && said.err.contains("no licence to run"),
            "{said:?}"
        );
    }
    let server = broken.display().to_string();
    let arguments = [
        "up",
        "-d",
        "--nats-port",
        &port,
        "--nats-server",
        &server,
        "-o",
        "json",
    ];
    let json = home.wash(&arguments).error_json();
    assert!(
        json["error"].as_str().unwrap().contains("exit code 7"),
        "{json}"
    );
}
