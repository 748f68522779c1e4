//! Which host gets how many. One function for components and providers, which differ only in how
//! many a host can take.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use proto::names;

use super::backoff::BACKOFF_MAX;
use super::command::Command;
use super::context::Context;
use super::desired::{SpreadWant, Workload};
use super::pending::Flight;
use crate::core::Time;
use crate::view::{Instance, Kind};

/// Hosts on which an image may fail before it is taken to be the image's fault.
const SUSPECT_AFTER: u32 = 5;

/// What a host should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// So many instances.
    pub count: u32,
    /// The spread that most of them belong to.
    pub spread: String,
}

/// One host's part in a workload now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current<'a> {
    /// What is seen to run.
    pub instance: Option<&'a Instance>,
    /// What was sent and not yet seen.
    pub flight: Option<&'a Flight>,
}

impl Current<'_> {
    /// Instances seen.
    pub(super) fn seen(&self) -> u32 {
        self.instance.map_or(0, |instance| instance.count)
    }

    /// The spread that its instances are (or will be) marked with.
    fn spread(&self) -> Option<&str> {
        let marks = match self.flight.map(|flight| &flight.command) {
            Some(
                Command::Scale { annotations, .. } | Command::StartProvider { annotations, .. },
            ) => Some(annotations),
            _ => self.instance.map(|instance| &instance.annotations),
        };
        marks?.get(names::SPREAD_NAME).map(String::as_str)
    }

    /// Instances once the command under way is done.
    pub(super) fn effective(&self) -> u32 {
        match self.flight.map(|flight| &flight.command) {
            Some(Command::Scale { count, .. }) => *count,
            Some(Command::StartProvider { .. }) => 1,
            Some(Command::StopProvider { .. }) => 0,
            _ => self.seen(),
        }
    }
}

/// Why a spread does not get all it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    /// Too few hosts have the labels.
    Labels,
    /// Hosts have the labels, but are cordoned or draining.
    Cordoned,
    /// Hosts have the labels, but it fails there and has to wait.
    Failing,
}

/// A spread that does not get all it should.
#[derive(Clone, Debug)]
pub(super) struct Short<'w> {
    pub spread: &'w SpreadWant,
    pub placeable: u32,
    pub fitting: usize,
    pub why: Shortage,
}

/// Where a workload goes.
#[derive(Debug, Default)]
pub(super) struct Placement<'w> {
    /// By position of the host.
    pub targets: BTreeMap<usize, Target>,
    /// What is missing.
    pub short: Vec<Short<'w>>,
    /// Instances that must not be given up before others are seen to run.
    pub floor: u32,
    /// Instances the manifest asks for.
    pub wanted: u32,
}

/// One host that may take a share.
struct Slot {
    host: usize,
    /// What it runs is another spread's share, which that one would rather keep.
    others: bool,
    effective: u32,
    taken: u32,
    load: u32,
}

pub(super) type CurrentByHost<'a> = BTreeMap<usize, Current<'a>>;

/// What of a workload runs or is under way, by position of the host.
pub(super) fn current<'a>(cx: &Context<'a>, workload: &Workload) -> CurrentByHost<'a> {
    let seen = cx.view.hosts_running(&workload.id).map(|host| &host.id);
    let flying = cx.pending.hosts_flying(&workload.id);
    let mut found = BTreeMap::new();
    for host in seen.chain(flying) {
        let Some(at) = cx.position(host) else {
            continue;
        };
        let instance = cx.hosts[at].instances.get(&workload.id);
        let flight = cx.pending.workload(host, &workload.id);
        found.insert(at, Current { instance, flight });
    }
    found
}

/// Places a workload: by weight over the spreads (already counted), then evenly over the hosts of
/// each, with as few moves as possible.
pub(super) fn place<'w>(
    cx: &Context<'_>,
    workload: &'w Workload,
    now: &CurrentByHost<'_>,
) -> Placement<'w> {
    let mut placement = Placement::default();
    let fitting: Vec<Rc<Vec<usize>>> = workload
        .spreads
        .iter()
        .map(|spread| cx.fitting(spread, workload.ours_only))
        .collect();
    // The spread with the fewest hosts chooses first: the others have somewhere else to go.
    let mut order: Vec<usize> = (0..workload.spreads.len()).collect();
    order.sort_by_key(|at| fitting[*at].len());
    for at in order {
        let spread = &workload.spreads[at];
        let fit = &fitting[at];
        let willing = willing(cx, workload, fit, now);
        let given = if workload.daemon || spread.hosts.is_some() {
            placement.daemon(spread, fit, &willing)
        } else {
            placement.share(cx, workload, spread, fit, &willing, now)
        };
        let asked = if workload.daemon {
            given.max(1)
        } else {
            spread.count
        };
        if given < asked && spread.count > 0 && spread.hosts.is_none() {
            placement.short.push(Short {
                spread,
                placeable: given,
                fitting: fit.len(),
                why: shortage(cx, workload, fit),
            });
        }
    }
    placement
}

