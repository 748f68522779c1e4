//! What was sent and not yet seen, and what failed: the memory that keeps a plan from repeating
//! itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto::id::{ComponentId, HostId};
use proto::reference::without_scheme;

use super::backoff::backoff;
use super::command::{Command, Subject};
use super::rollback::GivenUp;
use crate::core::{CommandId, Time};

/// How long an attempt must have held before its predecessors' failures are forgotten.
pub const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// A command under way.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Its number.
    pub id: CommandId,
    /// The command.
    pub command: Command,
    /// When it was sent.
    pub sent: Time,
    /// When the host accepted it.
    pub accepted: Option<Time>,
    /// When to stop waiting for its effect.
    pub deadline: Time,
    /// The scaler whose settings it brings to something that runs already; its effect may not show.
    pub refreshes: Option<String>,
}

/// A subject that failed, once or often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Attempts that failed in a row.
    pub attempts: u32,
    /// The last one's own words.
    pub error: String,
    /// When it failed.
    pub at: Time,
    /// When to try again.
    pub retry_at: Time,
    /// The image that failed; another one may be tried at once.
    pub image: Option<String>,
}

/// Commands under way and failures.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    flights: BTreeMap<Subject, Flight>,
    /// Hosts with commands under way, by component: how a plan finds its own among thousands.
    flying: BTreeMap<ComponentId, BTreeSet<HostId>>,
    /// Sources with link commands under way.
    linking: BTreeMap<ComponentId, u32>,
    by_number: BTreeMap<CommandId, Subject>,
    due: BTreeSet<(Time, CommandId)>,
    /// Starts under way on each host.
    starts: BTreeMap<HostId, u32>,
    failures: BTreeMap<ComponentId, BTreeMap<HostId, Failure>>,
    other_failures: BTreeMap<Subject, Failure>,
    given_up: GivenUp,
    /// When something was last seen to start, to tell what keeps dying from what runs.
    started: BTreeMap<(HostId, ComponentId), Time>,
    refreshed: BTreeMap<(HostId, ComponentId), String>,
}

impl Pending {
    /// The command under way for a subject.
    #[must_use]
    pub fn flight(&self, subject: &Subject) -> Option<&Flight> {
        self.flights.get(subject)
    }

    /// The command under way for a workload.
    #[must_use]
    pub fn workload(&self, host: &HostId, id: &ComponentId) -> Option<&Flight> {
        if self.flights.is_empty() {
            return None;
        }
        self.flights
            .get(&Subject::Workload(host.clone(), id.clone()))
    }

    /// Hosts with a command under way for `id`.
    pub fn hosts_flying(&self, id: &ComponentId) -> impl Iterator<Item = &HostId> {
        self.flying.get(id).into_iter().flatten()
    }

    /// Starts under way on `host`.
    #[must_use]
    pub fn starts_on(&self, host: &HostId) -> u32 {
        self.starts.get(host).copied().unwrap_or_default()
    }

