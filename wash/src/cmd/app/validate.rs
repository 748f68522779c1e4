//! `wash app validate` and `schema`: manifests without a lattice.

use proto::manifest::{Level, Problem, json_schema};
use serde_json::{Map, Value, json};

use super::source::Source;
use crate::cli::Outcome;
use crate::error::WashError;
use crate::exit::Exit;
use crate::output::{Answer, Printer, Style, keys};
use crate::registry::{self, Image, RegistryOptions};

/// `wash app validate`.
#[derive(Debug, clap::Args)]
pub struct Validate {
    /// Manifest file, URL, or `-` for standard input
    pub application: Option<String>,
    /// Ask the registries whether the images are there
    #[arg(long)]
    pub check_image_refs: bool,
    #[command(flatten)]
    pub registry: RegistryOptions,
}

/// What a check found.
pub struct Validation {
    file: String,
    name: Option<String>,
    problems: Vec<Problem>,
    images: Vec<String>,
}

impl Validation {
    fn errors(&self) -> usize {
        let refused = self
            .problems
            .iter()
            .filter(|problem| problem.level == Level::Error)
            .count();
        refused + self.images.len()
    }

    fn list(&self, level: Level) -> Vec<Value> {
        let word = if level == Level::Error {
            "error"
        } else {
            "warning"
        };
        let mut list: Vec<Value> = self
            .problems
            .iter()
            .filter(|problem| problem.level == level)
            .map(|problem| {
                json!({
                    "level": word,
                    "msg": problem.message,
                    "path": problem.path,
                    "line": problem.at.map(|at| at.line),
                    "column": problem.at.map(|at| at.column),
                    "hint": problem.hint,
                })
            })
            .collect();
        if level == Level::Error {
            list.extend(
                self.images
                    .iter()
                    .map(|message| json!({"level": word, "msg": message})),
            );
        }
        list
    }
}

impl Answer for Validation {
    fn text(&self, _: &Style) -> String {
        let mut parts: Vec<String> = self
            .problems
            .iter()
            .map(|problem| problem.render(&self.file))
            .collect();
        parts.extend(
            self.images
                .iter()
                .map(|message| format!("{}: error: {message}", self.file)),
        );
        let name = self.name.as_deref().unwrap_or_default();
        parts.push(match self.errors() {
            0 => format!("{}: application `{name}` is valid", self.file),
            count => format!("{}: {count} error(s)", self.file),
        });
        parts.join("\n")
    }

    fn json(&self) -> Map<String, Value> {
        keys([
            ("valid", (self.errors() == 0).into()),
            ("warnings", self.list(Level::Warning).into()),
            ("errors", self.list(Level::Error).into()),
        ])
    }

    fn exit(&self) -> Exit {
        if self.errors() == 0 {
            Exit::Ok
        } else {
            Exit::Failed
        }
    }
}

impl Validate {
    /// Checks it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let source = match Source::of(self.application.as_deref()) {
            Source::Name(name) => Source::File(name.into()),
            source => source,
        };
        let (file, checked) = source.check().await?;
        let mut images = Vec::new();
        if let Some(manifest) = checked.manifest.as_ref().filter(|_| self.check_image_refs) {
            for component in &manifest.spec.components {
                let Some(image) = &component.properties.image else {
                    continue;
                };
                if let Some(message) = self.missing(image, printer).await {
                    images.push(format!("{}: {message}", component.name));
                }
            }
        }
        let name = checked.manifest.map(|manifest| manifest.metadata.name);
        Ok(Validation {
            file,
            name,
            problems: checked.problems,
            images,
        }
        .into())
    }

    /// Why an image cannot be had.
    async fn missing(&self, image: &str, printer: &Printer) -> Option<String> {
        if image.starts_with("wasmcloud+builtin://") {
            return None;
        }
        if image.starts_with("file://") {
            let path = registry::file_path(image);
            return (!path.is_file()).then(|| format!("there is no file `{}`", path.display()));
        }
        let _progress = printer.progress(format!("asking for {image}"));
        let parsed = match Image::parse(image, None, true) {
            Ok(parsed) => parsed,
            Err(error) => return Some(error.to_string()),
        };
        let found = registry::digest(&parsed, &self.registry).await;
        found.err().map(|error| crate::fetch::chain(&error))
    }
}

/// The JSON Schema of manifests, as it is.
pub struct Schema;

impl Answer for Schema {
    fn text(&self, _: &Style) -> String {
        format!("{:#}", json_schema())
    }

    fn json(&self) -> Map<String, Value> {
        json_schema().as_object().cloned().unwrap_or_default()
    }

    fn marks_success(&self) -> bool {
        false
    }
}
