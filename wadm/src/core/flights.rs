//! What becomes of commands after they were sent.

use std::time::Duration;

use proto::id::{ComponentId, ConfigName, HostId};
use proto::reference::without_scheme;

use super::{CommandId, Controller, Output, Reply, Request, Time};
use crate::plan::{Command, Flight, Planned, SHARED, Subject};
use crate::view::StartFailure;

/// The longest that a command may go unanswered. Whoever sends it gives up much sooner and says so;
/// this is for commands that wait to be sent.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long an accepted start may take: pulling, compiling, starting.
const START_MAX: Duration = Duration::from_secs(60);

/// How long an accepted stop may take to show.
const STOP_MAX: Duration = Duration::from_secs(8);

/// How long an accepted link or config may take to show.
const RECORD_MAX: Duration = Duration::from_secs(3);

/// How long settings given to something that runs may take to show; often they do not show at all.
const REFRESH_MAX: Duration = Duration::from_millis(1500);

impl Controller {
    /// A stop that we ask for is no failure.
    pub(super) fn before_sending(&mut self, planned: &Planned) {
        if let Command::Scale {
            host, id, count: 0, ..
        }
        | Command::StopProvider { host, id } = &planned.command
        {
            self.pending.forget_start(host, id);
        }
    }

    pub(super) fn reply(&mut self, id: CommandId, reply: Reply, now: Time) {
        let Some(flight) = self.pending.by_number(id).cloned() else {
            return;
        };
        match reply {
            Reply::Accepted(_) => {
                let most = match &flight.command {
                    _ if flight.refreshes.is_some() => REFRESH_MAX,
                    command if command.starts() => START_MAX,
                    Command::Scale { .. }
                    | Command::StartProvider { .. }
                    | Command::StopProvider { .. } => STOP_MAX,
                    Command::PutLink(_)
                    | Command::DeleteLink(_)
                    | Command::PutConfig { .. }
                    | Command::DeleteConfig(_) => RECORD_MAX,
                };
                self.pending.accept(id, now, now + most);
                self.look_again(&flight.command);
            }
            Reply::Refused(error) => self.fail(&flight, error, now),
            Reply::Unanswered => self.fail(&flight, "no answer from the host".to_owned(), now),
            Reply::NoResponders => {
                if let Some(host) = flight.command.host() {
                    let changes = self.view.no_responders(host, now);
                    self.absorb(changes, now);
                }
                self.fail(
                    &flight,
                    "nobody listens: the host is not connected".to_owned(),
                    now,
                );
            }
        }
    }

    /// Records change without a host's event where they are not watched.
    fn look_again(&mut self, command: &Command) {
        match command {
            Command::PutConfig { name, .. } | Command::DeleteConfig(name)
                if !self.view.configs_watched() =>
            {
                self.outputs
                    .push(Output::Ask(Request::Config(name.clone())));
            }
            _ => {}
        }
    }

    fn fail(&mut self, flight: &Flight, error: String, now: Time) {
        let subject = flight.command.subject();
        if self.pending.land(&subject).is_none() {
            return;
        }
        self.pending
            .failed(subject.clone(), error, image_of(&flight.command), now);
        self.ask_about(&flight.command);
        self.mark_subject(&subject);
    }

    /// The view may be wrong about what a command was for.
    fn ask_about(&mut self, command: &Command) {
        let request = match command {
            Command::Scale { host, .. }
            | Command::StartProvider { host, .. }
            | Command::StopProvider { host, .. } => {
                if self
                    .view
                    .host(host)
                    .is_none_or(|host| host.lost_since.is_some())
                {
                    return;
                }
                Request::Inventory(host.clone())
            }
            Command::PutLink(_) | Command::DeleteLink(_) => Request::Links,
            Command::PutConfig { name, .. } | Command::DeleteConfig(name) => {
                Request::Config(name.clone())
            }
        };
        self.outputs.push(Output::Ask(request));
    }

    pub(super) fn give_up_overdue(&mut self, now: Time) {
        if !self.connected {
            return;
        }
        for flight in self.pending.overdue(now) {
            let subject = flight.command.subject();
            self.mark_subject(&subject);
            if let (Some(scaler), Some(_), Subject::Workload(host, id)) =
                (flight.refreshes, flight.accepted, &subject)
            {
                self.pending.refreshed(host, id, scaler);
                continue;
            }
            let waited = now.since(flight.accepted.unwrap_or(flight.sent)).as_secs();
            let error = match flight.accepted {
                Some(_) => format!("accepted, but nothing came of it within {waited} s"),
                None => format!("no answer within {waited} s"),
            };
            self.pending
                .failed(subject, error, image_of(&flight.command), now);
            self.ask_about(&flight.command);
        }
    }

