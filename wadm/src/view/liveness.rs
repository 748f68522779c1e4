//! When a host counts as lost.
//!
//! Our hosts pulse every second. After 1.6 s of silence the host is asked for its inventory every
//! [`PROBE_EVERY`]; any message from it counts as a sign of life. It is lost after 3.9 s of silence
//! (three pulses and nine tenths), or sooner when NATS itself says, twice and half a second apart,
//! that nobody listens on the host's subject.
//!
//! Why this does not take a slow host for a lost one: with 30 % of messages lost, three pulses in a
//! row are lost with 0.3³ = 2.7 %; a probe fails (request or answer lost) with 51 %, and eight of
//! them fit between 1.6 s and 3.9 s, all failing with 0.51⁸ = 0.5 %. Both together: about 1 in
//! 8,000 for each such second.
//!
//! A host that has just appeared and has not pulsed may be an upstream one, or one of ours that died
//! before its first pulse. For its first [`PULSE_DUE`] it is asked like ours when it is silent, but
//! only NATS' word that nobody listens makes it lost; after that its heartbeats decide.
//!
//! Why it is quick enough: a host killed outright is noticed at the latest 3.9 s after its last
//! pulse, and about 2.2 s after it when the connection broke; starting what it ran takes well under
//! a second.

use std::time::Duration;

use proto::id::HostId;

use super::host::HostView;
use super::{Changes, View};
use crate::core::Time;

/// Silence after which a host without pulses is lost: two heartbeats of 30 s and a little.
pub const HEARTBEAT_LOST_AFTER: Duration = Duration::from_secs(70);

/// How often a silent host is asked for a sign of life.
pub const PROBE_EVERY: Duration = Duration::from_millis(280);

/// The pulse interval that a host is taken to have until it says another.
const USUAL_INTERVAL: Duration = Duration::from_secs(1);

/// A host that has not pulsed within this time does not pulse at all.
const PULSE_DUE: Duration = Duration::from_secs(8);

/// How long a lost host is still shown.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// How long an unanswered question stands in the way of the next one.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(1000);

/// At least this long between two refusals by NATS that count as two.
const REFUSALS_APART: Duration = Duration::from_millis(500);

impl HostView {
    /// The pause between two pulses; none when the host does not pulse.
    fn interval(&self, now: Time) -> Option<Duration> {
        let usual = || (now.since(self.appeared) < PULSE_DUE).then_some(USUAL_INTERVAL);
        let told = self.pulse.as_ref().map(|pulse| pulse.interval);
        told.or_else(usual)
    }

    /// Silence after which the host is asked for a sign of life.
    fn suspect_after(&self, now: Time) -> Option<Duration> {
        let interval = self.interval(now);
        interval.map(|interval| interval + Duration::from_millis(600))
    }

    fn lost_after(&self, heartbeat: Duration) -> Duration {
        match &self.pulse {
            Some(pulse) => pulse.interval * 3 + Duration::from_millis(900),
            None => heartbeat,
        }
    }

    /// When the host counts as lost if nothing more is heard of it.
    fn lost_at(&self, heartbeat: Duration) -> Time {
        let silence = self.last_seen + self.lost_after(heartbeat);
        let (Some(first), Some(last)) = (self.no_responders.first(), self.no_responders.last())
        else {
            return silence;
        };
        match self.interval(*last) {
            Some(interval) if last.since(*first) >= REFUSALS_APART => {
                silence.min((self.last_seen + interval * 2).max(*last))
            }
            _ => silence,
        }
    }

    fn is_suspect(&self, now: Time) -> bool {
        self.lost_since.is_none()
            && self
                .suspect_after(now)
                .is_some_and(|after| now.since(self.last_seen) >= after)
    }

