//! What goes into the controller and what comes out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::ctl::{Fence, Host, HostInventory};
use proto::event::Event;
use proto::id::{ComponentId, ConfigName, HostId};
use proto::link::Link;
use proto::manifest::Manifest;
use proto::pulse::Pulse;
use proto::wadm_api::Status;

use crate::plan::Command;

/// Something the controller hears of.
#[derive(Clone, Debug)]
pub enum Input {
    /// The store's content, once, when it was read whole: what is deployed, and what the record of
    /// removals holds. Nothing is planned before.
    Store {
        /// Deployed manifests by application.
        deployed: BTreeMap<String, Arc<Manifest>>,
        /// Applications that were deployed once, with the manifests whose traces may remain.
        retired: BTreeMap<String, Vec<Arc<Manifest>>>,
    },
    /// An application was deployed, redeployed (also the same version) or, with none, undeployed or
    /// deleted.
    Application {
        /// Its name.
        name: String,
        /// What should run now.
        deployed: Option<Arc<Manifest>>,
    },
    /// Another controller wrote the record of removals.
    Retired {
        /// The application.
        name: String,
        /// Manifests whose traces may remain.
        manifests: Vec<Arc<Manifest>>,
    },
    /// A host's event.
    Event {
        /// The host that sent it.
        source: HostId,
        /// What it says.
        event: Event,
    },
    /// A host's sign of life.
    Pulse(Pulse),
    /// An answer to a ping.
    Ping(Host),
    /// An answer to [`Request::Inventory`].
    Inventory {
        /// The host.
        host: HostId,
        /// What it runs.
        inventory: HostInventory,
    },
    /// [`Request::Inventory`] was not answered.
    NoInventory {
        /// The host.
        host: HostId,
        /// Nobody listens on the host's subject (as opposed to: no answer in time).
        no_responders: bool,
    },
    /// All links of the lattice: an answer to `link.get`, or the records read whole.
    Links(Vec<Link>),
    /// The links of one source, from its record as it changed.
    LinksOf {
        /// The source.
        source: ComponentId,
        /// All its links.
        links: Vec<Link>,
    },
    /// All configs of the lattice, read whole. From then on [`Input::Config`] tells each change.
    Configs(BTreeMap<ConfigName, BTreeMap<String, String>>),
    /// One config as it is now; none when it does not exist.
    Config {
        /// Its name.
        name: ConfigName,
        /// Its content.
        value: Option<BTreeMap<String, String>>,
    },
    /// How a command was received.
    Reply {
        /// The command.
        id: CommandId,
        /// The answer.
        reply: Reply,
    },
    /// This controller leads from now on, or, with none, no longer.
    Leadership(Option<Fence>),
    /// The connection to NATS was lost (false) or is back (true).
    Connected(bool),
    /// Someone asks to forget failures and try at once.
    Retry {
        /// The application; none means all.
        application: Option<String>,
    },
    /// An application's last published status, as found when taking over.
    Published {
        /// The application.
        name: String,
        /// Its status.
        status: Status,
    },
}

/// How a command was received. For scale and start, accepted does not mean done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `success: true`, with the host's message.
    Accepted(String),
    /// `success: false`, with the host's message.
    Refused(String),
    /// No answer in time; it may or may not have been received.
    Unanswered,
    /// Nobody listens on the subject.
    NoResponders,
}

/// Tells commands of one controller apart; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// Something the controller wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a command; the answer comes back as [`Input::Reply`].
    Send {
        /// What to answer with.
        id: CommandId,
        /// The command.
        command: Command,
        /// Who commands.
        fence: Fence,
    },
    /// Ask for something; the answer comes back as the input of that name.
    Ask(Request),
    /// Publish an application's status; it has changed.
    Publish {
        /// The application.
        name: String,
        /// Its status.
        status: Status,
    },
    /// Write the record of removals; with no manifests the name alone is kept.
    Retire {
        /// The application.
        name: String,
        /// Manifests whose traces may remain.
        manifests: Vec<Arc<Manifest>>,
    },
}

/// Something to ask the lattice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// Ping all hosts; each answer is an [`Input::Ping`].
    Ping,
    /// One host's inventory: [`Input::Inventory`] or [`Input::NoInventory`].
    Inventory(HostId),
    /// All links: [`Input::Links`].
    Links,
    /// One config: [`Input::Config`].
    Config(ConfigName),
}