/// Of the fitting hosts, those that take (or keep) a share: not one that is cordoned or failing and
/// has none yet, not one that is draining while there are others.
fn willing<'f>(
    cx: &Context<'_>,
    workload: &Workload,
    fit: &'f [usize],
    now: &CurrentByHost<'_>,
) -> Cow<'f, [usize]> {
    let has = |at: &usize| now.get(at).is_some_and(|current| current.effective() > 0);
    let failures = cx.pending.failures_of(&workload.id);
    if !cx.any_cordoned && failures.is_none() {
        return Cow::Borrowed(fit);
    }
    let waits = |at: &usize| {
        failures
            .and_then(|failures| failures.get(&cx.hosts[*at].id))
            .is_some_and(|failure| {
                failure.retry_at > cx.now
                    && failure
                        .image
                        .as_ref()
                        .is_none_or(|image| *image == workload.image)
            })
    };
    let plain: Vec<usize> = fit
        .iter()
        .copied()
        .filter(|at| !cx.hosts[*at].draining() && (has(at) || !cx.hosts[*at].cordoned()))
        .collect();
    let elsewhere = may_try_elsewhere(cx, workload);
    let tried =
        |at: &usize| failures.is_some_and(|failures| failures.contains_key(&cx.hosts[*at].id));
    let well: Vec<usize> = plain
        .iter()
        .copied()
        .filter(|at| has(at) || !waits(at) && (elsewhere || tried(at)))
        .collect();
    if !plain.is_empty() {
        return Cow::Owned(well);
    }
    Cow::Owned(fit.iter().copied().filter(has).collect())
}

/// Whether a host that has not tried this image yet may: what failed on many hosts is the image's
/// fault, and then further hosts are tried as seldom as one host would try again.
fn may_try_elsewhere(cx: &Context<'_>, workload: &Workload) -> bool {
    let failed = cx.pending.failures_of(&workload.id).into_iter().flatten();
    let failed = failed.filter(|(_, failure)| failure.image.as_ref() == Some(&workload.image));
    let (hosts, last) = failed.fold((0_u32, Time::default()), |(hosts, last), (_, failure)| {
        (hosts + 1, last.max(failure.at))
    });
    let Some(more) = hosts.checked_sub(SUSPECT_AFTER) else {
        return true;
    };
    let pause = Duration::from_secs(1 << more.min(8)).min(BACKOFF_MAX);
    cx.now >= last + pause
}

fn shortage(cx: &Context<'_>, workload: &Workload, fit: &[usize]) -> Shortage {
    let failures = cx.pending.failures_of(&workload.id);
    let failing = failures.is_some_and(|failures| {
        fit.iter()
            .any(|at| failures.contains_key(&cx.hosts[*at].id))
    });
    let cordoned = fit.iter().any(|at| cx.hosts[*at].cordoned());
    if failing {
        Shortage::Failing
    } else if cordoned {
        Shortage::Cordoned
    } else {
        Shortage::Labels
    }
}

