//! `wash app plan` and `retry`, which only our wadm answers.

use proto::subject::WadmApi;
use proto::wadm_api::PlanPreview;
use serde_json::{Map, Value};

use super::source::Source;
use super::to_json;
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::WashError;
use crate::exit::Exit;
use crate::lattice::{Lattice, NatsLattice, deployed, read_reply};
use crate::output::{Answer, Done, Paint, Style, value};

/// `wash app plan`.
#[derive(Debug, clap::Args)]
pub struct PlanApp {
    /// Manifest file, URL, or `-` for standard input
    pub application: Option<String>,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash app retry`.
#[derive(Debug, clap::Args)]
pub struct Retry {
    /// Name of the application, or its manifest's file
    pub name: String,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// What a deploy would change.
pub struct Preview(PlanPreview);

impl Answer for Preview {
    fn text(&self, style: &Style) -> String {
        let plan = &self.0;
        let version = plan
            .version
            .as_deref()
            .map(|version| format!(" {version}"))
            .unwrap_or_default();
        let head = match plan.changes.len() {
            0 => format!("Deploying `{}`{version} would change nothing", plan.name),
            1 => format!("Deploying `{}`{version} would change one thing:", plan.name),
            count => format!(
                "Deploying `{}`{version} would change {count} things:",
                plan.name
            ),
        };
        let mut lines = vec![head];
        lines.extend(
            plan.changes
                .iter()
                .map(|change| format!("  {}", change.text)),
        );
        let blocked = style.paint(Paint::Warning, "blocked:");
        lines.extend(
            plan.blocked
                .iter()
                .map(|reason| format!("  {blocked} {reason}")),
        );
        lines.extend(plan.notes.iter().map(|note| format!("  note: {note}")));
        lines.join("\n")
    }

    fn json(&self) -> Map<String, Value> {
        value(&self.0).as_object().cloned().unwrap_or_default()
    }

    fn exit(&self) -> Exit {
        if self.0.changes.is_empty() {
            Exit::Ok
        } else {
            Exit::CHANGES
        }
    }
}

impl PlanApp {
    /// Asks and shows.
    pub async fn run(self) -> Result<Outcome, WashError> {
        let manifest = Source::of(self.application.as_deref()).manifest().await?;
        let lattice = NatsLattice::connect(&self.connect).await?;
        let reply = lattice.wadm(WadmApi::Plan, to_json(&manifest)?).await?;
        Ok(Preview(read_reply("plan", &reply)?).into())
    }
}

impl Retry {
    /// Does it.
    pub async fn run(self) -> Result<Outcome, WashError> {
        let name = super::name_of(&self.name).await?;
        let lattice = NatsLattice::connect(&self.connect).await?;
        let reply = lattice
            .wadm(WadmApi::Retry(name.clone()), Vec::new())
            .await?;
        let reply = deployed(&name, read_reply("retry", &reply)?)?;
        let text = if reply.message.is_empty() {
            format!("Trying `{name}` again")
        } else {
            reply.message
        };
        Ok(Done::new(text.clone()).with("result", text).into())
    }
}
