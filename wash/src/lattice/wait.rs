//! Waiting for the event that tells how a request went.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use proto::event::{CloudEvent, Event};

use super::{Lattice, LatticeError};

/// Events that are listened to already, before the request is sent that causes one of them.
pub struct Watching {
    events: BoxStream<'static, Vec<u8>>,
}

impl Watching {
    /// Listens to events of these names.
    pub async fn start<L: Lattice + ?Sized>(
        lattice: &L,
        names: &[&str],
    ) -> Result<Self, LatticeError> {
        Ok(Self {
            events: lattice.events(names).await?,
        })
    }

    /// The next event that can be read.
    pub async fn next(&mut self) -> Option<CloudEvent> {
        loop {
            let raw = self.events.next().await?;
            if let Ok(event) = CloudEvent::parse(&raw) {
                return Some(event);
            }
        }
    }
}

/// Waits for the event that decides: `decide` gives `Ok` for success, `Err` with the host's words
/// for failure, `None` for an event about something else.
pub async fn wait_for<T>(
    watching: &mut Watching,
    what: &str,
    limit: Duration,
    mut decide: impl FnMut(&Event) -> Option<Result<T, String>>,
) -> Result<T, LatticeError> {
    let find = async {
        while let Some(event) = watching.next().await {
            if let Some(outcome) = decide(&event.event) {
                return Some(outcome);
            }
        }
        None
    };
    match tokio::time::timeout(limit, find).await {
        Ok(Some(Ok(found))) => Ok(found),
        Ok(Some(Err(error))) => Err(LatticeError::Failed {
            what: what.to_owned(),
            error,
        }),
        Ok(None) | Err(_) => Err(LatticeError::NoEvent {
            what: what.to_owned(),
            waited: limit,
        }),
    }
}
