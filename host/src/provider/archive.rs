//! Provider archives: a tar file, compressed or not, with a token and executables.
//!
//! Entry names are read by their last part only and never become paths; sizes are bounded while
//! reading, whatever headers claim.

use std::fs::{File, Permissions};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use proto::claims::{Claims, ClaimsError, Provider};
use proto::provider::archive::{CLAIMS, WORLD, this_target};
use sha2::{Digest, Sha256};

/// Most entries of an archive.
const ENTRIES_MAX: usize = 64;
/// Most bytes of a token.
const CLAIMS_BYTES_MAX: u64 = 256 << 10;
/// Most bytes of one executable.
pub const BINARY_BYTES_MAX: u64 = 1 << 30;
/// Most bytes of a whole archive when unpacked.
const TOTAL_BYTES_MAX: u64 = 4 << 30;

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read or is no archive.
    #[error("`{path}` is not a readable provider archive")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: io::Error,
    },
    /// It has no token or no executable at all.
    #[error("Not enough files found in provider archive. Is this a complete archive?")]
    Incomplete,
    /// It has nothing for this machine.
    #[error("target `{target}` not found; the archive has {}", found.join(", "))]
    NoTarget {
        /// This machine's kind.
        target: String,
        /// What the archive has.
        found: Vec<String>,
    },
    /// The token is not valid.
    #[error("the provider's claims are not valid")]
    Claims(#[source] ClaimsError),
    /// The token says nothing about this executable, or something else.
    #[error(
        "the executable for `{target}` is not the one that the provider's claims were signed for"
    )]
    Hash {
        /// The kind of machine.
        target: String,
    },
    /// More or larger entries than a provider archive has.
    #[error("the archive is larger than a provider archive may be: {what}")]
    TooLarge {
        /// Which limit was met.
        what: &'static str,
    },
    /// The executable cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// An archive whose executable for this machine is on disk.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// The executable.
    pub executable: PathBuf,
    /// What the token says; its signature, dates and hashes were checked.
    pub claims: Claims<Provider>,
    /// The token itself.
    pub token: String,
}

/// Reads the archive at `path` and writes this machine's executable to `executable`.
///
/// Blocks: call it off the async threads.
///
/// # Errors
/// [`ArchiveError`]; nothing is left behind at `executable` then.
pub fn unpack(path: &Path, executable: &Path, now: u64) -> Result<Unpacked, ArchiveError> {
    unpack_for(&this_target(), path, executable, now)
}

