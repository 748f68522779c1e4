//! The built-in provider `messaging-nats`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proto::link::LinkKey;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::deliver::Recipient;
use super::nats::{CONCURRENCY_DEFAULT, NatsBroker, Source, listen};
use super::{CONSUMER, HANDLER, Linked};
use crate::capability::nats::{LazyClient, NatsSettings};
use crate::capability::settings::{Own, Settings};
use crate::capability::{BuiltinContext, BuiltinFactory, BuiltinProvider};
use crate::link::{Binding, LinkError, ResolvedLink};
use crate::task::Tasks;

const KIND: &str = "messaging-nats";

/// Most messages of one subscription that may be handled at a time.
const CONCURRENCY_MAX: usize = 4096;

/// Starts providers that speak to NATS as a message broker.
pub struct MessagingNatsFactory;

#[async_trait]
impl BuiltinFactory for MessagingNatsFactory {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn start(&self, cx: BuiltinContext) -> Result<Arc<dyn BuiltinProvider>, LinkError> {
        let state = State {
            config: cx.config.clone(),
            ..State::default()
        };
        Ok(Arc::new(Provider {
            cx,
            tasks: Tasks::new(),
            state: Mutex::new(state),
        }))
    }
}

struct Provider {
    cx: BuiltinContext,
    tasks: Tasks,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    config: BTreeMap<String, String>,
    /// Links on which the provider listens for a component.
    heard: BTreeMap<LinkKey, (Arc<ResolvedLink>, Listening)>,
    /// Links on which components publish.
    consumers: BTreeMap<LinkKey, (ResolvedLink, Linked)>,
    clients: BTreeMap<Option<NatsSettings>, LazyClient>,
}

/// What is listened to, and how to stop.
struct Listening {
    plan: Plan,
    stop: CancellationToken,
}

/// A link's settings as a source of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    system: Option<NatsSettings>,
    sources: Vec<Source>,
    concurrency: usize,
}

/// One entry of the setting `consumers`.
#[derive(Deserialize)]
struct ConsumerSetting {
    stream: String,
    consumer: String,
    #[serde(default)]
    max_messages: Option<usize>,
    #[serde(default)]
    max_bytes: Option<usize>,
}

impl Plan {
    fn read(settings: &Settings) -> Result<Self, LinkError> {
        let mut sources = Vec::new();
        for one in settings
            .get("subscriptions")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
        {
            let (subject, queue) = match one.split_once('|') {
                Some((subject, queue)) => (subject.trim(), Some(queue.trim())),
                None => (one, None),
            };
            let plain = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
            if one.is_empty() {
                continue;
            }
            if !plain(subject) || !queue.is_none_or(plain) {
                let reason = format!(
                    "`{one}` is no subject, nor subject and queue group as `subject|group`"
                );
                return Err(settings.bad("subscriptions", reason));
            }
            let (subject, queue) = (subject.to_owned(), queue.map(ToOwned::to_owned));
            sources.push(Source::Subject { subject, queue });
        }
        if let Some(json) = settings.get("consumers") {
            let consumers: Vec<ConsumerSetting> = serde_json::from_str(json).map_err(|error| {
                let expected = r#"[{"stream":"ORDERS","consumer":"worker"}]"#;
                settings.bad("consumers", format!("{error}; expected JSON as {expected}"))
            })?;
            sources.extend(consumers.into_iter().map(|c| Source::Consumer {
                stream: c.stream,
                consumer: c.consumer,
                max_messages: c.max_messages.map(|n| n.clamp(1, CONCURRENCY_MAX)),
                max_bytes: c.max_bytes,
            }));
        }
        let concurrency = settings.parsed("concurrency", "a whole number")?;
        Ok(Self {
            system: NatsSettings::read(settings)?,
            sources,
            concurrency: concurrency
                .unwrap_or(CONCURRENCY_DEFAULT)
                .clamp(1, CONCURRENCY_MAX),
        })
    }
}

