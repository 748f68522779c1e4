//! The types of `wrpc:keyvalue`, `wrpc:blobstore` and `wasmcloud:messaging`.

use bytes::Bytes;

use super::codec::{CodecError, Reader, Wire, put_case};
use crate::capability::blobstore::{ContainerInfo, ObjectId, ObjectInfo};
use crate::capability::keyvalue::{Error, KeyPage};
use crate::capability::messaging::Message;

pub(super) const STORE: &str = "wrpc:keyvalue/store@0.2.0-draft";
pub(super) const ATOMICS: &str = "wrpc:keyvalue/atomics@0.2.0-draft";
pub(super) const BATCH: &str = "wrpc:keyvalue/batch@0.2.0-draft";
pub(super) const BLOBSTORE: &str = "wrpc:blobstore/blobstore@0.2.0";
pub(super) const CONSUMER: &str = "wasmcloud:messaging/consumer@0.2.0";
pub(super) const HANDLER: &str = "wasmcloud:messaging/handler@0.2.0";
pub(super) const HANDLE_MESSAGE: &str = "handle-message";

impl Wire for Error {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::NoSuchStore => put_case(out, 0),
            Self::AccessDenied => put_case(out, 1),
            Self::Other(text) => {
                put_case(out, 2);
                text.put(out);
            }
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match from.case(3)? {
            0 => Self::NoSuchStore,
            1 => Self::AccessDenied,
            _ => Self::Other(String::take(from)?),
        })
    }
}

impl Wire for KeyPage {
    fn put(&self, out: &mut Vec<u8>) {
        self.keys.put(out);
        self.cursor.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            keys: Wire::take(from)?,
            cursor: Wire::take(from)?,
        })
    }
}

impl Wire for Message {
    fn put(&self, out: &mut Vec<u8>) {
        self.subject.put(out);
        self.body.put(out);
        self.reply_to.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            subject: String::take(from)?,
            body: Bytes::take(from)?,
            reply_to: Wire::take(from)?,
        })
    }
}

impl Wire for ObjectId {
    fn put(&self, out: &mut Vec<u8>) {
        self.container.put(out);
        self.object.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            container: String::take(from)?,
            object: String::take(from)?,
        })
    }
}

impl Wire for ContainerInfo {
    fn put(&self, out: &mut Vec<u8>) {
        self.created_at.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            created_at: u64::take(from)?,
        })
    }
}

impl Wire for ObjectInfo {
    fn put(&self, out: &mut Vec<u8>) {
        self.created_at.put(out);
        self.size.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            created_at: u64::take(from)?,
            size: u64::take(from)?,
        })
    }
}

/// A stream or future that comes on its index path: always pending when sent by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending;

impl Wire for Pending {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(0);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        // Upstream encoders, and ours, never send them ready.
        if from.tag("stream or future")? {
            return Err(CodecError::Unsupported {
                what: "a stream or future that is ready",
            });
        }
        Ok(Self)
    }
}
