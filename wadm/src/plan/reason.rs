//! The sentences of a status, made from what a plan found.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::placement::{Short, Shortage};

/// Most values or names that a sentence lists.
const LISTED_MAX: usize = 8;

/// `zone=us-east, gpu=yes`.
pub(super) fn requirement(labels: &BTreeMap<String, String>) -> String {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Why a share cannot be placed, and how far the lattice is from it.
pub(super) fn unmet(cx: &Context<'_>, short: &Short<'_>) -> String {
    let labels = &*short.spread.requirements;
    let name = if labels.is_empty() {
        "any host".to_owned()
    } else {
        requirement(labels)
    };
    match short.why {
        Shortage::Failing => format!(
            "{name}: {} of {} placed, it fails on the others",
            short.placeable, short.spread.count
        ),
        Shortage::Cordoned => format!(
            "{name}: {} hosts fit, but they take nothing new (cordoned)",
            short.fitting
        ),
        Shortage::Labels if cx.hosts.is_empty() => {
            format!("{name}: 0 eligible hosts, the lattice has no hosts")
        }
        Shortage::Labels if short.fitting > 0 => {
            format!(
                "{name}: {} of {} hosts, {} wanted",
                short.fitting,
                cx.hosts.len(),
                short.spread.count
            )
        }
        Shortage::Labels => format!(
            "{name}: 0 of {} hosts; {}",
            cx.hosts.len(),
            seen(cx, labels)
        ),
    }
}

/// What hosts have instead of the labels asked for.
fn seen(cx: &Context<'_>, labels: &BTreeMap<String, String>) -> String {
    let mut parts = Vec::new();
    for (key, value) in labels {
        let with = cx
            .hosts
            .iter()
            .filter(|host| host.labels.get(key) == Some(value))
            .count();
        let mut others: Vec<&str> = Vec::new();
        let mut known = BTreeSet::new();
        for host in &cx.hosts {
            if let Some(other) = host
                .labels
                .get(key)
                .filter(|other| *other != value && known.insert(other.as_str()))
            {
                others.push(other);
            }
        }
        let mut list = if others.is_empty() {
            format!("no host has the label {key}")
        } else {
            others.sort_unstable_by(|a, b| b.cmp(a));
            let more = others.len().saturating_sub(LISTED_MAX);
            others.truncate(LISTED_MAX);
            let tail = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("seen: {}{tail}", others.join(", "))
        };
        if labels.len() > 1 {
            list = if with > 0 {
                format!("{key}={value} on {with}")
            } else {
                format!("{key}={value} on 0, {list}")
            };
        }
        parts.push(list);
    }
    parts.join("; ")
}
