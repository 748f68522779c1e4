use serde_json::json;

use super::*;

/// The manifest the project was started from, to the letter.
const SEED: &str = r#"# wadm.yaml — wasmCloud application definition
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata:
  name: edge-gateway
spec:
  components:
    - name: http-handler
      type: actor
      properties:
        image: ghcr.io/myorg/http-handler:v1
      traits:
        - type: spreadscaler
          properties:
            spread: [{requirements: {"zone": "us-east"}, weight: 1}]
        - type: link
          properties:
            target: keyvalue-store
            namespace: wasi
            package: keyvalue
"#;

/// An application around `components`, indented as a list item's fields are.
fn app(components: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Application\nmetadata:\n  name: shop\nspec:\n  components:\n{components}"
    )
}

/// A component `web` with these traits, each a flow mapping.
fn web(traits: &[&str]) -> String {
    let mut text =
        String::from("    - {name: web, type: component, properties: {image: a}, traits: [");
    text.push_str(&traits.join(", "));
    text.push_str("]}\n    - {name: kv, type: capability, properties: {image: b}}\n");
    app(&text)
}

fn first_error(text: &str) -> String {
    match parse(text, "f") {
        Ok(manifest) => panic!("accepted: {manifest:?}"),
        Err(error) => error.problems()[0].render("f"),
    }
}

#[test]
fn the_seed_manifest_is_taken_to_the_letter() {
    let manifest = parse(SEED, "app.wadm.yaml").unwrap();
    assert_eq!(
        serde_json::to_value(&manifest).unwrap(),
        json!({
            "apiVersion": "core.oam.dev/v1beta1", "kind": "Application",
            "metadata": {"name": "edge-gateway", "annotations": {}},
            "spec": {"components": [{
                "name": "http-handler", "type": "component",
                "properties": {"image": "ghcr.io/myorg/http-handler:v1"},
                "traits": [
                    {"type": "spreadscaler", "properties": {"instances": 1, "spread": [
                        {"name": "default", "requirements": {"zone": "us-east"}, "weight": 1}]}},
                    {"type": "link", "properties": {
                        "namespace": "wasi", "package": "keyvalue", "interfaces": ["store", "atomics", "batch"],
                        "target": {"name": "keyvalue-store"}}}
                ]
            }]}
        })
    );
}

#[test]
fn what_is_stored_reads_back_as_it_was() {
    let whole = app(r#"    - name: web
      type: component
      properties:
        image: i
        id: web-id
        config: [{name: defaults, properties: {greeting: hi}}, {name: outside}]
        secrets: [{name: api-key, properties: {policy: p, key: prod/api, field: f, version: "1"}}]
      traits:
        - type: daemonscaler
          properties: {replicas: 2, spread: [{name: east, requirements: {}}, {name: west, requirements: {zone: w}, weight: 3}]}
        - type: link
          properties:
            {namespace: wasi, package: keyvalue, interfaces: [store], name: cache, target: kv,
             source_config: [{name: sc, properties: {a: b}}], target_config: [{name: tc}]}
        - {type: limits, properties: {memory: 64MiB, executionSeconds: 5}}
        - {type: rollout, properties: {maxUnavailable: 2}}
        - {type: of-the-future, properties: {x: [1, -2.5, true, null]}}
    - {name: kv, type: capability, properties: {application: {name: base, component: kv}}}
  policies:
    - {name: p, type: policy.secret.wasmcloud.dev/v1alpha1, properties: {backend: nats-kv}}
"#);
    let manifest = parse(&whole, "f").unwrap();
    let stored = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&stored).unwrap(), manifest);
    let link = manifest.component("web").unwrap().links().next().unwrap();
    assert_eq!(
        (
            link.source_config().len(),
            link.target.config.len(),
            link.link_name()
        ),
        (1, 1, "cache")
    );
    assert_eq!(
        manifest
            .component("web")
            .unwrap()
            .limits()
            .unwrap()
            .memory_bytes,
        Some(64 << 20)
    );
}

