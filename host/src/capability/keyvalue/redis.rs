//! `keyvalue-redis`: values in Redis, one multiplexed connection that mends itself.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, FromRedisValue, RedisError};

use super::{Backend, Current, Error, KeyPage, PAGE_KEYS_MAX, check_key};

/// Where Redis is when the link does not say; upstream's default.
pub const URL_DEFAULT: &str = "redis://127.0.0.1:6379/";

/// Writes `ARGV[3]` if the key holds `ARGV[2]`, or nothing where `ARGV[1]` is `0`.
const SWAP: &str = "
local now = redis.call('GET', KEYS[1])
if (ARGV[1] == '0' and now == false) or (ARGV[1] == '1' and now == ARGV[2]) then
  redis.call('SET', KEYS[1], ARGV[3])
  return 1
end
return 0";

/// How to reach one Redis.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RedisSettings {
    /// `redis://[user][:password@]host[:port][/database]`.
    pub url: String,
    /// Attempts before a call fails.
    pub reconnect_retries: usize,
    /// Longest pause between two attempts.
    pub reconnect_delay_max: Duration,
    /// Longest wait for a connection.
    pub connection_timeout: Duration,
    /// Longest wait for an answer.
    pub response_timeout: Duration,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: URL_DEFAULT.into(),
            reconnect_retries: 3,
            reconnect_delay_max: Duration::from_millis(300),
            connection_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(1),
        }
    }
}

/// A Redis database. It ignores bucket names, as upstream's provider does.
#[derive(Clone)]
pub struct RedisStore {
    connection: ConnectionManager,
}

impl RedisStore {
    /// A store that connects at the first call. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Other`] if the URL is not one that Redis clients take.
    pub fn lazy(settings: &RedisSettings) -> Result<Self, Error> {
        let client = redis::Client::open(settings.url.as_str()).map_err(refused)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(settings.reconnect_retries)
            .set_max_delay(settings.reconnect_delay_max)
            .set_connection_timeout(Some(settings.connection_timeout))
            .set_response_timeout(Some(settings.response_timeout));
        let connection =
            ConnectionManager::new_lazy_with_config(client, config).map_err(refused)?;
        Ok(Self { connection })
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        command
            .query_async(&mut self.connection.clone())
            .await
            .map_err(refused)
    }
}

/// Redis's own words; a URL with its password is never among them.
fn refused(error: RedisError) -> Error {
    Error::Other(format!("redis: {error}"))
}

fn command(name: &str, key: &str) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}

/// Redis answers bulk strings as `Vec<u8>`.
fn bytes(value: Option<Vec<u8>>) -> Option<Bytes> {
    value.map(Bytes::from)
}

#[async_trait]
impl Backend for RedisStore {
    async fn ready(&self) -> Result<(), Error> {
        self.ask(&redis::cmd("PING")).await
    }

    async fn get(&self, _bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        self.ask(&command("GET", key)).await.map(bytes)
    }

    async fn set(&self, _bucket: &str, key: &str, value: Bytes) -> Result<(), Error> {
        check_key(key)?;
        self.ask(command("SET", key).arg(value.as_ref())).await
    }

    async fn delete(&self, _bucket: &str, key: &str) -> Result<(), Error> {
        self.ask(&command("DEL", key)).await
    }

    async fn exists(&self, _bucket: &str, key: &str) -> Result<bool, Error> {
        self.ask(&command("EXISTS", key)).await
    }

    async fn list_keys(&self, _bucket: &str, cursor: Option<u64>) -> Result<KeyPage, Error> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor.unwrap_or(0))
            .arg("COUNT")
            .arg(PAGE_KEYS_MAX);
        let (next, keys): (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
        // Keys that are not text cannot be named in the interface.
        let keys = keys
            .into_iter()
            .filter_map(|key| String::from_utf8(key).ok())
            .collect();
        Ok(KeyPage {
            keys,
            cursor: (next != 0).then_some(next),
        })
    }

    async fn increment(&self, _bucket: &str, key: &str, delta: u64) -> Result<u64, Error> {
        check_key(key)?;
        let sum: i64 = self.ask(command("INCRBY", key).arg(delta)).await?;
        u64::try_from(sum).map_err(|_| super::too_large())
    }

    async fn add(&self, _bucket: &str, key: &str, delta: i64) -> Result<i64, Error> {
        check_key(key)?;
        self.ask(command("INCRBY", key).arg(delta)).await
    }

    async fn get_many(
        &self,
        _bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Bytes)>>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<Option<Vec<u8>>> = self.ask(redis::cmd("MGET").arg(&keys)).await?;
        let pairs = keys.into_iter().zip(values);
        Ok(pairs
            .map(|(key, value)| bytes(value).map(|value| (key, value)))
            .collect())
    }

    async fn set_many(&self, _bucket: &str, values: Vec<(String, Bytes)>) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("MSET");
        for (key, value) in &values {
            check_key(key)?;
            command.arg(key).arg(value.as_ref());
        }
        self.ask(&command).await
    }

    async fn delete_many(&self, _bucket: &str, keys: Vec<String>) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        self.ask(redis::cmd("DEL").arg(&keys)).await
    }

    async fn swap(
        &self,
        _bucket: &str,
        key: &str,
        seen: &Current,
        value: Bytes,
    ) -> Result<bool, Error> {
        check_key(key)?;
        let mut swap = redis::cmd("EVAL");
        swap.arg(SWAP)
            .arg(1)
            .arg(key)
            .arg(u8::from(seen.value.is_some()))
            .arg(seen.value.as_deref().unwrap_or_default())
            .arg(value.as_ref());
        self.ask(&swap).await
    }
}
