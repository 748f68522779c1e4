//! One invocation with its values: what client and server share.

use std::sync::Arc;
use std::time::Duration;

use super::codec::{CodecError, Decoded, Decoder, Limits, Ty, Wire, decode_from};
use super::transport::{Call, Invocation, PathReader, RpcError, Transport};

/// Bytes of the synchronous part of typed parameters or results. Streams have no limit.
const TYPED_BYTES_MAX: usize = 64 << 20;

/// Where values are read from: a byte stream, and how long it may pause.
pub(super) struct Source<'a> {
    pub(super) reader: &'a mut PathReader,
    pub(super) subject: &'a str,
    pub(super) pause_max: Option<Duration>,
}

impl Source<'_> {
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, RpcError> {
        match self.pause_max {
            Some(limit) => self.reader.next_within(limit).await,
            None => self.reader.next().await,
        }
    }

    fn codec(&self, source: CodecError) -> RpcError {
        RpcError::Codec {
            subject: self.subject.to_owned(),
            source,
        }
    }

    /// Reads a typed tuple; `None` when the stream ends without any data.
    pub(super) async fn typed<T: Wire>(&mut self) -> Result<Option<T>, RpcError> {
        let mut buf: Vec<u8> = Vec::new();
        loop {
            if let Some((value, _)) = decode_from(&buf).map_err(|e| self.codec(e))? {
                return Ok(Some(value));
            }
            let Some(piece) = self.next().await? else {
                return if buf.is_empty() {
                    Ok(None)
                } else {
                    Err(self.codec(CodecError::Truncated))
                };
            };
            if buf.len() + piece.len() > TYPED_BYTES_MAX {
                return Err(self.codec(CodecError::TooLarge {
                    limit: TYPED_BYTES_MAX,
                }));
            }
            buf.extend_from_slice(&piece);
        }
    }

    /// Reads a tuple of these types; `None` when the stream ends without any data.
    pub(super) async fn values(
        &mut self,
        types: &Arc<[Ty]>,
        limits: Limits,
    ) -> Result<Option<Decoded>, RpcError> {
        let mut decoder = Decoder::new(types, limits);
        let mut empty = true;
        while !decoder.feed(&[]).map_err(|e| self.codec(e))? {
            let Some(piece) = self.next().await? else {
                return if empty {
                    Ok(None)
                } else {
                    Err(self.codec(CodecError::Truncated))
                };
            };
            empty = false;
            if decoder.feed(&piece).map_err(|e| self.codec(e))? {
                break;
            }
        }
        decoder.finish().map(Some).map_err(|e| self.codec(e))
    }
}

/// Calls a function: sends the parameters, lets `started` begin the asynchronous ones, and waits
/// for the results that `read` takes from their stream (`None`: there were none).
///
/// Results that come before all plain parameters are sent end the sending: a server need not read
/// what it does not want. Streams and futures are begun in any case; a server may answer first and
/// read them afterwards.
pub(super) async fn exchange<T>(
    transport: &Transport,
    invocation: Invocation,
    started: impl FnOnce(&mut Call) -> Result<(), RpcError>,
    read: impl AsyncFnOnce(&str, &mut PathReader) -> Result<Option<T>, RpcError>,
) -> Result<(T, Call), RpcError> {
    let has_async = !invocation.async_params.is_empty();
    let mut call = transport.call(invocation).await?;
    let mut results = call.results();
    let subject = call.subject().to_owned();
    let reading = read(&subject, &mut results);
    tokio::pin!(reading);
    let (sent, early) = {
        let sending = call.start();
        tokio::pin!(sending);
        tokio::select! {
            biased;
            value = &mut reading => match value {
                Ok(Some(value)) if has_async => (sending.await, Some(Ok(Some(value)))),
                value => (Ok(()), Some(value)),
            },
            sent = &mut sending => (sent, None),
        }
    };
    let value = match (sent, early) {
        (Err(error), _) => Err(error),
        (Ok(()), Some(Err(error))) => Err(error),
        (Ok(()), Some(Ok(None))) => Ok(None),
        (Ok(()), early) => match (started(&mut call), early) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(value)) => value,
            (Ok(()), None) => reading.await,
        },
    };
    match value {
        Ok(Some(_)) if call.reason().is_some() => Err(call.no_result()),
        Ok(Some(value)) => Ok((value, call)),
        Ok(None) => Err(call.no_result()),
        Err(error) => Err(call.with_subject(error)),
    }
}
