//! Beginning to lead, ceasing to, and losing the connection meanwhile.

use std::time::Duration;

use proto::ctl::Fence;

use super::{Controller, Output, Request, Time};

/// Hosts that may still be unheard of after a take-over get this long to speak up.
pub(super) const GATHER: Duration = Duration::from_millis(2200);

/// The longest that a take-over waits for inventories that were asked for.
pub(super) const GATHER_MAX: Duration = Duration::from_secs(6);

/// How long an unanswered question for the links may take before it is asked again.
const LINKS_AGAIN: Duration = Duration::from_secs(1);

/// After a lost connection, hosts get this long before silence counts again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(1500);

impl Controller {
    pub(super) fn leadership(&mut self, fence: Option<Fence>, now: Time) {
        if fence == self.fence {
            return;
        }
        self.pending.clear();
        self.published.clear();
        self.wakes.clear();
        self.dirty.clear();
        self.leads_since = fence.is_some().then_some(now);
        self.pinged = 0;
        self.all_dirty = fence.is_some().then_some(now);
        self.resync_at = now + self.timing.resync_every;
        self.fence = fence;
    }

    pub(super) fn connection(&mut self, connected: bool, now: Time) {
        if connected == self.connected {
            return;
        }
        self.connected = connected;
        if !connected {
            return;
        }
        // Nothing could be heard: every host's silence starts anew, answers may be lost.
        self.view.forgive(now, Duration::from_secs(24 * 3600));
        self.view.resync();
        self.hold_until = now + RECONNECT_PAUSE;
        self.expiry_at = None;
        self.pending.hurry(now + RECONNECT_PAUSE);
        self.outputs.push(Output::Ask(Request::Ping));
        self.outputs.push(Output::Ask(Request::Links));
        // A status that was on its way when the connection broke may be lost: say all again.
        self.published.clear();
        self.all_dirty = Some(self.hold_until);
    }

    /// A new leader asks the lattice what there is: twice, as answers get lost.
    pub(super) fn ask_when_new(&mut self, now: Time) {
        let Some(since) = self.leads_since else {
            return;
        };
        if self.pinged < 2
            && self.connected
            && now.since(since) >= GATHER / 3 * u32::from(self.pinged)
        {
            self.pinged += 1;
            self.outputs.push(Output::Ask(Request::Ping));
            if !self.view.links_known() {
                self.outputs.push(Output::Ask(Request::Links));
            }
        }
    }

    /// Asks for the links until somebody says them: in a lattice without hosts nobody can, and
    /// the first host may come long after the leader.
    pub(super) fn ask_for_links(&mut self, now: Time) {
        let asked = self
            .links_asked
            .is_some_and(|at| now.since(at) < LINKS_AGAIN);
        let nobody = self.view.hosts().next().is_none();
        if self.fence.is_none() || !self.connected || self.view.links_known() || asked || nobody {
            return;
        }
        self.links_asked = Some(now);
        self.outputs.push(Output::Ask(Request::Links));
    }

    /// Whether a new leader has heard enough of the lattice to act on it.
    pub(super) fn gathered(&self, now: Time) -> bool {
        let Some(since) = self.leads_since else {
            return false;
        };
        if now < self.hold_until {
            return false;
        }
        let waited = now.since(since);
        let unknown = self
            .view
            .hosts()
            .any(|host| !host.usable() && host.lost_since.is_none());
        waited >= GATHER_MAX || (waited >= GATHER && !unknown)
    }
}
