//! Commands that need no lattice: keys, contexts, archives, signing, validation, completions.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use common::Home;

const MANIFEST: &str = r"apiVersion: core.oam.dev/v1beta1
kind: Application
metadata:
  name: shop
  annotations:
    version: v1
spec:
  components:
    - name: web
      type: component
      properties:
        image: ghcr.io/acme/web:1
      traits:
        - type: spreadscaler
          properties:
            instances: 2
";

#[test]
fn keys_are_made_stored_and_listed() {
    let home = Home::new();
    let made = home.wash(&["keys", "gen", "account", "-o", "json"]).json();
    let seed = made["seed"].as_str().unwrap().to_owned();
    assert!(seed.starts_with("SA"));
    assert_eq!(
        home.wash(&["keys", "list", "-o", "json"]).json()["keys"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    std::fs::create_dir_all(home.dir.path().join("data/keys")).unwrap();
    std::fs::write(home.dir.path().join("data/keys/me_account.nk"), &seed).unwrap();
    assert_eq!(
        home.wash(&["keys", "list", "-o", "json"]).json()["keys"][0],
        "me_account.nk"
    );
    assert_eq!(
        home.wash(&["keys", "get", "me_account", "-o", "json"])
            .json()["seed"],
        seed.as_str()
    );
}

#[test]
fn contexts_are_made_chosen_and_removed() {
    let home = Home::new();
    let new = home.wash(&["ctx", "new", "edge", "--ctl-host", "10.0.0.1", "-x", "east"]);
    assert_eq!(new.code, 0, "{new:?}");
    let list = home.wash(&["ctx", "list", "-o", "json"]).json();
    assert_eq!(list["contexts"], serde_json::json!(["edge", "host_config"]));
    assert_eq!(home.wash(&["ctx", "default", "edge"]).code, 0);
    assert_eq!(
        home.wash(&["ctx", "list", "-o", "json"]).json()["default"],
        "edge"
    );
    assert_eq!(home.wash(&["ctx", "del", "edge"]).code, 1);
    assert_eq!(home.wash(&["ctx", "default", "host_config"]).code, 0);
    assert_eq!(home.wash(&["ctx", "del", "edge"]).code, 0);
}

#[test]
fn an_archive_is_made_filled_and_read() {
    let home = Home::new();
    let binary = home.dir.path().join("kv");
    std::fs::write(&binary, "elf").unwrap();
    let create = home.wash(&[
        "par",
        "create",
        "-v",
        "acme",
        "-n",
        "kv",
        "-b",
        "kv",
        "-a",
        "x86_64-linux",
        "-r",
        "1",
        "--version",
        "0.1.0",
        "--compress",
        "-o",
        "json",
    ]);
    assert_eq!(create.code, 0, "{create:?}");
    let file = create.json()["file"].as_str().unwrap().to_owned();
    assert_eq!(file, "kv.par.gz");
    let insert = home.wash(&["par", "insert", &file, "-a", "aarch64-linux", "-b", "kv"]);
    assert_eq!(insert.code, 0, "{insert:?}");
    for command in [["par", "inspect"], ["inspect", "--digest"]] {
        let said = match command[1] {
            "inspect" => home.wash(&["par", "inspect", &file, "-o", "json"]),
            _ => home.wash(&["inspect", &file, "-o", "json"]),
        };
        let json = said.json();
        assert_eq!(
            json["targets"],
            serde_json::json!(["aarch64-linux", "x86_64-linux"])
        );
        assert_eq!(
            (json["vendor"].as_str(), json["version"].as_str()),
            (Some("acme"), Some("0.1.0"))
        );
        assert!(json["service"].as_str().unwrap().starts_with('V'));
    }
}

#[test]
fn a_component_is_signed_and_its_claims_are_read() {
    let home = Home::new();
    std::fs::write(home.dir.path().join("web.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    let unsigned = home.wash(&["inspect", "web.wasm", "-o", "json"]).json();
    assert_eq!(unsigned.get("account"), None);
    let sign = home.wash(&[
        "claims", "sign", "web.wasm", "--rev", "3", "--ver", "0.3.0", "-t", "a", "-o", "json",
    ]);
    assert_eq!(sign.code, 0, "{sign:?}");
    let file = sign.json()["destination"].as_str().unwrap().to_owned();
    let signed = home
        .wash(&["claims", "inspect", &file, "-o", "json"])
        .json();
    assert!(
        signed["component"].as_str().unwrap().starts_with('M'),
        "{signed}"
    );
    assert_eq!(
        (signed["revision"].as_i64(), signed["valid"].as_bool()),
        (Some(3), Some(true))
    );
    let token = home
        .wash(&["inspect", &file, "--jwt-only", "-o", "json"])
        .json();
    assert_eq!(token["token"].as_str().unwrap().split('.').count(), 3);
}

#[test]
fn a_manifest_is_checked_without_a_lattice() {
    let home = Home::new();
    let file = home.dir.path().join("app.wadm.yaml");
    std::fs::write(&file, MANIFEST).unwrap();
    let good = home.wash(&["app", "validate", "app.wadm.yaml", "-o", "json"]);
    assert_eq!(
        (good.code, good.json()["valid"].as_bool()),
        (0, Some(true)),
        "{good:?}"
    );

    std::fs::write(&file, MANIFEST.replace("spreadscaler", "spreadscalar")).unwrap();
    let bad = home.wash(&["app", "validate", "app.wadm.yaml", "-o", "json"]);
    let json = bad.json();
    assert_eq!((bad.code, json["valid"].as_bool()), (1, Some(false)));
    assert_eq!(json["errors"][0]["line"], 14, "{json}");
    let text = home.wash(&["app", "validate", "app.wadm.yaml"]);
    assert!(
        text.out.contains("app.wadm.yaml:14:") && text.out.contains("spreadscaler"),
        "{text:?}"
    );
}

#[test]
fn the_schema_of_manifests_is_json() {
    let home = Home::new();
    let text = home.wash(&["app", "schema"]);
    let schema: serde_json::Value = serde_json::from_str(&text.out).unwrap();
    assert!(
        schema["properties"]["spec"].is_object() || schema["$defs"].is_object(),
        "{schema}"
    );
}

#[test]
fn completions_are_written_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "power-shell"] {
        let said = home.wash(&["completions", "-d", "out", shell, "-o", "json"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            home.dir
                .path()
                .join(said.json()["path"].as_str().unwrap())
                .is_file()
        );
    }
}

#[test]
fn drain_removes_what_is_kept() {
    let home = Home::new();
    let downloads = home.dir.path().join("data/downloads");
    std::fs::create_dir_all(&downloads).unwrap();
    let said = home.wash(&["drain", "downloads", "-o", "json"]);
    assert_eq!(said.json()["drained"][0], downloads.display().to_string());
    assert!(!downloads.exists());
}
