//! The built-in `http-server`: each of its links is a route on one of the host's listeners.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{self, HeaderName};
use proto::id::ComponentId;
use proto::link::LinkKey;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::HttpIngress;
use super::policy::{Policy, Settings, bad};
use super::routes::{Entry, Matcher, Route};
use crate::capability::{BuiltinContext, BuiltinFactory, BuiltinProvider};
use crate::link::{Binding, LinkError, ResolvedLink};

const KIND: &str = "http-server";
/// Where requests are taken where no setting says otherwise.
const DEFAULT_ADDRESS: &str = "0.0.0.0:8000";

/// Starts `http-server`.
pub struct HttpServerFactory;

#[async_trait]
impl BuiltinFactory for HttpServerFactory {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn start(&self, cx: BuiltinContext) -> Result<Arc<dyn BuiltinProvider>, LinkError> {
        start(Start {
            id: cx.id,
            config: cx.config,
            ingress: cx.http,
        })
    }
}

/// What an `http-server` needs of its host.
pub(super) struct Start {
    pub(super) id: ComponentId,
    pub(super) config: BTreeMap<String, String>,
    pub(super) ingress: Arc<HttpIngress>,
}

pub(super) fn start(cx: Start) -> Result<Arc<dyn BuiltinProvider>, LinkError> {
    let Start {
        id,
        config,
        ingress,
    } = cx;
    let mode = Mode::read(&Settings::read(&config)?)?;
    if let Some(address) = mode.shared_address() {
        ingress.open(address)?;
    }
    Ok(Arc::new(HttpServer {
        id,
        mode,
        ingress,
        links: Mutex::default(),
    }))
}

/// How requests find their component.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    /// Each link has an address of its own.
    Address { default: SocketAddr },
    /// Links differ by path on one address.
    Path { address: SocketAddr },
    /// Links differ by the value of a header on one address.
    Host {
        address: SocketAddr,
        header: HeaderName,
    },
}

impl Mode {
    fn read(settings: &Settings) -> Result<Self, LinkError> {
        let default = address(settings, "default_address", DEFAULT_ADDRESS)?;
        match settings.get("routing_mode").unwrap_or("address") {
            "address" => Ok(Self::Address { default }),
            "path" => Ok(Self::Path { address: default }),
            "host" => {
                let header = match settings.get("header") {
                    None => header::HOST,
                    Some(name) => name
                        .parse()
                        .map_err(|_| bad("header", name, "it must be a header's name"))?,
                };
                Ok(Self::Host {
                    address: default,
                    header,
                })
            }
            other => Err(bad(
                "routing_mode",
                other,
                "it must be `address`, `path` or `host`",
            )),
        }
    }

    fn shared_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address { .. } => None,
            Self::Path { address } | Self::Host { address, .. } => Some(*address),
        }
    }
}

fn address(settings: &Settings, key: &'static str, or: &str) -> Result<SocketAddr, LinkError> {
    let text = settings.get(key).unwrap_or(or);
    text.parse().map_err(|_| {
        bad(
            key,
            text,
            "it must be an IP address and a port, e.g. 0.0.0.0:8000",
        )
    })
}

struct HttpServer {
    id: ComponentId,
    mode: Mode,
    ingress: Arc<HttpIngress>,
    links: Mutex<HashMap<LinkKey, SocketAddr>>,
}

