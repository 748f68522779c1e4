//! `wash app status`: what runs where, what does not and why.

use proto::wadm_api::{ComponentDetail, HostDetail, Status, StatusDetail, StatusType};
use serde_json::{Map, Value};

use crate::cli::Outcome;
use crate::cmd::watch::Watch;
use crate::connect::ConnectOptions;
use crate::error::WashError;
use crate::lattice::{NatsLattice, WadmOps};
use crate::output::table::{Rows, or_dash};
use crate::output::{Answer, Paint, Printer, Style, keys, value};

/// `wash app status`.
#[derive(Debug, clap::Args)]
pub struct AppStatus {
    /// Name of the application, or its manifest's file
    pub name: String,
    #[command(flatten)]
    pub watch: Watch,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

impl AppStatus {
    /// Asks and shows.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let name = super::name_of(&self.name).await?;
        let lattice = NatsLattice::connect(&self.connect).await?;
        let ask = async || Ok(Report::new(&name, lattice.status(&name).await?));
        self.watch.run(printer, ask).await
    }
}

/// A status as it is shown.
pub struct Report {
    name: String,
    status: Status,
}

/// What is in the way, shortest first to read: unmet requirements, failures, counts.
pub fn reasons(status: &Status) -> Vec<String> {
    let Some(detail) = &status.detail else {
        return Some(status.status.message.clone())
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
    };
    let mut reasons: Vec<String> = Vec::new();
    for component in &detail.components {
        reasons.extend(
            component
                .unmet
                .iter()
                .map(|unmet| format!("{}: {}", component.name, unmet.message)),
        );
        reasons.extend(
            component
                .hosts
                .iter()
                .filter_map(|host| failure(component, host)),
        );
        if component.unmet.is_empty() && component.running != component.desired {
            reasons.push(format!(
                "{} {}/{}",
                component.name, component.running, component.desired
            ));
        }
    }
    let links = detail.links.iter().filter(|link| !link.present);
    reasons.extend(links.map(|link| match &link.message {
        Some(message) => format!("link {}: {message}", link.name),
        None => format!("link {} not there yet", link.name),
    }));
    if reasons.is_empty() && !status.status.message.is_empty() {
        reasons.push(status.status.message.clone());
    }
    reasons.dedup();
    reasons
}

fn host_name(host: &HostDetail) -> &str {
    if host.host_name.is_empty() {
        &host.host_id
    } else {
        &host.host_name
    }
}

fn failure(component: &ComponentDetail, host: &HostDetail) -> Option<String> {
    let error = host.error.as_ref()?;
    let retry = host
        .next_retry
        .as_deref()
        .map(|at| format!(" (tried {}x, next {at})", host.attempts));
    Some(format!(
        "{} on {}: {error}{}",
        component.name,
        host_name(host),
        retry.unwrap_or_default()
    ))
}

fn paint_of(kind: StatusType) -> Paint {
    match kind {
        StatusType::Deployed => Paint::Good,
        StatusType::Failed | StatusType::Unhealthy => Paint::Bad,
        StatusType::Waiting | StatusType::Undeployed | StatusType::Reconciling => Paint::Warning,
    }
}

fn paint_of_state(state: &str) -> Paint {
    match state {
        "running" => Paint::Good,
        "failed" | "unhealthy" => Paint::Bad,
        _ => Paint::Warning,
    }
}

impl Report {
    /// The status of an application.
    pub fn new(name: &str, status: Status) -> Self {
        Self {
            name: name.to_owned(),
            status,
        }
    }

    /// The table alone; empty when there is nothing to tell.
    pub fn table(&self, style: &Style) -> String {
        match &self.status.detail {
            Some(detail) => detail_table(detail, style),
            None if self.status.scalers.is_empty() => String::new(),
            None => self.scaler_table(style),
        }
    }

    /// What upstream's wadm tells.
    fn scaler_table(&self, style: &Style) -> String {
        let mut rows = Rows::new(style, ["NAME", "KIND", "STATUS", "MESSAGE"], "");
        for scaler in &self.status.scalers {
            let kind = scaler.status.kind;
            rows.row([
                scaler.name.clone(),
                scaler.kind.clone(),
                style.paint(paint_of(kind), kind.as_str()),
                or_dash(scaler.status.message.clone()),
            ]);
        }
        rows.finish()
    }
}

