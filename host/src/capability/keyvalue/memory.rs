//! `keyvalue-memory`: a store that lives and dies with its provider.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Backend, Current, Error, KeyPage, PAGE_KEYS_MAX, check_key, counter};

/// A map in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every write, so that no two states of a key look alike to a swap.
    revision: u64,
    values: BTreeMap<String, (Bytes, u64)>,
}

impl State {
    fn put(&mut self, key: &str, value: Bytes) {
        self.revision += 1;
        self.values.insert(key.to_owned(), (value, self.revision));
    }

    fn value(&self, key: &str) -> Option<&Bytes> {
        self.values.get(key).map(|(value, _)| value)
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state; a panic elsewhere leaves the map whole, because each change is one call.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for MemoryStore {
    async fn get(&self, _bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.state().value(key).cloned())
    }

    async fn set(&self, _bucket: &str, key: &str, value: Bytes) -> Result<(), Error> {
        check_key(key)?;
        self.state().put(key, value);
        Ok(())
    }

    async fn delete(&self, _bucket: &str, key: &str) -> Result<(), Error> {
        self.state().values.remove(key);
        Ok(())
    }

    async fn exists(&self, _bucket: &str, key: &str) -> Result<bool, Error> {
        Ok(self.state().values.contains_key(key))
    }

    async fn list_keys(&self, _bucket: &str, cursor: Option<u64>) -> Result<KeyPage, Error> {
        let start = usize::try_from(cursor.unwrap_or(0)).unwrap_or(usize::MAX);
        let state = self.state();
        let keys: Vec<_> = state
            .values
            .keys()
            .skip(start)
            .take(PAGE_KEYS_MAX)
            .cloned()
            .collect();
        let next = start.saturating_add(keys.len());
        let cursor = (next < state.values.len()).then_some(next as u64);
        Ok(KeyPage { keys, cursor })
    }

    async fn increment(&self, _bucket: &str, key: &str, delta: u64) -> Result<u64, Error> {
        check_key(key)?;
        let mut state = self.state();
        let sum = counter::add(state.value(key).map(Bytes::as_ref), delta)?;
        state.put(key, sum.to_string().into());
        Ok(sum)
    }

    async fn add(&self, _bucket: &str, key: &str, delta: i64) -> Result<i64, Error> {
        check_key(key)?;
        let mut state = self.state();
        let sum = counter::add_signed(state.value(key).map(Bytes::as_ref), delta)?;
        state.put(key, sum.to_string().into());
        Ok(sum)
    }

    async fn current(&self, _bucket: &str, key: &str) -> Result<Current, Error> {
        Ok(match self.state().values.get(key) {
            Some((value, revision)) => Current {
                value: Some(value.clone()),
                revision: *revision,
            },
            None => Current::default(),
        })
    }

    async fn swap(
        &self,
        _bucket: &str,
        key: &str,
        seen: &Current,
        value: Bytes,
    ) -> Result<bool, Error> {
        check_key(key)?;
        let mut state = self.state();
        let revision = state.values.get(key).map_or(0, |(_, revision)| *revision);
        let unchanged = revision == seen.revision;
        if unchanged {
            state.put(key, value);
        }
        Ok(unchanged)
    }
}
