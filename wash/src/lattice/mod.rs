//! A lattice as the commands see it: requests and answers in `proto`'s types, no subjects.

mod error;
mod find;
mod nats;
mod ops;
mod wadm;
mod wait;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use proto::ctl::CtlResponse;
use proto::subject::{Ctl, WadmApi};

pub use error::LatticeError;
pub use find::{find_host, image_reference};
pub use nats::NatsLattice;
pub use ops::LatticeOps;
pub use wadm::{WadmOps, deployed, read as read_reply};
pub use wait::{Watching, wait_for};

/// Something that can be asked. [`LatticeOps`] and [`WadmOps`] put words to it.
#[async_trait]
pub trait Lattice: Send + Sync {
    /// Its name.
    fn name(&self) -> &proto::Lattice;

    /// How long an answer may take.
    fn timeout(&self) -> Duration;

    /// Asks whoever is responsible and takes the one answer.
    async fn request(&self, what: Ctl, body: Vec<u8>) -> Result<CtlResponse, LatticeError>;

    /// Asks everybody and takes the answers that come within `wait`.
    async fn gather(
        &self,
        what: Ctl,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<Vec<CtlResponse>, LatticeError>;

    /// Asks wadm; the answer's shape depends on the question.
    async fn wadm(&self, what: WadmApi, body: Vec<u8>) -> Result<Vec<u8>, LatticeError>;

    /// Events of these names from now on, as they arrive; of all names if none are given.
    async fn events(&self, names: &[&str]) -> Result<BoxStream<'static, Vec<u8>>, LatticeError>;
}
