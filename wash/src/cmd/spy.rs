//! `wash spy`: follows the calls to a component, and from it over its links.

use std::collections::{BTreeSet, HashMap};

use futures::StreamExt;
use host::rpc::codec::{Limits, decode_all};
use proto::ComponentId;
use proto::subject::{InvocationSubject, inbox};
use serde_json::{Map, Value};

use super::call::wave::Signature;
use super::inspect::load;
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::WashError;
use crate::exit::Exit;
use crate::lattice::{Lattice, LatticeError, LatticeOps, NatsLattice};
use crate::output::{Answer, Paint, Printer, Style, keys};
use crate::registry::RegistryOptions;
use crate::wit;

/// Calls whose answer may still come.
const OPEN_MAX: usize = 10_000;
/// Bytes of undecoded values that are shown.
const SHOWN_MAX: usize = 64;

/// `wash spy`.
#[derive(Debug, clap::Args)]
pub struct SpyCommand {
    /// Component, by its id on the lattice
    pub component_id: String,
    /// Inbox prefix of a program whose calls are followed, to hear the answers; repeat for more
    #[arg(long, value_name = "PREFIX", value_parser = inbox::prefix, default_value = inbox::DEFAULT_PREFIX)]
    pub caller_inbox_prefix: Vec<String>,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// Something that was seen.
pub struct Seen {
    time: String,
    from: String,
    to: String,
    function: String,
    /// `call` or `answer`.
    kind: &'static str,
    values: Option<String>,
    bytes: Vec<u8>,
}

fn hex(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
    let more = if shown.len() < bytes.len() { "…" } else { "" };
    format!("{}{more}", ::hex::encode(shown))
}

impl Answer for Seen {
    fn text(&self, style: &Style) -> String {
        let values = match &self.values {
            Some(values) => values.clone(),
            None if self.bytes.is_empty() => "(nothing)".into(),
            None => format!("{} bytes: {}", self.bytes.len(), hex(&self.bytes)),
        };
        let arrow = if self.kind == "call" { "->" } else { "<-" };
        let function = style.paint(Paint::Strong, &self.function);
        format!(
            "{}  {} {arrow} {}  {function}  {values}",
            self.time, self.from, self.to
        )
    }

    fn json(&self) -> Map<String, Value> {
        keys([
            ("time", self.time.clone().into()),
            ("kind", self.kind.into()),
            ("from", self.from.clone().into()),
            ("to", self.to.clone().into()),
            ("function", self.function.clone().into()),
            ("values", self.values.clone().into()),
            ("bytes", self.bytes.len().into()),
            ("hex", hex(&self.bytes).into()),
        ])
    }
}

fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        now.hour(),
        now.minute(),
        now.second(),
        now.millisecond()
    )
}

/// The functions of the component that is watched, to read its values.
#[derive(Default)]
struct Types {
    of: Option<ComponentId>,
    signatures: HashMap<(Option<String>, String), Signature>,
}

impl Types {
    async fn load(lattice: &NatsLattice, id: &ComponentId, printer: &Printer) -> Self {
        let image = super::call::image_of(lattice, id).await.ok().flatten();
        let Some(image) = image else {
            return Self::default();
        };
        let Ok((bytes, _)) = load(&image, None, true, &RegistryOptions::default(), printer).await
        else {
            printer.warn(&format!("cannot read `{image}`: values are shown as bytes"));
            return Self::default();
        };
        let exports = wit::exports(&bytes).unwrap_or_default();
        let known = exports.into_iter().filter_map(|export| {
            let found =
                Signature::find(&bytes, id, export.instance.as_deref(), &export.name).ok()?;
            Some(((export.instance, export.name), found))
        });
        Self {
            of: Some(id.clone()),
            signatures: known.collect(),
        }
    }

    fn signature(&self, call: &InvocationSubject) -> Option<&Signature> {
        let ours = self.of.as_ref() == Some(&call.target);
        let key = (call.instance.clone(), call.function.clone());
        self.signatures.get(&key).filter(|_| ours)
    }

