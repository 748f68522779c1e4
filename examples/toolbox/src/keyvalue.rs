//! `wasi:keyvalue`, in both drafts.

use guest::{Method, Reply, Request};
use serde_json::json;

use super::wasi::keyvalue0_2_0_draft::{atomics, batch, store};
use super::wasi::keyvalue0_2_0_draft2::{atomics as cas, store as store2};
use super::{Answer, body, done, found};

fn open(bucket: &str) -> Result<store::Bucket, String> {
    store::open(bucket).map_err(text)
}

fn text(error: store::Error) -> String {
    format!("{error:?}")
}

/// Counts one up.
pub fn count(bucket: &str, key: &str) -> Result<u64, String> {
    atomics::increment(&open(bucket)?, key, 1).map_err(text)
}

/// `GET` lists the keys, `PUT` writes `{"key": "value"}` at once, `DELETE` empties the bucket.
pub fn bucket(request: &Request, bucket: &str) -> Answer {
    let bucket = open(bucket)?;
    match request.method {
        Method::Put => {
            let pairs: std::collections::BTreeMap<String, String> =
                serde_json::from_slice(&request.body).map_err(|error| error.to_string())?;
            let pairs: Vec<_> =
                pairs.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
            batch::set_many(&bucket, &pairs).map_err(text)?;
            done()
        }
        Method::Delete => {
            batch::delete_many(&bucket, &keys(&bucket)?).map_err(text)?;
            done()
        }
        _ => {
            let keys = keys(&bucket)?;
            let values = batch::get_many(&bucket, &keys).map_err(text)?;
            let pairs = values.into_iter().flatten();
            let pairs = pairs.map(|(key, value)| (key, String::from_utf8_lossy(&value).into()));
            Ok(Reply::json(200, &serde_json::Value::Object(pairs.collect())))
        }
    }
}

fn keys(bucket: &store::Bucket) -> Result<Vec<String>, String> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let page = bucket.list_keys(cursor).map_err(text)?;
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(keys);
        }
    }
}

/// `GET`, `PUT`, `DELETE`; `POST` counts one up; `HEAD` says whether there is one.
pub fn value(request: &Request, bucket: &str, key: &str) -> Answer {
    if matches!(request.method, Method::Post) {
        return Ok(Reply::json(200, &json!({ "count": count(bucket, key)? })));
    }
    let bucket = open(bucket)?;
    match request.method {
        Method::Put => bucket.set(key, &request.body).map_err(text).and_then(|()| done()),
        Method::Delete => bucket.delete(key).map_err(text).and_then(|()| done()),
        Method::Head => bucket.exists(key).map_err(text).map(|there| found(there.then(Vec::new))),
        _ => bucket.get(key).map_err(text).map(found),
    }
}

/// `PUT` appends the body to the value by compare-and-swap, in the second draft.
pub fn swap(request: &Request, bucket: &str, key: &str) -> Answer {
    let text = |error: store2::Error| format!("{error:?}");
    let bucket = store2::open(bucket).map_err(text)?;
    let mut current = cas::Cas::new(&bucket, key).map_err(text)?;
    loop {
        let mut value = current.current().map_err(text)?.unwrap_or_default();
        value.extend_from_slice(body(request).as_bytes());
        match cas::swap(current, &value) {
            Ok(()) => return Ok(found(Some(value))),
            Err(cas::CasError::CasFailed(again)) => current = again,
            Err(cas::CasError::StoreError(error)) => return Err(text(error)),
        }
    }
}
