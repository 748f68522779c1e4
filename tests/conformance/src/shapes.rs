//! The recorded shapes of events and records: which fields must be there, and of what kind.

use serde_json::Value;

/// Kinds of JSON values, as the tables below name them.
fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "text" => value.is_string(),
        "count" => value.is_u64(),
        "number" => value.is_i64(),
        "list" => value.is_array(),
        "texts" => value
            .as_object()
            .is_some_and(|map| map.values().all(Value::is_string)),
        "texts?" => value.is_null() || is("texts", value),
        "null" => value.is_null(),
        _ => false,
    }
}

/// Fields of an event's data. A `?` before a name: may be absent; upstream's reader of events
/// drops an event in which one of the others is missing.
const EVENTS: &[(&str, &str)] = &[
    (
        "host_started",
        "friendly_name:text labels:texts uptime_seconds:count version:text",
    ),
    (
        "host_heartbeat",
        "components:list providers:list host_id:text friendly_name:text labels:texts \
         version:text uptime_human:text uptime_seconds:count",
    ),
    ("host_stopped", "labels:texts"),
    (
        "component_scaled",
        "annotations:texts host_id:text image_ref:text max_instances:count component_id:text",
    ),
    (
        "component_scale_failed",
        "annotations:texts host_id:text image_ref:text max_instances:count component_id:text error:text",
    ),
    (
        "provider_started",
        "host_id:text image_ref:text provider_id:text annotations:texts instance_id:text \
         public_key:text link_name:text",
    ),
    (
        "provider_start_failed",
        "provider_ref:text provider_id:text host_id:text error:text link_name:text",
    ),
    (
        "provider_stopped",
        "host_id:text provider_id:text annotations:texts reason:text instance_id:text \
         public_key:text link_name:text",
    ),
    ("health_check_passed", "host_id:text provider_id:text"),
    ("health_check_failed", "host_id:text provider_id:text"),
    ("health_check_status", "host_id:text provider_id:text"),
    (
        "linkdef_set",
        "source_id:text target:text name:text wit_namespace:text wit_package:text \
         interfaces:list source_config:list target_config:list",
    ),
    (
        "linkdef_set_failed",
        "source_id:text target:text name:text wit_namespace:text wit_package:text \
         interfaces:list source_config:list target_config:list error:text",
    ),
    (
        "linkdef_deleted",
        "source_id:text name:text wit_namespace:text wit_package:text ?target:text ?interfaces:list",
    ),
    ("config_set", "config_name:text"),
    ("config_deleted", "config_name:text"),
    ("labels_changed", "host_id:text labels:texts"),
];

/// A component in an inventory.
const COMPONENT: &str = "id:text image_ref:text ?name:text ?annotations:texts revision:number \
                         max_instances:count limits:texts?";
/// A provider in an inventory.
const PROVIDER: &str = "id:text ?image_ref:text ?name:text revision:number ?annotations:texts";
/// A provider's claims in an event.
const PROVIDER_CLAIMS: &str = "issuer:text tags:null name:text version:text \
                               not_before_human:text expires_human:text";
/// A link in a record.
const LINK: &str = "source_id:text target:text name:text wit_namespace:text wit_package:text \
                    interfaces:list source_config:list target_config:list";

/// What does not fit the table.
fn misfits(value: &Value, table: &str) -> Vec<String> {
    table
        .split_whitespace()
        .filter_map(|entry| {
            let (name, kind) = entry.split_once(':')?;
            let (name, optional) = match name.strip_prefix('?') {
                Some(name) => (name, true),
                None => (name, false),
            };
            match value.get(name) {
                None if optional => None,
                None => Some(format!("`{name}` is missing")),
                Some(value) if is(kind, value) => None,
                Some(value) => Some(format!("`{name}` is no {kind}: {value}")),
            }
        })
        .collect()
}

/// What is wrong with a published event; empty when it has its recorded shape.
#[must_use]
pub fn event(event: &Value) -> Vec<String> {
    let mut wrong = misfits(
        event,
        "specversion:text id:text type:text source:text datacontenttype:text time:text",
    );
    let kind = event["type"].as_str().unwrap_or_default();
    let name = kind.strip_prefix("com.wasmcloud.lattice.").unwrap_or(kind);
    let Some((_, table)) = EVENTS.iter().find(|(known, _)| *known == name) else {
        return vec![format!("an event of this kind does not exist: {kind}")];
    };
    let data = &event["data"];
    wrong.extend(misfits(data, table));
    if name == "provider_started" && data.get("claims").is_some() {
        wrong.extend(misfits(&data["claims"], PROVIDER_CLAIMS));
    }
    if name == "host_heartbeat" {
        wrong.extend(inventory(data));
    }
    wrong
}

/// What is wrong with the lists of an inventory.
#[must_use]
pub fn inventory(inventory: &Value) -> Vec<String> {
    let list = |name: &str, table: &str| {
        let items = inventory[name].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .flat_map(|item| misfits(item, table))
            .collect::<Vec<_>>()
    };
    let mut wrong = list("components", COMPONENT);
    wrong.extend(list("providers", PROVIDER));
    wrong
}

/// What is wrong with a component record.
#[must_use]
pub fn component_record(record: &Value) -> Vec<String> {
    let mut wrong = misfits(record, "url:text links:list");
    for link in record["links"].as_array().into_iter().flatten() {
        wrong.extend(misfits(link, LINK));
    }
    wrong
}

/// The names of all events.
pub fn event_names() -> impl Iterator<Item = &'static str> {
    EVENTS.iter().map(|(name, _)| *name)
}
