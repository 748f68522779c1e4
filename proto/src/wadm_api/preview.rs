//! What a deploy would change.

use serde::{Deserialize, Serialize};

/// Ours: what deploying a manifest would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanPreview {
    /// The application.
    pub name: String,
    /// The manifest's version, if it has one.
    #[serde(default)]
    pub version: Option<String>,
    /// In the order in which they would come; empty when nothing would change.
    #[serde(default)]
    pub changes: Vec<PlannedChange>,
    /// What could not be placed or linked, in sentences.
    #[serde(default)]
    pub blocked: Vec<String>,
    /// How open links would be resolved, and the like.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Ours: one change that a deploy would make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChange {
    /// What would be done.
    pub action: PlannedAction,
    /// To which component, provider, link or config.
    pub what: String,
    /// On which host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What people call that host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// What is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What would be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// All of it in a sentence.
    #[serde(default)]
    pub text: String,
}

impl PlannedChange {
    /// Writes the sentence.
    #[must_use]
    pub fn with_text(mut self) -> Self {
        let place = match (&self.host_name, &self.host) {
            (Some(name), _) | (None, Some(name)) => format!(" on {name}"),
            (None, None) => String::new(),
        };
        let how = match (&self.from, &self.to) {
            (Some(from), Some(to)) if from != to => format!(": {from} -> {to}"),
            (None, Some(to)) => format!(": {to}"),
            (Some(from), None) => format!(": {from}"),
            _ => String::new(),
        };
        self.text = format!("{} {}{place}{how}", self.action.as_str(), self.what);
        self
    }
}

impl PlannedAction {
    /// The action as words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Scale => "scale",
            Self::Update => "update",
            Self::Reconfigure => "reconfigure",
            Self::Stop => "stop",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::PutConfig => "put config",
            Self::DeleteConfig => "delete config",
        }
    }
}

/// Ours: what a deploy would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedAction {
    /// A component or provider starts on a host.
    Start,
    /// It gets more or fewer instances.
    Scale,
    /// It gets another image.
    Update,
    /// It gets other settings.
    Reconfigure,
    /// It stops.
    Stop,
    /// A link is put or changed.
    Link,
    /// A link is removed.
    Unlink,
    /// A config is put or changed.
    PutConfig,
    /// A config is removed.
    DeleteConfig,
}
