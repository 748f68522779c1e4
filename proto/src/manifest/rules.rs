//! The rules between fields, with upstream's sentences.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Problem;
use super::fields::suggestion;
use super::interfaces;
use super::model::*;

/// Everything that breaks a rule, in upstream's order of checks; warnings last.
pub(super) fn check(manifest: &Manifest) -> Vec<Problem> {
    let mut problems = Vec::new();
    metadata(manifest, &mut problems);
    names(manifest, &mut problems);
    ids(manifest, &mut problems);
    for (index, component) in manifest.spec.components.iter().enumerate() {
        let path = format!("spec.components[{index}]");
        image(component, &path, &mut problems);
        links(manifest, component, &path, &mut problems);
        spreads(component, &path, &mut problems);
        secrets(manifest, component, &path, &mut problems);
    }
    link_configs(manifest, &mut problems);
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.level));
    problems
}

fn metadata(manifest: &Manifest, problems: &mut Vec<Problem>) {
    let meta = &manifest.metadata;
    if manifest.version() == Some("latest") {
        problems.push(
            Problem::rule(
                "metadata.annotations.version",
                "invalid manifest version, errors: \"latest is not allowed in wadm\"",
            )
            .hint("give the version a name of its own, or leave it out"),
        );
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if meta.name.is_empty() || !meta.name.chars().all(valid) {
        problems.push(Problem::rule(
            "metadata.name",
            format!(
                "Manifest name {} contains invalid characters. Manifest names can only contain alphanumeric \
                 characters, dashes, and underscores.",
                meta.name
            ),
        ));
    }
    for (what, field, map) in [
        ("label", "labels", &meta.labels),
        ("annotation", "annotations", &meta.annotations),
    ] {
        for (key, value) in map {
            if !key_is_valid(key) {
                let path = format!("metadata.{field}.{key}");
                problems.push(Problem::rule(
                    &path,
                    format!("Invalid OAM {what}: ({key:?}, {value:?})"),
                ));
            }
        }
    }
}

/// `[prefix/]name`: the prefix a DNS subdomain, the name alphanumeric at both ends.
fn key_is_valid(key: &str) -> bool {
    let part = |text: &str, inside: &[char]| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        !text.is_empty()
            && text.len() <= 63
            && edge(text.chars().next())
            && edge(text.chars().next_back())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || inside.contains(&c))
    };
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    part(name, &['-', '_', '.'])
        && prefix.is_none_or(|prefix| {
            prefix.len() <= 253 && prefix.split('.').all(|label| part(label, &['-']))
        })
}

