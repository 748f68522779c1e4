//! `wash inspect`: what an artifact is, wants and offers.

use bytes::Bytes;
use proto::claims::{self, Claims, Component, Provider};
use serde_json::{Map, Value, json};

use super::par;
use crate::cli::Outcome;
use crate::error::{Advice, FileError, WashError};
use crate::output::table::or_dash;
use crate::output::{Answer, Done, Paint, Printer, Style, keys, value};
use crate::registry::{self, Image, Kind, RegistryError, RegistryOptions, digest_of, pull};
use crate::wit::{self, NotAComponent, Surface};

/// `wash inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectCommand {
    /// Image reference or file
    pub target: String,
    /// Print the token of its claims alone
    #[arg(long)]
    pub jwt_only: bool,
    /// Print its WIT
    #[arg(long)]
    pub wit: bool,
    /// Digest it has to have, sha256:…
    #[arg(short = 'd', long, value_name = "DIGEST")]
    pub digest: Option<String>,
    /// Allow the tag `latest`
    #[arg(long)]
    pub allow_latest: bool,
    /// Accepted for upstream's scripts; nothing is cached here
    #[arg(long, hide = true)]
    pub no_cache: bool,
    #[command(flatten)]
    pub options: RegistryOptions,
}

/// Why an artifact could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No claims.
    #[error("`{0}` carries no claims")]
    Unsigned(String),
    /// Claims that are wrong.
    #[error("the claims of `{target}` are wrong")]
    Claims {
        /// The artifact.
        target: String,
        /// What is wrong.
        #[source]
        source: claims::ClaimsError,
    },
    /// Not a component.
    #[error("cannot read `{target}`")]
    Wit {
        /// The artifact.
        target: String,
        /// Why not.
        #[source]
        source: NotAComponent,
    },
    /// A provider archive has no WIT in it.
    #[error("the archive `{0}` carries no WIT")]
    NoWit(String),
}

impl Advice for InspectError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unsigned(_) => "sign it with `wash claims sign`".into(),
            Self::Claims { .. } => "sign it again with `wash claims sign`".into(),
            Self::Wit { .. } => "build it for wasm32-wasip2".into(),
            Self::NoWit(_) => "give one with `wash par create --wit-directory`".into(),
        })
    }
}

/// The bytes of a file or image.
pub async fn load(
    target: &str,
    digest: Option<&str>,
    allow_latest: bool,
    options: &RegistryOptions,
    printer: &Printer,
) -> Result<(Bytes, String), WashError> {
    if registry::is_file(target) {
        let path = registry::file_path(target);
        let bytes = std::fs::read(&path).map_err(|source| FileError::new("read", path, source))?;
        let found = digest_of(&bytes);
        return match digest {
            Some(wanted) if wanted != found => Err(RegistryError::Digest {
                image: target.into(),
                wanted: wanted.into(),
                found,
            }
            .into()),
            _ => Ok((bytes.into(), found)),
        };
    }
    // A path that does not exist is more often a typo than an image of that name.
    if target.starts_with(['/', '.']) || target.ends_with(".wasm") || target.ends_with(".par.gz") {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(FileError::new("read", target, missing).into());
    }
    let image = Image::parse(target, None, allow_latest)?;
    let pulled = pull(&image, options, digest, printer).await?;
    Ok((pulled.bytes, pulled.digest))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default()
}

impl InspectCommand {
    /// Looks at it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let target = &self.target;
        let (bytes, digest) = load(
            target,
            self.digest.as_deref(),
            self.allow_latest,
            &self.options,
            printer,
        )
        .await?;
        match Kind::of_bytes(&bytes) {
            Some(Kind::Component) => self.component(&bytes, digest),
            Some(Kind::Provider) => self.provider(&bytes, digest),
            None => Err(RegistryError::NotAnArtifact(target.clone()).into()),
        }
    }

    fn component(&self, bytes: &[u8], digest: String) -> Result<Outcome, WashError> {
        let target = self.target.clone();
        let wit_error = |source| InspectError::Wit {
            target: target.clone(),
            source,
        };
        if self.wit {
            let text = wit::text(bytes).map_err(wit_error)?;
            return Ok(Done::new(text.clone()).with("wit", text).into());
        }
        let claims_error = |source| InspectError::Claims {
            target: target.clone(),
            source,
        };
        let token = claims::extract(bytes).map_err(claims_error)?;
        if self.jwt_only {
            let token = token.ok_or_else(|| InspectError::Unsigned(target.clone()))?;
            return Ok(Done::new(token.clone()).with("token", token).into());
        }
        let surface = wit::surface(bytes).map_err(wit_error)?;
        let claims = match &token {
            Some(token) => Some(Claims::<Component>::decode(token).map_err(claims_error)?),
            None => None,
        };
        let intact = claims::read_component(bytes, now()).is_ok();
        Ok(ComponentReport {
            target: self.target.clone(),
            bytes: bytes.len(),
            digest,
            surface,
            claims,
            intact,
        }
        .into())
    }

    fn provider(&self, bytes: &[u8], digest: String) -> Result<Outcome, WashError> {
        let archive = par::Archive::read(bytes, &self.target)?;
        if self.jwt_only {
            let token = archive.token.clone();
            return Ok(Done::new(token.clone()).with("token", token).into());
        }
        if self.wit {
            let world = archive
                .wit
                .as_deref()
                .ok_or_else(|| InspectError::NoWit(self.target.clone()))?;
            let target = self.target.clone();
            let text = wit::text(world).map_err(|source| InspectError::Wit { target, source })?;
            return Ok(Done::new(text.clone()).with("wit", text).into());
        }
        Ok(ProviderReport { digest, archive }.into())
    }
}

