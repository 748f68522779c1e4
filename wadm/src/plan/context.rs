//! What all parts of one plan look at.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use proto::id::HostId;

use super::applications::Applications;
use super::desired::SpreadWant;
use super::pending::Pending;
use crate::core::Time;
use crate::view::{HostView, View};

/// The labels a host must have.
type Requirements = BTreeMap<String, String>;

/// Everything a plan is made from, with what is worked out once for all of it.
pub(super) struct Context<'a> {
    pub apps: &'a Applications,
    pub view: &'a View,
    pub pending: &'a Pending,
    pub now: Time,
    /// Usable hosts, by id.
    pub hosts: Vec<&'a HostView>,
    /// Whether any host takes nothing new.
    pub any_cordoned: bool,
    /// What this plan adds to each host.
    added: RefCell<HashMap<usize, u32>>,
    eligible: RefCell<HashMap<Requirements, Rc<Vec<usize>>>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        apps: &'a Applications,
        view: &'a View,
        pending: &'a Pending,
        now: Time,
    ) -> Self {
        let hosts: Vec<&HostView> = view.usable_hosts().collect();
        let any_cordoned = hosts.iter().any(|host| host.cordoned());
        Self {
            apps,
            view,
            pending,
            now,
            hosts,
            any_cordoned,
            added: RefCell::default(),
            eligible: RefCell::default(),
        }
    }

    pub(super) fn position(&self, host: &HostId) -> Option<usize> {
        self.hosts.binary_search_by(|known| known.id.cmp(host)).ok()
    }

    /// What a host carries, with what this plan adds to it.
    pub(super) fn load(&self, at: usize) -> u32 {
        let host = self.hosts[at];
        let carries = u32::try_from(host.instances.len()).unwrap_or(u32::MAX);
        let added = self.added.borrow().get(&at).copied().unwrap_or_default();
        carries
            .saturating_add(self.pending.starts_on(&host.id))
            .saturating_add(added)
    }

    pub(super) fn add_load(&self, at: usize) {
        *self.added.borrow_mut().entry(at).or_default() += 1;
    }

    /// The hosts whose labels fit.
    pub(super) fn fitting(&self, spread: &SpreadWant, ours_only: bool) -> Rc<Vec<usize>> {
        if let Some(hosts) = &spread.hosts {
            return Rc::new(
                hosts
                    .iter()
                    .filter_map(|host| self.position(host))
                    .collect(),
            );
        }
        if ours_only {
            let ours = |at: &usize| self.hosts[*at].ours();
            return Rc::new(
                self.labelled(&spread.requirements)
                    .iter()
                    .copied()
                    .filter(ours)
                    .collect(),
            );
        }
        self.labelled(&spread.requirements)
    }

    fn labelled(&self, requirements: &Requirements) -> Rc<Vec<usize>> {
        if let Some(found) = self.eligible.borrow().get(requirements) {
            return Rc::clone(found);
        }
        let found: Rc<Vec<usize>> = Rc::new(
            self.hosts
                .iter()
                .enumerate()
                .filter(|(_, host)| host.has(requirements))
                .map(|(at, _)| at)
                .collect(),
        );
        self.eligible
            .borrow_mut()
            .insert(requirements.clone(), Rc::clone(&found));
        found
    }
}
