//! Starts real servers and our programs for whole-system tests.
//!
//! Everything listens on loopback at a port that was free, keeps its files in a directory of its
//! own, and ends with the value that started it, so tests run side by side and again.

pub mod access;
pub mod lattice;
pub mod operator;
pub mod process;
pub mod road;
pub mod servers;
pub mod standin;
pub mod wait;

pub use access::{Access, Who};
pub use lattice::{HostProcess, Lattice};
pub use operator::{Operator, Permissions};
pub use process::Process;
pub use road::Road;
pub use servers::{Nats, Redis, Registry};
pub use wait::{eventually, until};

use std::path::PathBuf;

/// The file of one of our programs (`host`, `wadm`, `wash`), built beside the running test.
///
/// `LATTICE_BIN_DIR` names another folder, for tests that live in another workspace.
///
/// # Errors
/// When it was not built, with the command that builds it.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let folder = match std::env::var_os("LATTICE_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let test = std::env::current_exe()?;
            let folder = test.parent().ok_or_else(|| anyhow::anyhow!("no folder"))?;
            let in_deps = folder.file_name().is_some_and(|name| name == "deps");
            if in_deps {
                folder.join("..")
            } else {
                folder.to_path_buf()
            }
        }
    };
    let path = folder.join(name);
    anyhow::ensure!(
        path.is_file(),
        "{} is not built: run `cargo build --workspace --bins`",
        path.display()
    );
    Ok(path.canonicalize()?)
}

/// A file of the repository, by its path from the top.
#[must_use]
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
}
