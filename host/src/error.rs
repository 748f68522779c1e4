//! Why a host does not start.

use proto::nkey;

use crate::datadir::DataDirError;
use crate::lattice::ConnectError;
use crate::link::LinkError;
use crate::oci::FetchError;
use crate::options::OptionError;
use crate::rpc::RpcError;
use crate::runtime::RuntimeError;

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// An option is wrong.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The seed is not a host's.
    #[error("the host seed is not usable: it must be a server seed (`SN…`)")]
    Seed(#[from] nkey::KeyError),
    /// The new key could not be used.
    #[error("the host's key has no id")]
    Key,
    /// The lattice's name is wrong.
    #[error(transparent)]
    Lattice(#[from] proto::id::IdError),
    /// There is no directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// NATS settings are wrong.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The rpc connection is not usable.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// Artifacts cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Components cannot be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The HTTP entrance cannot be opened.
    #[error("cannot serve HTTP on {address}; free it, or name another with `--http-addr`")]
    Http {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: LinkError,
    },
    /// The admin address cannot be opened.
    #[error(
        "cannot serve `/livez` and `/readyz` on {address}; free it, or name another with `--http-admin`"
    )]
    Admin {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A task that may not fail did.
    #[error("a part of the host failed; the log says which and why")]
    Failed,
}