    /// Whether to ask for the inventory now: it is not known, or the host is silent.
    fn wants_asking(&self, now: Time) -> Option<Time> {
        if self.lost_since.is_some() {
            return None;
        }
        if let Some(after) = self.suspect_after(now) {
            let from = self.last_seen + after;
            if now >= from || self.known {
                let next = self
                    .asked
                    .map_or(from, |asked| from.max(asked + PROBE_EVERY));
                return Some(next);
            }
        }
        (!self.known).then(|| self.asked.map_or(now, |asked| asked + ASK_AGAIN_AFTER))
    }
}

impl View {
    /// What has become due: hosts that are lost now, and hosts to ask.
    pub fn expire(&mut self, now: Time) -> Changes {
        let mut changes = Changes::default();
        let heartbeat = self.heartbeat_lost_after.unwrap_or(HEARTBEAT_LOST_AFTER);
        let lost: Vec<HostId> = self
            .hosts
            .values()
            .filter(|host| host.lost_since.is_none() && host.lost_at(heartbeat) <= now)
            .map(|host| host.id.clone())
            .collect();
        for id in lost {
            self.lose(&id, now, &mut changes);
        }
        let forgotten: Vec<HostId> = self
            .hosts
            .values()
            .filter(|host| {
                host.lost_since
                    .is_some_and(|since| now.since(since) >= FORGET_AFTER)
            })
            .map(|host| host.id.clone())
            .collect();
        for id in forgotten {
            self.remove_host(&id, &mut changes);
        }
        for host in self.hosts.values_mut() {
            let unknown = !host.known && host.lost_since.is_none();
            if (unknown || host.is_suspect(now))
                && host.wants_asking(now).is_some_and(|at| at <= now)
            {
                changes.ask.insert(host.id.clone());
                host.asked = Some(now);
            }
        }
        changes
    }

    /// When [`View::expire`] will have something to do.
    #[must_use]
    pub fn next_expiry(&self, now: Time) -> Option<Time> {
        let heartbeat = self.heartbeat_lost_after.unwrap_or(HEARTBEAT_LOST_AFTER);
        self.hosts
            .values()
            .map(|host| match host.lost_since {
                Some(since) => since + FORGET_AFTER,
                None => host
                    .wants_asking(now)
                    .map_or(host.lost_at(heartbeat), |ask| {
                        ask.min(host.lost_at(heartbeat))
                    }),
            })
            .min()
    }

    fn lose(&mut self, id: &HostId, now: Time, changes: &mut Changes) {
        if let Some(host) = self.hosts.get_mut(id) {
            host.lost_since = Some(now);
            host.known = false;
            host.digest = None;
            host.asked = None;
            changes.workloads.extend(
                host.instances
                    .keys()
                    .map(|instance| (id.clone(), instance.clone())),
            );
            changes.applications.extend(
                host.instances
                    .values()
                    .filter_map(|i| i.application().map(str::to_owned)),
            );
            changes.hosts.insert(id.clone());
            self.membership += 1;
        }
    }

    /// The controller itself was away (stalled, or cut off): silence in that time says nothing.
    pub fn forgive(&mut self, now: Time, away: Duration) {
        for host in self
            .hosts
            .values_mut()
            .filter(|host| host.lost_since.is_none())
        {
            // The time in which its first pulse is due goes on where it stopped.
            if host.last_seen.since(host.appeared) < PULSE_DUE {
                host.appeared = (host.appeared + away).min(now);
            }
            host.last_seen = (host.last_seen + away).min(now);
            host.no_responders.clear();
        }
    }

    /// Forgets what was asked and what inventories said, so that all hosts are asked again.
    pub fn resync(&mut self) {
        for host in self.hosts.values_mut() {
            host.asked = None;
            host.digest = None;
            host.no_responders.clear();
        }
    }

    /// NATS says that nobody listens on the host's subject.
    pub fn no_responders(&mut self, id: &HostId, now: Time) -> Changes {
        if let Some(host) = self.hosts.get_mut(id) {
            host.no_responders.push(now);
        }
        self.expire(now)
    }
}
