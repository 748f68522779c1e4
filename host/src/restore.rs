//! Whether what ran here before is brought back, and when.

use std::sync::Arc;
use std::time::Duration;

use proto::id::Lattice;
use proto::names::{MANAGED_BY, MANAGER};
use proto::subject::{WadmApi, WadmApiSubject};
use tokio::sync::watch;

use crate::lattice::Connection;
use crate::options::Restore;
use crate::workload::{Saved, Workloads};

/// How long the lattice may take to take this host in before it helps itself.
const LATTICE_WAIT: Duration = Duration::from_secs(2);
/// How long a controller may take to answer.
const CONTROLLER_WAIT: Duration = Duration::from_secs(2);

/// Brings back what ran, if nobody else does.
pub struct Restoring {
    /// When.
    pub mode: Restore,
    /// What.
    pub saved: Saved,
    /// Where.
    pub workloads: Arc<Workloads>,
    /// True when the host is part of its lattice.
    pub ready: watch::Receiver<bool>,
    /// The ctl connection.
    pub ctl: Connection,
    /// The lattice.
    pub lattice: Lattice,
}

impl Restoring {
    /// Decides, and does it.
    pub async fn run(self) {
        let Some(reason) = self.reason().await else {
            return self.workloads.forgo_restore();
        };
        let (components, providers) = self.saved.count();
        tracing::info!(
            components,
            providers,
            reason,
            "bringing back what ran here before"
        );
        self.workloads.restore(self.saved);
    }

    /// Why this host helps itself, if it does.
    async fn reason(&self) -> Option<&'static str> {
        if self.saved.is_empty() || self.mode == Restore::Never {
            return None;
        }
        if self.mode == Restore::Always {
            return Some("always asked for");
        }
        if !self.joined().await {
            return Some("the lattice is out of reach");
        }
        let managed = self.saved.has_mark(MANAGED_BY, MANAGER);
        if managed && !self.controller_answers().await && !self.controller_commands() {
            return Some("no controller answers");
        }
        tracing::info!("starting empty: the lattice is there and decides what runs here");
        None
    }

    /// A controller that commands this host is there, whether it answered or not.
    fn controller_commands(&self) -> bool {
        self.workloads.inventory(|now| now.has_heard_controller())
    }

    async fn joined(&self) -> bool {
        let mut ready = self.ready.clone();
        tokio::time::timeout(LATTICE_WAIT, ready.wait_for(|ready| *ready))
            .await
            .is_ok_and(|ready| ready.is_ok())
    }

    async fn controller_answers(&self) -> bool {
        let subject = WadmApiSubject::new(self.lattice.clone(), WadmApi::List).to_string();
        let answer = self.ctl.client().request(subject, bytes::Bytes::new());
        tokio::time::timeout(CONTROLLER_WAIT, answer)
            .await
            .is_ok_and(|answer| answer.is_ok())
    }
}
