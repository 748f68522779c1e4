//! What hosts can be asked, in `proto`'s types.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use proto::ctl::{
    ComponentAuctionAck, ComponentAuctionRequest, CtlResponse, DeleteLinkRequest, Host,
    HostInventory, HostLabel, HostLabelIdentifier, ProviderAuctionAck, ProviderAuctionRequest,
    ScaleComponentCommand, StartProviderCommand, StopHostCommand, StopProviderCommand,
    UpdateComponentCommand,
};
use proto::link::Link;
use proto::subject::Ctl;
use proto::{ConfigName, HostId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Lattice, LatticeError};

/// Requests to hosts.
#[async_trait]
pub trait LatticeOps {
    /// The hosts that answer within `wait`.
    async fn ping_hosts(&self, wait: Duration) -> Result<Vec<Host>, LatticeError>;
    /// What runs on one host.
    async fn inventory(&self, host: &HostId) -> Result<HostInventory, LatticeError>;
    /// What runs on every host; a host that leaves while we ask is left out.
    async fn inventories(&self) -> Result<Vec<HostInventory>, LatticeError>;
    /// All links.
    async fn links(&self) -> Result<Vec<Link>, LatticeError>;
    /// All claims.
    async fn claims(&self) -> Result<Vec<BTreeMap<String, String>>, LatticeError>;
    /// Writes a link.
    async fn put_link(&self, link: &Link) -> Result<String, LatticeError>;
    /// Removes a link.
    async fn delete_link(&self, link: &DeleteLinkRequest) -> Result<String, LatticeError>;
    /// Writes a configuration.
    async fn put_config(
        &self,
        name: &ConfigName,
        values: &BTreeMap<String, String>,
    ) -> Result<String, LatticeError>;
    /// Reads a configuration.
    async fn config(
        &self,
        name: &ConfigName,
    ) -> Result<Option<BTreeMap<String, String>>, LatticeError>;
    /// Removes a configuration.
    async fn delete_config(&self, name: &ConfigName) -> Result<String, LatticeError>;
    /// Sets a label.
    async fn put_label(&self, host: &HostId, label: &HostLabel) -> Result<String, LatticeError>;
    /// Removes a label.
    async fn delete_label(&self, host: &HostId, key: &str) -> Result<String, LatticeError>;
    /// Hosts that could run a component.
    async fn auction_component(
        &self,
        request: &ComponentAuctionRequest,
        wait: Duration,
    ) -> Result<Vec<ComponentAuctionAck>, LatticeError>;
    /// Hosts that could run a provider.
    async fn auction_provider(
        &self,
        request: &ProviderAuctionRequest,
        wait: Duration,
    ) -> Result<Vec<ProviderAuctionAck>, LatticeError>;
    /// Scales a component; an event tells how it went.
    async fn scale(
        &self,
        host: &HostId,
        command: &ScaleComponentCommand,
    ) -> Result<String, LatticeError>;
    /// Changes a component's image.
    async fn update(
        &self,
        host: &HostId,
        command: &UpdateComponentCommand,
    ) -> Result<String, LatticeError>;
    /// Starts a provider; an event tells how it went.
    async fn start_provider(
        &self,
        host: &HostId,
        command: &StartProviderCommand,
    ) -> Result<String, LatticeError>;
    /// Stops a provider.
    async fn stop_provider(
        &self,
        host: &HostId,
        command: &StopProviderCommand,
    ) -> Result<String, LatticeError>;
    /// Ends a host.
    async fn stop_host(&self, host: &HostId, timeout: Option<u64>) -> Result<String, LatticeError>;
}

fn body(of: &impl Serialize) -> Vec<u8> {
    // Our own types have string keys and no maps that could fail to become JSON.
    serde_json::to_vec(of).unwrap_or_default()
}

fn accepted(what: &Ctl, reply: CtlResponse) -> Result<CtlResponse, LatticeError> {
    if reply.success {
        Ok(reply)
    } else {
        Err(LatticeError::Refused {
            message: reply.message,
            what: what.to_string(),
        })
    }
}

fn content<T: DeserializeOwned>(what: &Ctl, reply: CtlResponse) -> Result<Option<T>, LatticeError> {
    let reply = accepted(what, reply)?;
    reply
        .response
        .map(serde_json::from_value)
        .transpose()
        .map_err(|source| LatticeError::Unreadable {
            what: what.to_string(),
            source,
        })
}

fn contents<T: DeserializeOwned>(replies: Vec<CtlResponse>) -> Vec<T> {
    replies
        .into_iter()
        .filter(|reply| reply.success)
        .filter_map(|reply| serde_json::from_value(reply.response?).ok())
        .collect()
}

async fn tell<L: Lattice + ?Sized>(
    lattice: &L,
    what: Ctl,
    body: Vec<u8>,
) -> Result<String, LatticeError> {
    let reply = lattice.request(what.clone(), body).await?;
    Ok(accepted(&what, reply)?.message)
}

async fn fetch<L: Lattice + ?Sized, T: DeserializeOwned>(
    lattice: &L,
    what: Ctl,
) -> Result<Option<T>, LatticeError> {
    let reply = lattice.request(what.clone(), Vec::new()).await?;
    content(&what, reply)
}