    /// All commands under way.
    pub fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.values()
    }

    /// The failure of a subject, whether its pause is over or not.
    #[must_use]
    pub fn failure(&self, subject: &Subject) -> Option<&Failure> {
        match subject {
            Subject::Workload(host, id) => self.workload_failure(host, id),
            Subject::Link(_) | Subject::Config(_) => self.other_failures.get(subject),
        }
    }

    fn failure_mut(&mut self, subject: &Subject) -> Option<&mut Failure> {
        match subject {
            Subject::Workload(host, id) => self.failures.get_mut(id)?.get_mut(host),
            Subject::Link(_) | Subject::Config(_) => self.other_failures.get_mut(subject),
        }
    }

    fn remove_failure(&mut self, subject: &Subject) {
        match subject {
            Subject::Workload(host, id) => {
                if let Some(hosts) = self.failures.get_mut(id) {
                    hosts.remove(host);
                    if hosts.is_empty() {
                        self.failures.remove(id);
                    }
                }
            }
            Subject::Link(_) | Subject::Config(_) => {
                self.other_failures.remove(subject);
            }
        }
    }

    /// The hosts where a workload failed.
    #[must_use]
    pub fn failures_of(&self, id: &ComponentId) -> Option<&BTreeMap<HostId, Failure>> {
        self.failures.get(id)
    }

    fn all_failures(&self) -> impl Iterator<Item = &Failure> {
        self.failures
            .values()
            .flat_map(BTreeMap::values)
            .chain(self.other_failures.values())
    }

    /// Images that failed too often.
    pub(super) fn given_up(&self) -> &GivenUp {
        &self.given_up
    }

    /// The failure of a workload.
    #[must_use]
    pub fn workload_failure(&self, host: &HostId, id: &ComponentId) -> Option<&Failure> {
        self.failures.get(id)?.get(host)
    }

    /// Whether a subject has to wait before it is tried again; with another image it has not.
    #[must_use]
    pub fn must_wait(&self, subject: &Subject, image: Option<&str>, now: Time) -> bool {
        self.failure(subject).is_some_and(|failure| {
            failure.retry_at > now
                && (image.is_none() || failure.image.as_deref() == image || failure.image.is_none())
        })
    }

    /// Whether this scaler's settings were brought to what runs there, though its marks do not show it.
    #[must_use]
    pub fn is_refreshed(&self, host: &HostId, id: &ComponentId, scaler: &str) -> bool {
        self.refreshed
            .get(&(host.clone(), id.clone()))
            .is_some_and(|done| done == scaler)
    }

    /// The next moment at which a deadline passes or a pause ends.
    #[must_use]
    pub fn next_due(&self, now: Time) -> Option<Time> {
        let deadline = self.due.first().map(|(at, _)| *at);
        let pause = self
            .all_failures()
            .map(|failure| failure.retry_at)
            .filter(|at| *at > now)
            .min();
        deadline.into_iter().chain(pause).min()
    }

    /// Remembers a command that is sent now.
    pub fn send(&mut self, flight: Flight) {
        let subject = flight.command.subject();
        self.land(&subject);
        self.by_number.insert(flight.id, subject.clone());
        self.due.insert((flight.deadline, flight.id));
        if let Subject::Workload(host, id) = &subject {
            self.flying
                .entry(id.clone())
                .or_default()
                .insert(host.clone());
            if flight.command.starts() {
                *self.starts.entry(host.clone()).or_default() += 1;
            }
        }
        if let Subject::Link(key) = &subject {
            *self.linking.entry(key.source.clone()).or_default() += 1;
        }
        self.flights.insert(subject, flight);
    }

    /// Whether a link of this source is being changed.
    #[must_use]
    pub fn is_linking(&self, source: &ComponentId) -> bool {
        self.linking.contains_key(source)
    }

    /// The command of that number, if it is still under way.
    #[must_use]
    pub fn by_number(&self, id: CommandId) -> Option<&Flight> {
        self.flights.get(self.by_number.get(&id)?)
    }

    /// The host accepted the command; its effect is waited for until `deadline`.
    pub fn accept(&mut self, id: CommandId, now: Time, deadline: Time) {
        let Some(flight) = self
            .by_number
            .get(&id)
            .and_then(|subject| self.flights.get_mut(subject))
        else {
            return;
        };
        self.due.remove(&(flight.deadline, id));
        flight.accepted = Some(now);
        flight.deadline = deadline;
        self.due.insert((deadline, id));
    }

    /// Its effect was seen, or does not matter any more.
    pub fn land(&mut self, subject: &Subject) -> Option<Flight> {
        let flight = self.flights.remove(subject)?;
        self.by_number.remove(&flight.id);
        self.due.remove(&(flight.deadline, flight.id));
        if let Subject::Link(key) = subject
            && let Some(count) = self.linking.get_mut(&key.source)
        {
            *count -= 1;
            if *count == 0 {
                self.linking.remove(&key.source);
            }
        }
        if let Subject::Workload(host, id) = subject {
            if let Some(hosts) = self.flying.get_mut(id) {
                hosts.remove(host);
                if hosts.is_empty() {
                    self.flying.remove(id);
                }
            }
            if flight.command.starts()
                && let Some(starts) = self.starts.get_mut(host)
            {
                *starts = starts.saturating_sub(1);
            }
        }
        Some(flight)
    }

    /// Something was seen to start (or to be as wanted): past failures are forgotten once it holds.
    pub fn succeeded(&mut self, subject: &Subject, image: Option<&str>, now: Time) {
        match subject {
            Subject::Workload(host, id) => {
                if let Some(image) = image {
                    self.given_up.runs(id, image);
                }
                self.started.insert((host.clone(), id.clone()), now);
                if let Some(failure) = self.failure_mut(subject) {
                    failure.retry_at = now;
                }
            }
            Subject::Link(_) | Subject::Config(_) => self.remove_failure(subject),
        }
    }

    /// Remembers that a workload runs with this scaler's settings though its marks do not say so.
    pub fn refreshed(&mut self, host: &HostId, id: &ComponentId, scaler: String) {
        self.refreshed.insert((host.clone(), id.clone()), scaler);
    }

    /// Something that was started by us vanished. If it had not lasted, that is a failure too.
    pub fn vanished(&mut self, host: &HostId, id: &ComponentId, now: Time) {
        self.refreshed.remove(&(host.clone(), id.clone()));
        if let Some(since) = self.started.remove(&(host.clone(), id.clone()))
            && now.since(since) < SETTLED_AFTER
        {
            let error = format!(
                "stopped {:.1} s after it was started",
                now.since(since).as_secs_f64()
            );
            self.failed(
                Subject::Workload(host.clone(), id.clone()),
                error,
                None,
                now,
            );
        }
    }

    /// It is being stopped on purpose: that it vanishes will be no failure.
    pub fn forget_start(&mut self, host: &HostId, id: &ComponentId) {
        self.started.remove(&(host.clone(), id.clone()));
    }

    /// What was thought to have failed runs after all.
    pub fn runs_after_all(&mut self, host: &HostId, id: &ComponentId, image: &str, now: Time) {
        let Some(failure) = self
            .failures
            .get_mut(id)
            .and_then(|hosts| hosts.get_mut(host))
        else {
            return;
        };
        if failure
            .image
            .as_deref()
            .is_some_and(|failed| without_scheme(failed) == without_scheme(image))
        {
            failure.retry_at = failure.at;
            self.started
                .entry((host.clone(), id.clone()))
                .or_insert(now);
        }
    }

    /// Whether a stop has to wait because one failed before. A start that failed is no reason.
    #[must_use]
    pub fn must_wait_to_stop(&self, subject: &Subject, now: Time) -> bool {
        self.failure(subject)
            .is_some_and(|failure| failure.retry_at > now && failure.image.is_none())
    }

    /// A host is gone for now: nothing that is on its way to it will arrive.
    pub fn drop_flights_to(&mut self, host: &HostId) {
        let flying: Vec<Subject> = self
            .flights
            .keys()
            .filter(|subject| matches!(subject, Subject::Workload(of, _) if of == host))
            .cloned()
            .collect();
        for subject in flying {
            self.land(&subject);
        }
    }

    /// It was stopped on purpose.
    pub fn stopped(&mut self, host: &HostId, id: &ComponentId) {
        let key = (host.clone(), id.clone());
        self.started.remove(&key);
        self.refreshed.remove(&key);
        self.remove_failure(&Subject::Workload(host.clone(), id.clone()));
    }

    /// An attempt failed: the next one waits twice as long.
    pub fn failed(&mut self, subject: Subject, error: String, image: Option<String>, now: Time) {
        let before = self.failure(&subject);
        let same_image = before.is_some_and(|failure| failure.image == image || image.is_none());
        let attempts = before
            .filter(|_| same_image)
            .map_or(0, |failure| failure.attempts)
            + 1;
        let retry_at = now + backoff(&subject, attempts);
        let failure = Failure {
            attempts,
            error,
            at: now,
            retry_at,
            image,
        };
        match subject {
            Subject::Workload(host, id) => {
                // What runs there still is what ran before: it says nothing about this attempt.
                self.started.remove(&(host.clone(), id.clone()));
                self.given_up.note(&host, &id, &failure);
                self.failures.entry(id).or_default().insert(host, failure);
            }
            other => {
                self.other_failures.insert(other, failure);
            }
        }
    }

    /// Commands whose deadline has passed, which are no longer under way.
    pub fn overdue(&mut self, now: Time) -> Vec<Flight> {
        let due: Vec<CommandId> = self
            .due
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, id)| *id)
            .collect();
        let subjects: Vec<Subject> = due
            .iter()
            .filter_map(|id| self.by_number.get(id).cloned())
            .collect();
        subjects
            .iter()
            .filter_map(|subject| self.land(subject))
            .collect()
    }

    /// Forgets failures of what has been well for long enough.
    pub fn settle(&mut self, now: Time) -> Vec<Subject> {
        let mut settled = Vec::new();
        for (id, hosts) in &self.failures {
            for host in hosts.keys() {
                let since = self.started.get(&(host.clone(), id.clone())).copied();
                if since.is_some_and(|since| now.since(since) >= SETTLED_AFTER) {
                    settled.push(Subject::Workload(host.clone(), id.clone()));
                }
            }
        }
        for subject in &settled {
            self.remove_failure(subject);
        }
        settled
    }

    /// When [`Pending::settle`] will have something to do.
    #[must_use]
    pub fn next_settle(&self) -> Option<Time> {
        let started = |id: &ComponentId, host: &HostId| {
            self.started.get(&(host.clone(), id.clone())).copied()
        };
        let failed = self
            .failures
            .iter()
            .flat_map(|(id, hosts)| hosts.keys().map(move |host| (id, host)));
        failed
            .filter_map(|(id, host)| Some(started(id, host)? + SETTLED_AFTER))
            .min()
    }

    /// Forgets the failures of subjects that fit; they may be tried at once.
    pub fn forgive(&mut self, fits: impl Fn(&Subject) -> bool) -> Vec<Subject> {
        let workloads = self.failures.iter().flat_map(|(id, hosts)| {
            hosts
                .keys()
                .map(move |host| Subject::Workload(host.clone(), id.clone()))
        });
        let fitting: Vec<Subject> = workloads
            .chain(self.other_failures.keys().cloned())
            .filter(&fits)
            .collect();
        for subject in &fitting {
            self.remove_failure(subject);
        }
        self.given_up
            .forgive(|host, id| fits(&Subject::Workload(host.clone(), id.clone())));
        fitting
    }

    /// A host started anew or is gone: nothing that was sent to it counts.
    pub fn forget_host(&mut self, host: &HostId) {
        self.drop_flights_to(host);
        for hosts in self.failures.values_mut() {
            hosts.remove(host);
        }
        self.failures.retain(|_, hosts| !hosts.is_empty());
        self.given_up.forget_host(host);
        self.started.retain(|(of, _), _| of != host);
        self.refreshed.retain(|(of, _), _| of != host);
    }

    /// Forgets everything: another leads.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The connection was away: answers may have been lost, so waiting for them ends soon.
    pub fn hurry(&mut self, deadline: Time) {
        for flight in self.flights.values_mut() {
            flight.deadline = flight.deadline.min(deadline);
        }
        self.due = self
            .flights
            .values()
            .map(|flight| (flight.deadline, flight.id))
            .collect();
    }
}