/// A component.
pub struct ComponentReport {
    target: String,
    bytes: usize,
    digest: String,
    surface: Surface,
    claims: Option<Claims<Component>>,
    intact: bool,
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "\n  (none)".into()
    } else {
        names.iter().map(|name| format!("\n  {name}")).collect()
    }
}

impl Answer for ComponentReport {
    fn text(&self, style: &Style) -> String {
        let mut text = format!(
            "{}  component, {} bytes\n{}\n\nImports{}\n\nExports{}",
            style.paint(Paint::Strong, &self.target),
            self.bytes,
            self.digest,
            list(&self.surface.imports),
            list(&self.surface.exports)
        );
        let Some(claims) = &self.claims else {
            return format!("{text}\n\nClaims\n  (unsigned)");
        };
        let meta = claims.metadata.clone().unwrap_or_default();
        let valid = match self.intact {
            true => style.paint(Paint::Good, "valid"),
            false => style.paint(
                Paint::Bad,
                "not valid: expired, or changed since it was signed",
            ),
        };
        text.push_str(&format!(
            "\n\nClaims ({valid})\n  name      {}\n  version   {} (revision {})\n  component {}\n  account   {}\n  expires   {}\n  tags      {}",
            or_dash(meta.name.unwrap_or_default()),
            or_dash(meta.ver.unwrap_or_default()),
            meta.rev.unwrap_or_default(),
            claims.subject,
            claims.issuer,
            claims::date_for_people(claims.expires),
            or_dash(meta.tags.unwrap_or_default().join(", ")),
        ));
        text
    }

    fn json(&self) -> Map<String, Value> {
        let mut map = keys([
            ("digest", self.digest.clone().into()),
            ("imports", value(&self.surface.imports)),
            ("exports", value(&self.surface.exports)),
        ]);
        if let Some(claims) = &self.claims {
            let meta = claims.metadata.clone().unwrap_or_default();
            map.extend(keys([
                ("account", claims.issuer.clone().into()),
                ("component", claims.subject.clone().into()),
                ("expires", claims::date_for_people(claims.expires).into()),
                (
                    "can_be_used",
                    claims::date_for_people(claims.not_before).into(),
                ),
                ("valid", self.intact.into()),
                ("version", meta.ver.into()),
                ("revision", meta.rev.into()),
                ("tags", meta.tags.unwrap_or_default().into()),
                ("name", meta.name.into()),
            ]));
        }
        map
    }
}

/// A provider archive.
pub struct ProviderReport {
    digest: String,
    archive: par::Archive,
}

impl ProviderReport {
    /// Shows an archive.
    pub fn new(digest: String, archive: par::Archive) -> Self {
        Self { digest, archive }
    }

    fn meta(&self) -> Provider {
        self.archive.claims.metadata.clone().unwrap_or_default()
    }
}

impl Answer for ProviderReport {
    fn text(&self, style: &Style) -> String {
        let meta = self.meta();
        let targets: Vec<String> = self.archive.targets.keys().cloned().collect();
        format!(
            "{}  provider archive\n{}\n\n  service   {}\n  issuer    {}\n  vendor    {}\n  version   {} (revision {})\n\nTargets{}",
            style.paint(
                Paint::Strong,
                &or_dash(meta.name.clone().unwrap_or_default())
            ),
            self.digest,
            self.archive.claims.subject,
            self.archive.claims.issuer,
            or_dash(meta.vendor.clone()),
            or_dash(meta.ver.clone().unwrap_or_default()),
            meta.rev.unwrap_or_default(),
            list(&targets)
        )
    }

    fn json(&self) -> Map<String, Value> {
        let meta = self.meta();
        let targets: Vec<&String> = self.archive.targets.keys().collect();
        keys([
            ("digest", self.digest.clone().into()),
            ("name", meta.name.into()),
            ("issuer", self.archive.claims.issuer.clone().into()),
            ("service", self.archive.claims.subject.clone().into()),
            ("vendor", meta.vendor.into()),
            ("version", meta.ver.into()),
            ("revision", meta.rev.into()),
            ("targets", json!(targets)),
            ("schema", meta.config_schema.unwrap_or(Value::Null)),
        ])
    }
}
