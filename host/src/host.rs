//! The composition root: makes every part, starts it, and ends it in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use proto::event::HostStopped;
use proto::id::{HostId, Lattice};
use proto::{Labels, nkey};
use secrecy::ExposeSecret as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::cache::Trimmer;
use crate::capability::{Builtins, HttpIngress, Remote};
use crate::datadir::DataDir;
use crate::directory::Directory;
use crate::error::HostError;
use crate::lattice::{
    Auctions, Configs, Connection, Control, ControlParts, Events, Heartbeat, Identity, Policy,
    PulseTask, Records, SecretsClient,
};
use crate::oci::Fetcher;
use crate::options::{HostOptions, Switch};
use crate::provider::ProviderContext;
use crate::restore;
use crate::rpc::{Client, ClientOptions, Server, ServerOptions, Transport};
use crate::runtime::{Runtime, RuntimeOptions};
use crate::task::Tasks;
use crate::workload::{Parts, Rotation, Saver, StateFile, Wiring, Workloads};

/// How long the tasks that speak to the lattice may take to end.
const TASKS_GRACE: Duration = Duration::from_secs(2);
/// How long the last words may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Runs a host until a signal or a stop request ends it.
///
/// # Errors
/// [`HostError`] when it cannot start, or a part of it failed for good.
pub async fn run(options: HostOptions) -> Result<(), HostError> {
    crate::telemetry::init(&options.telemetry);
    let host = Host::start(options).await?;
    let signal = crate::signals::terminate();
    tokio::select! {
        () = signal => {}
        () = host.stop_asked() => {}
    }
    host.stop().await
}

/// A running host.
pub struct Host {
    identity: Arc<Identity>,
    events: Events,
    ctl: Connection,
    rpc: Connection,
    http: Arc<HttpIngress>,
    workloads: Arc<Workloads>,
    ready: watch::Sender<bool>,
    /// What speaks to the lattice; ends first.
    tasks: Tasks,
    /// What starts, changes and stops workloads.
    work: Tasks,
    stop: Arc<StopRequest>,
    http_addr: Option<std::net::SocketAddr>,
    _dir: DataDir,
}

/// A request to stop, and how long it gives.
struct StopRequest {
    asked: CancellationToken,
    grace: ArcSwap<Duration>,
}

