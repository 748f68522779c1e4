//! What must hold between applications before one is deployed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::manifest::{Component, LinkTrait, Manifest, Scaling};

use crate::plan::id_of;

/// Where an HTTP server listens that is not told where.
const HTTP_SERVER_ADDRESS: &str = "0.0.0.0:8000";

/// Why an application may not be deployed beside the others.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Two applications want the same id.
    #[error(
        "Component identifier '{id}' is already deployed in a different application '{owner}'."
    )]
    IdTaken { id: String, owner: String },
    /// It refers to components of applications that do not run.
    #[error(
        "Application contains shared components that are not deployed in other applications: {0:?}"
    )]
    SharedMissing(Vec<String>),
    /// Two applications want the same link of a component or provider they share.
    #[error(
        "The link '{link}' of '{from}' to {interfaces} already leads to '{target}' of application '{owner}'. \
         Give this application's link a `name` of its own"
    )]
    LinkTaken {
        link: String,
        from: String,
        interfaces: String,
        target: String,
        owner: String,
    },
    /// Two applications want the same port on the same hosts.
    #[error(
        "The address {address} is already served by component '{component}' of application '{owner}'. \
         Give this application another port, or a path or host name of its own"
    )]
    AddressTaken {
        address: String,
        component: String,
        owner: String,
    },
    /// Two applications want the same route.
    #[error(
        "The route {route} at {address} already belongs to component '{component}' of application '{owner}'"
    )]
    RouteTaken {
        route: String,
        address: String,
        component: String,
        owner: String,
    },
}

/// Whether `manifest` may be deployed while `others` are.
pub(super) fn may_deploy(manifest: &Manifest, others: &[Arc<Manifest>]) -> Result<(), Refusal> {
    ids_are_free(manifest, others)?;
    let missing = missing_shared(manifest, others);
    if !missing.is_empty() {
        return Err(Refusal::SharedMissing(missing));
    }
    links_are_free(manifest, others)?;
    routes_are_free(manifest, others)
}

/// What tells links of a lattice apart: source, name, namespace and package; and where it leads.
fn links(
    manifest: &Manifest,
) -> impl Iterator<Item = ((String, String, String), &LinkTrait, String)> {
    let app = &manifest.metadata.name;
    let components = &manifest.spec.components;
    components.iter().flat_map(move |source| {
        source.links().map(move |link| {
            let target = manifest.component(&link.target.name);
            let target =
                target.map_or_else(|| link.target.name.clone(), |target| id_of(app, target));
            let package = format!("{}:{}", link.namespace, link.package);
            (
                (id_of(app, source), link.link_name().to_owned(), package),
                link,
                target,
            )
        })
    })
}

/// Hosts know one link per source, name and package; a second one with another target would take
/// the first one's place. Only applications that share the source can meet there.
fn links_are_free(manifest: &Manifest, others: &[Arc<Manifest>]) -> Result<(), Refusal> {
    for other in others {
        for (key, theirs, target) in links(other) {
            let clash = links(manifest).find(|(mine, link, to)| {
                *mine == key
                    && *to != target
                    && link
                        .interfaces
                        .iter()
                        .any(|i| theirs.interfaces.contains(i))
            });
            if clash.is_some() {
                let (from, link, interfaces) = key;
                let owner = other.metadata.name.clone();
                return Err(Refusal::LinkTaken {
                    link,
                    from,
                    interfaces,
                    target,
                    owner,
                });
            }
        }
    }
    Ok(())
}

fn ids_are_free(manifest: &Manifest, others: &[Arc<Manifest>]) -> Result<(), Refusal> {
    let ids = |manifest: &Manifest| -> BTreeSet<String> {
        let owned = manifest
            .spec
            .components
            .iter()
            .filter(|c| c.properties.application.is_none());
        owned
            .filter_map(|component| component.properties.id.clone())
            .collect()
    };
    let mine = ids(manifest);
    for other in others {
        if let Some(id) = ids(other).intersection(&mine).next() {
            return Err(Refusal::IdTaken {
                id: id.clone(),
                owner: other.metadata.name.clone(),
            });
        }
    }
    Ok(())
}