    fn params(&self, call: &InvocationSubject, bytes: &[u8]) -> Option<String> {
        let signature = self.signature(call)?;
        let values = decode_all(&signature.wire.params, bytes, Limits::default()).ok()?;
        signature.write_params(&values).ok()
    }

    fn results(&self, call: &InvocationSubject, bytes: &[u8]) -> Option<String> {
        let signature = self.signature(call)?;
        let values = decode_all(&signature.wire.results, bytes, Limits::default()).ok()?;
        signature.write(&values).ok()
    }
}

/// A call whose answer may still come.
struct Open {
    subject: InvocationSubject,
    source: String,
}

/// What is known of the calls under way.
struct Calls {
    types: Types,
    watched: ComponentId,
    open: HashMap<String, Open>,
}

impl Calls {
    fn call(&mut self, message: &async_nats::Message) -> Option<Seen> {
        let subject: InvocationSubject = message.subject.parse().ok()?;
        let header = |name: &str| {
            message
                .headers
                .as_ref()?
                .get(name)
                .map(|value| value.to_string())
        };
        let source = header("source-id").unwrap_or_else(|| "?".into());
        // The watched component's links lead to others, who have other callers too.
        if subject.target != self.watched && source != self.watched.as_str() {
            return None;
        }
        let bytes = message.payload.to_vec();
        let seen = Seen {
            time: now(),
            from: source.clone(),
            to: subject.target.to_string(),
            function: shown(&subject),
            kind: "call",
            values: self.types.params(&subject, &bytes),
            bytes,
        };
        if let Some(reply) = &message.reply {
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            self.open
                .insert(InvocationSubject::results(reply), Open { subject, source });
        }
        Some(seen)
    }

    fn answer(&mut self, message: &async_nats::Message) -> Option<Seen> {
        if message.payload.is_empty() {
            self.open.remove(message.subject.as_str());
            return None;
        }
        let Open { subject, source } = self.open.get(message.subject.as_str())?;
        let bytes = message.payload.to_vec();
        Some(Seen {
            time: now(),
            from: source.clone(),
            to: subject.target.to_string(),
            function: shown(subject),
            kind: "answer",
            values: self.types.results(subject, &bytes),
            bytes,
        })
    }
}

fn shown(subject: &InvocationSubject) -> String {
    match &subject.instance {
        Some(instance) => format!("{instance}.{}", subject.function),
        None => subject.function.clone(),
    }
}

impl SpyCommand {
    /// Follows until Ctrl-C.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let id = ComponentId::new(self.component_id).map_err(LatticeError::from)?;
        let lattice = NatsLattice::connect(&self.connect).await?;
        let mut targets = BTreeSet::from([id.clone()]);
        let links = lattice.links().await?;
        targets.extend(
            links
                .into_iter()
                .filter(|link| link.source_id == id)
                .map(|link| link.target),
        );
        let types = Types::load(&lattice, &id, printer).await;
        let subscribe = async |subject: String| {
            let subscribed = lattice.client().subscribe(subject).await;
            subscribed.map_err(|source| LatticeError::Broken {
                what: "spy".into(),
                source: Box::new(source),
            })
        };
        let mut calls = Vec::new();
        for target in &targets {
            calls.push(subscribe(InvocationSubject::all(lattice.name(), target)).await?);
        }
        let mut answers = Vec::new();
        for prefix in &self.caller_inbox_prefix {
            answers.push(subscribe(InvocationSubject::results(&inbox::all(prefix))).await?);
        }
        let mut answers = futures::stream::select_all(answers);
        let mut calls = futures::stream::select_all(calls);
        let names: Vec<&str> = targets.iter().map(AsRef::as_ref).collect();
        printer.note(&format!(
            "Following calls to {}; calls within one host are not seen. Ctrl-C ends it.",
            names.join(", ")
        ));
        let mut known = Calls {
            types,
            watched: id,
            open: HashMap::new(),
        };
        loop {
            let seen = tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(Outcome::Shown(Exit::Ok)),
                Some(message) = calls.next() => known.call(&message),
                Some(message) = answers.next() => known.answer(&message),
                else => return Ok(Outcome::Shown(Exit::Ok)),
            };
            if let Some(seen) = seen {
                printer.line(&seen);
            }
        }
    }
}