#[async_trait]
impl<L: Lattice + ?Sized> LatticeOps for L {
    async fn ping_hosts(&self, wait: Duration) -> Result<Vec<Host>, LatticeError> {
        let mut hosts: Vec<Host> = contents(self.gather(Ctl::PingHosts, Vec::new(), wait).await?);
        hosts.sort_by(|a, b| (&a.friendly_name, &a.id).cmp(&(&b.friendly_name, &b.id)));
        hosts.dedup_by(|a, b| a.id == b.id);
        Ok(hosts)
    }

    async fn inventory(&self, host: &HostId) -> Result<HostInventory, LatticeError> {
        let found = fetch(self, Ctl::Inventory(host.clone())).await?;
        found.ok_or_else(|| LatticeError::NoSuchHost {
            lattice: self.name().clone(),
            host: host.clone(),
        })
    }

    async fn inventories(&self) -> Result<Vec<HostInventory>, LatticeError> {
        let hosts = self.ping_hosts(self.timeout()).await?;
        if hosts.is_empty() {
            return Err(LatticeError::NoHosts {
                lattice: self.name().clone(),
            });
        }
        let asked = hosts.iter().map(|host| self.inventory(&host.id));
        let answers = futures::future::join_all(asked).await;
        let mut inventories = Vec::new();
        for answer in answers {
            match answer {
                Ok(inventory) => inventories.push(inventory),
                Err(LatticeError::NoSuchHost { .. } | LatticeError::NoAnswer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(inventories)
    }

    async fn links(&self) -> Result<Vec<Link>, LatticeError> {
        Ok(fetch(self, Ctl::GetLinks).await?.unwrap_or_default())
    }

    async fn claims(&self) -> Result<Vec<BTreeMap<String, String>>, LatticeError> {
        Ok(fetch(self, Ctl::GetClaims).await?.unwrap_or_default())
    }

    async fn put_link(&self, link: &Link) -> Result<String, LatticeError> {
        tell(self, Ctl::PutLink, body(link)).await
    }

    async fn delete_link(&self, link: &DeleteLinkRequest) -> Result<String, LatticeError> {
        tell(self, Ctl::DeleteLink, body(link)).await
    }

    async fn put_config(
        &self,
        name: &ConfigName,
        values: &BTreeMap<String, String>,
    ) -> Result<String, LatticeError> {
        tell(self, Ctl::PutConfig(name.clone()), body(values)).await
    }

    async fn config(
        &self,
        name: &ConfigName,
    ) -> Result<Option<BTreeMap<String, String>>, LatticeError> {
        fetch(self, Ctl::GetConfig(name.clone())).await
    }

    async fn delete_config(&self, name: &ConfigName) -> Result<String, LatticeError> {
        tell(self, Ctl::DeleteConfig(name.clone()), Vec::new()).await
    }

    async fn put_label(&self, host: &HostId, label: &HostLabel) -> Result<String, LatticeError> {
        tell(self, Ctl::PutLabel(host.clone()), body(label)).await
    }

    async fn delete_label(&self, host: &HostId, key: &str) -> Result<String, LatticeError> {
        tell(
            self,
            Ctl::DeleteLabel(host.clone()),
            body(&HostLabelIdentifier {
                key: key.to_owned(),
            }),
        )
        .await
    }

    async fn auction_component(
        &self,
        request: &ComponentAuctionRequest,
        wait: Duration,
    ) -> Result<Vec<ComponentAuctionAck>, LatticeError> {
        Ok(contents(
            self.gather(Ctl::AuctionComponent, body(request), wait)
                .await?,
        ))
    }

    async fn auction_provider(
        &self,
        request: &ProviderAuctionRequest,
        wait: Duration,
    ) -> Result<Vec<ProviderAuctionAck>, LatticeError> {
        Ok(contents(
            self.gather(Ctl::AuctionProvider, body(request), wait)
                .await?,
        ))
    }

    async fn scale(
        &self,
        host: &HostId,
        command: &ScaleComponentCommand,
    ) -> Result<String, LatticeError> {
        tell(self, Ctl::ScaleComponent(host.clone()), body(command)).await
    }

    async fn update(
        &self,
        host: &HostId,
        command: &UpdateComponentCommand,
    ) -> Result<String, LatticeError> {
        tell(self, Ctl::UpdateComponent(host.clone()), body(command)).await
    }

    async fn start_provider(
        &self,
        host: &HostId,
        command: &StartProviderCommand,
    ) -> Result<String, LatticeError> {
        tell(self, Ctl::StartProvider(host.clone()), body(command)).await
    }

    async fn stop_provider(
        &self,
        host: &HostId,
        command: &StopProviderCommand,
    ) -> Result<String, LatticeError> {
        tell(self, Ctl::StopProvider(host.clone()), body(command)).await
    }

    async fn stop_host(&self, host: &HostId, timeout: Option<u64>) -> Result<String, LatticeError> {
        let command = StopHostCommand {
            host_id: host.to_string(),
            timeout,
        };
        tell(self, Ctl::StopHost(host.clone()), body(&command)).await
    }
}