#[test]
fn what_upstream_stored_is_read() {
    // An empty `requirements` is dropped by upstream, and an aliased type replaced.
    let stored = json!({
        "apiVersion": "a", "kind": "b", "metadata": {"name": "shop", "annotations": {"version": "v1"}},
        "spec": {"components": [{"name": "web", "type": "component", "properties": {"image": "i"}, "traits": [
            {"type": "spreadscaler", "properties": {"instances": 3, "spread": [{"name": "x"}]}},
            {"type": "newer", "properties": 7}
        ], "more": 1}]}
    });
    let manifest: Manifest = serde_json::from_value(stored).unwrap();
    let scaling = manifest.component("web").unwrap().scaling().unwrap();
    assert_eq!(
        (scaling.instances, scaling.spread[0].name.as_str()),
        (3, "x")
    );
    assert_eq!(manifest.version(), Some("v1"));
}

#[test]
fn a_syntax_error_shows_the_line_and_a_hint() {
    let text = "apiVersion: v1\nkind: Application\nmetadata:\n  name: shop\n bad: 1\n";
    assert_eq!(
        first_error(text),
        "f:5:2: error: while parsing a block mapping, did not find expected key\n   |\n 5 |  bad: 1\n   |  ^\n  \
         hint: check the indentation: this line does not line up with those before it"
    );
    let tab = "apiVersion: v1\nmetadata:\n\tname: shop\n";
    assert!(
        first_error(tab).ends_with("hint: indent with spaces, not with a tab"),
        "{}",
        first_error(tab)
    );
}

#[test]
fn a_misspelt_field_or_trait_is_told_with_a_suggestion() {
    for (case, traits, word, message, hint) in [
        (
            "scaler field",
            "{type: spreadscaler, properties: {instnaces: 2}}",
            "instnaces",
            "unknown field `instnaces`",
            "instances",
        ),
        (
            "spread field",
            "{type: spreadscaler, properties: {spread: [{requirement: {a: b}}]}}",
            "requirement",
            "unknown field `requirement`",
            "requirements",
        ),
        (
            "trait",
            "{type: spreadscaller, properties: {}}",
            "spreadscaller",
            "there is no trait `spreadscaller`",
            "spreadscaler",
        ),
        (
            "link field",
            "{type: link, properties: {namespace: wasi, package: keyvalue, traget: kv}}",
            "traget",
            "unknown field `traget`",
            "target",
        ),
        (
            "trait field",
            "{type: link, propertys: {}}",
            "propertys",
            "unknown field `propertys`",
            "properties",
        ),
    ] {
        let text = web(&[traits]);
        let error = first_error(&text);
        let column = text
            .lines()
            .nth(6)
            .and_then(|line| line.find(word))
            .unwrap()
            + 1;
        assert!(
            error.starts_with(&format!("f:7:{column}: error: ")),
            "{case}: {error}"
        );
        assert!(error.contains(message), "{case}: {error}");
        assert!(
            error.ends_with(&format!("hint: did you mean `{hint}`?")),
            "{case}: {error}"
        );
    }
    let kind = app("    - {name: web, type: componnet, properties: {image: a}}\n");
    assert!(first_error(&kind).ends_with("did you mean `component`?"));
    let top = SEED.replace("apiVersion", "apiversion");
    assert!(
        first_error(&top).ends_with("did you mean `apiVersion`?"),
        "{}",
        first_error(&top)
    );
}

#[test]
fn a_value_of_the_wrong_type_says_what_to_write() {
    let number = app(
        "    - {name: web, type: component, properties: {image: a, config: [{name: c, properties: {port: 80}}]}}\n",
    );
    let error = first_error(&number);
    assert!(
        error.contains("must be a text, but is the number 80"),
        "{error}"
    );
    assert!(error.ends_with("hint: put it in quotes: \"80\""), "{error}");
    let negative = web(&["{type: spreadscaler, properties: {instances: -1}}"]);
    assert!(first_error(&negative).contains("a whole number from 0 on, but is the number -1"));
}

