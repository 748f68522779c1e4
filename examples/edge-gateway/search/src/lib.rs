//! The search component: finds ids by the words of their texts, kept in a key-value store.

use std::collections::BTreeSet;

use exports::edge::api::search::{Guest, Problem};
use wasi::keyvalue::store;

wit_bindgen::generate!({
    path: ["../../../proto/wit/deps/wasi-keyvalue-0.2.0-draft", "../wit"],
    world: "edge:api/search-service",
    generate_all,
});

/// The longest text that is indexed, in words.
const WORDS_MAX: usize = 64;

struct Search;

export!(Search);

impl Guest for Search {
    /// One key for each word, so that a search reads only what it asks for.
    fn add(id: String, text: String) -> Result<(), Problem> {
        let bucket = store::open("default").map_err(failed)?;
        for word in words(&text).iter().take(WORDS_MAX) {
            let key = format!("word.{word}");
            let mut ids = read(&bucket, &key)?;
            if ids.insert(id.clone()) {
                let line = ids.into_iter().collect::<Vec<_>>().join(" ");
                bucket.set(&key, line.as_bytes()).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn find(text: String) -> Result<Vec<String>, Problem> {
        let bucket = store::open("default").map_err(failed)?;
        let mut found: Option<BTreeSet<String>> = None;
        for word in words(&text).iter().take(WORDS_MAX) {
            let ids = read(&bucket, &format!("word.{word}"))?;
            found = Some(match found {
                None => ids,
                Some(before) => before.intersection(&ids).cloned().collect(),
            });
        }
        match found {
            Some(ids) => Ok(ids.into_iter().collect()),
            None => Err(Problem::Invalid("search for at least one word: ?q=WORDS".to_owned())),
        }
    }
}

/// The words of a text in lower case; only what may stand in a key.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect()
}

fn read(bucket: &store::Bucket, key: &str) -> Result<BTreeSet<String>, Problem> {
    let bytes = bucket.get(key).map_err(failed)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).split_whitespace().map(str::to_owned).collect())
}

fn failed(error: store::Error) -> Problem {
    Problem::Unavailable(format!("key-value store: {error:?}"))
}
