//! `wash push`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::config::key_values;
use crate::cli::Outcome;
use crate::error::{FileError, WashError};
use crate::output::{Done, Printer};
use crate::registry::{Image, Kind, RegistryError, RegistryOptions, push};

/// `wash push`.
#[derive(Debug, clap::Args)]
pub struct PushCommand {
    /// Reference to push to, e.g. localhost:5000/web:0.1.0
    pub url: String,
    /// Component (.wasm) or provider archive (.par.gz)
    pub artifact: PathBuf,
    /// Accepted for upstream's scripts
    #[arg(hide = true)]
    pub project_config: Option<PathBuf>,
    /// Registry, if the reference names none
    #[arg(short = 'r', long, env = "WASH_REG_URL", value_name = "REGISTRY")]
    pub registry: Option<String>,
    /// Configuration blob to push beside it
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Allow the tag `latest`
    #[arg(long)]
    pub allow_latest: bool,
    /// Annotation of the manifest, key=value; repeat for more
    #[arg(short = 'a', long = "annotation", value_name = "KEY=VALUE")]
    pub annotations: Vec<String>,
    /// Push in one request
    #[arg(long)]
    pub monolithic_push: bool,
    #[command(flatten)]
    pub options: RegistryOptions,
}

impl PushCommand {
    /// Pushes it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let image = Image::parse(&self.url, self.registry.as_deref(), self.allow_latest)?;
        let annotations: BTreeMap<String, String> = key_values(&self.annotations)?;
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| FileError::new("read", path, source))
        };
        let artifact = read(&self.artifact)?;
        if Kind::of_bytes(&artifact).is_none() {
            return Err(RegistryError::NotAnArtifact(self.artifact.display().to_string()).into());
        }
        let config = self.config.as_ref().map(read).transpose()?;
        let pushed = push(
            &image,
            &self.options,
            artifact.into(),
            config,
            annotations,
            self.monolithic_push,
            printer,
        )
        .await?;
        let text = format!("Pushed {}\nDigest {}", pushed.url, pushed.digest);
        Ok(Done::new(text)
            .with("url", pushed.url)
            .with("digest", pushed.digest)
            .with("tag", pushed.tag)
            .into())
    }
}