#[test]
fn rules_speak_upstream_s_words() {
    let with_policy = |policy: &str| {
        app(&format!(
            "    - {{name: web, type: component, properties: {{image: a, secrets: [{{name: s, properties: {{policy: p, key: k}}}}]}}}}\n\
             {policy}"
        ))
    };
    let link = |extra: &str| web(&[&format!("{{type: link, properties: {{{extra}}}}}")]);
    let kv = "namespace: wasi, package: keyvalue, interfaces: [store]";
    let cases = [
        (
            app(
                "    - {name: a, type: component, properties: {image: a}}\n    - {name: a, type: component, properties: {image: b}}\n",
            ),
            "Duplicate component name in manifest: a",
        ),
        (
            app(
                "    - {name: a, type: component, properties: {image: a, id: i}}\n    - {name: b, type: component, properties: {image: b, id: i}}\n",
            ),
            "Duplicate component identifier in manifest: i",
        ),
        (
            app(
                "    - {name: a b, type: component, properties: {image: a}}\n    - {name: a_b, type: component, properties: {image: b}}\n",
            ),
            "Duplicate component identifier in manifest: shop-a_b",
        ),
        (link(kv), "custom link is missing 'target' name property"),
        (
            link(&format!("{kv}, target: {{name: kv}}, nome: x")),
            "Link trait deserialized as custom trait, ensure fields are correct: unknown field `nome` in `spec.components[0].traits[0].properties`",
        ),
        (
            web(&["{type: spreadscaler, properties: {replica_count: 2}}"]),
            "Scaler trait deserialized as custom trait, ensure fields are correct: unknown field `replica_count` in `spec.components[0].traits[0].properties`",
        ),
        (
            link(
                "namespace: wasi, package: http, interfaces: [incoming-handler, incoming-handler], target: kv",
            ),
            "Duplicate link found inside component 'web': default (wasi:http/incoming-handler)",
        ),
        (
            web(&[
                &format!(
                    "{{type: link, properties: {{{kv}, target: {{name: kv, config: [{{name: c, properties: {{}}}}]}}}}}}"
                ),
                &format!(
                    "{{type: link, properties: {{{kv}, name: two, target: {{name: kv, config: [{{name: c, properties: {{}}}}]}}}}}}"
                ),
            ]),
            "Duplicate link config name found: 'c'",
        ),
        (
            app("    - {name: a, type: component, properties: {id: x}}\n"),
            "Component must have either 'image' or 'application' property",
        ),
        (
            app(
                "    - {name: a, type: component, properties: {image: x, application: {name: o, component: c}}}\n",
            ),
            "Component cannot have both 'image' and 'application' properties",
        ),
        (
            app(
                "    - {name: z, type: component, properties: {config: [{name: c}], application: {name: o, component: c}}}\n",
            ),
            "Shared component 'z' cannot specify additional 'config'",
        ),
        (
            app(
                "    - {name: z, type: component, properties: {application: {name: o, component: c}}, traits: [{type: spreadscaler, properties: {instances: 1}}]}\n",
            ),
            "Shared component 'z' cannot include a scaler trait",
        ),
        (
            with_policy(""),
            "secret 's' is mapped to unknown policy 'p'",
        ),
        (
            with_policy("  policies: [{name: p, type: x, properties: {}}]\n"),
            "secret 's' is mapped to policy 'p' which is not a secret policy. Expected type 'policy.secret.wasmcloud.dev/v1alpha1'",
        ),
        (
            with_policy(
                "  policies: [{name: p, type: policy.secret.wasmcloud.dev/v1alpha1, properties: {}}]\n",
            ),
            "secret 's' is mapped to policy 'p' which does not include a 'backend' property",
        ),
        (
            SEED.replace("name: edge-gateway", "name: edge.gateway"),
            "Manifest name edge.gateway contains invalid characters. Manifest names can only contain alphanumeric characters, dashes, and underscores.",
        ),
        (
            SEED.replace("name: edge-gateway", "name: e\n  labels: {a b: c}"),
            "Invalid OAM label: (\"a b\", \"c\")",
        ),
        (
            SEED.replace("name: edge-gateway", "name: e\n  annotations: {x/y/z: c}"),
            "Invalid OAM annotation: (\"x/y/z\", \"c\")",
        ),
        (
            SEED.replace(
                "name: edge-gateway",
                "name: e\n  annotations: {version: latest}",
            ),
            "invalid manifest version, errors: \"latest is not allowed in wadm\"",
        ),
    ];
    for (text, expected) in cases {
        let error = parse(&text, "f").unwrap_err();
        assert_eq!(error.api_message(), expected);
        assert!(error.problems()[0].at.is_some(), "no place for: {expected}");
    }
}