/// The components of `manifest` that stand for components of applications which are not deployed,
/// or do not share them.
pub(super) fn missing_shared(manifest: &Manifest, others: &[Arc<Manifest>]) -> Vec<String> {
    let shared = |component: &&Component| {
        component
            .properties
            .application
            .as_ref()
            .is_some_and(|wanted| {
                !others.iter().any(|other| {
                    other.metadata.name == wanted.name
                        && other.shared()
                        && other.component(&wanted.component).is_some()
                })
            })
    };
    manifest
        .spec
        .components
        .iter()
        .filter(shared)
        .map(|component| component.name.clone())
        .collect()
}

/// One way into an application over HTTP.
struct Entry {
    component: String,
    /// The port, or the whole address when no port can be read from it.
    port: String,
    address: String,
    /// The path or host name; none when it takes everything at its address.
    route: Option<String>,
    /// Where the provider that listens may run: one set of labels per spread; empty for anywhere.
    places: Vec<BTreeMap<String, String>>,
}

fn routes_are_free(manifest: &Manifest, others: &[Arc<Manifest>]) -> Result<(), Refusal> {
    let mine = entries(manifest, others);
    if mine.is_empty() {
        return Ok(());
    }
    for other in others {
        for theirs in entries(other, others) {
            let Some(clash) = mine.iter().find(|entry| clashes(entry, &theirs)) else {
                continue;
            };
            let owner = other.metadata.name.clone();
            let (component, address) = (theirs.component, theirs.address);
            return Err(match (&clash.route, theirs.route) {
                (Some(_), Some(route)) => Refusal::RouteTaken {
                    route,
                    address,
                    component,
                    owner,
                },
                _ => Refusal::AddressTaken {
                    address,
                    component,
                    owner,
                },
            });
        }
    }
    Ok(())
}

fn clashes(a: &Entry, b: &Entry) -> bool {
    let same_route = match (&a.route, &b.route) {
        (Some(a), Some(b)) => a == b,
        // Who takes everything at an address leaves nothing for another.
        _ => true,
    };
    a.port == b.port && same_route && may_meet(&a.places, &b.places)
}

/// Whether some host could have the labels of a place in `a` and of one in `b`.
fn may_meet(a: &[BTreeMap<String, String>], b: &[BTreeMap<String, String>]) -> bool {
    let compatible = |a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| {
        a.iter()
            .all(|(label, value)| b.get(label).is_none_or(|other| other == value))
    };
    a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| compatible(a, b)))
}

fn entries(manifest: &Manifest, deployed: &[Arc<Manifest>]) -> Vec<Entry> {
    let mut found = Vec::new();
    for source in &manifest.spec.components {
        let Some(provider) = provider(source, deployed) else {
            continue;
        };
        let incoming = source.links().filter(|link| {
            let handler = link
                .interfaces
                .iter()
                .any(|interface| interface == "incoming-handler");
            link.namespace == "wasi" && link.package == "http" && handler
        });
        found.extend(incoming.filter_map(|link| entry(provider, link)));
    }
    found
}

/// The component that listens: `source`, or what it stands for in another application.
fn provider<'a>(source: &'a Component, deployed: &'a [Arc<Manifest>]) -> Option<&'a Component> {
    match &source.properties.application {
        None => Some(source),
        Some(shared) => deployed
            .iter()
            .find(|other| other.metadata.name == shared.name)?
            .component(&shared.component),
    }
}

/// The entry that a link makes whose source is an HTTP server, i.e. one that has an address.
fn entry(provider: &Component, link: &LinkTrait) -> Option<Entry> {
    let mut config: BTreeMap<&str, &str> = BTreeMap::new();
    let named = provider
        .properties
        .config
        .iter()
        .chain(link.source_config());
    for (key, value) in named
        .filter_map(|config| config.properties.as_ref())
        .flatten()
    {
        config.insert(key, value);
    }
    let image = provider.properties.image.as_deref().unwrap_or_default();
    let default = image.contains("http-server").then_some(HTTP_SERVER_ADDRESS);
    let address = config
        .get("address")
        .or_else(|| config.get("default_address"))
        .copied();
    let address = address.or(default)?;
    let route: Vec<String> = ["host", "path", "path_prefix"]
        .iter()
        .filter_map(|key| config.get(key).map(|value| format!("{key} {value}")))
        .collect();
    Some(Entry {
        component: link.target.name.clone(),
        port: address
            .rsplit_once(':')
            .map_or(address, |(_, port)| port)
            .to_owned(),
        address: address.to_owned(),
        route: (!route.is_empty()).then(|| route.join(", ")),
        places: provider
            .scaling()
            .map_or_else(Vec::new, |scaling| places(&scaling)),
    })
}

