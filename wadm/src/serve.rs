//! Puts the controller together, starts it and stops it.

use std::time::Duration;

use async_nats::jetstream::{kv, stream};
use proto::subject::wadm::{STATUS_PATTERN, STATUS_STREAM};
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Ready};
use crate::cli::{Persistence, ServeArgs, StorageArgs};
use crate::control_loop::{Fleet, FollowManifests, FollowRetired, Listen, Settings};
use crate::core::Timing;
use crate::nats::{self, Nats, NatsError};
use crate::server::Api;
use crate::status::Statuses;
use crate::store::{Bucket, Manifests, SetupError, ensure_bucket, ensure_status_stream};
use crate::task::{StillRunning, Tasks};

/// How long tasks may take to end.
const GRACE: Duration = Duration::from_secs(8);

/// Pause before buckets and streams are looked for again.
const SETUP_PAUSE: Duration = Duration::from_secs(2);

/// Commands that may be unanswered at once, per lattice, unless `--max-jobs` says otherwise.
const COMMANDS_MAX: u16 = 256;

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The options ask for something that does not exist here.
    #[error(
        "multitenant mode is not supported: run one controller per NATS account, each with that account's credentials"
    )]
    Multitenant,
    /// No connection can be made with these options.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// Something did not stop in time.
    #[error(transparent)]
    Stop(#[from] StillRunning),
}

/// Where everything is kept.
struct Storage {
    manifests: kv::Store,
    control: kv::Store,
    statuses: stream::Stream,
}

/// Runs the controller until `stop`.
///
/// # Errors
/// For options that can never work. A server that is not there, or buckets that cannot be made, are
/// waited for.
pub async fn serve(args: ServeArgs, stop: CancellationToken) -> Result<(), ServeError> {
    if args.multitenant {
        return Err(ServeError::Multitenant);
    }
    if args.tracing {
        tracing::warn!("--tracing has no effect: this controller exports no traces");
    }
    // One provider in the whole program; it may have been installed by a program that links this.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ready = Ready::default();
    let mut tasks = Tasks::new(stop.clone());
    if let Some(address) = args.http_admin {
        tasks.start(Admin::new(address, ready.clone()));
    }
    let name = args
        .host_id
        .clone()
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let done = start(&args, &name, &mut tasks, &stop).await;
    if done.is_ok() {
        ready.set(true);
        tracing::info!(controller = %name, version = env!("CARGO_PKG_VERSION"), "wadm is ready");
        stop.cancelled().await;
        ready.set(false);
    }
    tasks.drain(GRACE).await?;
    match done {
        // Told to stop before it began: not a failure.
        Ok(()) | Err(ServeError::Nats(NatsError::Stopped)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn start(
    args: &ServeArgs,
    name: &str,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    let nats = nats::connect(&args.nats, &format!("wadm {name}"), stop).await?;
    let storage = storage(&nats, &args.storage, stop).await?;
    let manifests = Manifests::new(storage.manifests);
    let statuses = Statuses::new(nats.jetstream(), storage.statuses);
    let settings = Settings {
        nats: nats.clone(),
        ctl_prefix: args.ctl_topic_prefix.clone(),
        // A restarted process is another controller, also under the same name.
        name: format!("{name}/{}", &uuid::Uuid::new_v4().simple().to_string()[..8]),
        lease_time: Duration::from_secs(args.lease_seconds),
        control: storage.control.clone(),
        statuses: statuses.clone(),
        commands_max: usize::from(args.max_jobs.unwrap_or(COMMANDS_MAX)),
        timing: timing(args),
    };
    let (lattices, fleet) = Fleet::new(settings);
    tasks.start(fleet);
    tasks.start(Listen::new(nats.clone(), lattices.clone()));
    tasks.start(FollowManifests::new(manifests.clone(), lattices.clone()));
    tasks.start(FollowRetired::new(storage.control, lattices.clone()));
    tasks.start(Api::new(
        nats,
        args.api_prefix.clone(),
        manifests,
        statuses,
        lattices,
    ));
    Ok(())
}

fn timing(args: &ServeArgs) -> Timing {
    Timing {
        heartbeat_lost_after: Duration::from_secs(args.cleanup_interval),
        resync_every: Duration::from_secs(args.resync_interval),
    }
}

/// Opens everything, waiting until it can be: JetStream may still be starting, or somebody may be
/// about to grant what is missing. Every new reason is said once.
async fn storage(
    nats: &Nats,
    args: &StorageArgs,
    stop: &CancellationToken,
) -> Result<Storage, NatsError> {
    let mut said = String::new();
    loop {
        let error = match open(nats, args).await {
            Ok(storage) => return Ok(storage),
            Err(error) => error,
        };
        let reason = error.to_string();
        if reason != said {
            tracing::error!(reason, "waiting for JetStream");
            said = reason;
        }
        tokio::select! {
            () = stop.cancelled() => return Err(NatsError::Stopped),
            () = tokio::time::sleep(SETUP_PAUSE) => {}
        }
    }
}

async fn open(nats: &Nats, args: &StorageArgs) -> Result<Storage, SetupError> {
    let bucket = |name: &str, max_bytes| Bucket {
        name: name.to_owned(),
        replicas: usize::from(args.replicas),
        max_bytes,
        storage: stream::StorageType::File,
    };
    let status = Bucket {
        storage: match args.stream_persistence {
            Persistence::File => stream::StorageType::File,
            Persistence::Memory => stream::StorageType::Memory,
        },
        ..bucket(STATUS_STREAM, args.status_stream_max_bytes)
    };
    let stream_name = match &args.stream_prefix {
        Some(prefix) => format!("{prefix}_{STATUS_STREAM}"),
        None => STATUS_STREAM.to_owned(),
    };
    Ok(Storage {
        manifests: ensure_bucket(
            nats,
            &bucket(&args.manifest_bucket_name, args.manifest_bucket_max_bytes),
        )
        .await?,
        control: ensure_bucket(
            nats,
            &bucket(&args.control_bucket_name, args.manifest_bucket_max_bytes),
        )
        .await?,
        statuses: ensure_status_stream(nats, &stream_name, STATUS_PATTERN.to_owned(), &status)
            .await?,
    })
}
