//! Control requests: `{prefix}.v1.{lattice}.…`.

use std::fmt;
use std::str::FromStr;

use super::{SubjectError, name};
use crate::id::{ConfigName, HostId, Lattice};

/// The topic prefix unless both sides are told otherwise.
pub const DEFAULT_PREFIX: &str = "wasmbus.ctl";

const FAMILY: &str = "control";

/// Where a control request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CtlSubject {
    /// The topic prefix; may contain dots.
    pub prefix: String,
    /// The lattice.
    pub lattice: Lattice,
    /// The operation and the host or config it is about.
    pub request: Ctl,
}

/// A control operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ctl {
    /// Every host answers with a `Host`.
    PingHosts,
    /// The host answers with its `HostInventory`.
    Inventory(HostId),
    /// The host ends.
    StopHost(HostId),
    /// Every host that could run the component answers.
    AuctionComponent,
    /// Every host that could run the provider answers.
    AuctionProvider,
    /// The host starts, resizes or stops a component.
    ScaleComponent(HostId),
    /// The host replaces a running component's image.
    UpdateComponent(HostId),
    /// The host starts a provider.
    StartProvider(HostId),
    /// The host stops a provider.
    StopProvider(HostId),
    /// The host gets a label.
    PutLabel(HostId),
    /// The host loses a label.
    DeleteLabel(HostId),
    /// One host writes a link.
    PutLink,
    /// One host removes a link.
    DeleteLink,
    /// One host lists the links.
    GetLinks,
    /// One host lists the claims.
    GetClaims,
    /// One host writes a configuration.
    PutConfig(ConfigName),
    /// One host reads a configuration.
    GetConfig(ConfigName),
    /// One host removes a configuration.
    DeleteConfig(ConfigName),
    /// Every host takes registry credentials.
    PutRegistries,
}

impl CtlSubject {
    /// A subject under the default prefix.
    #[must_use]
    pub fn new(lattice: Lattice, request: Ctl) -> Self {
        Self::with_prefix(DEFAULT_PREFIX, lattice, request)
    }

    /// A subject under a prefix of the operator's choice.
    #[must_use]
    pub fn with_prefix(prefix: impl Into<String>, lattice: Lattice, request: Ctl) -> Self {
        Self {
            prefix: prefix.into(),
            lattice,
            request,
        }
    }

    /// Reads a subject that is known to lie under `prefix`.
    ///
    /// # Errors
    /// [`SubjectError`] when the prefix differs, the operation is unknown or a name is bad.
    pub fn parse(prefix: &str, subject: &str) -> Result<Self, SubjectError> {
        let rest = subject
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix(".v1."))
            .ok_or_else(|| SubjectError::family(FAMILY, subject))?;
        let mut tokens = rest.split('.');
        let lattice = name(subject, tokens.next().unwrap_or_default())?;
        let tokens: Vec<&str> = tokens.collect();
        let request = Ctl::read(subject, &tokens)?;
        Ok(Self::with_prefix(prefix, lattice, request))
    }
}

impl Ctl {
    /// Reads the tokens behind the lattice.
    fn read(subject: &str, tokens: &[&str]) -> Result<Self, SubjectError> {
        Ok(match *tokens {
            ["host", "ping"] => Self::PingHosts,
            ["host", "get", host] => Self::Inventory(name(subject, host)?),
            ["host", "stop", host] => Self::StopHost(name(subject, host)?),
            ["component", "auction"] => Self::AuctionComponent,
            ["provider", "auction"] => Self::AuctionProvider,
            ["component", "scale", host] => Self::ScaleComponent(name(subject, host)?),
            ["component", "update", host] => Self::UpdateComponent(name(subject, host)?),
            ["provider", "start", host] => Self::StartProvider(name(subject, host)?),
            ["provider", "stop", host] => Self::StopProvider(name(subject, host)?),
            ["label", "put", host] => Self::PutLabel(name(subject, host)?),
            ["label", "del", host] => Self::DeleteLabel(name(subject, host)?),
            ["link", "put"] => Self::PutLink,
            ["link", "del"] => Self::DeleteLink,
            ["link", "get"] => Self::GetLinks,
            ["claims", "get"] => Self::GetClaims,
            ["config", "put", config] => Self::PutConfig(name(subject, config)?),
            ["config", "get", config] => Self::GetConfig(name(subject, config)?),
            ["config", "del", config] => Self::DeleteConfig(name(subject, config)?),
            ["registry", "put"] => Self::PutRegistries,
            _ => return Err(SubjectError::operation(FAMILY, subject)),
        })
    }

