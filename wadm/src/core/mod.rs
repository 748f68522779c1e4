//! The controller without its I/O: what it hears goes in, what it wants comes out.
//!
//! Level-triggered: whatever happens only marks applications as worth another look; a pass plans
//! them from everything that is known and sends what the plan says. What was sent is remembered
//! until it is seen or given up, so a pass never repeats itself.

mod flights;
mod io;
mod leading;
mod pass;
mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proto::ctl::Fence;
use proto::id::HostId;
use proto::manifest::Manifest;
use proto::wadm_api::{PlanPreview, Status};

pub use io::{CommandId, Input, Output, Reply, Request};
use leading::{GATHER, GATHER_MAX};
pub use time::{Time, Timing};

use crate::plan::{self, Applications, Pending, SHARED, Subject};
use crate::view::{Changes, View};

/// What a deploy would change.
pub type Preview = PlanPreview;

/// A gap between two steps that only a stalled or suspended process explains.
const STALL: Duration = Duration::from_millis(2500);

/// Hosts that come and go concern every application; they are looked at together.
const MEMBERSHIP_PAUSE: Duration = Duration::from_millis(150);

/// One lattice's controller.
#[derive(Debug)]
pub struct Controller {
    timing: Timing,
    apps: Applications,
    loaded: bool,
    view: View,
    pending: Pending,
    fence: Option<Fence>,
    connected: bool,
    /// Since when this controller leads, and until when it only listens.
    leads_since: Option<Time>,
    hold_until: Time,
    pinged: u8,
    links_asked: Option<Time>,
    dirty: BTreeSet<String>,
    /// Everything is to be planned, from then on.
    all_dirty: Option<Time>,
    wakes: BTreeMap<String, Time>,
    resync_at: Time,
    expiry_at: Option<Time>,
    last_step: Option<Time>,
    published: BTreeMap<String, Status>,
    next_command: u64,
    outputs: Vec<Output>,
}

