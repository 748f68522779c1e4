//! Makes the buckets and streams that are missing; takes those that exist as they are.

use std::error::Error as StdError;

use async_nats::jetstream::{self, ErrorCode, context, kv, stream};

use crate::nats::Nats;

/// A bucket to have.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Copies, if it is made here.
    pub replicas: usize,
    /// Size limit in bytes, if it is made here; -1 for none.
    pub max_bytes: i64,
    /// Where it is kept, if it is made here.
    pub storage: stream::StorageType,
}

/// Why a bucket or stream cannot be used; the text names the permission or limit that is missing.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {kind} `{name}`: {reason}")]
pub struct SetupError {
    kind: &'static str,
    name: String,
    reason: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Opens the bucket, making it if it is missing.
pub async fn ensure_bucket(nats: &Nats, bucket: &Bucket) -> Result<kv::Store, SetupError> {
    let stream_name = format!("KV_{}", bucket.name);
    let fail = |error| explain(nats, "bucket", &bucket.name, &stream_name, error);
    let js = nats.jetstream();
    ensure_stream(&js, bucket_stream(bucket, &stream_name))
        .await
        .map_err(fail)?;
    js.get_key_value(&bucket.name)
        .await
        .map_err(|error| fail(Box::new(error)))
}

/// Opens the stream of status messages, making it if it is missing.
pub async fn ensure_status_stream(
    nats: &Nats,
    name: &str,
    subject: String,
    like: &Bucket,
) -> Result<stream::Stream, SetupError> {
    let config = stream::Config {
        name: name.to_owned(),
        description: Some("the last statuses of every application".to_owned()),
        subjects: vec![subject],
        max_messages_per_subject: 10,
        max_bytes: like.max_bytes,
        max_messages: -1,
        max_consumers: -1,
        allow_direct: true,
        storage: like.storage,
        num_replicas: like.replicas,
        ..Default::default()
    };
    ensure_stream(&nats.jetstream(), config)
        .await
        .map_err(|error| explain(nats, "stream", name, name, error))
}

fn bucket_stream(bucket: &Bucket, stream_name: &str) -> stream::Config {
    stream::Config {
        name: stream_name.to_owned(),
        subjects: vec![format!("$KV.{}.>", bucket.name)],
        max_messages_per_subject: 1,
        max_bytes: bucket.max_bytes,
        max_messages: -1,
        max_consumers: -1,
        discard: stream::DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        storage: bucket.storage,
        num_replicas: bucket.replicas,
        ..Default::default()
    }
}

type Cause = Box<dyn StdError + Send + Sync>;

async fn ensure_stream(
    js: &jetstream::Context,
    config: stream::Config,
) -> Result<stream::Stream, Cause> {
    let name = config.name.clone();
    match js.get_stream(&name).await {
        Ok(stream) => return Ok(stream),
        Err(error) if error_code(&error) == Some(ErrorCode::STREAM_NOT_FOUND) => {}
        Err(error) => return Err(Box::new(error)),
    }
    match js.create_stream(config).await {
        Ok(stream) => Ok(stream),
        // Made by someone else meanwhile, with settings of their own: theirs it is.
        Err(error) if error_code(&error) == Some(ErrorCode::STREAM_NAME_EXIST) => js
            .get_stream(&name)
            .await
            .map_err(|error| Box::new(error) as Cause),
        Err(error) => Err(Box::new(error)),
    }
}

/// JetStream's code for what went wrong, wherever in the chain it is.
fn error_code(error: &(dyn StdError + 'static)) -> Option<ErrorCode> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<context::GetStreamError>()
            && let context::GetStreamErrorKind::JetStream(error) = error.kind()
        {
            return Some(error.error_code());
        }
        if let Some(error) = error.downcast_ref::<context::CreateStreamError>() {
            match error.kind() {
                context::CreateStreamErrorKind::JetStream(error) => {
                    return Some(error.error_code());
                }
                context::CreateStreamErrorKind::NotFound => {
                    return Some(ErrorCode::STREAM_NOT_FOUND);
                }
                _ => {}
            }
        }
        next = error.source();
    }
    None
}

/// How the request failed, if it was not JetStream that answered.
enum Silence {
    NoResponders,
    TimedOut,
}

fn silence(error: &(dyn StdError + 'static)) -> Option<Silence> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<context::RequestError>() {
            match error.kind() {
                context::RequestErrorKind::NoResponders => return Some(Silence::NoResponders),
                context::RequestErrorKind::TimedOut => return Some(Silence::TimedOut),
                _ => {}
            }
        }
        if let Some(error) = error.downcast_ref::<context::CreateStreamError>() {
            match error.kind() {
                context::CreateStreamErrorKind::JetStreamUnavailable => {
                    return Some(Silence::NoResponders);
                }
                context::CreateStreamErrorKind::TimedOut => return Some(Silence::TimedOut),
                _ => {}
            }
        }
        next = error.source();
    }
    None
}

