//! A lattice over NATS.

use std::time::{Duration, Instant};

use async_nats::{RequestErrorKind, Subscriber};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use proto::ctl::CtlResponse;
use proto::subject::{Ctl, CtlSubject, EventSubject, WadmApi, WadmApiSubject};

use super::{Lattice, LatticeError};
use crate::connect::{Complaint, ConnectOptions};
use crate::error::WashError;

/// wadm may have to read and write JetStream before it answers.
const WADM_TIMEOUT: Duration = Duration::from_secs(10);
/// After an answer to a question for everybody we wait at least this long for the next.
const QUIET: Duration = Duration::from_millis(400);
const CTL_PREFIX: &str = "WASMCLOUD_CTL_TOPIC_PREFIX";
const NO_RESPONDERS: u16 = 503;

/// A connection to a lattice.
pub struct NatsLattice {
    client: async_nats::Client,
    complaint: Complaint,
    lattice: proto::Lattice,
    prefix: String,
    js_domain: Option<String>,
    timeout: Duration,
}

impl NatsLattice {
    /// Connects as the options say.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, WashError> {
        let context = options.chosen_context()?;
        let lattice = options
            .lattice
            .clone()
            .unwrap_or_else(|| context.lattice.clone());
        let lattice = proto::Lattice::new(lattice).map_err(LatticeError::from)?;
        let target = options.target(&context)?;
        let (client, complaint) = target.connect().await?;
        let js_domain = options.js_domain.clone().or(context.js_domain);
        Ok(Self {
            js_domain,
            ..Self::over(client, complaint, lattice, target.timeout)
        })
    }

    /// Takes over a connection that is open.
    pub fn over(
        client: async_nats::Client,
        complaint: Complaint,
        lattice: proto::Lattice,
        timeout: Duration,
    ) -> Self {
        let prefix = std::env::var(CTL_PREFIX)
            .ok()
            .filter(|prefix| !prefix.is_empty());
        let prefix = prefix.unwrap_or_else(|| proto::subject::ctl::DEFAULT_PREFIX.to_owned());
        Self {
            client,
            complaint,
            lattice,
            prefix,
            js_domain: None,
            timeout,
        }
    }

    /// The connection itself.
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// JetStream, in the domain that was asked for.
    pub fn jetstream(&self) -> async_nats::jetstream::Context {
        match &self.js_domain {
            Some(domain) => async_nats::jetstream::with_domain(self.client.clone(), domain),
            None => async_nats::jetstream::new(self.client.clone()),
        }
    }

    fn subject(&self, what: &Ctl) -> String {
        CtlSubject::with_prefix(&self.prefix, self.lattice.clone(), what.clone()).to_string()
    }

    /// Sends one question and takes one answer.
    async fn ask(
        &self,
        what: &str,
        subject: String,
        headers: Option<async_nats::HeaderMap>,
        body: Vec<u8>,
        timeout: Duration,
        nobody: impl Fn() -> LatticeError,
    ) -> Result<async_nats::Message, LatticeError> {
        self.complaint.take();
        let bytes = body.len();
        let mut request = async_nats::Request::new()
            .payload(body.into())
            .timeout(Some(timeout));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let error = match self.client.send_request(subject, request).await {
            Ok(message) => return Ok(message),
            Err(error) => error,
        };
        Err(match (error.kind(), self.complaint.take()) {
            (RequestErrorKind::NoResponders, _) => nobody(),
            (_, Some(complaint)) => LatticeError::NotPermitted {
                what: what.into(),
                complaint,
            },
            (RequestErrorKind::TimedOut, None) => LatticeError::NoAnswer {
                what: what.into(),
                waited: timeout,
            },
            (RequestErrorKind::MaxPayloadExceeded, None) => LatticeError::TooLarge {
                what: what.into(),
                bytes,
            },
            (RequestErrorKind::InvalidSubject | RequestErrorKind::Other, None) => {
                LatticeError::Broken {
                    what: what.into(),
                    source: Box::new(error),
                }
            }
        })
    }

    fn broken(
        &self,
        what: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> LatticeError {
        match self.complaint.take() {
            Some(complaint) => LatticeError::NotPermitted {
                what: what.into(),
                complaint,
            },
            None => LatticeError::Broken {
                what: what.into(),
                source: Box::new(source),
            },
        }
    }

    /// Takes answers until the time is over or it has become quiet.
    async fn collect(&self, mut answers: Subscriber, wait: Duration) -> Vec<async_nats::Message> {
        let start = Instant::now();
        let mut until = start + wait;
        let mut all = Vec::new();
        while let Ok(Some(message)) = tokio::time::timeout_at(until.into(), answers.next()).await {
            if message
                .status
                .is_some_and(|status| status.as_u16() == NO_RESPONDERS)
            {
                break;
            }
            // A slow answer means slow links: then wait longer for the others.
            let patience = QUIET + start.elapsed() * 3;
            until = (start + wait).min(Instant::now() + patience);
            all.push(message);
        }
        all
    }
}

