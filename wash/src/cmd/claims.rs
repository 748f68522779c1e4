//! `wash claims`: sign components, read claims, make tokens.

use std::path::PathBuf;

use proto::claims::{self, Claims, Component, Provider};
use serde::Serialize;

use super::inspect::{InspectCommand, InspectError, now};
use super::keys::KeyKind;
use super::signing::{Purpose, SigningOptions};
use crate::cli::Outcome;
use crate::dirs;
use crate::error::{FileError, UsageError, WashError};
use crate::output::{Done, Printer};

const DAY: u64 = 24 * 60 * 60;

/// Sign components and read their claims.
#[derive(Debug, clap::Subcommand)]
pub enum ClaimsCommand {
    /// Read the claims of a component or provider archive
    Inspect(InspectCommand),
    /// Sign a component
    Sign(Sign),
    /// Make a token
    Token(Token),
}

/// What is claimed.
#[derive(Debug, clap::Args)]
pub struct Claimed {
    /// Name
    #[arg(short = 'n', long)]
    pub name: Option<String>,
    /// Tag; repeat for more
    #[arg(short = 't', long = "tag")]
    pub tags: Vec<String>,
    /// Revision, a number that grows
    #[arg(short = 'r', long)]
    pub rev: Option<i32>,
    /// Version for people
    #[arg(short = 'v', long)]
    pub ver: Option<String>,
    /// Call alias
    #[arg(short = 'a', long)]
    pub call_alias: Option<String>,
    /// Days until it expires [default: never]
    #[arg(short = 'x', long, value_name = "DAYS")]
    pub expires: Option<u64>,
    /// Days until it may be used [default: at once]
    #[arg(short = 'b', long = "nbf", value_name = "DAYS")]
    pub not_before: Option<u64>,
    #[command(flatten)]
    pub signing: SigningOptions,
}

/// `wash claims sign`.
#[derive(Debug, clap::Args)]
pub struct Sign {
    /// Component to sign
    pub source: PathBuf,
    /// File to write [default: NAME_s.wasm beside it]
    #[arg(short = 'd', long, value_name = "FILE")]
    pub destination: Option<PathBuf>,
    #[command(flatten)]
    pub claimed: Claimed,
}

/// `wash claims token`.
#[derive(Debug, clap::Args)]
pub struct Token {
    /// What the token is for: component, provider, account or operator
    #[arg(value_enum, ignore_case = true)]
    pub kind: KeyKind,
    /// Vendor, of a provider
    #[arg(long)]
    pub vendor: Option<String>,
    #[command(flatten)]
    pub claimed: Claimed,
}

impl ClaimsCommand {
    /// Does it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        match self {
            Self::Inspect(inspect) => inspect.run(printer).await,
            Self::Sign(sign) => sign.run(printer),
            Self::Token(token) => token.run(printer),
        }
    }
}

impl Claimed {
    fn claims<T: Default>(&self, subject: String, metadata: T) -> Claims<T> {
        let now = now();
        let after =
            |days: Option<u64>| days.map(|days| now.saturating_add(days.saturating_mul(DAY)));
        let mut claims = Claims::new(subject, now, metadata);
        claims.expires = after(self.expires);
        claims.not_before = after(self.not_before);
        claims
    }

    fn tags(&self) -> Option<Vec<String>> {
        (!self.tags.is_empty()).then(|| self.tags.clone())
    }

    fn component(&self, subject: String) -> Claims<Component> {
        let metadata = Component {
            name: self.name.clone(),
            tags: self.tags(),
            rev: self.rev,
            ver: self.ver.clone(),
            call_alias: self.call_alias.clone(),
            ..Component::default()
        };
        self.claims(subject, metadata)
    }
}

impl Sign {
    fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let claimed = &self.claimed;
        if claimed.rev.is_none() {
            return Err(
                UsageError::new("a signed component needs a revision", "add --rev NUMBER").into(),
            );
        }
        let wasm = std::fs::read(&self.source)
            .map_err(|source| FileError::new("read", &self.source, source))?;
        let stem = self
            .source
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let issuer = claimed.signing.issuer(printer)?;
        let subject = claimed.signing.subject(Purpose::Module, &stem, printer)?;
        let mut claims = claimed.component(subject.public_key());
        if let Some(metadata) = claims.metadata.as_mut()
            && metadata.name.is_none()
        {
            metadata.name = Some(stem.clone());
        }
        let target = self.source.display().to_string();
        let signed = claims::sign_component(&wasm, claims, &issuer)
            .map_err(|source| InspectError::Claims { target, source })?;
        let usual = || self.source.with_file_name(format!("{stem}_s.wasm"));
        let destination = self.destination.clone().unwrap_or_else(usual);
        dirs::write_atomically(&destination, &signed, 0o644)?;
        let destination = destination.display().to_string();
        let text = format!(
            "Signed {} as {} by {}\nWrote {destination}",
            stem,
            subject.public_key(),
            issuer.public_key()
        );
        Ok(Done::new(text).with("destination", destination).into())
    }
}

/// What an account or operator token says.
#[derive(Debug, Default, Clone, Serialize, serde::Deserialize)]
struct Named {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl Token {
    fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let claimed = &self.claimed;
        let stem = claimed.name.clone().unwrap_or_else(|| "token".into());
        let issuer = claimed.signing.issuer(printer)?;
        let failed = |source| InspectError::Claims {
            target: "token".into(),
            source,
        };
        let subject = |purpose| {
            claimed
                .signing
                .subject(purpose, &stem, printer)
                .map(|pair| pair.public_key())
        };
        let token = match self.kind {
            KeyKind::Module => claimed
                .component(subject(Purpose::Module)?)
                .encode(&issuer)
                .map_err(failed)?,
            KeyKind::Service => {
                let metadata = Provider {
                    name: claimed.name.clone(),
                    vendor: self.vendor.clone().unwrap_or_default(),
                    rev: claimed.rev,
                    ver: claimed.ver.clone(),
                    ..Provider::default()
                };
                claimed
                    .claims(subject(Purpose::Service)?, metadata)
                    .encode(&issuer)
                    .map_err(failed)?
            }
            KeyKind::Account | KeyKind::Operator => {
                let metadata = Named {
                    name: claimed.name.clone(),
                };
                claimed
                    .claims(subject(Purpose::Account)?, metadata)
                    .encode(&issuer)
                    .map_err(failed)?
            }
            KeyKind::User | KeyKind::Server | KeyKind::Cluster | KeyKind::Curve => {
                return Err(UsageError::new(
                    "no token is made for that kind of key",
                    "choose component, provider, account or operator",
                )
                .into());
            }
        };
        Ok(Done::new(token.clone()).with("token", token).into())
    }
}