impl HttpServer {
    fn route(
        &self,
        link: &ResolvedLink,
    ) -> Result<(SocketAddr, Option<TlsAcceptor>, Route), LinkError> {
        let settings = Settings::read(&link.source_config)?;
        let (address, matcher) = match &self.mode {
            Mode::Address { default } => match settings.get("address") {
                Some(_) => (
                    address(&settings, "address", DEFAULT_ADDRESS)?,
                    path_matcher(&settings),
                ),
                None => (*default, path_matcher(&settings)),
            },
            Mode::Path { address } => match path_matcher(&settings) {
                Matcher::Any => return Err(missing("path", "e.g. `path: /api`")),
                matcher => (*address, matcher),
            },
            Mode::Host { address, header } => {
                let host = settings
                    .get("host")
                    .ok_or_else(|| missing("host", "e.g. `host: shop.example`"))?;
                (
                    *address,
                    Matcher::Host {
                        header: header.clone(),
                        host: host.to_owned(),
                    },
                )
            }
        };
        let entry = Arc::new(Entry {
            source: self.id.clone(),
            target: link.link.target.clone(),
            link_name: link.link.name.clone(),
            policy: Policy::read(&settings)?,
        });
        Ok((
            address,
            tls(&settings)?,
            Route {
                key: link.link.key(),
                matcher,
                entry,
            },
        ))
    }
}

/// Ours: several components share an address in address mode, too, when their links name paths.
fn path_matcher(settings: &Settings) -> Matcher {
    match (settings.get("path_prefix"), settings.get("path")) {
        (Some(prefix), _) => Matcher::prefix(prefix),
        (None, Some(path)) => Matcher::path(path),
        (None, None) => Matcher::Any,
    }
}

fn missing(key: &'static str, example: &str) -> LinkError {
    LinkError::MissingSetting {
        key,
        hint: format!("put it into the link's source config, {example}"),
    }
}

fn tls(settings: &Settings) -> Result<Option<TlsAcceptor>, LinkError> {
    let (cert, key) = match (
        settings.get("tls_cert_file"),
        settings.get("tls_priv_key_file"),
    ) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => return Err(missing("tls_priv_key_file", "beside `tls_cert_file`")),
        (None, Some(_)) => return Err(missing("tls_cert_file", "beside `tls_priv_key_file`")),
    };
    let unusable = |key: &'static str, file: &str, error: &dyn std::fmt::Display| {
        bad(
            key,
            file,
            &format!("it must be a readable PEM file: {error}"),
        )
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(Path::new(cert))
        .and_then(Iterator::collect)
        .map_err(|error| unusable("tls_cert_file", cert, &error))?;
    let private = PrivateKeyDer::from_pem_file(Path::new(key))
        .map_err(|error| unusable("tls_priv_key_file", key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, private)
        })
        .map_err(|error| unusable("tls_cert_file", cert, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

#[async_trait]
impl BuiltinProvider for HttpServer {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn backend(&self, link: &ResolvedLink) -> Result<Binding, LinkError> {
        Err(LinkError::WrongTarget {
            target: self.id.to_string(),
            kind: KIND.into(),
            interface: link.interfaces().collect::<Vec<_>>().join(", "),
        })
    }

    async fn put_link(&self, link: Arc<ResolvedLink>) -> Result<(), LinkError> {
        if link.link.source_id != self.id {
            return Ok(());
        }
        let (address, tls, route) = self.route(&link)?;
        let key = route.key.clone();
        let bound = self.ingress.add_route(address, tls, route)?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let before = links.insert(key.clone(), bound);
        drop(links);
        if let Some(before) = before.filter(|before| *before != bound) {
            self.ingress.move_route(&key, before);
        }
        Ok(())
    }

    async fn delete_link(&self, key: &LinkKey) {
        self.links
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
        self.ingress.remove_route(key, self.mode.shared_address());
    }

    async fn update_config(&self, config: BTreeMap<String, String>) {
        match Settings::read(&config).and_then(|settings| Mode::read(&settings)) {
            Ok(mode) if mode == self.mode => {}
            Ok(_) => {
                tracing::warn!(provider = %self.id, "its new address or routing mode holds after a restart of the provider")
            }
            Err(error) => {
                tracing::warn!(provider = %self.id, "its new settings are not used: {error}")
            }
        }
    }

    async fn shutdown(&self, _grace: Duration) {
        let keys: Vec<LinkKey> = {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.drain().map(|(key, _)| key).collect()
        };
        for key in keys {
            self.ingress.remove_route(&key, None);
        }
        if let Some(address) = self.mode.shared_address() {
            self.ingress.close_if_unused(address);
        }
    }
}
