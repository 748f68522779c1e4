//! Wrong uses: each message names the cause and what to type next, and the exit code says its kind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use common::{Home, Nats, free_port};

/// Arguments, exit code, a part of the message, a part of the hint.
type Case<'a> = (&'a [&'a str], i32, &'a str, &'a str);

fn check(home: &Home, cases: &[Case<'_>]) {
    for (arguments, code, message, hint) in cases {
        let said = home.wash(arguments);
        let case = arguments.join(" ");
        assert_eq!(said.code, *code, "{case}: {said:?}");
        let text = said.err.to_lowercase();
        assert!(
            text.contains(&message.to_lowercase()),
            "{case} does not say `{message}`:\n{}",
            said.err
        );
        assert!(
            text.contains(&hint.to_lowercase()),
            "{case} does not advise `{hint}`:\n{}",
            said.err
        );
        assert!(
            !text.contains("elapsed") && !text.contains("panicked"),
            "{case}: raw text:\n{}",
            said.err
        );

        let json = home.wash(&[*arguments, &["-o", "json"]].concat());
        assert_eq!(json.code, *code, "{case} as JSON: {json:?}");
        let json = json.error_json();
        assert_eq!(json["success"], false, "{case}");
        assert!(json["error"].is_string(), "{case}: {json}");
        assert_eq!(json["exit_code"], *code, "{case}: {json}");
    }
}

#[test]
fn without_any_server() {
    let home = Home::new();
    std::fs::write(home.dir.path().join("text.txt"), "hello").unwrap();
    std::fs::write(home.dir.path().join("bad.yaml"), "apiVersion: [\n").unwrap();
    std::fs::write(home.dir.path().join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let port = free_port().to_string();
    let p = port.as_str();
    check(
        &home,
        &[
            // Nobody listens.
            (
                &["get", "hosts", "-p", p],
                3,
                "cannot reach NATS at nats://127.0.0.1",
                "wash up",
            ),
            (
                &["app", "list", "-p", p],
                3,
                "cannot reach NATS",
                "--ctl-host",
            ),
            (
                &["call", "web", "run", "-p", p],
                3,
                "cannot reach NATS",
                "wash up",
            ),
            (
                &["up", "--nats-connect-only", "--nats-port", p],
                3,
                "there is no NATS server",
                "--nats-connect-only",
            ),
            (&["down"], 1, "started nothing", "--all"),
            // Addresses and credentials.
            (
                &["get", "hosts", "-r", "http://x"],
                2,
                "`http://x` is no NATS address",
                "nats://HOST:PORT",
            ),
            (
                &["get", "hosts", "--ctl-seed", "SUX"],
                2,
                "not an nkey seed",
                "SU",
            ),
            (
                &["get", "hosts", "--ctl-jwt", "x"],
                2,
                "without its seed",
                "--ctl-seed",
            ),
            (
                &["get", "hosts", "--ctl-credsfile", "no.creds"],
                1,
                "no.creds",
                "--ctl-credsfile",
            ),
            (
                &["get", "hosts", "-x", "a.b", "-p", p],
                2,
                "`a.b` is not a lattice name",
                "letters",
            ),
            (
                &["get", "hosts", "--context", "nowhere"],
                1,
                "no context `nowhere`",
                "wash ctx new",
            ),
            // Words that are none.
            (&["gets", "hosts"], 2, "unrecognized subcommand", "get"),
            (&["get", "host"], 2, "unrecognized subcommand", "hosts"),
            (
                &["get", "hosts", "--lattise", "x"],
                2,
                "unexpected argument",
                "--lattice",
            ),
            (&["keys", "gen", "acount"], 2, "invalid value", "account"),
            (
                &["get", "inventory", "-w", "soon"],
                2,
                "invalid value 'soon'",
                "2s",
            ),
            (
                &["up", "--host", "zone"],
                2,
                "expected `key=value`",
                "--help",
            ),
            (
                &["up", "--host", "hostcore.os=x"],
                2,
                "set by the host itself",
                "--help",
            ),
            (
                &["up", "--nats-server", "/no/such/nats"],
                1,
                "no nats-server at",
                "path",
            ),
            // Missing or odd arguments.
            (&["app", "undeploy"], 2, "no application was named", "--all"),
            (
                &["app", "delete"],
                2,
                "no application was named",
                "--all-undeployed",
            ),
            (
                &["link", "put", "a", "b", "wasi", "keyvalue"],
                2,
                "--interface",
                "usage",
            ),
            (
                &[
                    "link",
                    "put",
                    "a",
                    "b",
                    "wasi",
                    "keyvalue",
                    "--interface",
                    "store",
                    "-p",
                    p,
                ],
                3,
                "cannot reach",
                "wash up",
            ),
            (
                &["config", "put", "c", "novalue"],
                2,
                "`novalue` is no setting",
                "key=value",
            ),
            (
                &["config", "put", "SECRET_x", "a=b"],
                2,
                "starts like a secret",
                "wash secrets put",
            ),
            (&["label", "N1", "zone"], 2, "invalid label", "key=value"),
            (
                &["claims", "sign", "core.wasm"],
                2,
                "needs a revision",
                "--rev",
            ),
            (
                &["ctx", "default"],
                2,
                "no context was named",
                "wash ctx list",
            ),
            (
                &["ctx", "default", "nowhere"],
                1,
                "no context `nowhere`",
                "wash ctx new",
            ),
            (
                &["ctx", "del", "host_config"],
                1,
                "is the default context",
                "wash ctx default",
            ),
            (&["ctx", "new", "a/b"], 1, "cannot be the name", "letters"),
            (&["ctx", "edit"], 2, "no editor is known", "EDITOR"),
            // Files and images.
            (
                &["app", "deploy", "no.yaml"],
                1,
                "cannot read `no.yaml`",
                "check the path",
            ),
            (&["app", "deploy", "bad.yaml"], 1, "bad.yaml:", "error"),
            (
                &["app", "put"],
                1,
                "standard input is empty",
                "wash app deploy -",
            ),
            (
                &["inspect", "no.wasm"],
                1,
                "cannot read `no.wasm`",
                "check the path",
            ),
            (
                &["inspect", "text.txt"],
                1,
                "neither a WebAssembly component nor",
                "wash par create",
            ),
            (&["inspect", "core.wasm"], 1, "core module", "wasm32-wasip2"),
            (
                &["inspect", "ghcr.io/acme/web"],
                2,
                "would use the tag `latest`",
                "--allow-latest",
            ),
            (
                &["push", "localhost:1/x:1", "text.txt"],
                1,
                "neither a WebAssembly component nor",
                ".wasm",
            ),
            (
                &["push", "UPPER CASE", "core.wasm"],
                2,
                "is no image reference",
                "REGISTRY/NAME:TAG",
            ),
            (
                &["push", "ftp://x/y:1", "core.wasm"],
                2,
                "does not point at a registry",
                "without a scheme",
            ),
            (
                &["push", "localhost:1/x:1", "core.wasm", "-u", "me"],
                2,
                "half of the credentials",
                "--password",
            ),
            (
                &["push", "localhost:1/x:1", "core.wasm"],
                1,
                "cannot push",
                "localhost:1",
            ),
            (
                &["pull", "localhost:1/x:1"],
                1,
                "cannot pull",
                "can be reached",
            ),
            (
                &["par", "inspect", "text.txt"],
                1,
                "no provider archive",
                "wash par create",
            ),
            (
                &["keys", "get", "nokey"],
                1,
                "there is no key",
                "--disable-keygen",
            ),
        ],
    );
}

#[tokio::test]
async fn without_hosts_and_wadm() {
    let nats = Nats::start();
    let home = Home::new();
    let port = nats.port.to_string();
    tokio::task::spawn_blocking(move || {
        let p = port.as_str();
        check(
            &home,
            &[
                (
                    &["get", "links", "-p", p],
                    3,
                    "no host answers on lattice `default`",
                    "wash up",
                ),
                (
                    &["app", "list", "-p", p],
                    3,
                    "no wadm is listening",
                    "wadm is running",
                ),
                (
                    &["app", "status", "shop", "-p", p, "-x", "edge"],
                    3,
                    "on lattice `edge`",
                    "--lattice",
                ),
                (
                    &["get", "inventory", "fox", "-p", p, "-t", "300"],
                    1,
                    "no host's id or name",
                    "wash up",
                ),
                (
                    &[
                        "start",
                        "component",
                        "x:1",
                        "web",
                        "-p",
                        p,
                        "--auction-timeout-ms",
                        "200",
                        "-t",
                        "300",
                    ],
                    3,
                    "no host answers",
                    "wash up",
                ),
                (
                    &["stop", "provider", "kv", "-p", p, "-t", "300"],
                    3,
                    "no host answers",
                    "wash up",
                ),
                (
                    &["config", "get", "c", "-p", p],
                    3,
                    "no host answers",
                    "wash up",
                ),
                (&["link", "del", "-p", p], 2, "no link was named", "--all"),
                (
                    &["start", "component", "x:1", "a b", "-p", p],
                    2,
                    "`a b` is not a component",
                    "letters",
                ),
            ],
        );
        // No hosts is an answer, not an error.
        let said = home.wash(&["get", "hosts", "-p", p, "-t", "300"]);
        assert_eq!(
            (said.code, said.out.trim()),
            (0, "No hosts. Start one with `wash up`.")
        );
    })
    .await
    .unwrap();
}
