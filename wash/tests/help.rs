//! The help of the main commands, as stored.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use common::Home;

#[test]
fn help_is_as_stored() {
    let home = Home::new();
    for command in [
        vec![],
        vec!["app"],
        vec!["app", "deploy"],
        vec!["app", "status"],
        vec!["get", "inventory"],
        vec!["link", "put"],
        vec!["start", "component"],
        vec!["push"],
        vec!["up"],
        vec!["down"],
        vec!["call"],
    ] {
        let said = home.wash(&[command.as_slice(), &["--help"]].concat());
        assert_eq!(said.code, 0, "{said:?}");
        let name = [&["wash"], command.as_slice()].concat().join("-");
        insta::assert_snapshot!(name, said.out);
    }
}

#[test]
fn no_command_shows_the_help_and_is_wrong_use() {
    let said = Home::new().wash(&[]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("Usage: wash"), "{said:?}");
}

#[test]
fn the_version_has_upstreams_keys() {
    let said = Home::new().wash(&["--version", "-o", "json"]);
    let json = said.json();
    for key in ["wash", "nats-server", "wadm", "wasmcloud"] {
        assert!(json[key].is_string(), "{key}: {json}");
    }
}

#[test]
fn every_command_has_a_help_text() {
    let said = Home::new().wash(&["--help-markdown"]);
    for command in [
        "wash up",
        "wash app plan",
        "wash keys gen",
        "wash par insert",
        "wash ctx default",
    ] {
        assert!(said.out.contains(&format!("## `{command}`")), "{command}");
    }
}
