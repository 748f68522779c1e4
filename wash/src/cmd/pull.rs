//! `wash pull`.

use std::path::PathBuf;

use crate::cli::Outcome;
use crate::dirs;
use crate::error::WashError;
use crate::output::{Done, Printer};
use crate::registry::{Image, RegistryOptions, pull};

/// `wash pull`.
#[derive(Debug, clap::Args)]
pub struct PullCommand {
    /// Reference, e.g. ghcr.io/acme/web:0.1.0
    pub url: String,
    /// File to write [default: the last part of the name]
    #[arg(long, value_name = "FILE")]
    pub destination: Option<PathBuf>,
    /// Registry, if the reference names none
    #[arg(short = 'r', long, env = "WASH_REG_URL", value_name = "REGISTRY")]
    pub registry: Option<String>,
    /// Digest it has to have, sha256:…
    #[arg(short = 'd', long, value_name = "DIGEST")]
    pub digest: Option<String>,
    /// Allow the tag `latest`
    #[arg(long)]
    pub allow_latest: bool,
    #[command(flatten)]
    pub options: RegistryOptions,
}

impl PullCommand {
    /// Pulls it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let image = Image::parse(&self.url, self.registry.as_deref(), self.allow_latest)?;
        let pulled = pull(&image, &self.options, self.digest.as_deref(), printer).await?;
        let usual = || {
            PathBuf::from(format!(
                "{}.{}",
                image.short_name(),
                pulled.kind.extension()
            ))
        };
        let destination = self.destination.unwrap_or_else(usual);
        dirs::write_atomically(&destination, &pulled.bytes, 0o644)?;
        let file = destination.display().to_string();
        let text = format!(
            "Pulled {} bytes to {file}\nDigest {}",
            pulled.bytes.len(),
            pulled.digest
        );
        Ok(Done::new(text)
            .with("file", file)
            .with("digest", pulled.digest)
            .into())
    }
}