impl Provider {
    /// The state; every change to it is whole, so a panic elsewhere does no harm.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, state: &mut State, system: Option<NatsSettings>) -> LazyClient {
        let client = || LazyClient::new(system.clone(), &self.cx.nats);
        state
            .clients
            .entry(system.clone())
            .or_insert_with(client)
            .clone()
    }

    /// Listens for the component at the link's other end, unless it does so already.
    fn hear(&self, state: &mut State, link: &Arc<ResolvedLink>) -> Result<(), LinkError> {
        if let Some(interface) = link.interfaces().find(|name| name != HANDLER) {
            return Err(self.wrong(interface));
        }
        let own = Own {
            config: &state.config,
            secrets: &self.cx.secrets,
        };
        let plan = Plan::read(&Settings::as_source(own, link))?;
        let key = link.link.key();
        if let Some((known, listening)) = state.heard.get(&key)
            && listening.plan == plan
            && known.link.target == link.link.target
        {
            return Ok(());
        }
        if plan.sources.is_empty() {
            tracing::warn!(
                provider = %self.cx.id,
                component = %link.link.target,
                "the link has no `subscriptions`: nothing to hear"
            );
        }
        let client = self.client(state, plan.system.clone());
        let stop = CancellationToken::new();
        let recipient = Recipient {
            provider: self.cx.id.clone(),
            component: link.link.target.clone(),
            link_name: link.link.name.clone(),
            directory: Arc::clone(&self.cx.directory),
            remote: Arc::clone(&self.cx.remote),
        };
        for source in plan.sources.iter().cloned() {
            let (client, recipient) = (client.clone(), recipient.clone());
            let work = listen(client, source, plan.concurrency, recipient, stop.clone());
            self.tasks.work("subscription", work);
        }
        let listening = Listening { plan, stop };
        if let Some((_, old)) = state.heard.insert(key, (Arc::clone(link), listening)) {
            old.stop.cancel();
        }
        Ok(())
    }

    /// Gives the component at the link's other end a broker to publish to.
    fn linked(&self, state: &mut State, link: &ResolvedLink) -> Result<Linked, LinkError> {
        if let Some(interface) = link.interfaces().find(|name| name != CONSUMER) {
            return Err(self.wrong(interface));
        }
        let own = Own {
            config: &state.config,
            secrets: &self.cx.secrets,
        };
        let system = NatsSettings::read(&Settings::as_target(own, link))?;
        let broker = Arc::new(NatsBroker::new(self.client(state, system)));
        let key = link.link.key();
        let linked = match state.consumers.get(&key) {
            Some((_, linked)) => {
                linked.lead_to(broker);
                linked.clone()
            }
            None => Linked::new(broker),
        };
        state.consumers.insert(key, (link.clone(), linked.clone()));
        Ok(linked)
    }

    fn wrong(&self, interface: String) -> LinkError {
        LinkError::WrongTarget {
            target: self.cx.id.to_string(),
            kind: KIND.into(),
            interface,
        }
    }
}

#[async_trait]
impl BuiltinProvider for Provider {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn backend(&self, link: &ResolvedLink) -> Result<Binding, LinkError> {
        self.linked(&mut self.state(), link).map(Binding::new)
    }

    async fn put_link(&self, link: Arc<ResolvedLink>) -> Result<(), LinkError> {
        let mut state = self.state();
        if link.link.source_id == self.cx.id {
            self.hear(&mut state, &link)
        } else {
            self.linked(&mut state, &link).map(drop)
        }
    }

    async fn delete_link(&self, key: &LinkKey) {
        let mut state = self.state();
        if let Some((_, listening)) = state.heard.remove(key) {
            listening.stop.cancel();
        }
        state.consumers.remove(key);
        let State {
            clients,
            heard,
            consumers,
            ..
        } = &mut *state;
        if heard.is_empty() && consumers.is_empty() {
            clients.clear();
        }
    }

    async fn update_config(&self, config: BTreeMap<String, String>) {
        let mut state = self.state();
        if state.config == config {
            return;
        }
        state.config = config;
        let heard: Vec<_> = state
            .heard
            .values()
            .map(|(link, _)| Arc::clone(link))
            .collect();
        let published: Vec<_> = state
            .consumers
            .values()
            .map(|(link, _)| link.clone())
            .collect();
        let kept = heard
            .iter()
            .map(|link| self.hear(&mut state, link))
            .collect::<Vec<_>>();
        let linked = published
            .iter()
            .map(|link| self.linked(&mut state, link).map(drop));
        for error in kept
            .into_iter()
            .chain(linked.collect::<Vec<_>>())
            .filter_map(Result::err)
        {
            tracing::warn!(provider = %self.cx.id, %error, "a link keeps its old settings");
        }
    }

    async fn shutdown(&self, grace: Duration) {
        for (_, listening) in std::mem::take(&mut self.state().heard).into_values() {
            listening.stop.cancel();
        }
        if let Err(error) = self.tasks.drain(grace).await {
            tracing::warn!(provider = %self.cx.id, %error, "messages were cut off");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(pairs: &[(&str, &str)]) -> Result<Vec<Source>, String> {
        Plan::read(&Settings::from_pairs(pairs))
            .map(|plan| plan.sources)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn subscriptions_are_subjects_with_or_without_a_queue() {
        let subject = |subject: &str, queue: Option<&str>| Source::Subject {
            subject: subject.into(),
            queue: queue.map(Into::into),
        };
        let read = sources(&[("subscriptions", "a.>, b|workers,,c")]);
        let expected = vec![
            subject("a.>", None),
            subject("b", Some("workers")),
            subject("c", None),
        ];
        assert_eq!(read, Ok(expected));
        assert_eq!(sources(&[]), Ok(vec![]));
        for wrong in ["a b", "|q", "a|"] {
            let error = sources(&[("subscriptions", wrong)]).expect_err(wrong);
            assert!(error.contains("subject|group"), "{error}");
        }
    }

    #[test]
    fn consumers_are_json() {
        let json = r#"[{"stream":"S","consumer":"C","max_messages":0}]"#;
        let expected = Source::Consumer {
            stream: "S".into(),
            consumer: "C".into(),
            max_messages: Some(1),
            max_bytes: None,
        };
        assert_eq!(sources(&[("consumers", json)]), Ok(vec![expected]));
        assert!(
            sources(&[("consumers", "S/C")])
                .expect_err("refused")
                .contains("JSON")
        );
    }
}