fn detail_table(detail: &StatusDetail, style: &Style) -> String {
    let mut rows = Rows::new(
        style,
        ["COMPONENT", "HOST", "STATE", "RUNNING", "SPREAD", "IMAGE"],
        "",
    );
    for component in &detail.components {
        let count = format!("{}/{}", component.running, component.desired);
        if component.hosts.is_empty() {
            let state = style.paint(Paint::Warning, "nowhere");
            rows.row([
                component.name.clone(),
                "-".into(),
                state,
                count,
                "-".into(),
                component.image.clone(),
            ]);
        }
        for host in &component.hosts {
            rows.row([
                component.name.clone(),
                host_name(host).to_owned(),
                style.paint(paint_of_state(&host.state), &host.state),
                format!("{}/{}", host.running, host.desired),
                or_dash(host.spread.clone()),
                host.image
                    .clone()
                    .unwrap_or_else(|| component.image.clone()),
            ]);
        }
    }
    let notes: Vec<String> = detail
        .notes
        .iter()
        .map(|note| format!("note: {note}"))
        .collect();
    let mut parts = vec![rows.finish(), link_table(detail, style), notes.join("\n")];
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

fn link_table(detail: &StatusDetail, style: &Style) -> String {
    let mut links = Rows::new(style, ["LINK", "NAME", "TARGET", "STATE"], "");
    for link in &detail.links {
        let state = match (link.present, &link.message) {
            (true, None) => style.paint(Paint::Good, "there"),
            (true, Some(message)) => format!("{} ({message})", style.paint(Paint::Good, "there")),
            (false, message) => {
                let text = message.clone().unwrap_or_else(|| "not there yet".into());
                style.paint(Paint::Warning, &text)
            }
        };
        links.row([
            link.name.clone(),
            link.link.clone(),
            or_dash(link.target.clone().unwrap_or_default()),
            state,
        ]);
    }
    links.finish()
}

impl Answer for Report {
    fn text(&self, style: &Style) -> String {
        let kind = self.status.status.kind;
        let detail = self.status.detail.as_ref();
        let version = detail.and_then(|detail| detail.deployed_version.clone());
        let version = version
            .map(|version| format!(" {version}"))
            .unwrap_or_default();
        let mut text = format!(
            "{}{version}: {}",
            self.name,
            style.paint(paint_of(kind), kind.as_str())
        );
        if kind != StatusType::Deployed {
            for reason in reasons(&self.status) {
                text.push_str(&format!("\n  {reason}"));
            }
        }
        let table = self.table(style);
        if !table.is_empty() {
            text.push_str("\n\n");
            text.push_str(&table);
        }
        text
    }

    fn json(&self) -> Map<String, Value> {
        keys([
            ("name", self.name.clone().into()),
            ("status", value(&self.status)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        serde_json::from_value(serde_json::json!({
            "status": {"type": "failed", "message": "x"}, "version": "", "components": [],
            "detail": {
                "deployed_version": "v2",
                "components": [
                    {"name": "web", "id": "shop-web", "kind": "component", "image": "ghcr.io/acme/web:2",
                     "desired": 6, "running": 2,
                     "hosts": [
                        {"host_id": "NAAA", "host_name": "black-ladybug-2424", "spread": "east", "desired": 2,
                         "running": 2, "state": "running", "attempts": 0},
                        {"host_id": "NBBB", "host_name": "red-fox-1", "spread": "west", "desired": 2, "running": 0,
                         "state": "failed", "error": "401 unauthorized", "failed_at": "2026-11-22T09:00:00Z",
                         "attempts": 3, "next_retry": "2026-11-22T09:00:08Z"}],
                     "unmet": [{"spread": "north", "wanted": 2, "placeable": 0, "requirement": "zone=north",
                                "message": "zone=north: 0 of 2 hosts; seen: east, west"}]}],
                "links": [{"name": "web -(wasi:keyvalue)-> kv", "link": "default", "target": "shop-kv", "present": true}],
                "notes": ["started built-in keyvalue-nats as `kv`"]
            }
        }))
        .unwrap()
    }

    #[test]
    fn a_status_says_where_and_why() {
        insta::assert_snapshot!(Report::new("shop", status()).text(&Style::new(false)));
    }

    #[test]
    fn upstreams_status_is_shown_too() {
        let status = serde_json::from_value(serde_json::json!({
            "status": {"type": "reconciling", "message": "m"},
            "scalers": [{"id": "1", "kind": "SpreadScaler", "name": "shop-web",
                         "status": {"type": "reconciling", "message": "Scaling component on 1 host(s)"}}],
            "version": "", "components": []
        }))
        .unwrap();
        insta::assert_snapshot!(Report::new("shop", status).text(&Style::new(false)));
    }
}
