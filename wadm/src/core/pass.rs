//! One pass: plan what is marked, send what the plan says.

use std::time::Duration;

use super::{CommandId, Controller, Output, Request, Time, flights};
use crate::plan::{self, Flight, Planned, SHARED};

impl Controller {
    /// Plans what is marked and sends what the plan says.
    pub(super) fn pass(&mut self, now: Time) {
        if now >= self.resync_at {
            self.resync_at = now + self.timing.resync_every;
            self.all_dirty = Some(now);
        }
        if self.all_dirty.is_some_and(|at| at <= now) {
            self.all_dirty = None;
            self.dirty
                .extend(self.apps.iter().map(|(name, _)| name.clone()));
            self.dirty.insert(SHARED.to_owned());
        }
        let woken: Vec<String> = self
            .wakes
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(name, _)| name.clone())
            .collect();
        self.dirty.extend(woken);
        if self.dirty.is_empty() {
            return;
        }
        if !self.apps.open_targets().is_empty() {
            self.dirty.insert(SHARED.to_owned());
        }
        let names = std::mem::take(&mut self.dirty);
        for name in &names {
            self.wakes.remove(name);
        }
        let plan = plan::plan_some(&names, &self.apps, &self.view, &self.pending, now);
        let sends = !plan.commands.is_empty();
        for planned in plan.commands {
            self.send(planned, now);
        }
        for config in plan.unknown {
            self.outputs.push(Output::Ask(Request::Config(config)));
        }
        for (name, at) in plan.wakes {
            self.wakes
                .insert(name, at.max(now + Duration::from_millis(1)));
        }
        for (name, status) in plan.statuses {
            if self.published.get(&name) != Some(&status) {
                self.published.insert(name.clone(), status.clone());
                self.outputs.push(Output::Publish { name, status });
            }
        }
        if sends {
            // A second look shows what is on its way in the status, and where built-ins follow.
            self.dirty.insert(SHARED.to_owned());
        }
        for name in plan.cleaned {
            if self
                .apps
                .get(&name)
                .is_some_and(|app| !app.retired.is_empty())
            {
                self.apps.cleaned(&name);
                self.outputs.push(Output::Retire {
                    name,
                    manifests: Vec::new(),
                });
            }
        }
    }

    fn send(&mut self, planned: Planned, now: Time) {
        let Some(fence) = self.fence.clone() else {
            return;
        };
        self.next_command += 1;
        let id = CommandId(self.next_command);
        self.before_sending(&planned);
        self.outputs.push(Output::Send {
            id,
            command: planned.command.clone(),
            fence,
        });
        self.pending.send(Flight {
            id,
            command: planned.command,
            sent: now,
            accepted: None,
            deadline: now + flights::ANSWER_MAX,
            refreshes: planned.refreshes,
        });
    }
}
