//! One suite, run over every backend.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto::id::LinkName;

use super::{
    Backend, Error, KEY_BYTES_MAX, Linked, MemoryStore, NatsBucket, NatsStore, PAGE_KEYS_MAX,
    RedisSettings, RedisStore,
};
use crate::capability::nats::LazyClient;
use crate::capability::testing::Server;

const B: &str = "default";

async fn nats_store(server: &Server) -> NatsStore {
    let client = async_nats::connect(server.address()).await.expect("nats");
    let bucket = NatsBucket {
        name: "suite".into(),
        create: true,
        js_domain: None,
    };
    NatsStore::lazy(LazyClient::new(None, &client), bucket)
}

#[tokio::test]
async fn memory_keeps_the_rules() {
    suite(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn nats_keeps_the_rules() {
    let server = Server::nats();
    suite(Arc::new(nats_store(&server).await)).await;
}

#[tokio::test]
async fn redis_keeps_the_rules() {
    let server = Server::redis();
    let url = format!("redis://{}/", server.address());
    let store = RedisStore::lazy(&RedisSettings {
        url,
        ..Default::default()
    })
    .expect("url");
    suite(Arc::new(store)).await;
}

async fn suite(store: Arc<dyn Backend>) {
    reads_what_was_written(&*store).await;
    odd_keys_come_back(&*store).await;
    batches(&*store).await;
    counts(&*store).await;
    counters_lose_nothing(&store).await;
    swaps_only_what_it_saw(&*store).await;
    lists_page_by_page(&*store).await;
}

async fn reads_what_was_written(store: &dyn Backend) {
    assert_eq!(store.get(B, "a").await, Ok(None));
    assert_eq!(store.delete(B, "a").await, Ok(()));
    assert_eq!(store.exists(B, "a").await, Ok(false));
    for value in ["one", "", "two"] {
        assert_eq!(store.set(B, "a", value.into()).await, Ok(()));
        assert_eq!(store.get(B, "a").await, Ok(Some(value.into())), "{value}");
        assert_eq!(store.exists(B, "a").await, Ok(true));
    }
    assert_eq!(store.delete(B, "a").await, Ok(()));
    assert_eq!(store.get(B, "a").await, Ok(None));
    assert_eq!(store.exists(B, "a").await, Ok(false));
}

async fn odd_keys_come_back(store: &dyn Backend) {
    let longest = "k".repeat(KEY_BYTES_MAX);
    let odd = [
        "user:42",
        "with space",
        "a..b",
        ".a",
        "*",
        "ключ",
        "=e=x",
        &longest,
    ];
    for key in odd {
        assert_eq!(
            store.set(B, key, key.to_owned().into()).await,
            Ok(()),
            "{key}"
        );
    }
    let page = store.list_keys(B, None).await.expect("keys");
    assert_eq!(
        page.keys
            .iter()
            .map(String::as_str)
            .collect::<BTreeSet<_>>(),
        BTreeSet::from(odd)
    );
    for key in odd {
        assert_eq!(
            store.get(B, key).await,
            Ok(Some(key.to_owned().into())),
            "{key}"
        );
        assert_eq!(store.delete(B, key).await, Ok(()));
    }
    let too_long = store
        .set(B, &"k".repeat(KEY_BYTES_MAX + 1), "".into())
        .await;
    assert!(matches!(too_long, Err(Error::Other(_))));
}

async fn batches(store: &dyn Backend) {
    assert_eq!(store.set_many(B, vec![]).await, Ok(()));
    assert_eq!(store.get_many(B, vec![]).await, Ok(vec![]));
    assert_eq!(store.delete_many(B, vec![]).await, Ok(()));
    let pairs = vec![("x".to_owned(), "1".into()), ("y:z".to_owned(), "2".into())];
    assert_eq!(store.set_many(B, pairs.clone()).await, Ok(()));
    let asked = vec!["x".into(), "none".into(), "y:z".into()];
    let [x, y] = &pairs[..] else { unreachable!() };
    let answer = store.get_many(B, asked.clone()).await;
    assert_eq!(answer, Ok(vec![Some(x.clone()), None, Some(y.clone())]));
    assert_eq!(store.delete_many(B, asked.clone()).await, Ok(()));
    assert_eq!(store.get_many(B, asked).await, Ok(vec![None, None, None]));
}

async fn counts(store: &dyn Backend) {
    assert_eq!(store.increment(B, "n", 2).await, Ok(2));
    assert_eq!(store.increment(B, "n", 40).await, Ok(42));
    assert_eq!(store.get(B, "n").await, Ok(Some("42".into())));
    assert_eq!(store.add(B, "n", -50).await, Ok(-8));
    assert_eq!(store.delete(B, "n").await, Ok(()));
    assert_eq!(store.increment(B, "n", 1).await, Ok(1));
    assert_eq!(store.set(B, "n", "ten".into()).await, Ok(()));
    assert!(matches!(
        store.increment(B, "n", 1).await,
        Err(Error::Other(_))
    ));
    assert_eq!(store.get(B, "n").await, Ok(Some("ten".into())));
    assert_eq!(store.delete(B, "n").await, Ok(()));
}

async fn counters_lose_nothing(store: &Arc<dyn Backend>) {
    let writers = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                store.increment(B, "hits", 1).await.expect("increment");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("writer");
    }
    assert_eq!(store.get(B, "hits").await, Ok(Some("100".into())));
    assert_eq!(store.delete(B, "hits").await, Ok(()));
}

async fn swaps_only_what_it_saw(store: &dyn Backend) {
    let nothing = store.current(B, "s").await.expect("current");
    assert_eq!(nothing.value, None);
    assert_eq!(store.swap(B, "s", &nothing, "first".into()).await, Ok(true));
    assert_eq!(
        store.swap(B, "s", &nothing, "second".into()).await,
        Ok(false)
    );
    let first = store.current(B, "s").await.expect("current");
    assert_eq!(first.value, Some("first".into()));
    assert_eq!(store.set(B, "s", "other".into()).await, Ok(()));
    assert_eq!(store.swap(B, "s", &first, "second".into()).await, Ok(false));
    assert_eq!(store.get(B, "s").await, Ok(Some("other".into())));
    assert_eq!(store.delete(B, "s").await, Ok(()));
    let gone = store.current(B, "s").await.expect("current");
    assert_eq!(store.swap(B, "s", &gone, "third".into()).await, Ok(true));
    assert_eq!(store.delete(B, "s").await, Ok(()));
}

async fn lists_page_by_page(store: &dyn Backend) {
    let pairs: Vec<_> = (0..PAGE_KEYS_MAX * 2 + 1)
        .map(|i| (format!("k{i}"), "v".into()))
        .collect();
    let expected: BTreeSet<_> = pairs.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(store.set_many(B, pairs).await, Ok(()));
    let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let page = store.list_keys(B, cursor).await.expect("page");
        seen.extend(page.keys);
        pages += 1;
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
    assert!((2..=20).contains(&pages), "{pages} pages");
    assert_eq!(
        store.delete_many(B, expected.into_iter().collect()).await,
        Ok(())
    );
    assert_eq!(
        store.list_keys(B, None).await.map(|page| page.keys),
        Ok(vec![])
    );
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_answers_with_an_error() {
    let url = "redis://127.0.0.1:1/".to_owned();
    let redis = RedisStore::lazy(&RedisSettings {
        url,
        ..Default::default()
    })
    .expect("url");
    assert!(matches!(redis.get(B, "a").await, Err(Error::Other(_))));
}

#[test]
fn a_store_with_one_bucket_knows_it_by_three_names() {
    let store = Linked::only(
        LinkName::new("cache").expect("name"),
        Arc::new(MemoryStore::new()),
    );
    for name in ["", "default", "cache"] {
        assert!(store.open(name).is_ok(), "{name}");
    }
    assert!(matches!(store.open("other"), Err(Error::NoSuchStore)));
    assert!(
        Linked::any(Arc::new(MemoryStore::new()))
            .open("other")
            .is_ok()
    );
}