    /// The queue group this operation is served in, as the last token of its name; `None`
    /// where every host answers, or only the one named.
    fn queue(&self) -> Option<&'static str> {
        match self {
            Self::PutLink | Self::DeleteLink | Self::GetLinks => Some("link"),
            Self::GetClaims => Some("claims"),
            Self::PutConfig(_) | Self::GetConfig(_) | Self::DeleteConfig(_) => Some("config"),
            _ => None,
        }
    }

    /// Whether several hosts answer, so that a client has to gather replies.
    #[must_use]
    pub fn is_gathered(&self) -> bool {
        matches!(
            self,
            Self::PingHosts | Self::AuctionComponent | Self::AuctionProvider
        )
    }
}

impl fmt::Display for Ctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PingHosts => f.write_str("host.ping"),
            Self::Inventory(host) => write!(f, "host.get.{host}"),
            Self::StopHost(host) => write!(f, "host.stop.{host}"),
            Self::AuctionComponent => f.write_str("component.auction"),
            Self::AuctionProvider => f.write_str("provider.auction"),
            Self::ScaleComponent(host) => write!(f, "component.scale.{host}"),
            Self::UpdateComponent(host) => write!(f, "component.update.{host}"),
            Self::StartProvider(host) => write!(f, "provider.start.{host}"),
            Self::StopProvider(host) => write!(f, "provider.stop.{host}"),
            Self::PutLabel(host) => write!(f, "label.put.{host}"),
            Self::DeleteLabel(host) => write!(f, "label.del.{host}"),
            Self::PutLink => f.write_str("link.put"),
            Self::DeleteLink => f.write_str("link.del"),
            Self::GetLinks => f.write_str("link.get"),
            Self::GetClaims => f.write_str("claims.get"),
            Self::PutConfig(config) => write!(f, "config.put.{config}"),
            Self::GetConfig(config) => write!(f, "config.get.{config}"),
            Self::DeleteConfig(config) => write!(f, "config.del.{config}"),
            Self::PutRegistries => f.write_str("registry.put"),
        }
    }
}

impl fmt::Display for CtlSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.v1.{}.{}", self.prefix, self.lattice, self.request)
    }
}

impl FromStr for CtlSubject {
    type Err = SubjectError;

    /// Reads a subject under any prefix: the first `v1` token behind which an operation
    /// follows ends the prefix.
    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let mut first = None;
        for (at, _) in subject.match_indices(".v1.") {
            match Self::parse(&subject[..at], subject) {
                Ok(found) if at > 0 => return Ok(found),
                Ok(_) => {}
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| SubjectError::family(FAMILY, subject)))
    }
}

/// One NATS subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The subject, with wildcards where it takes several.
    pub subject: String,
    /// The queue group, where one of several subscribers answers.
    pub queue: Option<String>,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a control subscription is for; auctions can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Requests every host serves.
    Requests,
    /// Auctions of components.
    ComponentAuction,
    /// Auctions of providers.
    ProviderAuction,
}

/// Everything a host listens to on its control connection, auctions included.
#[must_use]
pub fn host_subscriptions(prefix: &str, lattice: &Lattice, host: &HostId) -> Vec<Subscription> {
    let base = format!("{prefix}.v1.{lattice}");
    let plain = |tail: String, purpose| Subscription {
        subject: format!("{base}.{tail}"),
        queue: None,
        purpose,
    };
    let queued = |tail: &str, queue: Option<&str>| Subscription {
        subject: format!("{base}.{tail}"),
        queue: queue.map(|queue| format!("{base}.{queue}")),
        purpose: Purpose::Requests,
    };
    let mut all = vec![
        plain(Ctl::PutRegistries.to_string(), Purpose::Requests),
        plain(Ctl::PingHosts.to_string(), Purpose::Requests),
        queued("link.*", Ctl::GetLinks.queue()),
        queued("claims.get", Ctl::GetClaims.queue()),
        queued("config.>", Some("config")),
    ];
    for kind in ["component", "provider", "label", "host"] {
        all.push(plain(format!("{kind}.*.{host}"), Purpose::Requests));
    }
    all.push(plain(
        Ctl::AuctionComponent.to_string(),
        Purpose::ComponentAuction,
    ));
    all.push(plain(
        Ctl::AuctionProvider.to_string(),
        Purpose::ProviderAuction,
    ));
    all
}

