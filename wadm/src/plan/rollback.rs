//! When a new version fails, the one before comes back by itself.

use std::sync::Arc;

use proto::wadm_api::{StatusInfo, StatusType};

use super::applications::Application;
use super::context::Context;
use super::desired::Workload;

/// Failed attempts on one host after which a rollout is given up.
const ATTEMPTS_MAX: u32 = 3;

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
    let failures = cx.pending.failures_of(&workload.id)?;
    let of_this = |image: &Option<String>| image.as_deref() == Some(workload.image.as_str());
    let failure = failures
        .values()
        .find(|failure| failure.attempts >= ATTEMPTS_MAX && of_this(&failure.image))?;
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
