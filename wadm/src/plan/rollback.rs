//! When a new version fails, the one before comes back by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::id::{ComponentId, HostId};
use proto::wadm_api::{StatusInfo, StatusType};

use super::applications::Application;
use super::context::Context;
use super::desired::Workload;
use super::pending::Failure;

/// Failed attempts on one host after which a rollout is given up.
const ATTEMPTS_MAX: u32 = 3;

/// Images that failed too often. Remembered apart from the failures: what is tried instead may fail
/// as well, and its failure must not bring the first image back, or the two would take turns.
#[derive(Clone, Debug, Default)]
pub(super) struct GivenUp(BTreeMap<ComponentId, Bad>);

#[derive(Clone, Debug)]
struct Bad {
    host: HostId,
    image: String,
    error: String,
}

impl GivenUp {
    /// Takes note of a failure, if it is one too many.
    pub fn note(&mut self, host: &HostId, id: &ComponentId, failure: &Failure) {
        if let Some(image) = &failure.image
            && failure.attempts >= ATTEMPTS_MAX
        {
            let bad = || Bad {
                host: host.clone(),
                image: image.clone(),
                error: failure.error.clone(),
            };
            self.0.entry(id.clone()).or_insert_with(bad);
        }
    }

    /// The image runs after all.
    pub fn runs(&mut self, id: &ComponentId, image: &str) {
        if self.0.get(id).is_some_and(|bad| bad.image == image) {
            self.0.remove(id);
        }
    }

    /// Someone asks for another try.
    pub fn forgive(&mut self, fits: impl Fn(&HostId, &ComponentId) -> bool) {
        self.0.retain(|id, bad| !fits(&bad.host, id));
    }

    /// The host that it failed on started anew or is gone.
    pub fn forget_host(&mut self, host: &HostId) {
        self.0.retain(|_, bad| bad.host != *host);
    }
}

/// A workload that goes back to what it was.
#[derive(Debug)]
pub(super) struct Back {
    /// What it was.
    pub workload: Workload,
    /// The image that failed.
    image: String,
    /// Its failure's own words.
    error: String,
}

/// Whether the rollout of `workload` failed and an earlier version of it still runs somewhere.
///
/// It stays with the earlier one until a new deploy or a retry forgets the failure.
pub(super) fn previous(cx: &Context<'_>, app: &Application, workload: &Workload) -> Option<Back> {
    if !workload.rollout.rollback {
        return None;
    }
    let given_up = cx.pending.given_up().0.get(&workload.id);
    let failure = given_up.filter(|bad| bad.image == workload.image)?;
    let earlier = |old: &Arc<super::AppDesired>| {
        let same = |candidate: &&Workload| {
            candidate.id == workload.id && candidate.image != workload.image
        };
        old.workloads.iter().find(same).cloned()
    };
    let earlier = app.leftovers().iter().rev().find_map(earlier)?;
    let runs = cx
        .view
        .hosts_running(&workload.id)
        .filter(|host| host.usable())
        .filter_map(|host| host.instances.get(&workload.id))
        .any(|instance| earlier.has_image(instance));
    runs.then(|| Back {
        // Where and how many is the new version's business; what runs is the old one's.
        workload: Workload {
            spreads: workload.spreads.clone(),
            daemon: workload.daemon,
            rollout: workload.rollout.clone(),
            ..earlier
        },
        image: workload.image.clone(),
        error: failure.error.clone(),
    })
}

impl Back {
    /// What the status says, around what it would say of the earlier version.
    pub(super) fn status(&self, of_earlier: &StatusInfo) -> StatusInfo {
        let how = if of_earlier.kind == StatusType::Deployed {
            "went back"
        } else {
            "is going back"
        };
        let message = format!(
            "{} failed and {how} to {}: {}",
            self.image, self.workload.image, self.error
        );
        StatusInfo::new(StatusType::Failed, message)
    }
}
