//! Asks a policy service before anything starts. No answer is a no.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use proto::Labels;
use proto::policy::{PolicyAction, PolicyHost, PolicyRequest, PolicyResponse};
use tokio_util::sync::CancellationToken;

use super::{Connection, Identity};
use crate::task::{OnFailure, Task, TaskError};

/// Decisions kept; beyond it all are asked for again.
const DECISIONS_MAX: usize = 10_000;

/// Why something may not be done.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The service said no.
    #[error("Policy denied request to {what} `{request}`{}", because(message))]
    Denied {
        /// What was to be done.
        what: &'static str,
        /// The request's id.
        request: String,
        /// The service's words.
        message: Option<String>,
    },
    /// The service did not say.
    #[error("no decision from the policy service on `{topic}`: {reason}")]
    NoDecision {
        /// Where it was asked.
        topic: String,
        /// Why there is none.
        reason: String,
    },
}

fn because(message: &Option<String>) -> String {
    message
        .as_ref()
        .map(|message| format!(": {message}"))
        .unwrap_or_default()
}

/// A client of the policy service, if there is one.
#[derive(Clone)]
pub struct Policy(Option<Arc<Inner>>);

struct Inner {
    connection: Connection,
    identity: Arc<Identity>,
    topic: String,
    timeout: Duration,
    decisions: Mutex<Decisions>,
}

#[derive(Default)]
struct Decisions {
    by_question: HashMap<String, PolicyResponse>,
    questions: HashMap<String, String>,
}

impl Policy {
    /// Without a topic everything is permitted.
    pub fn new(
        connection: Connection,
        identity: Arc<Identity>,
        topic: Option<String>,
        timeout: Duration,
    ) -> Self {
        Self(topic.map(|topic| {
            Arc::new(Inner {
                connection,
                identity,
                topic,
                timeout,
                decisions: Mutex::default(),
            })
        }))
    }

    /// Asks whether something may be done; decisions are remembered.
    ///
    /// # Errors
    /// [`PolicyError`] when it may not, or nobody says that it may.
    pub async fn check(&self, what: &'static str, action: PolicyAction) -> Result<(), PolicyError> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let question = question(&action);
        let known = inner.lock().by_question.get(&question).cloned();
        let decision = match known {
            Some(known) => known,
            None => inner.ask(&question, action).await?,
        };
        if decision.permitted {
            return Ok(());
        }
        Err(PolicyError::Denied {
            what,
            request: decision.request_id,
            message: decision.message,
        })
    }

    /// The task that takes changed decisions in.
    pub fn changes(&self, topic: String) -> Option<PolicyChanges> {
        self.0.clone().map(|inner| PolicyChanges { inner, topic })
    }
}

/// What decisions are remembered by: who and which image, and for calls which function.
fn question(action: &PolicyAction) -> String {
    match action {
        PolicyAction::StartComponent(c) => format!("component {} {}", c.component_id, c.image_ref),
        PolicyAction::StartProvider(p) => format!("provider {} {}", p.provider_id, p.image_ref),
        PolicyAction::PerformInvocation(i) => {
            let target = &i.target;
            format!(
                "call {} {} {} {}",
                target.component_id, target.image_ref, i.interface, i.function
            )
        }
    }
}

impl Inner {
    async fn ask(
        &self,
        question: &str,
        action: PolicyAction,
    ) -> Result<PolicyResponse, PolicyError> {
        let fault = |reason: String| PolicyError::NoDecision {
            topic: self.topic.clone(),
            reason,
        };
        let request = PolicyRequest {
            request_id: proto::event::new_id(),
            action,
            version: PolicyRequest::VERSION.into(),
            host: PolicyHost {
                public_key: self.identity.id.clone(),
                lattice: self.identity.lattice.clone(),
                labels: Labels::clone(&self.identity.labels.load()),
            },
        };
        let body = serde_json::to_vec(&request).map_err(|error| fault(error.to_string()))?;
        let answer = self
            .connection
            .client()
            .request(self.topic.clone(), body.into());
        let answer = tokio::time::timeout(self.timeout, answer)
            .await
            .map_err(|_| fault(format!("no answer within {:?}", self.timeout)))?
            .map_err(|error| fault(error.to_string()))?;
        let decision: PolicyResponse = serde_json::from_slice(&answer.payload)
            .map_err(|error| fault(format!("unreadable answer: {error}")))?;
        let mut decisions = self.lock();
        if decisions.by_question.len() >= DECISIONS_MAX {
            decisions.by_question.clear();
            decisions.questions.clear();
        }
        decisions
            .by_question
            .insert(question.to_owned(), decision.clone());
        decisions
            .questions
            .insert(request.request_id, question.to_owned());
        Ok(decision)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Decisions> {
        self.decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes changed decisions in.
pub struct PolicyChanges {
    inner: Arc<Inner>,
    topic: String,
}

impl Task for PolicyChanges {
    const NAME: &'static str = "policy changes";
    const ON_FAILURE: OnFailure = OnFailure::Restart;

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let client = self.inner.connection.client();
        let subscribed = client.subscribe(self.topic.clone()).await;
        let mut messages = subscribed.map_err(|error| TaskError::from_error(&error))?;
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = messages.next() => message,
            };
            let Some(message) = message else {
                return Err(TaskError("the subscription ended".into()));
            };
            let Ok(decision) = serde_json::from_slice::<PolicyResponse>(&message.payload) else {
                tracing::warn!(
                    topic = self.topic,
                    "a policy change that cannot be read is ignored"
                );
                continue;
            };
            let mut decisions = self.inner.lock();
            let question = decisions.questions.get(&decision.request_id).cloned();
            if let Some(question) = question {
                decisions.by_question.insert(question, decision);
            }
        }
    }
}
