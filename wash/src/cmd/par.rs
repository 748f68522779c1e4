//! `wash par`: provider archives, made, filled and read.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use proto::claims::{Claims, Provider};
use sha2::{Digest, Sha256};

use super::inspect::{InspectError, ProviderReport, now};
use super::signing::{Purpose, SigningOptions};
use crate::cli::Outcome;
use crate::dirs;
use crate::error::{Advice, FileError, WashError};
use crate::output::{Done, Format, Printer};
use crate::registry::digest_of;

/// Members of the archive.
const TOKEN: &str = "claims.jwt";
const WORLD: &str = "world.wasm";
/// The most an archive may unpack to.
const BYTES_MAX: u64 = 1 << 30;

/// Make and read provider archives.
#[derive(Debug, clap::Subcommand)]
pub enum ParCommand {
    /// Make an archive from a binary
    Create(Box<CreatePar>),
    /// Add a binary for another target
    Insert(InsertPar),
    /// Read an archive
    Inspect(InspectPar),
}

/// `wash par create`.
#[derive(Debug, clap::Args)]
pub struct CreatePar {
    /// Vendor
    #[arg(short = 'v', long)]
    pub vendor: String,
    /// Revision, a number that grows
    #[arg(short = 'r', long)]
    pub revision: Option<i32>,
    /// Version for people
    #[arg(long = "version", value_name = "VERSION")]
    pub provider_version: Option<String>,
    /// JSON schema of its configuration
    #[arg(short = 'j', long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Name
    #[arg(short = 'n', long)]
    pub name: String,
    /// Target of the binary, ARCH-OS
    #[arg(short = 'a', long, default_value_t = own_target())]
    pub arch: String,
    /// Binary
    #[arg(short = 'b', long, value_name = "FILE")]
    pub binary: PathBuf,
    /// File to write [default: NAME.par, or NAME.par.gz]
    #[arg(long, value_name = "FILE")]
    pub destination: Option<PathBuf>,
    /// Compress it
    #[arg(long)]
    pub compress: bool,
    /// The provider's WIT package, encoded (a .wasm), to carry along
    #[arg(long = "wit", alias = "wit-directory", value_name = "FILE")]
    pub wit: Option<PathBuf>,
    #[command(flatten)]
    pub signing: SigningOptions,
}

/// `wash par insert`.
#[derive(Debug, clap::Args)]
pub struct InsertPar {
    /// Archive
    pub archive: PathBuf,
    /// Target of the binary, ARCH-OS
    #[arg(short = 'a', long, default_value_t = own_target())]
    pub arch: String,
    /// Binary
    #[arg(short = 'b', long, value_name = "FILE")]
    pub binary: PathBuf,
    #[command(flatten)]
    pub signing: SigningOptions,
}

/// `wash par inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectPar {
    /// Archive
    pub archive: PathBuf,
}

/// Why an archive is none, or cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ParError {
    /// Not an archive.
    #[error("`{archive}` is no provider archive")]
    NotAnArchive {
        /// The file.
        archive: String,
        /// What is wrong.
        #[source]
        source: std::io::Error,
    },
    /// Claims or binaries are missing.
    #[error("Not enough files found in provider archive `{0}`. Is this a complete archive?")]
    Incomplete(String),
    /// A binary is not the one that was signed.
    #[error("`{member}` in `{archive}` is not the one that was signed")]
    Changed {
        /// The file.
        archive: String,
        /// Its member.
        member: String,
    },
    /// The schema is no JSON.
    #[error("the schema `{}` is not JSON", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The target is not one.
    #[error("`{0}` is no target")]
    Target(String),
}

impl Advice for ParError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotAnArchive { .. } => "make one with `wash par create`".into(),
            Self::Incomplete(_) => "make it again with `wash par create`".into(),
            Self::Changed { .. } => "do not trust it; get it again from where it was made".into(),
            Self::Schema { .. } => "give a file with a JSON schema".into(),
            Self::Target(_) => format!("write it as ARCH-OS, e.g. {}", own_target()),
        })
    }
}

/// The target of this machine.
fn own_target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Upper-case hex, as claims have it.
fn hash(bytes: &[u8]) -> String {
    hex::encode_upper(Sha256::digest(bytes))
}

/// A provider archive in memory.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The token.
    pub token: String,
    /// Its claims.
    pub claims: Claims<Provider>,
    /// Binaries by target.
    pub targets: BTreeMap<String, Vec<u8>>,
    /// The encoded WIT package.
    pub wit: Option<Vec<u8>>,
}