fn explain(
    nats: &Nats,
    kind: &'static str,
    name: &str,
    stream_name: &str,
    source: Cause,
) -> SetupError {
    let reason = match (error_code(&*source), silence(&*source)) {
        (Some(code), _) => explain_code(code, nats.domain()),
        (None, Some(Silence::NoResponders)) => match nats.domain() {
            Some(domain) => format!(
                "no JetStream answers for the domain `{domain}`; check --js-domain against `jetstream {{ domain: … }}` of the servers"
            ),
            None => "JetStream is not enabled on this NATS server; start it with -js".to_owned(),
        },
        (None, Some(Silence::TimedOut)) => match nats.refusals.about(stream_name) {
            Some(refusal) => format!(
                "NATS refuses it ({refusal}); grant this user that permission, or make the {kind} beforehand"
            ),
            None => format!(
                "JetStream did not answer within {:?}",
                crate::nats::JETSTREAM_TIMEOUT
            ),
        },
        (None, None) => "JetStream gave an unexpected answer".to_owned(),
    };
    SetupError {
        kind,
        name: name.to_owned(),
        reason,
        source: Some(source),
    }
}

fn explain_code(code: ErrorCode, domain: Option<&str>) -> String {
    let reason = match code {
        ErrorCode::JETSTREAM_NOT_ENABLED => match domain {
            Some(_) => "JetStream is not enabled in that domain",
            None => "JetStream is not enabled on this NATS server; start it with -js",
        },
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            "JetStream is not enabled for this account; enable it in the account's configuration"
        }
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => {
            "the account's JetStream limits are used up; raise its storage, memory or stream limit"
        }
        ErrorCode::STORAGE_RESOURCES_EXCEEDED => {
            "the account's or server's JetStream file storage limit is used up"
        }
        ErrorCode::MEMORY_RESOURCES_EXCEEDED => {
            "the account's or server's JetStream memory limit is used up"
        }
        ErrorCode::MAXIMUM_STREAMS_LIMIT => "the account's limit of streams is reached",
        ErrorCode::STREAM_MAX_BYTES_REQUIRED => {
            "the account asks for a size limit on every stream; set the `…-max-bytes` options"
        }
        ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED => {
            "its size limit is larger than the account allows; lower the `…-max-bytes` options"
        }
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => {
            "several replicas need a NATS cluster; this server is alone, so set --replicas 1"
        }
        ErrorCode::CLUSTER_NO_PEERS => {
            "the NATS cluster has too few servers with room for that many replicas"
        }
        ErrorCode::CLUSTER_NOT_AVAILABLE => {
            "the NATS cluster has no JetStream leader at the moment"
        }
        ErrorCode::STREAM_SUBJECT_OVERLAP => "another stream takes the same subjects",
        ErrorCode(code) => return format!("JetStream refuses with error {code}"),
    };
    reason.to_owned()
}
