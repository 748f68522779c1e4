//! Helpers of the tests.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads recorded JSON, writes it again and compares, whatever the order of the fields.
#[track_caller]
pub(crate) fn golden<T: Serialize + DeserializeOwned>(json: &str) {
    let recorded: Value = serde_json::from_str(json).expect("recorded JSON");
    let value: T = serde_json::from_str(json).expect("recorded JSON is read");
    let written = serde_json::to_value(&value).expect("value is written");
    assert_eq!(written, recorded);
}
