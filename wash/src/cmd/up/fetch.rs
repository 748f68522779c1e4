//! Finding nats-server: where it was told, on PATH, in our directory; else fetched and checked.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::dirs::Dirs;
use crate::error::{Advice, FileError};
use crate::output::Printer;

/// The release that is fetched when there is no nats-server.
pub const VERSION: &str = "2.11.8";

/// SHA-256 of the official release archives of [`VERSION`], as in its SHA256SUMS.
const DIGESTS: [(&str, &str, &str); 4] = [
    (
        "linux",
        "amd64",
        "397a6deffb5533e160de0cca322bc3dcaec7fb7282d66a3dfa87a9c183152ad1",
    ),
    (
        "linux",
        "arm64",
        "b08936cb1dc0ae7086137bda14c352df64397c4af45ed2b392705c19585aeb84",
    ),
    (
        "darwin",
        "amd64",
        "002c943c1ed39c55cc5e024debfc02685111fcb2b1cbd887aad39ac977037477",
    ),
    (
        "darwin",
        "arm64",
        "23e0c5354c2da385708946a21900c944fcb9a3bbfd02aae27a4ae750dea0b682",
    ),
];

const ARCHIVE_BYTES_MAX: u64 = 128 << 20;

/// Which nats-server is wanted.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NatsServerOptions {
    /// The nats-server to run [default: the one on PATH, else a fetched one]
    #[arg(long, env = "WASH_NATS_SERVER", value_name = "PATH")]
    pub nats_server: Option<PathBuf>,
    /// Version to fetch when there is none
    #[arg(long, env = "NATS_VERSION", value_name = "VERSION", default_value = VERSION)]
    pub nats_version: String,
    /// SHA-256 of the release archive, needed for a version other than the built-in one
    #[arg(long, env = "WASH_NATS_SERVER_SHA256", value_name = "HEX")]
    pub nats_server_sha256: Option<String>,
}

/// Why there is no nats-server.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The given path is no file.
    #[error("there is no nats-server at `{}`", .0.display())]
    NotThere(PathBuf),
    /// No digest to check the archive against.
    #[error("the SHA-256 of nats-server {version} for {platform} is not known here")]
    NoDigest {
        /// The version.
        version: String,
        /// `os-arch`.
        platform: String,
    },
    /// The download failed.
    #[error("cannot fetch nats-server from {url}: {reason}")]
    Download {
        /// From where.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The archive is not the official one.
    #[error("what {url} holds is not nats-server {version}: SHA-256 {found}, expected {expected}")]
    Digest {
        /// From where.
        url: String,
        /// The version.
        version: String,
        /// As expected.
        expected: String,
        /// As found.
        found: String,
    },
    /// The archive has no nats-server in it.
    #[error("the archive from {0} holds no nats-server")]
    Empty(String),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Advice for FetchError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotThere(_) => "give the path of the nats-server executable".into(),
            Self::NoDigest { version, .. } => format!(
                "give --nats-server-sha256 from the release's SHA256SUMS, use --nats-version {VERSION}, \
                 or install nats-server {version} and put it on PATH"
            ),
            Self::Download { .. } => {
                "install nats-server (package `nats-server`, or a release from nats.io) and put it on PATH, \
                 or name it with --nats-server PATH"
                    .into()
            }
            Self::Digest { .. } | Self::Empty(_) => {
                "nothing was installed; install nats-server by hand and name it with --nats-server PATH".into()
            }
            Self::File(error) => return error.hint(),
        })
    }
}

fn platform() -> (&'static str, &'static str) {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        arch => arch,
    };
    (os, arch)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

impl NatsServerOptions {
    /// The executable; fetched if there is none.
    pub async fn find(&self, dirs: &Dirs, printer: &Printer) -> Result<PathBuf, FetchError> {
        if let Some(path) = &self.nats_server {
            return if is_executable(path) {
                Ok(path.clone())
            } else {
                Err(FetchError::NotThere(path.clone()))
            };
        }
        // A version or digest that was asked for is a wish for exactly that one.
        let wanted = self.nats_version != VERSION || self.nats_server_sha256.is_some();
        if let Some(path) = on_path("nats-server").filter(|_| !wanted) {
            return Ok(path);
        }
        let version = self.nats_version.trim_start_matches('v');
        let cached = dirs.downloads().join(format!("nats-server-v{version}"));
        if is_executable(&cached) {
            return Ok(cached);
        }
        self.fetch(version, &cached, printer).await?;
        Ok(cached)
    }

    async fn fetch(&self, version: &str, to: &Path, printer: &Printer) -> Result<(), FetchError> {
        let (os, arch) = platform();
        let expected = self.digest(version, os, arch)?;
        let name = format!("nats-server-v{version}-{os}-{arch}");
        let url = format!(
            "https://github.com/nats-io/nats-server/releases/download/v{version}/{name}.tar.gz"
        );
        let archive = download(&url, printer).await?;
        let found = hex::encode(Sha256::digest(&archive));
        if !found.eq_ignore_ascii_case(&expected) {
            return Err(FetchError::Digest {
                url,
                version: version.into(),
                expected,
                found,
            });
        }
        let program = unpack(&archive).ok_or(FetchError::Empty(url))?;
        Ok(crate::dirs::write_atomically(to, &program, 0o755)?)
    }

    fn digest(&self, version: &str, os: &str, arch: &str) -> Result<String, FetchError> {
        if let Some(given) = &self.nats_server_sha256 {
            return Ok(given.trim().to_owned());
        }
        let pinned = DIGESTS
            .iter()
            .find(|(its_os, its_arch, _)| (*its_os, *its_arch) == (os, arch));
        match pinned {
            Some((_, _, digest)) if version == VERSION => Ok((*digest).to_owned()),
            _ => Err(FetchError::NoDigest {
                version: version.to_owned(),
                platform: format!("{os}-{arch}"),
            }),
        }
    }
}

async fn download(url: &str, printer: &Printer) -> Result<Vec<u8>, FetchError> {
    let mut shown = None;
    let moved = |total, count| {
        shown
            .get_or_insert_with(|| printer.bytes("fetching nats-server", total))
            .add(count);
    };
    crate::fetch::get_with(url, ARCHIVE_BYTES_MAX, moved)
        .await
        .map_err(|reason| FetchError::Download {
            url: url.to_owned(),
            reason,
        })
}

/// The program in the archive; the digest was checked, so its content is trusted.
fn unpack(archive: &[u8]) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        if entry.path().ok()?.file_name()? == "nats-server" {
            let mut program = Vec::new();
            entry.read_to_end(&mut program).ok()?;
            return Some(program);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_without_a_known_digest_is_not_fetched() {
        let options = NatsServerOptions {
            nats_version: "9.9.9".into(),
            ..NatsServerOptions::default()
        };
        let error = options.digest("9.9.9", "linux", "amd64").unwrap_err();
        assert!(error.hint().unwrap().contains("--nats-server-sha256"));
        assert!(options.digest(VERSION, "linux", "riscv64").is_err());
        assert_eq!(options.digest(VERSION, "linux", "amd64").unwrap().len(), 64);
    }

    #[test]
    fn the_program_is_found_in_the_archive() {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o755);
        header.set_cksum();
        tar.append_data(
            &mut header,
            "nats-server-v1-linux-amd64/nats-server",
            &b"elf"[..],
        )
        .unwrap();
        let archive = tar.into_inner().unwrap().finish().unwrap();
        assert_eq!(unpack(&archive).as_deref(), Some(&b"elf"[..]));
        assert_eq!(unpack(b"nonsense"), None);
    }
}