impl Controller {
    /// A controller that has heard of nothing yet.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        let mut view = View::default();
        view.set_heartbeat_lost_after(timing.heartbeat_lost_after);
        Self {
            timing,
            apps: Applications::default(),
            loaded: false,
            view,
            pending: Pending::default(),
            fence: None,
            connected: true,
            leads_since: None,
            hold_until: Time::default(),
            pinged: 0,
            links_asked: None,
            dirty: BTreeSet::new(),
            all_dirty: None,
            wakes: BTreeMap::new(),
            resync_at: Time::default(),
            expiry_at: None,
            last_step: None,
            published: BTreeMap::new(),
            next_command: 0,
            outputs: Vec::new(),
        }
    }

    /// What the lattice looks like.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What is under way and what failed.
    #[must_use]
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Deployed applications by name, and those that were.
    #[must_use]
    pub fn applications(&self) -> Vec<String> {
        self.apps.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Whether it leads and has heard enough to act.
    #[must_use]
    pub fn is_acting(&self, now: Time) -> bool {
        self.fence.is_some()
            && self.loaded
            && self.connected
            && self.gathered(now)
            && self.view.links_known()
    }

    /// What deploying `manifest` would change.
    #[must_use]
    pub fn preview(&self, manifest: Arc<Manifest>, now: Time) -> Preview {
        plan::preview(&self.apps, &self.view, manifest, now)
    }

    /// Takes note of something; what follows from it comes out of the next [`Controller::step`].
    pub fn handle(&mut self, input: Input, now: Time) {
        match input {
            Input::Store { deployed, retired } => {
                self.apps.load(deployed, retired);
                self.loaded = true;
                self.all_dirty = Some(now);
            }
            Input::Application { name, deployed } => self.application(&name, deployed, now),
            Input::Retired { name, manifests } => {
                if self.apps.retire(&name, manifests) {
                    self.mark_related(&name);
                }
            }
            Input::Event { source, event } => {
                let changes = self.view.apply_event(&source, &event, None, now);
                self.absorb(changes, now);
            }
            Input::Pulse(pulse) => {
                let changes = self.view.apply_pulse(&pulse, now);
                self.absorb(changes, now);
            }
            Input::Ping(host) => {
                let changes = self.view.apply_ping(&host, now);
                self.absorb(changes, now);
            }
            Input::Inventory { host, inventory } => {
                let changes = self.view.apply_inventory(&host, &inventory, now);
                self.absorb(changes, now);
            }
            Input::NoInventory {
                host,
                no_responders,
            } => {
                if no_responders {
                    let changes = self.view.no_responders(&host, now);
                    self.absorb(changes, now);
                }
            }
            Input::Links(links) => {
                let first = !self.view.links_known();
                let changes = self.view.apply_links(links);
                if first {
                    self.all_dirty = Some(now);
                }
                self.absorb(changes, now);
            }
            Input::LinksOf { source, links } => {
                let changes = self.view.apply_links_of(&source, links);
                self.absorb(changes, now);
            }
            Input::Configs(configs) => {
                let changes = self.view.apply_configs(configs);
                self.all_dirty = Some(now);
                self.absorb(changes, now);
            }
            Input::Config { name, value } => {
                let changes = self.view.apply_config(&name, value);
                self.absorb(changes, now);
            }
            Input::Reply { id, reply } => self.reply(id, reply, now),
            Input::Leadership(fence) => self.leadership(fence, now),
            Input::Connected(connected) => self.connection(connected, now),
            Input::Retry { application } => self.retry(application.as_deref(), now),
            Input::Published { name, status } => {
                self.published.entry(name).or_insert(status);
            }
        }
    }

    /// Decides what has become due and returns everything that is to be done.
    pub fn step(&mut self, now: Time) -> Vec<Output> {
        if let Some(last) = self.last_step.replace(now)
            && now.since(last) > STALL
        {
            // The process was stopped or starved: the silence was ours.
            self.view.forgive(now, now.since(last));
            self.expiry_at = None;
        }
        if self.connected && now >= self.hold_until && self.expiry_at.is_none_or(|at| at <= now) {
            let changes = self.view.expire(now);
            self.absorb(changes, now);
            self.expiry_at = self.view.next_expiry(now);
        }
        self.ask_when_new(now);
        self.ask_for_links(now);
        self.give_up_overdue(now);
        for subject in self.pending.settle(now) {
            self.mark_subject(&subject);
        }
        if self.is_acting(now) {
            self.pass(now);
        }
        std::mem::take(&mut self.outputs)
    }

    /// When to call [`Controller::step`] although nothing was heard.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        let now = self.last_step.unwrap_or_default();
        let mut wakes = vec![
            self.expiry_at,
            self.pending.next_due(now),
            self.pending.next_settle(),
        ];
        if self.fence.is_some() {
            wakes.push(self.all_dirty);
            wakes.push(self.wakes.values().min().copied());
            wakes.push(Some(self.resync_at));
            if !self.dirty.is_empty() {
                wakes.push(Some(now));
            }
        }
        if let Some(since) = self.leads_since.filter(|_| !self.gathered(now)) {
            wakes.extend([
                Some(since + GATHER / 3),
                Some(since + GATHER),
                Some(since + GATHER_MAX),
            ]);
        }
        if self.hold_until > now {
            wakes.push(Some(self.hold_until));
        }
        wakes
            .into_iter()
            .flatten()
            .filter(|at| *at > now || !self.outputs.is_empty() || self.can_act_at(*at))
            .min()
    }

    /// Whether something that was due before now can be done now.
    fn can_act_at(&self, at: Time) -> bool {
        let now = self.last_step.unwrap_or_default();
        at <= now && self.is_acting(now)
    }

    fn application(&mut self, name: &str, deployed: Option<Arc<Manifest>>, now: Time) {
        let before = self.apps.related(name);
        let known = self.apps.knows(name);
        if deployed.is_none() && !known {
            return;
        }
        let retired = self.apps.set(name, deployed);
        self.dirty.extend(before);
        self.mark_related(name);
        // Others may have links to a name that is declared now, or no longer.
        let open: BTreeSet<String> = self
            .apps
            .open_targets()
            .values()
            .flatten()
            .cloned()
            .collect();
        self.dirty.extend(open);
        self.dirty.insert(SHARED.to_owned());
        self.forgive(Some(name));
        if retired {
            self.publish_retired(name);
        }
        let _ = now;
    }

    fn publish_retired(&mut self, name: &str) {
        if self.fence.is_none() {
            return;
        }
        if let Some(app) = self.apps.get(name) {
            self.outputs.push(Output::Retire {
                name: name.to_owned(),
                manifests: app.retired.clone(),
            });
        }
    }

    fn retry(&mut self, application: Option<&str>, now: Time) {
        self.forgive(application);
        match application {
            Some(name) => {
                self.dirty.insert(name.to_owned());
                self.dirty.insert(SHARED.to_owned());
            }
            None => self.all_dirty = Some(now),
        }
    }

    /// Forgets the failures of one application's subjects, or of all.
    fn forgive(&mut self, application: Option<&str>) {
        let apps = &self.apps;
        let belongs = |subject: &Subject| match (application, subject) {
            (None, _) => true,
            (Some(name), Subject::Workload(_, id)) => {
                apps.owner(id).is_none_or(|owner| owner == name)
            }
            (Some(name), Subject::Link(key)) => {
                apps.owner(&key.source).is_none_or(|owner| owner == name)
            }
            (Some(name), Subject::Config(config)) => apps
                .config_users(config)
                .is_none_or(|users| users.contains(name)),
        };
        for subject in self.pending.forgive(belongs) {
            self.mark_subject(&subject);
        }
    }

    /// What a change in the view means: what to ask, what has landed, whom to plan again.
    fn absorb(&mut self, changes: Changes, now: Time) {
        if changes.is_empty() {
            return;
        }
        self.outputs.extend(
            changes
                .ask
                .iter()
                .map(|host| Output::Ask(Request::Inventory(host.clone()))),
        );
        if changes.links_stale {
            self.outputs.push(Output::Ask(Request::Links));
        }
        for host in &changes.restarted {
            self.pending.forget_host(host);
        }
        for host in &changes.hosts {
            self.host_changed(host, now);
        }
        for (host, id) in &changes.workloads {
            self.workload_changed(host, id, now);
        }
        for failure in changes.failures {
            self.start_failed(failure, now);
        }
        self.dirty.extend(changes.applications);
        for source in &changes.sources {
            self.links_changed(source, now);
        }
        for config in &changes.configs {
            self.config_changed(config, now);
        }
    }

    fn host_changed(&mut self, host: &HostId, now: Time) {
        if self
            .view
            .host(host)
            .is_none_or(|host| host.lost_since.is_some())
        {
            self.pending.drop_flights_to(host);
        }
        let at = now + MEMBERSHIP_PAUSE;
        self.all_dirty = Some(self.all_dirty.map_or(at, |before| before.min(at)));
        self.expiry_at = None;
    }

    fn mark_related(&mut self, name: &str) {
        let related = self.apps.related(name);
        self.dirty.extend(related);
    }

    /// Marks whoever a subject belongs to.
    fn mark_subject(&mut self, subject: &Subject) {
        match subject {
            Subject::Workload(_, id) | Subject::Link(proto::link::LinkKey { source: id, .. }) => {
                match self.apps.owner(id) {
                    Some(owner) => self.dirty.insert(owner.to_owned()),
                    None => self.mark_retired(),
                };
            }
            Subject::Config(name) => match self.apps.config_users(name).cloned() {
                Some(users) => self.dirty.extend(users),
                None => {
                    self.mark_retired();
                }
            },
        }
        self.dirty.insert(SHARED.to_owned());
    }

    /// Marks applications of which something may remain.
    fn mark_retired(&mut self) -> bool {
        let retired = self
            .apps
            .iter()
            .filter(|(_, app)| !app.retired.is_empty())
            .map(|(name, _)| name.clone());
        let before = self.dirty.len();
        self.dirty.extend(retired.collect::<Vec<_>>());
        before != self.dirty.len()
    }
}
