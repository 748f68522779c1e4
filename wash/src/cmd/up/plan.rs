//! What an `up` is going to start, worked out before anything is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::child::{Program, log_path};
use super::nats::{self, OnPort};
use super::state::Place;
use super::{UpCommand, UpError};
use crate::dirs::{self, Dirs};
use crate::output::Printer;

/// How many ports are tried for a host's HTTP.
const PORTS_TRIED: u16 = 200;

/// A host to start.
pub struct PlannedHost {
    /// Its program.
    pub program: Program,
    /// Its id, known beforehand because its key is made here.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it will serve HTTP.
    pub http: SocketAddr,
}

/// Everything to start, in this order.
pub struct Plan {
    /// NATS, unless it is there.
    pub nats: Option<Program>,
    /// wadm, unless it was not wanted. Whether one answers already is seen once NATS is there.
    pub wadm: Option<Program>,
    /// The hosts.
    pub hosts: Vec<PlannedHost>,
    /// Where NATS is or will be.
    pub url: String,
    /// Where the logs go.
    pub logs: PathBuf,
}

impl Plan {
    /// Looks around and decides.
    pub async fn make(
        command: &UpCommand,
        dirs: &Dirs,
        place: &Place,
        printer: &Printer,
    ) -> Result<Self, UpError> {
        let labels = command.host_labels()?;
        let options = &command.nats;
        let url = format!("nats://{}:{}", options.nats_host, options.nats_port);
        let logs = command
            .host
            .host_log_path
            .clone()
            .unwrap_or_else(|| place.dir().to_owned());
        dirs::create_private(&logs)?;
        let connect_only = options.nats_connect_only || command.host.wasmcloud_start_only;
        let nats = match nats::look(&options.nats_host, options.nats_port).await {
            OnPort::Nats => None,
            OnPort::Other => {
                return Err(UpError::PortTaken {
                    port: options.nats_port,
                });
            }
            OnPort::Nothing if connect_only => return Err(UpError::NoNats { url }),
            OnPort::Nothing => {
                let server = options.server.find(dirs, printer).await?;
                Some(nats::program(options, server, place.dir(), &logs)?)
            }
        };
        let own = std::env::current_exe().map_err(UpError::OwnPath)?;
        let wadm = (!command.wadm.disable_wadm && !command.host.wasmcloud_start_only)
            .then(|| wadm_program(command, &own, &logs));
        let mut hosts = Vec::new();
        let mut next_port = command.host.http_addr.port();
        for (index, labels) in labels.into_iter().enumerate() {
            let http = free_http(command.host.http_addr, next_port)?;
            next_port = http.port().saturating_add(1);
            hosts.push(host(command, &own, place, &logs, index, labels, http));
        }
        let programs = nats
            .iter()
            .chain(&wadm)
            .chain(hosts.iter().map(|host: &PlannedHost| &host.program));
        for program in programs {
            // What an earlier run said would only mislead; there may be nothing to remove.
            let _ = std::fs::remove_file(&program.log);
        }
        Ok(Self {
            nats,
            wadm,
            hosts,
            url,
            logs,
        })
    }
}

fn free_http(base: SocketAddr, from: u16) -> Result<SocketAddr, UpError> {
    let host = base.ip().to_string();
    let last = from.saturating_add(PORTS_TRIED);
    (from..=last)
        .find(|port| nats::is_free(&host, *port))
        .map(|port| SocketAddr::new(base.ip(), port))
        .ok_or(UpError::NoHttpPort(from))
}

fn wadm_program(command: &UpCommand, own: &std::path::Path, logs: &std::path::Path) -> Program {
    let options = &command.wadm;
    let server = format!("{}:{}", command.nats.nats_host, command.nats.nats_port);
    let mut arguments: Vec<OsString> = Vec::new();
    let path = match &options.wadm_path {
        Some(path) => path.clone(),
        None => {
            arguments.push("wadm".into());
            own.to_owned()
        }
    };
    arguments.extend([OsString::from("--nats-server"), server.into()]);
    if let Some(domain) = &options.wadm_js_domain {
        arguments.extend([OsString::from("-d"), domain.into()]);
    }
    if let Some(credentials) = &command.host.passed.ctl_credsfile {
        arguments.extend([OsString::from("--nats-creds-file"), credentials.into()]);
    }
    if command.host.enable_structured_logging {
        arguments.push("--structured-logging".into());
    }
    arguments.extend(options.wadm_args.iter().map(OsString::from));
    Program {
        name: "wadm".into(),
        path,
        arguments,
        environment: Vec::new(),
        log: log_path(logs, "wadm"),
    }
}

fn host(
    command: &UpCommand,
    own: &std::path::Path,
    place: &Place,
    logs: &std::path::Path,
    index: usize,
    labels: BTreeMap<String, String>,
    http: SocketAddr,
) -> PlannedHost {
    let options = &command.host;
    let name = format!("host-{}", index + 1);
    let pair = match &options.host_seed {
        Some(seed) => nkeys::KeyPair::from_seed(seed).unwrap_or_else(|_| proto::nkey::new_host()),
        None => proto::nkey::new_host(),
    };
    let mut arguments: Vec<OsString> = Vec::new();
    let path = match &options.host_path {
        Some(path) => path.clone(),
        None => {
            arguments.push("host".into());
            own.to_owned()
        }
    };
    for (key, value) in &labels {
        arguments.extend([OsString::from("--label"), format!("{key}={value}").into()]);
    }
    arguments.extend(options.host_args.iter().map(OsString::from));
    let mut environment = options.environment();
    let mut set = |key: &str, value: OsString| environment.push((key.to_owned(), value));
    set("WASMCLOUD_NATS_HOST", (&command.nats.nats_host).into());
    set(
        "WASMCLOUD_NATS_PORT",
        command.nats.nats_port.to_string().into(),
    );
    set(
        "WASMCLOUD_HOST_SEED",
        pair.seed().unwrap_or_default().into(),
    );
    set("LATTICE_HTTP_ADDR", http.to_string().into());
    set("LATTICE_DATA_DIR", place.dir().join(&name).into());
    let program = Program {
        name: name.clone(),
        path,
        arguments,
        environment,
        log: log_path(logs, &name),
    };
    PlannedHost {
        program,
        id: pair.public_key(),
        labels,
        http,
    }
}
