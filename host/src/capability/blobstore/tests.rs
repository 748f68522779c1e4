//! One suite, run over every backend.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tempfile::TempDir;

use super::{Backend, ByteStream, Error, FsStore, NatsStore, NatsStoreSettings, ObjectId};
use crate::capability::nats::LazyClient;
use crate::capability::testing::Server;

#[tokio::test]
async fn files_keep_the_rules() {
    let root = TempDir::new().expect("a folder");
    suite(&FsStore::new(root.path().join("blobs"))).await;
    let left = std::fs::read_dir(root.path().join("blobs/.unfinished"))
        .expect("folder")
        .count();
    assert_eq!(left, 0, "nothing unfinished is left behind");
}

#[tokio::test]
async fn nats_keeps_the_rules() {
    let server = Server::nats();
    let client = async_nats::connect(server.address()).await.expect("nats");
    let settings = NatsStoreSettings {
        js_domain: None,
        write_within: Duration::from_secs(30),
        max_age: Duration::ZERO,
        in_memory: true,
        replicas: 1,
        compression: false,
    };
    suite(&NatsStore::lazy(LazyClient::new(None, &client), settings)).await;
}

fn id(container: &str, object: &str) -> ObjectId {
    ObjectId {
        container: container.into(),
        object: object.into(),
    }
}

fn bytes(parts: &[&'static str]) -> ByteStream {
    let parts: Vec<_> = parts
        .iter()
        .map(|part| Ok(Bytes::from_static(part.as_bytes())))
        .collect();
    Box::pin(futures::stream::iter(parts))
}

async fn read(store: &dyn Backend, id: &ObjectId, start: u64, end: u64) -> Result<String, Error> {
    let chunks: Vec<_> = store.get_data(id, start, end).await?.try_collect().await?;
    Ok(String::from_utf8(chunks.concat()).expect("text"))
}

async fn names(store: &dyn Backend, limit: Option<u64>, offset: Option<u64>) -> Vec<String> {
    let names = store
        .list_objects("box", limit, offset)
        .await
        .expect("a list");
    let mut names: Vec<_> = names.try_collect().await.expect("names");
    names.sort();
    names
}

async fn suite(store: &dyn Backend) {
    containers_come_and_go(store).await;
    objects_are_read_whole_and_in_part(store).await;
    a_broken_write_leaves_what_was_there(store).await;
    objects_move_and_copy(store).await;
    large_objects_pass(store).await;
}

async fn containers_come_and_go(store: &dyn Backend) {
    assert_eq!(store.ready().await, Ok(()));
    assert_eq!(store.container_exists("box").await, Ok(false));
    assert_eq!(store.delete_container("box").await, Ok(()));
    assert!(store.list_objects("box", None, None).await.is_err());
    assert!(
        store
            .write_data(&id("box", "a"), bytes(&["x"]))
            .await
            .is_err()
    );
    assert_eq!(store.create_container("box").await, Ok(()));
    assert_eq!(
        store.create_container("box").await,
        Ok(()),
        "twice is the same"
    );
    assert_eq!(store.container_exists("box").await, Ok(true));
    assert!(store.container_info("box").await.expect("info").created_at > 1_600_000_000);
    assert!(store.create_container("../box").await.is_err());
}

async fn objects_are_read_whole_and_in_part(store: &dyn Backend) {
    let object = id("box", "folder/a b.txt");
    assert_eq!(store.has_object(&object).await, Ok(false));
    assert!(store.object_info(&object).await.is_err());
    assert!(store.get_data(&object, 0, 9).await.is_err());
    assert_eq!(
        store
            .write_data(&object, bytes(&["hello ", "", "world"]))
            .await,
        Ok(())
    );
    assert_eq!(store.has_object(&object).await, Ok(true));
    let info = store.object_info(&object).await.expect("info");
    assert_eq!(info.size, 11);
    assert!(info.created_at > 1_600_000_000);
    for (start, end, part) in [
        (0, u64::MAX, "hello world"),
        (0, 4, "hello"),
        (6, 10, "world"),
        (10, 99, "d"),
        (11, 99, ""),
    ] {
        assert_eq!(
            read(store, &object, start, end).await.as_deref(),
            Ok(part),
            "{start} to {end}"
        );
    }
    assert!(store.get_data(&object, 5, 4).await.is_err());
    assert_eq!(
        store.write_data(&id("box", "empty"), bytes(&[])).await,
        Ok(())
    );
    assert_eq!(
        read(store, &id("box", "empty"), 0, 9).await.as_deref(),
        Ok("")
    );
    assert_eq!(names(store, None, None).await, ["empty", "folder/a b.txt"]);
    assert_eq!(names(store, Some(1), None).await.len(), 1);
    assert_eq!(names(store, Some(9), Some(2)).await.len(), 0);
}

async fn a_broken_write_leaves_what_was_there(store: &dyn Backend) {
    let object = id("box", "kept");
    assert_eq!(store.write_data(&object, bytes(&["old"])).await, Ok(()));
    let broken = bytes(&["new"]).chain(futures::stream::iter([Err(Error::new("gone"))]));
    assert!(store.write_data(&object, Box::pin(broken)).await.is_err());
    assert_eq!(read(store, &object, 0, 9).await.as_deref(), Ok("old"));
    assert_eq!(store.delete_object(&object).await, Ok(()));
    assert_eq!(
        store.delete_object(&object).await,
        Ok(()),
        "twice is the same"
    );
    assert_eq!(store.has_object(&object).await, Ok(false));
}

async fn objects_move_and_copy(store: &dyn Backend) {
    let (a, b, c) = (id("box", "a"), id("other", "b"), id("other", "deep/c"));
    assert_eq!(store.create_container("other").await, Ok(()));
    assert_eq!(store.write_data(&a, bytes(&["data"])).await, Ok(()));
    assert_eq!(store.copy_object(&a, &b).await, Ok(()));
    assert_eq!(store.move_object(&b, &c).await, Ok(()));
    assert_eq!(store.has_object(&a).await, Ok(true));
    assert_eq!(store.has_object(&b).await, Ok(false));
    assert_eq!(read(store, &c, 0, 9).await.as_deref(), Ok("data"));
    assert!(store.copy_object(&a, &id("nowhere", "a")).await.is_err());
    assert!(store.move_object(&b, &c).await.is_err());
    assert_eq!(
        store
            .delete_objects("box", vec!["a".into(), "none".into()])
            .await,
        Ok(())
    );
    assert_eq!(store.clear_container("box").await, Ok(()));
    assert_eq!(names(store, None, None).await, [""; 0]);
    assert_eq!(store.delete_container("other").await, Ok(()));
    assert_eq!(store.container_exists("other").await, Ok(false));
}

async fn large_objects_pass(store: &dyn Backend) {
    const PARTS: usize = 3000;
    let part = Bytes::from(vec![7_u8; 1000]);
    let parts = std::iter::repeat_n(Ok(part), PARTS);
    let object = id("box", "large");
    let written = store
        .write_data(&object, Box::pin(futures::stream::iter(parts)))
        .await;
    assert_eq!(written, Ok(()));
    let data = store.get_data(&object, 500, u64::MAX).await.expect("data");
    let read = data
        .try_fold(0, |sum, chunk| async move { Ok(sum + chunk.len()) })
        .await;
    assert_eq!(read, Ok(PARTS * 1000 - 500));
}