#[async_trait]
impl Lattice for NatsLattice {
    fn name(&self) -> &proto::Lattice {
        &self.lattice
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn request(&self, what: Ctl, body: Vec<u8>) -> Result<CtlResponse, LatticeError> {
        let nobody = || match host_of(&what) {
            Some(host) => LatticeError::NoSuchHost {
                lattice: self.lattice.clone(),
                host,
            },
            None => LatticeError::NoHosts {
                lattice: self.lattice.clone(),
            },
        };
        let words = what.to_string();
        let message = self
            .ask(
                &words,
                self.subject(&what),
                None,
                body,
                self.timeout,
                nobody,
            )
            .await?;
        serde_json::from_slice(&message.payload).map_err(|source| LatticeError::Unreadable {
            what: words,
            source,
        })
    }

    async fn gather(
        &self,
        what: Ctl,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<Vec<CtlResponse>, LatticeError> {
        self.complaint.take();
        let words = what.to_string();
        let inbox = self.client.new_inbox();
        let answers = self
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|source| self.broken(&words, source))?;
        self.client
            .publish_with_reply(self.subject(&what), inbox, body.into())
            .await
            .map_err(|source| self.broken(&words, source))?;
        let messages = self.collect(answers, wait).await;
        if messages.is_empty()
            && let Some(complaint) = self.complaint.take()
        {
            return Err(LatticeError::NotPermitted {
                what: words,
                complaint,
            });
        }
        // One host that answers nonsense must not hide the others.
        Ok(messages
            .iter()
            .filter_map(|message| serde_json::from_slice(&message.payload).ok())
            .collect())
    }

    async fn wadm(&self, what: WadmApi, body: Vec<u8>) -> Result<Vec<u8>, LatticeError> {
        let nobody = || LatticeError::NoWadm {
            lattice: self.lattice.clone(),
        };
        let words = what.to_string();
        let headers = matches!(what, WadmApi::Put | WadmApi::Plan).then(|| {
            let kind = if body.first() == Some(&b'{') {
                "application/json"
            } else {
                "application/yaml"
            };
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Content-Type", kind);
            headers
        });
        let subject = WadmApiSubject::new(self.lattice.clone(), what).to_string();
        let timeout = self.timeout.max(WADM_TIMEOUT);
        let message = self
            .ask(&words, subject, headers, body, timeout, nobody)
            .await?;
        Ok(message.payload.to_vec())
    }

    async fn events(&self, names: &[&str]) -> Result<BoxStream<'static, Vec<u8>>, LatticeError> {
        let subjects: Vec<String> = match names {
            [] => vec![EventSubject::all(&self.lattice)],
            names => names
                .iter()
                .map(|name| EventSubject::new(self.lattice.clone(), *name).to_string())
                .collect(),
        };
        let mut streams = Vec::new();
        for subject in subjects {
            let subscriber = self
                .client
                .subscribe(subject)
                .await
                .map_err(|source| self.broken("events", source))?;
            streams.push(subscriber);
        }
        // What is sent next must not overtake the subscriptions.
        self.client
            .flush()
            .await
            .map_err(|source| self.broken("events", source))?;
        let merged = futures::stream::select_all(streams);
        Ok(merged.map(|message| message.payload.to_vec()).boxed())
    }
}

/// The host a request is for.
fn host_of(what: &Ctl) -> Option<proto::HostId> {
    match what {
        Ctl::Inventory(host)
        | Ctl::StopHost(host)
        | Ctl::ScaleComponent(host)
        | Ctl::UpdateComponent(host)
        | Ctl::StartProvider(host)
        | Ctl::StopProvider(host)
        | Ctl::PutLabel(host)
        | Ctl::DeleteLabel(host) => Some(host.clone()),
        _ => None,
    }
}