impl Host {
    /// Makes and starts every part.
    ///
    /// # Errors
    /// [`HostError`] names what is in the way. A missing NATS is not: the host waits for it.
    pub async fn start(options: HostOptions) -> Result<Self, HostError> {
        // Another part of the process may have chosen the same already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = DataDir::take(
            options.data_dir.as_deref(),
            options.cache_dir.as_deref(),
            &options.lattice,
        )?;
        let (host_id, lattice) = (own_id(&options)?, Lattice::new(options.lattice.clone())?);
        let ctl = Connection::begin(&options.ctl()?, host_id.as_str(), "control").await?;
        let rpc = Connection::begin(&options.rpc()?, host_id.as_str(), "calls").await?;
        let identity = Arc::new(identity(&options, host_id, lattice, &ctl, &rpc)?);
        tracing::info!(
            host = %identity.id,
            lattice = %identity.lattice,
            name = identity.friendly_name,
            data_dir = %dir.path().display(),
            "host starts"
        );
        let events = Events::new(ctl.clone(), identity.clone());
        let tasks = Tasks::new();
        let work = Tasks::new();
        let directory = Arc::new(Directory::new());
        let transport = Transport::new(rpc.client().clone()).await?;
        let deadline = ClientOptions {
            // A call ends when the called component's time is up; a peer that is gone is noticed sooner.
            deadline: options.max_execution_time_ms.max(options.rpc_timeout_ms),
            ..ClientOptions::default()
        };
        let server = Server::new(
            transport.clone(),
            identity.lattice.clone(),
            ServerOptions::default(),
        );
        let remote: Arc<dyn Remote> =
            Arc::new(Client::new(transport, identity.lattice.clone(), deadline));
        let http = HttpIngress::new(directory.clone(), remote.clone());
        let workloads = Workloads::new(parts(
            &options,
            &dir,
            Shared {
                identity: identity.clone(),
                ctl: ctl.clone(),
                rpc: rpc.clone(),
                events: events.clone(),
                directory,
                remote,
                server,
                http: http.clone(),
                work: work.clone(),
            },
        )?);
        let http_addr = match options.http_addr {
            Some(address) => Some(
                http.serve_default(address)
                    .map_err(|source| HostError::Http { address, source })?,
            ),
            None => None,
        };
        let host = Self {
            stop: Arc::new(StopRequest {
                asked: CancellationToken::new(),
                grace: ArcSwap::from_pointee(options.stop_grace),
            }),
            ready: watch::Sender::new(false),
            identity,
            events,
            ctl,
            rpc,
            http,
            workloads,
            tasks,
            work,
            http_addr,
            _dir: dir,
        };
        host.start_tasks(&options).await?;
        Ok(host)
    }

    async fn start_tasks(&self, options: &HostOptions) -> Result<(), HostError> {
        if let Some(address) = options.http_admin {
            let admin = Admin::bind(address, self.ready.subscribe()).await;
            self.tasks
                .start(admin.map_err(|source| HostError::Admin { address, source })?);
        }
        let parts = self.workloads.parts();
        let file = StateFile::in_dir(self._dir.path());
        let saved = file.read();
        self.tasks.start(parts.records.follow());
        self.tasks.start(parts.configs.follow());
        self.tasks.start(Wiring(self.workloads.clone()));
        self.tasks.start(Rotation(self.workloads.clone()));
        self.tasks.start(Trimmer {
            cache: self._dir.cache(),
            limit: options.cache_limit,
            data_dir: self._dir.path().to_owned(),
            workloads: self.workloads.clone(),
        });
        self.tasks.start(Saver {
            workloads: self.workloads.clone(),
            file,
        });
        if let Some(changes) = options
            .policy_changes_topic
            .clone()
            .and_then(|topic| parts.policy.changes(topic))
        {
            self.tasks.start(changes);
        }
        let describe = {
            let workloads = self.workloads.clone();
            Arc::new(move || workloads.describe())
        };
        self.tasks.start(Heartbeat {
            interval: options.heartbeat_interval_seconds,
            connection: self.ctl.clone(),
            events: self.events.clone(),
            describe: describe.clone(),
            ready: self.ready.subscribe(),
        });
        if !options.pulse_interval.is_zero() {
            self.tasks.start(PulseTask {
                interval: options.pulse_interval,
                connection: self.ctl.clone(),
                identity: self.identity.clone(),
                describe,
                sequence: std::sync::atomic::AtomicU64::new(0),
                ready: self.ready.subscribe(),
            });
        }
        self.start_control(options);
        let restore = restore::Restoring {
            mode: options.restore,
            saved,
            workloads: self.workloads.clone(),
            ready: self.ready.subscribe(),
            ctl: self.ctl.clone(),
            lattice: self.identity.lattice.clone(),
        };
        let stopping = self.tasks.stopping().clone();
        self.tasks.work("restore", async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = restore.run() => {}
            }
        });
        Ok(())
    }

    fn start_control(&self, options: &HostOptions) {
        let parts = self.workloads.parts();
        let stop = self.stop.clone();
        self.tasks.start(Control::new(ControlParts {
            connection: self.ctl.clone(),
            rpc: self.rpc.clone(),
            identity: self.identity.clone(),
            prefix: options.ctl_topic_prefix.clone(),
            auctions: Auctions {
                components: options.enable_component_auction,
                providers: options.enable_provider_auction,
            },
            config_service: options.config_service_enabled,
            events: self.events.clone(),
            records: parts.records.clone(),
            configs: parts.configs.clone(),
            fetcher: parts.fetcher.clone(),
            workloads: self.workloads.clone(),
            stop_host: Arc::new(move |grace| {
                if let Some(grace) = grace {
                    stop.grace.store(Arc::new(grace));
                }
                stop.asked.cancel();
            }),
            ready: self.ready.clone(),
        }));
    }

    /// This host's id.
    pub fn id(&self) -> &HostId {
        &self.identity.id
    }

    /// The bound address of the HTTP entrance.
    pub fn http_addr(&self) -> Option<std::net::SocketAddr> {
        self.http_addr
    }

    /// True while the host serves its lattice.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Waits until a control request, or a failure, asks for the end.
    pub async fn stop_asked(&self) {
        tokio::select! {
            () = self.stop.asked.cancelled() => tracing::info!("a control request stops this host"),
            () = self.tasks.failed().cancelled() => {}
        }
    }

    /// Takes no more work, lets calls end, says goodbye.
    ///
    /// # Errors
    /// [`HostError::Failed`] when a failed part was the reason to stop.
    pub async fn stop(self) -> Result<(), HostError> {
        let grace = **self.stop.grace.load();
        tracing::info!(?grace, in_flight = self.workloads.in_flight(), "host stops");
        let deadline = Instant::now() + grace;
        let failed = self.tasks.failed().is_cancelled();
        self.ready.send_replace(false);
        if let Err(error) = self.tasks.drain(TASKS_GRACE.min(grace)).await {
            tracing::warn!(%error, "cut off");
        }
        self.workloads.stop_serving().await;
        self.http
            .shutdown(deadline.saturating_duration_since(Instant::now()))
            .await;
        self.workloads
            .shutdown(deadline.saturating_duration_since(Instant::now()))
            .await;
        if let Err(error) = self.work.drain(TASKS_GRACE.min(grace)).await {
            tracing::warn!(%error, "cut off");
        }
        let labels = Labels::clone(&self.identity.labels.load());
        let goodbye = async {
            self.events.publish(HostStopped { labels }).await;
            for connection in [&self.ctl, &self.rpc] {
                if connection.is_up() {
                    // Whatever is lost now is lost: nobody can be told any more.
                    let _ = connection.client().flush().await;
                }
            }
        };
        if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
            tracing::warn!("NATS took no goodbye");
        }
        tracing::info!(host = %self.identity.id, "host stopped");
        if failed {
            Err(HostError::Failed)
        } else {
            Ok(())
        }
    }
}