fn places(scaling: &Scaling<'_>) -> Vec<BTreeMap<String, String>> {
    scaling
        .spread
        .iter()
        .map(|spread| spread.requirements.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str, address: &str, path: &str, zone: &str) -> Manifest {
        let path = if path.is_empty() {
            String::new()
        } else {
            format!(", path: {path}")
        };
        let spread = if zone.is_empty() {
            String::new()
        } else {
            format!(", spread: [{{name: s, requirements: {{zone: {zone}}}}}]")
        };
        let yaml = format!(
            "apiVersion: core.oam.dev/v1beta1\nkind: Application\nmetadata: {{name: {name}, annotations: {{}}}}\n\
             spec:\n  components:\n    - name: web\n      type: component\n      properties: {{image: w:1}}\n\
             \x20   - name: http\n      type: capability\n      properties: {{image: h:1}}\n      traits:\n\
             \x20       - {{type: daemonscaler, properties: {{instances: 1{spread}}}}}\n\
             \x20       - type: link\n          properties:\n            namespace: wasi\n            package: http\n\
             \x20           interfaces: [incoming-handler]\n            target: web\n\
             \x20           source: {{config: [{{name: c, properties: {{address: '{address}'{path}}}}}]}}\n"
        );
        proto::manifest::parse(&yaml, "test").unwrap()
    }

    #[test]
    fn a_link_of_a_shared_provider_leads_to_one_target() {
        let user = |name: &str, link: &str| {
            let yaml = format!(
                "apiVersion: core.oam.dev/v1beta1\nkind: Application\nmetadata: {{name: {name}, annotations: {{}}}}\n\
                 spec:\n  components:\n    - {{name: web, type: component, properties: {{image: w:1}}}}\n\
                 \x20   - name: http\n      type: capability\n\
                 \x20     properties: {{application: {{name: edge, component: http}}}}\n      traits:\n\
                 \x20       - type: link\n          properties: {{namespace: wasi, package: http, name: {link},\n\
                 \x20           interfaces: [incoming-handler], target: {{name: web}}}}\n"
            );
            Arc::new(proto::manifest::parse(&yaml, "test").unwrap())
        };
        let first = user("first", "default");
        let refused = links_are_free(&user("second", "default"), std::slice::from_ref(&first));
        let text = refused.unwrap_err().to_string();
        assert!(
            text.contains("'first-web' of application 'first'"),
            "{text}"
        );
        assert_eq!(links_are_free(&user("second", "mine"), &[first]), Ok(()));
    }

    #[test]
    fn a_port_belongs_to_one_application_where_both_may_run() {
        for (case, mine, theirs, refused) in [
            (
                "same port",
                ("0.0.0.0:8080", "", ""),
                ("127.0.0.1:8080", "", ""),
                true,
            ),
            (
                "other port",
                ("0.0.0.0:8080", "", ""),
                ("0.0.0.0:8081", "", ""),
                false,
            ),
            (
                "other zone",
                ("0.0.0.0:8080", "", "a"),
                ("0.0.0.0:8080", "", "b"),
                false,
            ),
            (
                "same zone",
                ("0.0.0.0:8080", "", "a"),
                ("0.0.0.0:8080", "", "a"),
                true,
            ),
            (
                "one anywhere",
                ("0.0.0.0:8080", "", "a"),
                ("0.0.0.0:8080", "", ""),
                true,
            ),
            (
                "two paths",
                ("0.0.0.0:8080", "/a", ""),
                ("0.0.0.0:8080", "/b", ""),
                false,
            ),
            (
                "one path",
                ("0.0.0.0:8080", "/a", ""),
                ("0.0.0.0:8080", "/a", ""),
                true,
            ),
            (
                "a path and all",
                ("0.0.0.0:8080", "/a", ""),
                ("0.0.0.0:8080", "", ""),
                true,
            ),
        ] {
            let mine = app("mine", mine.0, mine.1, mine.2);
            let theirs = app("theirs", theirs.0, theirs.1, theirs.2);
            let done = may_deploy(&mine, &[Arc::new(theirs)]);
            assert_eq!(done.is_err(), refused, "{case}");
            if let Err(refusal) = done {
                assert!(
                    refusal.to_string().contains("'theirs'"),
                    "{case}: {refusal}"
                );
            }
        }
    }
}
