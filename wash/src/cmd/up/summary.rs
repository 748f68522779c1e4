//! What a person sees when the lattice is up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::UpCommand;
use super::state::State;
use crate::output::table::{Rows, pairs};
use crate::output::{Answer, Paint, Style, keys};

/// A lattice that is up.
#[derive(Debug, Clone)]
pub struct Summary {
    lattice: String,
    nats_url: String,
    nats: String,
    wadm: bool,
    hosts: Vec<SummaryHost>,
    logs: PathBuf,
    detached: bool,
    manifest: Option<PathBuf>,
    flags: String,
}

#[derive(Debug, Clone)]
struct SummaryHost {
    id: String,
    name: String,
    labels: BTreeMap<String, String>,
    http: String,
}

impl Summary {
    /// From what was started.
    pub fn new(command: &UpCommand, state: &State, logs: &Path) -> Self {
        let hosts = state.hosts.iter().map(|host| SummaryHost {
            id: host.id.clone(),
            name: host.name.clone(),
            labels: host.labels.clone(),
            http: host.http.clone(),
        });
        let ours = if state.nats.is_some() {
            ""
        } else {
            ", was there already"
        };
        Self {
            lattice: state.lattice.clone(),
            nats_url: state.nats_url.clone(),
            nats: format!("nats-server {} with JetStream{ours}", state.nats_version),
            wadm: !command.wadm.disable_wadm && !command.host.wasmcloud_start_only,
            hosts: hosts.collect(),
            logs: logs.to_owned(),
            detached: command.detached || command.in_background,
            manifest: command.wadm.wadm_manifest.clone(),
            flags: flags(command),
        }
    }
}

/// What to add to other commands so that they find this lattice.
fn flags(command: &UpCommand) -> String {
    let mut flags = String::new();
    if command.nats.nats_host != "127.0.0.1" {
        flags.push_str(&format!(" --ctl-host {}", command.nats.nats_host));
    }
    if command.nats.nats_port != 4222 {
        flags.push_str(&format!(" --ctl-port {}", command.nats.nats_port));
    }
    if command.host.lattice != "default" {
        flags.push_str(&format!(" --lattice {}", command.host.lattice));
    }
    flags
}

impl Answer for Summary {
    fn text(&self, style: &Style) -> String {
        let title = style.paint(Paint::Good, &format!("Lattice `{}` is up.", self.lattice));
        let wadm = if self.wadm { "ready" } else { "not started" };
        let nats = &self.nats;
        let mut hosts = Rows::new(style, ["HOST", "NAME", "LABELS", "HTTP"], "");
        for host in &self.hosts {
            hosts.row([
                host.id.clone(),
                host.name.clone(),
                pairs(&host.labels),
                host.http.clone(),
            ]);
        }
        let hosts = hosts.finish().replace('\n', "\n  ");
        let flags = &self.flags;
        let end = if self.detached { "wash down" } else { "Ctrl-C" };
        let end = style.paint(Paint::Strong, end);
        let logs = self.logs.display();
        let url = &self.nats_url;
        format!(
            "\n{title}\n\n  NATS  {url}  ({nats})\n  wadm  {wadm}\n  logs  {logs}\n\n  {hosts}\n\n\
             Next:\n  wash app deploy app.wadm.yaml{flags}\n  wash app status NAME --watch{flags}\n  \
             wash get inventory{flags}\n\n{end} stops everything.\n"
        )
    }

    fn json(&self) -> Map<String, Value> {
        let hosts: Vec<Value> = self
            .hosts
            .iter()
            .map(|host| json!({"id": host.id, "friendly_name": host.name, "labels": host.labels, "http": host.http}))
            .collect();
        let mut map = keys([
            ("lattice", self.lattice.clone().into()),
            ("nats_url", self.nats_url.clone().into()),
            ("hosts", hosts.into()),
            (
                "wasmcloud_log",
                self.logs.join("host-1.log").display().to_string().into(),
            ),
            ("kill_cmd", "wash down".into()),
        ]);
        if let Some(manifest) = &self.manifest {
            map.insert(
                "deployed_wadm_manifest_path".into(),
                manifest.display().to_string().into(),
            );
        }
        map
    }
}