/// What several parts are made with.
struct Shared {
    identity: Arc<Identity>,
    ctl: Connection,
    rpc: Connection,
    events: Events,
    directory: Arc<Directory>,
    remote: Arc<dyn Remote>,
    server: Server,
    http: Arc<HttpIngress>,
    work: Tasks,
}

fn parts(options: &HostOptions, dir: &DataDir, shared: Shared) -> Result<Parts, HostError> {
    let Shared {
        identity,
        ctl,
        rpc,
        events,
        directory,
        remote,
        server,
        http,
        work,
    } = shared;
    let builtins = Builtins::standard();
    let runtime = RuntimeOptions {
        cache_dir: Some(dir.cache().compiled()),
        max_memory_bytes: options.max_linear_memory_bytes,
        max_execution_time: options.max_execution_time_ms,
        max_component_bytes: options.max_component_size_bytes,
        max_core_instances_per_component: options.max_core_instances_per_component,
        ..RuntimeOptions::default()
    };
    let domain = identity.js_domain.as_deref();
    Ok(Parts {
        records: Records::new(ctl.clone(), domain, &identity.lattice),
        configs: Configs::new(ctl.clone(), domain, &identity.lattice),
        secrets: SecretsClient::new(&ctl, &identity, options.secrets_topic.clone()),
        policy: Policy::new(
            ctl.clone(),
            identity.clone(),
            options.policy_topic.clone(),
            options.policy_timeout_ms,
        ),
        fetcher: Fetcher::new(options.fetch_options(), &dir.cache().images())?,
        runtime: Runtime::new(runtime, builtins.capabilities())?,
        builtins,
        map_images: options.builtin_images == Switch::On,
        provider_grace: options.provider_shutdown_delay_ms,
        data_dir: dir.path().to_owned(),
        external: external(options, dir, &identity, &rpc)?,
        tasks: work,
        identity,
        ctl,
        rpc,
        events,
        directory,
        remote,
        server,
        http,
    })
}

/// What external providers have in common.
fn external(
    options: &HostOptions,
    dir: &DataDir,
    identity: &Identity,
    rpc: &Connection,
) -> Result<ProviderContext, HostError> {
    let login = options.provider_login()?;
    let context = ProviderContext {
        lattice: identity.lattice.clone(),
        host: identity.id.clone(),
        client: rpc.client().clone(),
        rpc_url: login.url.expose_secret().to_owned(),
        rpc_jwt: login.jwt,
        rpc_seed: login.seed.expose_secret().to_owned(),
        rpc_timeout: options.rpc_timeout_ms,
        host_xkey: Arc::new(proto::xkey::new()),
        structured_logging: options.telemetry.enable_structured_logging,
        log_level: Some(options.telemetry.provider_log_level()),
        otel: options.telemetry.otel(&options.tls_ca_paths),
        dir: dir.path().join("external"),
        shutdown_delay: options.provider_shutdown_delay_ms,
    };
    for provider in crate::provider::leftover::end_all(&context.dir) {
        tracing::warn!(
            provider,
            "a provider that an earlier run of this host left behind was ended"
        );
    }
    Ok(context)
}

fn own_id(options: &HostOptions) -> Result<HostId, HostError> {
    let pair = match &options.host_seed {
        Some(seed) => nkey::from_seed(seed, nkey::Kind::Host)?,
        None => nkey::new_host(),
    };
    nkey::host_id(&pair).ok_or(HostError::Key)
}

fn identity(
    options: &HostOptions,
    id: HostId,
    lattice: Lattice,
    ctl: &Connection,
    rpc: &Connection,
) -> Result<Identity, HostError> {
    let first = |urls: &str| urls.split(',').next().unwrap_or_default().to_owned();
    Ok(Identity {
        id,
        lattice,
        friendly_name: crate::names::friendly(),
        version: env!("CARGO_PKG_VERSION").into(),
        labels: ArcSwap::from_pointee(options.labels(std::env::vars())?),
        started: Instant::now(),
        ctl_host: first(ctl.urls()),
        rpc_host: first(rpc.urls()),
        js_domain: options.nats.js_domain.clone(),
    })
}
