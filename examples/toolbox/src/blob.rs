//! `wasi:blobstore`.

use guest::{Method, Reply, Request};
use serde_json::json;

use super::wasi::blobstore::blobstore;
use super::wasi::blobstore::types::{IncomingValue, OutgoingValue};
use super::{Answer, done, found};

/// Names asked for at a time.
const NAMES: u64 = 100;

/// `PUT` makes a container, `GET` lists its objects, `DELETE` removes it.
pub fn container(request: &Request, name: &str) -> Answer {
    match request.method {
        Method::Put => blobstore::create_container(name).map(drop).and_then(|()| done()),
        Method::Delete => blobstore::delete_container(name).and_then(|()| done()),
        _ => {
            let objects = blobstore::get_container(name)?.list_objects()?;
            let mut names = Vec::new();
            loop {
                let (some, end) = objects.read_stream_object_names(NAMES)?;
                names.extend(some);
                if end {
                    return Ok(Reply::json(200, &json!(names)));
                }
            }
        }
    }
}

/// `PUT` writes an object, `GET` reads it, `DELETE` removes it, `HEAD` tells its size.
pub fn object(request: &Request, container: &str, name: &str) -> Answer {
    let container = blobstore::get_container(container)?;
    match request.method {
        Method::Put => {
            let value = OutgoingValue::new_outgoing_value();
            let stream = value.outgoing_value_write_body().map_err(|()| "no stream")?;
            container.write_data(name, &value)?;
            for piece in request.body.chunks(4096) {
                stream.blocking_write_and_flush(piece).map_err(|error| format!("{error:?}"))?;
            }
            drop(stream);
            OutgoingValue::finish(value)?;
            done()
        }
        Method::Delete => container.delete_object(name).and_then(|()| done()),
        Method::Head => {
            if !container.has_object(name)? {
                return Ok(found(None));
            }
            container.object_info(name).map(|info| Reply::json(200, &json!({ "size": info.size })))
        }
        _ if !container.has_object(name)? => Ok(found(None)),
        _ => {
            let value = container.get_data(name, 0, u64::MAX)?;
            IncomingValue::incoming_value_consume_sync(value).map(|bytes| found(Some(bytes)))
        }
    }
}
