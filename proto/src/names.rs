//! What an application's parts are called on the lattice, and how workloads are marked.
//!
//! Equal to upstream's rules, so that a controller can take over another's workloads.

use sha2::{Digest, Sha256};

use crate::Annotations;

/// The annotation that names who manages a workload.
pub const MANAGED_BY: &str = "wasmcloud.dev/managed-by";
/// The value of [`MANAGED_BY`] for everything a deployment manager starts.
pub const MANAGER: &str = "wadm";
/// The annotation that names the application.
pub const APP_SPEC: &str = "wasmcloud.dev/appspec";
/// The annotation that holds the scaler id.
pub const SCALER: &str = "wasmcloud.dev/scaler";
/// The annotation that names the spread.
pub const SPREAD_NAME: &str = "wasmcloud.dev/spread_name";
/// Ours: a host with this label (any value but `false`) gets nothing new.
pub const CORDON_LABEL: &str = "lattice.cordon";
/// Ours: a host with this label (any value but `false`) gets nothing new, and what it runs moves away.
pub const DRAIN_LABEL: &str = "lattice.drain";
/// The spread of a scaler that has none.
pub const DEFAULT_SPREAD: &str = "default";
/// How the keys of secret references start.
pub const SECRET_PREFIX: &str = "SECRET";
/// The manifest annotation that holds its version.
pub const VERSION: &str = "version";
/// The manifest annotation that describes it.
pub const DESCRIPTION: &str = "description";
/// The manifest annotation that lets other applications refer to its components.
pub const SHARED: &str = "experimental.wasmcloud.dev/shared";

/// Lower case, and `_` for everything that is not an ASCII letter or digit.
#[must_use]
pub fn san(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect()
}

/// The id of a component or provider that has none in the manifest.
#[must_use]
pub fn component_id(app: &str, component: &str) -> String {
    format!("{}-{}", san(app), san(component))
}

/// The name of a configuration whose properties are in the manifest.
#[must_use]
pub fn config_name(app: &str, config: &str) -> String {
    format!("{}-{}", san(app), san(config))
}

/// The key of an application's secret reference.
#[must_use]
pub fn secret_name(app: &str, secret: &str) -> String {
    format!("{SECRET_PREFIX}_{}-{}", san(app), san(secret))
}

/// What a scaler spreads by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalerKind {
    /// A number over all hosts.
    Spread,
    /// A number on every host.
    Daemon,
}

impl ScalerKind {
    /// The kind's name in ids and statuses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spread => "SpreadScaler",
            Self::Daemon => "DaemonScaler",
        }
    }
}

/// The id of a scaler of components or providers: it changes with image, id and
/// configurations, not with counts and spreads.
#[must_use]
pub fn scaler_id<C: AsRef<str>>(
    kind: ScalerKind,
    app: &str,
    component: &str,
    component_id: &str,
    image: &str,
    configs: impl IntoIterator<Item = C>,
) -> String {
    let mut digest = Sha256::new();
    for part in [kind.name(), app, component, component_id, image] {
        digest.update(part);
    }
    for config in configs {
        digest.update(config.as_ref());
    }
    hex::encode(digest.finalize())
}

/// What a link scaler's id is made of.
#[derive(Debug, Clone, Copy)]
pub struct LinkScaler<'a> {
    /// The application.
    pub app: &'a str,
    /// The link's name.
    pub link_name: &'a str,
    /// The source's id.
    pub source_id: &'a str,
    /// The target's id.
    pub target_id: &'a str,
    /// Namespace of the linked interfaces.
    pub namespace: &'a str,
    /// Package of the linked interfaces.
    pub package: &'a str,
    /// The linked interfaces.
    pub interfaces: &'a [String],
    /// The source's configurations, by name.
    pub source_config: &'a [String],
    /// The target's configurations, by name.
    pub target_config: &'a [String],
}

/// The id of a link scaler.
#[must_use]
pub fn link_scaler_id(link: &LinkScaler<'_>) -> String {
    let mut digest = Sha256::new();
    for part in [
        "LinkScaler",
        link.app,
        link.link_name,
        link.source_id,
        link.target_id,
        link.namespace,
        link.package,
    ] {
        digest.update(part);
    }
    for list in [link.interfaces, link.source_config, link.target_config] {
        for part in list {
            digest.update(part);
        }
    }
    hex::encode(digest.finalize())
}

/// What every workload of a scaler is marked with.
#[must_use]
pub fn annotations(app: &str, scaler_id: &str, spread: &str) -> Annotations {
    [
        (MANAGED_BY, MANAGER),
        (APP_SPEC, app),
        (SCALER, scaler_id),
        (SPREAD_NAME, spread),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_as_upstream_makes_them() {
        assert_eq!(component_id("My Shop", "web.ui"), "my_shop-web_ui");
        assert_eq!(config_name("shop", "Defaults"), "shop-defaults");
        assert_eq!(secret_name("shop", "api-key"), "SECRET_shop-api_key");
        assert_eq!(san("caf\u{e9}"), "caf_");
    }

    #[test]
    fn scaler_ids_are_the_digest_of_their_parts() {
        let whole = hex::encode(Sha256::digest(
            "SpreadScalershopwebshop-webghcr.io/acme/web:0.3.0shop-aSECRET_shop-b",
        ));
        let id = scaler_id(
            ScalerKind::Spread,
            "shop",
            "web",
            "shop-web",
            "ghcr.io/acme/web:0.3.0",
            ["shop-a", "SECRET_shop-b"],
        );
        assert_eq!(id, whole);
        let list = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>();
        let link = link_scaler_id(&LinkScaler {
            app: "shop",
            link_name: "default",
            source_id: "shop-web",
            target_id: "shop-kv",
            namespace: "wasi",
            package: "keyvalue",
            interfaces: &list(&["store", "batch"]),
            source_config: &list(&[]),
            target_config: &list(&["shop-c"]),
        });
        let whole = hex::encode(Sha256::digest(
            "LinkScalershopdefaultshop-webshop-kvwasikeyvaluestorebatchshop-c",
        ));
        assert_eq!(link, whole);
    }

    #[test]
    fn workloads_carry_four_annotations() {
        let found = annotations("shop", "id", DEFAULT_SPREAD);
        assert_eq!(found.len(), 4);
        assert_eq!(found[MANAGED_BY], "wadm");
        assert_eq!(found[SPREAD_NAME], "default");
    }
}