#[test]
fn warnings_do_not_refuse_a_manifest() {
    let text = web(&[
        "{type: link, properties: {namespace: wasi, package: http, interfaces: [bogus], target: kw}}",
    ]);
    let checked = check(&text, Format::Yaml);
    assert!(checked.manifest.is_some());
    let told: Vec<_> = checked
        .problems
        .iter()
        .map(|problem| (problem.level, problem.message.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Level::Warning, "unrecognized interface [wasi:http/bogus]"),
            (
                Level::Warning,
                "link (name [default]) target [kw] is not a listed component"
            ),
            (
                Level::Warning,
                "component 'web' has no scaler trait and will not run"
            ),
        ]
    );
    assert_eq!(
        checked.problems[1].hint.as_deref(),
        Some("did you mean `kv`?")
    );
}

#[test]
fn input_is_limited() {
    let long = format!("a: \"{}\"", "x".repeat(BYTES_MAX));
    assert!(first_error(&long).contains("more than the 1048576 allowed"));
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    parse(&deep, "f").unwrap_err();
    let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (name, inner) in ["b", "c", "d", "e", "f", "g", "h", "i"]
        .iter()
        .zip(["a", "b", "c", "d", "e", "f", "g", "h"])
    {
        bomb.push_str(&format!(
            "{name}: &{name} [{}]\n",
            vec![format!("*{inner}"); 9].join(",")
        ));
    }
    parse(&bomb, "f").unwrap_err();
    for odd in ["", "~", "[]", "7", "\u{0}", "{", "? [a]\n: b", "a: !x y"] {
        parse(odd, "f").unwrap_err();
        parse_as(odd, "f", Format::Json).unwrap_err();
    }
}

#[test]
fn json_is_read_with_places() {
    let manifest = parse(SEED, "f").unwrap();
    let json = serde_json::to_string_pretty(&manifest).unwrap();
    assert_eq!(parse_as(&json, "f", Format::Json).unwrap(), manifest);
    let wrong = json.replace("\"instances\"", "\"instancez\"");
    let error = parse_as(&wrong, "f", Format::Json).unwrap_err();
    assert!(error.problems()[0].at.is_some());
}

#[test]
fn a_link_without_interfaces_means_what_its_source_can_do() {
    let text = app(
        "    - name: httpd\n      type: capability\n      properties: {image: a}\n      traits: [{type: link, properties: {namespace: wasi, package: http, target: web}}]\n    - {name: web, type: component, properties: {image: b}, traits: [{type: link, properties: {namespace: wasi, package: http, target: out}}]}\n",
    );
    let manifest = parse(&text, "f").unwrap();
    let interfaces = |name: &str| {
        manifest
            .component(name)
            .unwrap()
            .links()
            .next()
            .unwrap()
            .interfaces
            .clone()
    };
    assert_eq!(interfaces("httpd"), ["incoming-handler"]);
    assert_eq!(interfaces("web"), ["outgoing-handler"]);
    let unknown = web(&["{type: link, properties: {namespace: acme, package: thing, target: kv}}"]);
    assert!(first_error(&unknown).contains("field `interfaces` is missing"));
}

#[test]
fn the_schema_names_every_field_that_is_read() {
    let schema = json_schema().to_string();
    for field in [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        "components",
        "policies",
        "annotations",
        "labels",
        "image",
        "application",
        "id",
        "config",
        "secrets",
        "instances",
        "replicas",
        "spread",
        "requirements",
        "weight",
        "namespace",
        "package",
        "interfaces",
        "target",
        "source",
        "source_config",
        "target_config",
        "memory",
        "memoryBytes",
        "executionSeconds",
        "maxUnavailable",
        "healthySeconds",
        "rollback",
        "policy",
        "key",
        "field",
        "version",
    ] {
        assert!(schema.contains(&format!("\"{field}\":")), "{field}");
    }
}