/// The pattern of all control requests of a lattice, for someone who only watches.
#[must_use]
pub fn every_request(prefix: &str, lattice: &Lattice) -> String {
    format!("{prefix}.v1.{lattice}.>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<Ctl> {
        let host = HostId::new("NDQQ").unwrap();
        let config = ConfigName::new("web-defaults").unwrap();
        vec![
            Ctl::PingHosts,
            Ctl::Inventory(host.clone()),
            Ctl::StopHost(host.clone()),
            Ctl::AuctionComponent,
            Ctl::AuctionProvider,
            Ctl::ScaleComponent(host.clone()),
            Ctl::UpdateComponent(host.clone()),
            Ctl::StartProvider(host.clone()),
            Ctl::StopProvider(host.clone()),
            Ctl::PutLabel(host.clone()),
            Ctl::DeleteLabel(host),
            Ctl::PutLink,
            Ctl::DeleteLink,
            Ctl::GetLinks,
            Ctl::GetClaims,
            Ctl::PutConfig(config.clone()),
            Ctl::GetConfig(config.clone()),
            Ctl::DeleteConfig(config),
            Ctl::PutRegistries,
        ]
    }

    #[test]
    fn every_subject_reads_back_as_itself() {
        for prefix in ["wasmbus.ctl", "acme.v1.ctl", "x"] {
            for request in examples() {
                let subject = CtlSubject::with_prefix(prefix, Lattice::default(), request);
                let text = subject.to_string();
                assert_eq!(CtlSubject::parse(prefix, &text).as_ref(), Ok(&subject));
                assert_eq!(text.parse(), Ok(subject));
            }
        }
    }

    #[test]
    fn subjects_are_spelled_as_the_protocol_says() {
        let subject = CtlSubject::new(
            Lattice::default(),
            Ctl::ScaleComponent(HostId::new("NDQQ").unwrap()),
        );
        assert_eq!(
            subject.to_string(),
            "wasmbus.ctl.v1.default.component.scale.NDQQ"
        );
    }

    #[test]
    fn what_is_not_an_operation_is_refused() {
        for (subject, kind) in [
            ("wasmbus.ctl.v1.default.bogus", "operation"),
            ("wasmbus.ctl.v1.default.config.put.a.b", "operation"),
            ("wasmbus.ctl.v1.default.host.get", "operation"),
            ("wasmbus.ctl.v2.default.host.ping", "family"),
            ("wasmbus.evt.default.host_started", "family"),
            ("", "family"),
            ("wasmbus.ctl.v1..host.ping", "name"),
        ] {
            let error = subject.parse::<CtlSubject>().unwrap_err();
            let found = match error {
                SubjectError::Family { .. } => "family",
                SubjectError::Operation { .. } => "operation",
                SubjectError::ExtraTokens { .. } => "extra",
                SubjectError::Name { .. } => "name",
            };
            assert_eq!(found, kind, "{subject}");
        }
    }

    #[test]
    fn a_host_listens_to_exactly_the_documented_subjects() {
        let host = HostId::new("N1").unwrap();
        let list: Vec<String> = host_subscriptions(DEFAULT_PREFIX, &Lattice::default(), &host)
            .into_iter()
            .map(|s| format!("{} {}", s.subject, s.queue.unwrap_or_default()))
            .collect();
        let p = "wasmbus.ctl.v1.default";
        assert_eq!(
            list,
            [
                format!("{p}.registry.put "),
                format!("{p}.host.ping "),
                format!("{p}.link.* {p}.link"),
                format!("{p}.claims.get {p}.claims"),
                format!("{p}.config.> {p}.config"),
                format!("{p}.component.*.N1 "),
                format!("{p}.provider.*.N1 "),
                format!("{p}.label.*.N1 "),
                format!("{p}.host.*.N1 "),
                format!("{p}.component.auction "),
                format!("{p}.provider.auction "),
            ]
        );
    }
}