    pub(super) fn workload_changed(&mut self, host: &HostId, id: &ComponentId, now: Time) {
        if let Some(owner) = self.apps.owner(id) {
            self.dirty.insert(owner.to_owned());
        }
        self.dirty.insert(SHARED.to_owned());
        if self.view.host(host).is_some_and(|host| !host.usable()) {
            return;
        }
        let subject = Subject::Workload(host.clone(), id.clone());
        let instance = self.view.instance(host, id);
        let Some(flight) = self.pending.flight(&subject) else {
            match instance.map(|instance| instance.image.clone()) {
                None => self.pending.vanished(host, id, now),
                Some(image) => self.pending.runs_after_all(host, id, &image, now),
            }
            return;
        };
        let done = match (&flight.command, instance) {
            (Command::Scale { count: 0, .. } | Command::StopProvider { .. }, instance) => {
                instance.is_none()
            }
            (
                Command::Scale {
                    count,
                    image,
                    update,
                    ..
                },
                Some(instance),
            ) => {
                let image_fits =
                    !update || without_scheme(&instance.image) == without_scheme(image);
                let marks_fit = flight
                    .refreshes
                    .as_deref()
                    .is_none_or(|scaler| instance.scaler() == Some(scaler));
                instance.count == *count && image_fits && marks_fit
            }
            (Command::StartProvider { .. }, Some(_)) => true,
            _ => false,
        };
        if !done {
            return;
        }
        let (starts, image) = (flight.command.starts(), image_of(&flight.command));
        self.pending.land(&subject);
        if starts {
            self.pending.succeeded(&subject, image.as_deref(), now);
        } else {
            self.pending.stopped(host, id);
        }
    }

    pub(super) fn start_failed(&mut self, failure: StartFailure, now: Time) {
        let subject = Subject::Workload(failure.host, failure.id);
        let Some(flight) = self.pending.flight(&subject).cloned() else {
            return;
        };
        let same = image_of(&flight.command)
            .is_none_or(|image| without_scheme(&image) == without_scheme(&failure.image));
        // Of another attempt, told late.
        if same || !flight.command.starts() {
            self.fail(&flight, failure.error, now);
        }
    }

    pub(super) fn links_changed(&mut self, source: &ComponentId, now: Time) {
        let owner = self.apps.owner(source).map(str::to_owned);
        self.dirty.extend(owner);
        self.mark_retired();
        let landed: Vec<Subject> = self
            .pending
            .flights()
            .filter(|flight| match &flight.command {
                Command::PutLink(link) if link.source_id == *source => {
                    let present = self.view.links_of(source);
                    present.iter().any(|other| {
                        other.is_replaced_by(link) && other.interfaces == link.interfaces
                    })
                }
                Command::DeleteLink(key) if key.source == *source => {
                    !self.view.links_of(source).iter().any(|link| link.is(key))
                }
                _ => false,
            })
            .map(|flight| flight.command.subject())
            .collect();
        self.landed(&landed, now);
    }

    pub(super) fn config_changed(&mut self, name: &ConfigName, now: Time) {
        let users = self.apps.config_users(name).cloned();
        self.dirty.extend(users.into_iter().flatten());
        self.mark_retired();
        let subject = Subject::Config(name.clone());
        let value = self.view.config(name);
        let done =
            self.pending
                .flight(&subject)
                .is_some_and(|flight| match (&flight.command, value) {
                    (Command::PutConfig { properties, .. }, Some(Some(present))) => {
                        present == properties
                    }
                    (Command::DeleteConfig(_), Some(None)) => true,
                    _ => false,
                });
        if done {
            self.landed(&[subject], now);
        }
        // What failed for want of this config need not wait any longer.
        self.forgive_users_of(name);
    }

    fn landed(&mut self, subjects: &[Subject], now: Time) {
        for subject in subjects {
            self.pending.land(subject);
            self.pending.succeeded(subject, None, now);
            self.mark_subject(subject);
        }
    }

    fn forgive_users_of(&mut self, name: &ConfigName) {
        let users = self.apps.config_users(name).cloned().unwrap_or_default();
        let ids: std::collections::BTreeSet<ComponentId> = users
            .iter()
            .filter_map(|app| self.apps.wanted(app))
            .flat_map(|app| {
                let using = app
                    .workloads
                    .iter()
                    .filter(|workload| workload.config.contains(name));
                using
                    .map(|workload| workload.id.clone())
                    .collect::<Vec<_>>()
            })
            .collect();
        let forgiven = self
            .pending
            .forgive(|subject| matches!(subject, Subject::Workload(_, id) if ids.contains(id)));
        for subject in &forgiven {
            self.mark_subject(subject);
        }
    }
}

/// The image that a command would start.
fn image_of(command: &Command) -> Option<String> {
    match command {
        Command::Scale { image, count, .. } if *count > 0 => Some(image.clone()),
        Command::StartProvider { image, .. } => Some(image.clone()),
        _ => None,
    }
}