fn names(manifest: &Manifest, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for (index, component) in manifest.spec.components.iter().enumerate() {
        let path = format!("spec.components[{index}].name");
        if component.name.is_empty() {
            problems.push(Problem::rule(&path, "a component's name must not be empty"));
        } else if !seen.insert(&component.name) {
            let message = format!("Duplicate component name in manifest: {}", component.name);
            problems
                .push(Problem::rule(&path, message).hint("give each component a name of its own"));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, policy) in manifest.spec.policies.iter().enumerate() {
        if !seen.insert(&policy.name) {
            let path = format!("spec.policies[{index}].name");
            problems.push(Problem::rule(
                &path,
                format!("Duplicate policy name in manifest: {}", policy.name),
            ));
        }
    }
}

fn ids(manifest: &Manifest, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (index, component) in manifest.spec.components.iter().enumerate() {
        let path = format!("spec.components[{index}]");
        if let Some(id) = &component.properties.id {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if id.is_empty() || !id.chars().all(plain) {
                let problem = Problem::rule(
                    &format!("{path}.properties.id"),
                    format!("the id `{id}` cannot be used on a lattice"),
                );
                problems.push(problem.hint("use letters, digits, `-` and `_`"));
                continue;
            }
        }
        if component.properties.application.is_some() || component.name.is_empty() {
            continue;
        }
        let explicit = component.properties.id.clone();
        let id = explicit.clone().unwrap_or_else(|| {
            crate::names::component_id(&manifest.metadata.name, &component.name)
        });
        if let Some(other) = seen.insert(id.clone(), &component.name) {
            if other == component.name {
                continue; // a duplicate name, told already
            }
            let path = if explicit.is_some() {
                format!("{path}.properties.id")
            } else {
                format!("{path}.name")
            };
            let problem = Problem::rule(
                &path,
                format!("Duplicate component identifier in manifest: {id}"),
            );
            problems.push(problem.hint(format!("`{other}` has the same id on the lattice")));
        }
    }
}

fn image(component: &Component, path: &str, problems: &mut Vec<Problem>) {
    let properties = &component.properties;
    let path = format!("{path}.properties");
    match (&properties.image, &properties.application) {
        (None, None) => {
            problems.push(Problem::rule(
                &path,
                "Component must have either 'image' or 'application' property",
            ));
        }
        (Some(_), Some(_)) => {
            problems.push(Problem::rule(
                &path,
                "Component cannot have both 'image' and 'application' properties",
            ));
        }
        (Some(image), None) if image.trim().is_empty() => {
            problems.push(Problem::rule(
                &format!("{path}.image"),
                "the image must not be empty",
            ));
        }
        (None, Some(_)) => shared(component, &path, problems),
        (Some(_), None) => {}
    }
}

fn shared(component: &Component, path: &str, problems: &mut Vec<Problem>) {
    let name = &component.name;
    for (field, given) in [
        ("config", !component.properties.config.is_empty()),
        ("secrets", !component.properties.secrets.is_empty()),
    ] {
        if given {
            let message = format!("Shared component '{name}' cannot specify additional '{field}'");
            problems.push(Problem::rule(&format!("{path}.{field}"), message));
        }
    }
    if component
        .traits
        .iter()
        .any(|item| matches!(item, Trait::Spread(_) | Trait::Daemon(_)))
    {
        problems.push(Problem::rule(
            path,
            format!("Shared component '{name}' cannot include a scaler trait"),
        ));
    }
}

fn links(manifest: &Manifest, component: &Component, path: &str, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    let declared: Vec<&str> = manifest
        .spec
        .components
        .iter()
        .map(|component| component.name.as_str())
        .collect();
    for (index, item) in component.traits.iter().enumerate() {
        let Trait::Link(link) = item else { continue };
        let path = format!("{path}.traits[{index}].properties");
        for interface in &link.interfaces {
            let full = format!("{}:{}/{interface}", link.namespace, link.package);
            if !seen.insert((link.link_name(), full.clone())) {
                let message = format!(
                    "Duplicate link found inside component '{}': {} ({full})",
                    component.name,
                    link.link_name()
                );
                let problem = Problem::rule(&format!("{path}.interfaces"), message);
                problems.push(problem.hint("give one of the two links a `name`"));
            }
            if interfaces::unrecognized(&link.namespace, &link.package, interface) {
                let known = interfaces::all(&link.namespace, &link.package);
                let problem = Problem::rule(
                    &format!("{path}.interfaces"),
                    format!("unrecognized interface [{full}]"),
                )
                .warning();
                problems.push(match suggestion(interface, &known) {
                    Some(close) => problem.hint(format!("did you mean `{close}`?")),
                    None => problem.hint(format!(
                        "{}:{} has {}",
                        link.namespace,
                        link.package,
                        known.join(", ")
                    )),
                });
            }
        }
        if link.interfaces.is_empty() {
            problems.push(Problem::rule(
                &format!("{path}.interfaces"),
                "a link must name at least one interface",
            ));
        }
        link_target(link, &declared, &path, problems);
    }
}

/// A target outside the file is looked for on the lattice; here it is only worth a warning.
fn link_target(link: &LinkTrait, declared: &[&str], path: &str, problems: &mut Vec<Problem>) {
    let target = link.target.name.as_str();
    let path = format!("{path}.target");
    if target.is_empty() {
        let message = "The following capability component(s) are missing from the manifest: [\"\"]";
        problems.push(Problem::rule(&path, message));
        return;
    }
    if declared.contains(&target) {
        return;
    }
    let message = format!(
        "link (name [{}]) target [{target}] is not a listed component",
        link.link_name()
    );
    let problem = Problem::rule(&path, message).warning();
    let builtin = interfaces::builtin_for(&link.namespace, &link.package, &link.interfaces);
    problems.push(match (suggestion(target, declared), builtin) {
        (Some(close), _) => problem.hint(format!("did you mean `{close}`?")),
        (None, Some(builtin)) => problem.hint(format!(
            "it is looked for on the lattice; if there is none, the built-in {builtin} is started under that name"
        )),
        (None, None) => problem.hint("it is looked for on the lattice, and in other applications"),
    });
}

fn spreads(component: &Component, path: &str, problems: &mut Vec<Problem>) {
    let mut scalers = 0;
    for (index, item) in component.traits.iter().enumerate() {
        let (Trait::Spread(scaler) | Trait::Daemon(scaler)) = item else {
            continue;
        };
        scalers += 1;
        let path = format!("{path}.traits[{index}].properties");
        if scalers > 1 {
            let message = format!(
                "component '{}' has more than one scaler trait",
                component.name
            );
            problems.push(
                Problem::rule(&path, message)
                    .hint("the first one counts; remove the others")
                    .warning(),
            );
        }
        let mut seen = BTreeSet::new();
        for (at, spread) in scaler.spread.iter().enumerate() {
            if !seen.insert(&spread.name) {
                let message = format!(
                    "Duplicate spread name in component '{}': {}",
                    component.name, spread.name
                );
                problems.push(Problem::rule(&format!("{path}.spread[{at}].name"), message));
            }
        }
        let weights = scaler
            .spread
            .iter()
            .map(|spread| u64::from(spread.weight.unwrap_or(DEFAULT_WEIGHT)));
        if !scaler.spread.is_empty() && weights.sum::<u64>() == 0 {
            let message = format!(
                "all spreads of component '{}' have weight 0",
                component.name
            );
            problems.push(
                Problem::rule(&format!("{path}.spread"), message)
                    .hint("give at least one of them a weight"),
            );
        }
    }
    if scalers == 0
        && component.kind == ComponentKind::Component
        && component.properties.application.is_none()
    {
        let message = format!(
            "component '{}' has no scaler trait and will not run",
            component.name
        );
        problems.push(
            Problem::rule(path, message)
                .hint("add a trait of type `spreadscaler`")
                .warning(),
        );
    }
}

fn secrets(manifest: &Manifest, component: &Component, path: &str, problems: &mut Vec<Problem>) {
    let own = component.properties.secrets.iter();
    let linked = component
        .links()
        .flat_map(|link| link.source_secrets().iter().chain(&link.target.secrets));
    for secret in own.chain(linked) {
        let (name, policy_name) = (&secret.name, &secret.properties.policy);
        let message = match manifest.policy(policy_name) {
            None => format!("secret '{name}' is mapped to unknown policy '{policy_name}'"),
            Some(policy) if policy.policy_type != SECRET_POLICY_TYPE => format!(
                "secret '{name}' is mapped to policy '{policy_name}' which is not a secret policy. Expected type \
                 '{SECRET_POLICY_TYPE}'"
            ),
            Some(policy) if !policy.properties.contains_key("backend") => format!(
                "secret '{name}' is mapped to policy '{policy_name}' which does not include a 'backend' property"
            ),
            Some(_) => continue,
        };
        problems.push(Problem::rule(
            &format!("{path}.properties.secrets"),
            message,
        ));
    }
}

fn link_configs(manifest: &Manifest, problems: &mut Vec<Problem>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (index, component) in manifest.spec.components.iter().enumerate() {
        for link in component.links() {
            for config in link.source_config().iter().chain(&link.target.config) {
                if config.properties.is_some() && !seen.insert(&config.name) {
                    let path = format!("spec.components[{index}].traits");
                    let message = format!("Duplicate link config name found: '{}'", config.name);
                    problems.push(
                        Problem::rule(&path, message)
                            .hint("give each link config a name of its own"),
                    );
                }
            }
        }
    }
}