impl Archive {
    /// Reads an archive and checks it against its claims.
    pub fn read(bytes: &[u8], name: &str) -> Result<Self, WashError> {
        let members = members(bytes).map_err(|source| ParError::NotAnArchive {
            archive: name.to_owned(),
            source,
        })?;
        let mut token = None;
        let mut wit = None;
        let mut targets = BTreeMap::new();
        for (member, content) in members {
            match member.as_str() {
                TOKEN => {
                    token = String::from_utf8(content)
                        .ok()
                        .map(|token| token.trim().to_owned())
                }
                WORLD => wit = Some(content),
                _ => {
                    if let Some(target) = member.strip_suffix(".bin") {
                        targets.insert(target.to_owned(), content);
                    }
                }
            }
        }
        let Some(token) = token.filter(|_| !targets.is_empty()) else {
            return Err(ParError::Incomplete(name.to_owned()).into());
        };
        let claims = Claims::<Provider>::decode(&token).map_err(|source| InspectError::Claims {
            target: name.to_owned(),
            source,
        })?;
        let archive = Self {
            token,
            claims,
            targets,
            wit,
        };
        archive.check(name)?;
        Ok(archive)
    }

    fn check(&self, name: &str) -> Result<(), ParError> {
        let signed = self
            .claims
            .metadata
            .clone()
            .unwrap_or_default()
            .target_hashes;
        let wit = self.wit.iter().map(|content| (WORLD, content));
        let targets = self
            .targets
            .iter()
            .map(|(target, content)| (target.as_str(), content));
        for (member, content) in targets.chain(wit) {
            if signed
                .get(member)
                .is_some_and(|signed| *signed != hash(content))
            {
                return Err(ParError::Changed {
                    archive: name.to_owned(),
                    member: member.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Signs what is in it.
    fn sign(&mut self, issuer: &nkeys::KeyPair) -> Result<(), InspectError> {
        let metadata = self.claims.metadata.get_or_insert_default();
        metadata.target_hashes = self
            .targets
            .iter()
            .map(|(target, content)| (target.clone(), hash(content)))
            .collect();
        if let Some(wit) = &self.wit {
            metadata.target_hashes.insert(WORLD.into(), hash(wit));
        }
        let token = self.claims.encode(issuer);
        self.token = token.map_err(|source| InspectError::Claims {
            target: "the archive".into(),
            source,
        })?;
        Ok(())
    }

    /// Its bytes.
    fn write(&self, compress: bool) -> std::io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, content: &[u8], mode: u32| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            header.set_cksum();
            tar.append_data(&mut header, name, content)
        };
        add(TOKEN, self.token.as_bytes(), 0o600)?;
        if let Some(wit) = &self.wit {
            add(WORLD, wit, 0o600)?;
        }
        for (target, content) in &self.targets {
            add(&format!("{target}.bin"), content, 0o700)?;
        }
        let bytes = tar.into_inner()?;
        if !compress {
            return Ok(bytes);
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&bytes)?;
        gzip.finish()
    }
}

/// The files of a tar archive, gzip-compressed or not, by the last part of their names.
fn members(bytes: &[u8]) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let reader: Box<dyn Read + '_> = match bytes.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(flate2::read::GzDecoder::new(bytes)),
        false => Box::new(bytes),
    };
    let mut members = Vec::new();
    let mut left = BYTES_MAX;
    for entry in tar::Archive::new(reader.take(BYTES_MAX)).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let mut content = Vec::new();
        let read = entry.by_ref().take(left).read_to_end(&mut content)?;
        left -= read as u64;
        members.push((name.to_owned(), content));
    }
    Ok(members)
}

