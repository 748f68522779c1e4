//! The command line reads as upstream's does.

use clap::{CommandFactory as _, Parser};
use secrecy::ExposeSecret as _;

use super::*;

#[derive(Parser, Debug)]
struct Cli {
    #[command(flatten)]
    options: HostOptions,
}

fn parse(arguments: &[&str]) -> HostOptions {
    let line = std::iter::once("host").chain(arguments.iter().copied());
    Cli::try_parse_from(line)
        .map(|cli| cli.options)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn refused(arguments: &[&str]) -> String {
    let line = std::iter::once("host").chain(arguments.iter().copied());
    Cli::try_parse_from(line)
        .map(|_| String::new())
        .unwrap_or_else(|error| error.to_string())
}

#[test]
fn every_flag_has_a_variable() {
    for argument in Cli::command().get_arguments() {
        let name = argument.get_id().as_str();
        let exempt = ["help", "labels"].contains(&name);
        assert!(
            exempt || argument.get_env().is_some(),
            "`{name}` has no variable"
        );
    }
}

#[test]
fn every_upstream_flag_is_taken() {
    let known = Cli::command();
    let longs: Vec<_> = known
        .get_arguments()
        .flat_map(|a| a.get_long_and_visible_aliases().unwrap_or_default())
        .collect();
    for flag in [
        "lattice",
        "nats-host",
        "nats-port",
        "nats-jwt",
        "nats-seed",
        "nats-creds",
        "ctl-host",
        "ctl-port",
        "ctl-jwt",
        "ctl-seed",
        "ctl-creds",
        "ctl-tls",
        "rpc-host",
        "rpc-port",
        "rpc-jwt",
        "rpc-seed",
        "rpc-creds",
        "rpc-tls",
        "ctl-topic-prefix",
        "rpc-timeout-ms",
        "js-domain",
        "host-seed",
        "label",
        "provider-shutdown-delay-ms",
        "heartbeat-interval-seconds",
        "allow-file-load",
        "allow-latest",
        "allowed-insecure",
        "oci-registry",
        "oci-user",
        "oci-password",
        "config-service-enabled",
        "policy-topic",
        "policy-changes-topic",
        "policy-timeout-ms",
        "secrets-topic",
        "max-execution-time-ms",
        "max-linear-memory-bytes",
        "max-component-size-bytes",
        "max-components",
        "max-core-instances-per-component",
        "enable-component-auction",
        "enable-provider-auction",
        "http-admin",
        "log-level",
        "trace-level",
        "enable-structured-logging",
        "enable-observability",
        "enable-traces",
        "enable-metrics",
        "enable-logs",
        "override-observability-endpoint",
        "override-traces-endpoint",
        "override-metrics-endpoint",
        "override-logs-endpoint",
        "observability-protocol",
        "flame-graph",
        "tls-ca-path",
        "feature",
    ] {
        assert!(longs.contains(&flag), "--{flag}");
    }
}

#[test]
fn labels_come_from_flags_and_environment() {
    let options = parse(&["--label", "zone=a", "-l", "rack=7"]);
    let environment = [
        ("WASMCLOUD_LABEL_zone", "b"),
        ("WASMCLOUD_LABEL_tier", "edge"),
        ("OTHER", "x"),
    ];
    let labels = options
        .labels(
            environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
        .expect("labels");
    assert_eq!(
        labels.get("zone").map(String::as_str),
        Some("a"),
        "a flag wins"
    );
    assert_eq!(labels.get("tier").map(String::as_str), Some("edge"));
    assert_eq!(
        labels.get("hostcore.os").map(String::as_str),
        Some(std::env::consts::OS)
    );
    for wrong in ["zone", "a=b=c", "=x"] {
        let fault = parse(&["--label", wrong])
            .labels(std::iter::empty())
            .expect_err("refused");
        assert_eq!(
            fault.to_string(),
            format!("invalid label format `{wrong}`. Expected `key=value`")
        );
    }
}

#[test]
fn the_two_connections_fall_back_to_the_common_flags() {
    let options = parse(&["--nats-host", "hub", "--rpc-port", "5222", "--rpc-tls"]);
    assert_eq!(options.ctl().expect("settings").urls, ["nats://hub:4222"]);
    let rpc = options.rpc().expect("settings");
    assert_eq!(rpc.urls, ["nats://hub:5222"]);
    assert!(rpc.tls.required);
    let options = parse(&[
        "--nats-url",
        "nats://a:1,tls://b:2",
        "--nats-user",
        "u",
        "--nats-password",
        "p",
    ]);
    assert_eq!(
        options.ctl().expect("settings").urls,
        ["nats://a:1", "tls://b:2"]
    );
    match options.ctl().expect("settings").auth {
        Auth::User { user, password } => {
            assert_eq!((user.as_str(), password.expose_secret()), ("u", "p"))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_may_say_who_the_host_is() {
    let options = parse(&["--nats-url", "nats://u:p%40ss@a:1,nats://b:2"]);
    match options.rpc().expect("settings").auth {
        Auth::User { user, password } => {
            assert_eq!((user.as_str(), password.expose_secret()), ("u", "p@ss"))
        }
        other => panic!("{other:?}"),
    }
    let flags = ["--nats-url", "u:p@a:1", "--nats-token", "t"];
    let auth = parse(&flags).ctl().expect("settings").auth;
    assert!(matches!(auth, Auth::Token(_)), "flags come first");
}

#[test]
fn providers_get_what_is_meant_for_them_and_else_what_the_host_has() {
    let host = ["--nats-user", "host", "--nats-password", "h"];
    let provider = [
        "--provider-nats-user",
        "provider",
        "--provider-nats-password",
        "p@",
    ];
    for (more, expected) in [
        (&[] as &[&str], "nats://host:h@127.0.0.1:4222"),
        (&provider, "nats://provider:p%40@127.0.0.1:4222"),
    ] {
        let login = parse(&[&host, more].concat()).provider_login();
        assert_eq!(login.expect("a login").url.expose_secret(), expected);
    }
    let login = parse(&[&host[..], &["--provider-nats-user", "x"]].concat()).provider_login();
    assert!(login.is_err(), "half a pair");

    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("provider.creds");
    let text = "-----BEGIN NATS USER JWT-----\neyP\n------END NATS USER JWT------\n\n\
                -----BEGIN USER NKEY SEED-----\nSUAP\n------END USER NKEY SEED------\n";
    std::fs::write(&path, text).expect("a write");
    let creds = ["--provider-nats-creds", path.to_str().expect("a path")];
    let login = parse(&[&host[..], &creds].concat()).provider_login();
    let login = login.expect("a login");
    assert_eq!(login.url.expose_secret(), "nats://127.0.0.1:4222");
    assert_eq!(
        (login.jwt.as_str(), login.seed.expose_secret()),
        ("eyP", "SUAP")
    );
}

#[test]
fn half_a_pair_is_refused_by_name() {
    for (arguments, expected) in [
        (
            ["--nats-jwt", "x"],
            "`--nats-jwt` needs `--nats-seed` beside it",
        ),
        (["--rpc-seed", "x"], "`--nats-jwt`"),
        (
            ["--nats-user", "x"],
            "`--nats-user` needs `--nats-password` beside it",
        ),
        (
            ["--nats-tls-key", "x"],
            "`--nats-tls-key` needs `--nats-tls-cert` beside it",
        ),
    ] {
        let options = parse(&arguments);
        let fault = options
            .ctl()
            .and(options.rpc())
            .expect_err("refused")
            .to_string();
        assert!(fault == expected || arguments[0] == "--rpc-seed", "{fault}");
    }
}

#[test]
fn a_credentials_file_gives_jwt_and_seed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("user.creds");
    let text = "-----BEGIN NATS USER JWT-----\neyJ0\n------END NATS USER JWT------\n\n\
                -----BEGIN USER NKEY SEED-----\nSUAX\n------END USER NKEY SEED------\n";
    std::fs::write(&path, text).expect("a write");
    let options = parse(&["--nats-creds", path.to_str().expect("a path")]);
    match options.ctl().expect("settings").auth {
        Auth::Jwt { jwt, seed } => {
            assert_eq!((jwt.as_str(), seed.expose_secret()), ("eyJ0", "SUAX"))
        }
        other => panic!("{other:?}"),
    }
    std::fs::write(&path, "nothing").expect("a write");
    assert!(
        options
            .ctl()
            .expect_err("refused")
            .to_string()
            .contains("not a NATS credentials file")
    );
}

#[test]
fn wrong_values_name_what_is_needed() {
    for (arguments, expected) in [
        (["--policy-topic", "a..b"], "invalid topic `a..b`"),
        (["--lattice", "a.b"], "a lattice is named by"),
        (["--heartbeat-interval-seconds", "0"], "at least 1"),
        (["--stop-grace", "soon"], "a duration such as"),
        (
            ["--registry-mirror", "nonsense"],
            "invalid registry mirror `nonsense`",
        ),
        (["--log-level", "loud"], "one of error, warn, info"),
    ] {
        let said = refused(&arguments);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn durations_have_units() {
    for (text, expected) in [
        ("500ms", 500),
        ("10s", 10_000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("3", 3_000),
    ] {
        assert_eq!(
            duration(text),
            Ok(Duration::from_millis(expected)),
            "{text}"
        );
    }
}

#[test]
fn passwords_are_not_shown_in_help() {
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains("--oci-password"));
    assert!(!format!("{:?}", parse(&["--oci-user", "u"]).fetch_options()).contains("hunter2"));
}

#[test]
fn sizes_have_units() {
    assert_eq!(parse(&[]).cache_limit, 10 << 30);
    for (text, bytes) in [("0", 0), ("4096", 4096), ("500MiB", 500 << 20)] {
        assert_eq!(parse(&["--cache-limit", text]).cache_limit, bytes, "{text}");
    }
    for text in ["10GB", "much", "-1", "99999999TiB"] {
        assert!(!refused(&["--cache-limit", text]).is_empty(), "{text}");
    }
}