fn unpack_for(
    target: &str,
    path: &Path,
    executable: &Path,
    now: u64,
) -> Result<Unpacked, ArchiveError> {
    let unreadable = |source| ArchiveError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut magic = [0; 2];
    let gzip = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    file.rewind().map_err(unreadable)?;
    let source: Box<dyn Read> = if gzip {
        Box::new(GzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let dir = executable.parent().unwrap_or(Path::new("."));
    let write = |source| ArchiveError::Write {
        path: executable.to_owned(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(write)?;
    // Written beside its place and moved there whole: a running executable cannot be overwritten.
    let mut binary = tempfile::NamedTempFile::new_in(dir).map_err(write)?;
    let found =
        read_entries(target, source, binary.as_file_mut()).map_err(|error| match error {
            EntryError::Read(source) => unreadable(source),
            EntryError::Write(source) => write(source),
            EntryError::TooLarge(what) => ArchiveError::TooLarge { what },
        })?;
    let claims = check(target, &found, now)?;
    let executable = executable.to_owned();
    binary
        .as_file()
        .set_permissions(Permissions::from_mode(0o755))
        .map_err(write)?;
    binary.as_file().sync_all().map_err(write)?;
    binary.persist(&executable).map_err(|e| write(e.error))?;
    Ok(Unpacked {
        executable,
        claims,
        token: found.token.unwrap_or_default(),
    })
}

/// What was found in an archive.
#[derive(Default)]
struct Found {
    token: Option<String>,
    targets: Vec<String>,
    hash: Option<String>,
}

enum EntryError {
    Read(io::Error),
    Write(io::Error),
    TooLarge(&'static str),
}

fn read_entries(
    target: &str,
    source: Box<dyn Read>,
    binary: &mut File,
) -> Result<Found, EntryError> {
    let mut found = Found::default();
    let mut archive = tar::Archive::new(source.take(TOTAL_BYTES_MAX));
    for (n, entry) in archive.entries().map_err(EntryError::Read)?.enumerate() {
        let entry = entry.map_err(EntryError::Read)?;
        if n >= ENTRIES_MAX {
            return Err(EntryError::TooLarge("too many entries"));
        }
        // Links and devices are nothing that a provider archive has.
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(EntryError::Read)?.into_owned();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            continue;
        };
        if name == CLAIMS {
            let mut token = String::new();
            let read = entry.take(CLAIMS_BYTES_MAX).read_to_string(&mut token);
            read.map_err(EntryError::Read)?;
            found.token = Some(token.trim().to_owned());
        } else if name != WORLD
            && let Some(stem) = name.strip_suffix(".bin")
        {
            found.targets.push(stem.to_owned());
            if stem == target {
                found.hash = Some(copy_hashed(entry, binary)?);
            }
        }
    }
    Ok(found)
}

fn copy_hashed(source: impl Read, binary: &mut File) -> Result<String, EntryError> {
    let mut source = source.take(BINARY_BYTES_MAX + 1);
    let mut hash = Sha256::new();
    let mut buf = vec![0; 64 << 10];
    let mut total = 0;
    binary
        .rewind()
        .and_then(|()| binary.set_len(0))
        .map_err(EntryError::Write)?;
    loop {
        let n = source.read(&mut buf).map_err(EntryError::Read)?;
        if n == 0 {
            return Ok(hex::encode_upper(hash.finalize()));
        }
        total += n as u64;
        if total > BINARY_BYTES_MAX {
            return Err(EntryError::TooLarge("an executable is too large"));
        }
        hash.update(&buf[..n]);
        binary.write_all(&buf[..n]).map_err(EntryError::Write)?;
    }
}

fn check(target: &str, found: &Found, now: u64) -> Result<Claims<Provider>, ArchiveError> {
    let Some(token) = found.token.as_deref().filter(|_| !found.targets.is_empty()) else {
        return Err(ArchiveError::Incomplete);
    };
    let claims = Claims::<Provider>::decode(token).map_err(ArchiveError::Claims)?;
    claims.check_time(now).map_err(ArchiveError::Claims)?;
    let Some(hash) = &found.hash else {
        let found = found.targets.clone();
        return Err(ArchiveError::NoTarget {
            target: target.to_owned(),
            found,
        });
    };
    let signed = claims
        .metadata
        .as_ref()
        .and_then(|said| said.target_hashes.get(target));
    match signed {
        Some(signed) if signed.eq_ignore_ascii_case(hash) => Ok(claims),
        _ => Err(ArchiveError::Hash {
            target: target.to_owned(),
        }),
    }
}

/// The name under which the executable of an image is kept: as upstream spells it.
#[must_use]
pub fn cache_name(image_ref: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    image_ref.to_lowercase().chars().map(safe).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use nkeys::KeyPair;

    use super::*;

    const NOW: u64 = 1_700_000_000;
    const BODY: &[u8] = b"#!/bin/sh\n";

    fn token(hash: &str, expires: Option<u64>) -> String {
        token_for("x-y", hash, expires)
    }

    fn token_for(target: &str, hash: &str, expires: Option<u64>) -> String {
        let mut said = Provider {
            vendor: "test".into(),
            ..Provider::default()
        };
        said.target_hashes = BTreeMap::from([(target.to_owned(), hash.to_owned())]);
        let mut claims = Claims::new(KeyPair::new_service().public_key(), 1, said);
        claims.expires = expires;
        claims.encode(&KeyPair::new_account()).unwrap()
    }

    fn good_token() -> String {
        token(&hex::encode_upper(Sha256::digest(BODY)), None)
    }

    /// A tar with these names exactly as they are, even those that no writer would write.
    fn par(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, body) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(body.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append(&header, *body).unwrap();
        }
        tar.into_inner().unwrap()
    }

    /// A signed archive with this executable for this machine.
    pub(crate) fn archive_of(body: &[u8]) -> Vec<u8> {
        let target = this_target();
        let token = token_for(&target, &hex::encode_upper(Sha256::digest(body)), None);
        let name = format!("{target}.bin");
        par(&[("claims.jwt", token.as_bytes()), (&name, body)])
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let dir = tempfile::tempdir().unwrap();
        let (path, executable) = (dir.path().join("a.par"), dir.path().join("cache/x"));
        std::fs::write(&path, bytes).unwrap();
        let result = unpack_for("x-y", &path, &executable, NOW);
        let left: Vec<_> = dir.path().join("cache").read_dir().unwrap().collect();
        match result {
            Ok(unpacked) => {
                let mode = std::fs::metadata(&unpacked.executable)
                    .unwrap()
                    .permissions()
                    .mode();
                assert_eq!(mode & 0o777, 0o755);
                assert_eq!(left.len(), 1);
                Ok(std::fs::read(unpacked.executable).unwrap())
            }
            Err(error) => {
                assert!(left.is_empty(), "{left:?} left after {error}");
                Err(error)
            }
        }
    }

    #[test]
    fn the_executable_for_this_machine_is_taken() {
        let token = good_token();
        let entries: [(&str, &[u8]); 4] = [
            ("./other-os.bin", b"no"),
            ("dir/x-y.bin", BODY),
            ("world.wasm", b"wit"),
            ("claims.jwt", token.as_bytes()),
        ];
        let tar = par(&entries);
        assert_eq!(unpacked(&tar).unwrap(), BODY);
        assert_eq!(unpacked(&gzip(&tar)).unwrap(), BODY);
    }

    #[test]
    fn names_never_become_paths() {
        let token = good_token();
        let outside = "../../../../../tmp/x-y.bin";
        let tar = par(&[("/etc/claims.jwt", token.as_bytes()), (outside, BODY)]);
        assert_eq!(unpacked(&tar).unwrap(), BODY);
    }

    #[test]
    fn what_is_wrong_with_an_archive_is_said() {
        let good = good_token();
        let claims = ("claims.jwt", good.as_bytes());
        let other = token(&hex::encode_upper(Sha256::digest(b"other")), None);
        let old = token(&hex::encode_upper(Sha256::digest(BODY)), Some(NOW - 1));
        let forged = good.replace('.', "x.");
        for (what, entries, expected) in [
            ("no token", vec![("x-y.bin", BODY)], "Not enough files"),
            ("no executable", vec![claims], "Not enough files"),
            (
                "another machine's",
                vec![claims, ("a-b.bin", BODY)],
                "target `x-y` not found; the archive has a-b",
            ),
            (
                "another executable",
                vec![("claims.jwt", other.as_bytes()), ("x-y.bin", BODY)],
                "not the one",
            ),
            (
                "expired",
                vec![("claims.jwt", old.as_bytes()), ("x-y.bin", BODY)],
                "claims are not valid",
            ),
            (
                "forged",
                vec![("claims.jwt", forged.as_bytes()), ("x-y.bin", BODY)],
                "claims are not valid",
            ),
            (
                "many entries",
                vec![("x-y.bin", BODY); 65],
                "too many entries",
            ),
        ] {
            let error = unpacked(&par(&entries)).unwrap_err().to_string();
            assert!(error.contains(expected), "{what}: {error}");
        }
        for garbage in [&b"hello"[..], b"\x1f\x8b\x08nonsense", b""] {
            assert!(unpacked(garbage).is_err());
        }
    }

    #[test]
    fn the_cache_name_is_upstreams() {
        assert_eq!(cache_name("ghcr.io/Acme/kv:0.1"), "ghcr_io_acme_kv_0_1");
    }
}
