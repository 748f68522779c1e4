//! Configs and secret references that an application owns.

use proto::id::ConfigName;
use proto::wadm_api::{ScalerStatus, StatusInfo, StatusType};

use super::command::{Command, Subject};
use super::context::Context;
use super::desired::AppDesired;
use super::workload::{Missing, Planned};
use crate::core::Time;

/// What is to be done about an application's configs.
#[derive(Debug, Default)]
pub(super) struct ConfigPlan {
    pub commands: Vec<Planned>,
    /// Only configs that could not be put have a status of their own.
    pub statuses: Vec<ScalerStatus>,
    /// Configs to ask for: it is not known whether they exist.
    pub unknown: Vec<ConfigName>,
    pub wake: Option<Time>,
}

/// Decides for all configs that the application owns.
pub(super) fn decide(cx: &Context<'_>, app: &AppDesired) -> ConfigPlan {
    let mut plan = ConfigPlan::default();
    for (name, wanted) in &app.configs {
        match cx.view.config(name) {
            None => plan.unknown.push(name.clone()),
            Some(Some(present)) if present == wanted => continue,
            Some(_) => plan.put(cx, &app.name, name, wanted.clone()),
        }
    }
    plan
}

impl ConfigPlan {
    fn put(
        &mut self,
        cx: &Context<'_>,
        app: &str,
        name: &ConfigName,
        properties: std::collections::BTreeMap<String, String>,
    ) {
        let subject = Subject::Config(name.clone());
        if let Some(failure) = cx.pending.failure(&subject) {
            self.statuses.push(ScalerStatus {
                id: name.to_string(),
                kind: "ConfigScaler".to_owned(),
                name: name.to_string(),
                status: StatusInfo::new(StatusType::Failed, failure.error.clone()),
            });
            if cx.pending.must_wait(&subject, None, cx.now) {
                self.wake = Some(
                    self.wake
                        .map_or(failure.retry_at, |before| before.min(failure.retry_at)),
                );
                return;
            }
        }
        if cx.pending.flight(&subject).is_none() && !cx.hosts.is_empty() {
            let command = Command::PutConfig {
                name: name.clone(),
                properties,
            };
            self.commands.push(Planned {
                command,
                application: app.to_owned(),
                refreshes: None,
            });
        }
    }

    /// Removes a config that nobody wants any more.
    pub(super) fn remove(cx: &Context<'_>, app: &str, name: &ConfigName) -> Option<Planned> {
        let subject = Subject::Config(name.clone());
        let busy =
            cx.pending.flight(&subject).is_some() || cx.pending.must_wait(&subject, None, cx.now);
        let command = Command::DeleteConfig(name.clone());
        (!busy && !cx.hosts.is_empty()).then(|| Planned {
            command,
            application: app.to_owned(),
            refreshes: None,
        })
    }
}

/// Of the named configs, those that are not there as they should be.
pub(super) fn missing<'n>(
    cx: &Context<'_>,
    app: &AppDesired,
    names: impl Iterator<Item = &'n ConfigName>,
) -> Vec<Missing> {
    names
        .filter_map(|name| match (app.configs.get(name), cx.view.config(name)) {
            // An owned config may still have its old content: what runs reads it live.
            (Some(_), Some(Some(_))) | (None, Some(Some(_))) => None,
            (Some(_), _) | (None, None) => Some(Missing {
                name: name.clone(),
                owned: true,
            }),
            (None, Some(None)) => Some(Missing {
                name: name.clone(),
                owned: false,
            }),
        })
        .collect()
}

/// Configs the application names without owning them, of which nothing is known.
pub(super) fn unknown(cx: &Context<'_>, app: &AppDesired) -> Vec<ConfigName> {
    let of_workloads = app.workloads.iter().flat_map(|workload| &workload.config);
    let of_links = app
        .links
        .iter()
        .flat_map(|link| link.source_config.iter().chain(&link.target_config));
    of_workloads
        .chain(of_links)
        .filter(|name| cx.view.config(name).is_none())
        .cloned()
        .collect()
}