fn target(text: &str) -> Result<String, ParError> {
    let parts: Vec<&str> = text.split('-').collect();
    let plain = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match parts.as_slice() {
        [_, _] if parts.iter().all(plain) => Ok(text.to_owned()),
        _ => Err(ParError::Target(text.to_owned())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|source| FileError::new("read", path, source))
}

impl ParCommand {
    /// Does it.
    pub fn run(self) -> Result<Outcome, WashError> {
        match self {
            Self::Create(create) => create.run(),
            Self::Insert(insert) => insert.run(),
            Self::Inspect(inspect) => {
                let bytes = read(&inspect.archive)?;
                let archive = Archive::read(&bytes, &inspect.archive.display().to_string())?;
                Ok(ProviderReport::new(digest_of(&bytes), archive).into())
            }
        }
    }
}

fn save(archive: &Archive, compress: bool, to: &Path) -> Result<Outcome, WashError> {
    let bytes = archive
        .write(compress)
        .map_err(|source| FileError::new("write", to, source))?;
    dirs::write_atomically(to, &bytes, 0o644)?;
    let file = to.display().to_string();
    let targets: Vec<&str> = archive.targets.keys().map(String::as_str).collect();
    let text = format!(
        "Wrote {file} ({}) for {}",
        targets.join(", "),
        archive.claims.subject
    );
    Ok(Done::new(text).with("file", file).into())
}

impl CreatePar {
    fn run(self) -> Result<Outcome, WashError> {
        // Where keys are made, a remark says so; it goes to standard error.
        let printer = Printer::new(Format::Text);
        let target = target(&self.arch)?;
        let binary = read(&self.binary)?;
        let wit = self.wit.as_deref().map(read).transpose()?;
        let config_schema = self.schema.as_ref().map(|path| schema(path)).transpose()?;
        let stem = self
            .binary
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let issuer = self.signing.issuer(&printer)?;
        let subject = self.signing.subject(Purpose::Service, &stem, &printer)?;
        let metadata = Provider {
            name: Some(self.name.clone()),
            vendor: self.vendor,
            rev: self.revision,
            ver: self.provider_version,
            config_schema,
            ..Provider::default()
        };
        let mut archive = Archive {
            token: String::new(),
            claims: Claims::new(subject.public_key(), now(), metadata),
            targets: BTreeMap::from([(target, binary)]),
            wit,
        };
        archive.sign(&issuer)?;
        let extension = if self.compress { "par.gz" } else { "par" };
        let usual = || PathBuf::from(format!("{}.{extension}", self.name.replace(' ', "_")));
        let destination = self.destination.clone().unwrap_or_else(usual);
        save(&archive, self.compress, &destination)
    }
}

fn schema(path: &Path) -> Result<serde_json::Value, WashError> {
    let bytes = read(path)?;
    serde_json::from_slice(&bytes).map_err(|source| {
        ParError::Schema {
            path: path.to_owned(),
            source,
        }
        .into()
    })
}

impl InsertPar {
    fn run(self) -> Result<Outcome, WashError> {
        let printer = Printer::new(Format::Text);
        let target = target(&self.arch)?;
        let bytes = read(&self.archive)?;
        let compressed = bytes.starts_with(&[0x1f, 0x8b]);
        let mut archive = Archive::read(&bytes, &self.archive.display().to_string())?;
        archive.targets.insert(target, read(&self.binary)?);
        let issuer = self.signing.issuer(&printer)?;
        if self.signing.subject.is_some() {
            archive.claims.subject = self
                .signing
                .subject(Purpose::Service, "", &printer)?
                .public_key();
        }
        archive.claims.issued_at = now();
        archive.sign(&issuer)?;
        save(&archive, compressed, &self.archive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> (Archive, nkeys::KeyPair) {
        let issuer = nkeys::KeyPair::new_account();
        let subject = nkeys::KeyPair::new_service().public_key();
        let metadata = Provider {
            name: Some("kv".into()),
            vendor: "acme".into(),
            ..Provider::default()
        };
        let mut archive = Archive {
            token: String::new(),
            claims: Claims::new(subject, 1, metadata),
            targets: BTreeMap::from([("x86_64-linux".into(), b"elf".to_vec())]),
            wit: None,
        };
        archive.sign(&issuer).unwrap();
        (archive, issuer)
    }

    #[test]
    fn an_archive_reads_back_compressed_or_not() {
        let (archive, _) = archive();
        for compress in [false, true] {
            let bytes = archive.write(compress).unwrap();
            let read = Archive::read(&bytes, "x.par").unwrap();
            assert_eq!(read.targets, archive.targets);
            assert_eq!(read.claims.subject, archive.claims.subject);
        }
    }

    #[test]
    fn a_changed_binary_is_found_out() {
        let (mut archive, issuer) = archive();
        archive
            .targets
            .insert("x86_64-linux".into(), b"other".to_vec());
        let error = Archive::read(&archive.write(true).unwrap(), "x.par").unwrap_err();
        assert!(
            error.message().contains("not the one that was signed"),
            "{}",
            error.message()
        );
        archive.sign(&issuer).unwrap();
        Archive::read(&archive.write(true).unwrap(), "x.par").unwrap();
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        for bytes in [&b"hello"[..], &[0x1f, 0x8b, 1], &[0; 1024]] {
            assert!(Archive::read(bytes, "x.par").is_err());
        }
    }

    #[test]
    fn a_target_is_arch_and_os() {
        assert!(target("x86_64-linux").is_ok());
        for bad in ["linux", "x-y-z", "../x-y", ""] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
