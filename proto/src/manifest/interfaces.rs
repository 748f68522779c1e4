//! The interfaces that links usually carry, and the built-in providers that serve them.

use super::model::ComponentKind;

/// One well-known package.
struct Package {
    namespaces: &'static [&'static str],
    package: &'static str,
    /// What a component may import.
    imports: &'static [&'static str],
    /// What a provider may call on a component.
    exports: &'static [&'static str],
    /// The built-in provider that serves the imports.
    builtin: Option<&'static str>,
}

const PACKAGES: &[Package] = &[
    Package {
        namespaces: &["wasi", "wrpc"],
        package: "blobstore",
        imports: &["blobstore"],
        exports: &[],
        builtin: Some("blobstore-nats"),
    },
    Package {
        namespaces: &["wasi", "wrpc"],
        package: "keyvalue",
        imports: &["store", "atomics", "batch"],
        exports: &["watch"],
        builtin: Some("keyvalue-nats"),
    },
    Package {
        namespaces: &["wasi", "wrpc"],
        package: "http",
        imports: &["outgoing-handler"],
        exports: &["incoming-handler"],
        builtin: Some("http-client"),
    },
    Package {
        namespaces: &["wasi"],
        package: "config",
        imports: &["runtime"],
        exports: &[],
        builtin: None,
    },
    Package {
        namespaces: &["wasi"],
        package: "logging",
        imports: &["logging"],
        exports: &[],
        builtin: None,
    },
    Package {
        namespaces: &["wasmcloud"],
        package: "messaging",
        imports: &["consumer"],
        exports: &["handler"],
        builtin: Some("messaging-nats"),
    },
];

/// Interfaces that newer hosts know beside upstream's list, so that they draw no warning.
const ALSO_KNOWN: &[(&str, &str)] = &[
    ("config", "store"),
    ("blobstore", "container"),
    ("blobstore", "types"),
    ("http", "handler"),
];

fn find(namespace: &str, package: &str) -> Option<&'static Package> {
    PACKAGES
        .iter()
        .find(|known| known.package == package && known.namespaces.contains(&namespace))
}

/// All interfaces that a link from such a source can mean when it names none; none for a package
/// that is not well known.
#[must_use]
pub fn interfaces_of(
    source: ComponentKind,
    namespace: &str,
    package: &str,
) -> Option<&'static [&'static str]> {
    let known = find(namespace, package)?;
    Some(match source {
        ComponentKind::Component => known.imports,
        ComponentKind::Capability if known.exports.is_empty() => known.imports,
        ComponentKind::Capability => known.exports,
    })
}

/// The built-in provider that serves these interfaces to components, e.g. `keyvalue-nats`.
#[must_use]
pub fn builtin_for(namespace: &str, package: &str, interfaces: &[String]) -> Option<&'static str> {
    let known = find(namespace, package)?;
    let served = interfaces
        .iter()
        .all(|interface| known.imports.contains(&interface.as_str()));
    known.builtin.filter(|_| served)
}

/// Whether the package is well known and lacks this interface.
pub(super) fn unrecognized(namespace: &str, package: &str, interface: &str) -> bool {
    find(namespace, package).is_some_and(|known| {
        !known.imports.contains(&interface)
            && !known.exports.contains(&interface)
            && !ALSO_KNOWN.contains(&(package, interface))
    })
}

/// The names of the interfaces of a well-known package.
pub(super) fn all(namespace: &str, package: &str) -> Vec<&'static str> {
    find(namespace, package).map_or_else(Vec::new, |known| {
        known.imports.iter().chain(known.exports).copied().collect()
    })
}