impl Placement<'_> {
    fn add(&mut self, host: usize, count: u32, spread: &SpreadWant) {
        let target = self.targets.entry(host).or_insert(Target {
            count: 0,
            spread: spread.name.clone(),
        });
        if count > target.count {
            target.spread.clone_from(&spread.name);
        }
        target.count += count;
    }

    /// The same on every host that no other spread has.
    fn daemon(&mut self, spread: &SpreadWant, fit: &[usize], willing: &[usize]) -> u32 {
        let mut given = 0;
        for host in willing {
            // A host that another spread has already is served.
            given += spread.count;
            if !self.targets.contains_key(host) && spread.count > 0 {
                self.add(*host, spread.count, spread);
            }
        }
        self.wanted += spread.count * u32::try_from(fit.len()).unwrap_or(u32::MAX);
        given
    }

    /// Where a share is placed as it should be already, there is nothing to weigh: what a pass costs
    /// then depends on the placements, not on the hosts.
    fn keep(
        &mut self,
        workload: &Workload,
        spread: &SpreadWant,
        willing: &[usize],
        now: &CurrentByHost<'_>,
    ) -> Option<u32> {
        let fits = |host: &usize| willing.binary_search(host).is_ok();
        if spread.count == 0 || self.targets.keys().any(fits) {
            return None;
        }
        let hosts = u32::try_from(willing.len()).ok()?;
        let count = if workload.kind == Kind::Provider {
            spread.count.min(hosts)
        } else {
            spread.count
        };
        let base = count.checked_div(hosts)?;
        let used = if base > 0 { hosts } else { count };
        let holders: Vec<(usize, u32)> = now
            .iter()
            .map(|(host, current)| (*host, current.effective()))
            .filter(|(host, effective)| *effective > 0 && fits(host))
            .collect();
        let even = holders
            .iter()
            .all(|(_, effective)| (base..=base + 1).contains(effective));
        let sum: u32 = holders.iter().map(|(_, effective)| *effective).sum();
        if !even || sum != count || u32::try_from(holders.len()).ok()? != used {
            return None;
        }
        for (host, effective) in holders {
            self.add(host, effective, spread);
        }
        Some(count)
    }

    /// A share, divided evenly.
    fn share(
        &mut self,
        cx: &Context<'_>,
        workload: &Workload,
        spread: &SpreadWant,
        fit: &[usize],
        willing: &[usize],
        now: &CurrentByHost<'_>,
    ) -> u32 {
        let one_each = workload.kind == Kind::Provider;
        self.wanted += spread.count;
        let possible = if one_each {
            u32::try_from(fit.len()).unwrap_or(u32::MAX)
        } else {
            u32::MAX
        };
        if !fit.is_empty() {
            self.floor += spread.count.min(possible);
        }
        if let Some(count) = self.keep(workload, spread, willing, now) {
            return count;
        }
        let slot = |host: &usize| {
            let taken = self.targets.get(host).map_or(0, |target| target.count);
            let effective = now.get(host).map_or(0, Current::effective);
            let mark = now.get(host).and_then(Current::spread);
            let others =
                |other: &SpreadWant| other.name != spread.name && mark == Some(&other.name);
            Slot {
                host: *host,
                others: workload.spreads.iter().any(others),
                effective: effective.saturating_sub(taken),
                taken,
                load: cx.load(*host),
            }
        };
        let mut slots: Vec<Slot> = willing.iter().map(slot).collect();
        // Hosts that another spread of this workload uses are left to it where possible.
        if one_each || slots.iter().any(|slot| slot.taken == 0) {
            slots.retain(|slot| slot.taken == 0);
        }
        let hosts = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        if hosts == 0 || spread.count == 0 {
            return 0;
        }
        let count = if one_each {
            spread.count.min(hosts)
        } else {
            spread.count
        };
        let held = self.hold_back(cx, spread, &mut slots, count);
        let (Ok(hosts @ 1..), count) = (u32::try_from(slots.len()), count - held) else {
            return held;
        };
        let (base, extra) = (count / hosts, count % hosts);
        let used = if base > 0 {
            slots.len()
        } else {
            extra as usize
        };
        // Who has most keeps most, or two spreads that fit the same hosts would take each other's
        // places over and over; among equals the least loaded host is first.
        let rank = |slot: &Slot| {
            (
                slot.others,
                std::cmp::Reverse(slot.effective),
                slot.taken,
                slot.load,
                slot.host,
            )
        };
        if used < slots.len() {
            slots.select_nth_unstable_by_key(used, rank);
            slots.truncate(used);
        }
        slots.sort_unstable_by_key(rank);
        for (index, slot) in slots.iter().enumerate() {
            let share = base + u32::from(index < extra as usize);
            if slot.effective == 0 && slot.taken == 0 {
                cx.add_load(slot.host);
            }
            self.add(slot.host, share, spread);
        }
        held + count
    }

    /// Cordoned hosts that have less than an even share keep what they have, and the others take the
    /// rest; what they keep.
    fn hold_back(
        &mut self,
        cx: &Context<'_>,
        spread: &SpreadWant,
        slots: &mut Vec<Slot>,
        count: u32,
    ) -> u32 {
        let mut held = 0;
        while cx.any_cordoned && !slots.is_empty() {
            let hosts = u32::try_from(slots.len()).unwrap_or(u32::MAX);
            let even = (count - held).div_ceil(hosts);
            let Some(at) = slots
                .iter()
                .position(|slot| slot.effective < even && cx.hosts[slot.host].cordoned())
            else {
                break;
            };
            let slot = slots.swap_remove(at);
            if slot.effective > 0 {
                self.add(slot.host, slot.effective, spread);
            }
            held += slot.effective;
        }
        held
    }
}
