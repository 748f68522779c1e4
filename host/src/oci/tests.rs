//! Pulls from registries that behave well and badly.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::error::chain;
use super::store::digest_of;
use super::*;

/// A registry of fixed answers by path; anything else is 404.
struct FakeRegistry {
    address: String,
    answers: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    requests: Arc<AtomicUsize>,
    authorization: Arc<Mutex<Option<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeRegistry {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let answers: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let requests = Arc::new(AtomicUsize::new(0));
        let authorization: Arc<Mutex<Option<String>>> = Arc::default();
        let (shared, count, wanted) = (answers.clone(), requests.clone(), authorization.clone());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (shared, count, wanted) = (shared.clone(), count.clone(), wanted.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 16384];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let text = String::from_utf8_lossy(&request[..length]).into_owned();
                    let Some(path) = text.split(' ').nth(1).filter(|_| text.starts_with("GET "))
                    else {
                        return;
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                    let wanted = wanted.lock().expect("lock").clone();
                    let body = shared.lock().expect("lock").get(path).cloned();
                    let answer = match (wanted, body) {
                        (Some(value), _)
                            if !text.to_lowercase().contains(&value.to_lowercase()) =>
                        {
                            let body =
                                br#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#;
                            reply(
                                "401 Unauthorized\r\nwww-authenticate: Basic realm=\"r\"",
                                body,
                            )
                        }
                        (_, Some(body)) => reply("200 OK", &body),
                        (_, None) => reply(
                            "404 Not Found",
                            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such tag"}]}"#,
                        ),
                    };
                    let _ = stream.write_all(&answer).await;
                });
            }
        });
        Self {
            address,
            answers,
            requests,
            authorization,
            task,
        }
    }

    fn answer(&self, path: &str, body: &[u8]) {
        self.answers
            .lock()
            .expect("lock")
            .insert(path.to_owned(), body.to_vec());
    }

    /// Serves an image of these layers as `app:1`, and answers its digest.
    fn image(&self, layers: &[&[u8]], media_type: &str) -> String {
        let mut entries = Vec::new();
        for layer in layers {
            let digest = digest_of(layer);
            self.answer(&format!("/v2/app/blobs/{digest}"), layer);
            entries.push(
                serde_json::json!({"mediaType": media_type, "digest": digest, "size": layer.len()}),
            );
        }
        self.manifest(&serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"{}"), "size": 2},
            "layers": entries,
        }))
    }

    fn manifest(&self, manifest: &serde_json::Value) -> String {
        let bytes = manifest.to_string().into_bytes();
        let digest = digest_of(&bytes);
        self.answer("/v2/app/manifests/1", &bytes);
        self.answer(&format!("/v2/app/manifests/{digest}"), &bytes);
        digest
    }

    fn reference(&self) -> String {
        format!("{}/app:1", self.address)
    }

    fn options(&self) -> FetchOptions {
        FetchOptions {
            insecure: [self.address.clone()].into(),
            ..FetchOptions::default()
        }
    }
}

fn reply(status: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

const WASM: &str = "application/wasm";

async fn failure(fetcher: &Fetcher, reference: &str) -> String {
    match fetcher.fetch(reference, ArtifactKind::Component).await {
        Ok(artifact) => panic!("{reference} came as {artifact:?}"),
        Err(error) => chain(&error),
    }
}

#[tokio::test]
async fn a_cached_image_outlives_its_registry() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = FakeRegistry::start().await;
    let digest = registry.image(&[b"code"], WASM);
    let (tag, options) = (registry.reference(), registry.options());
    let pinned = format!("{}/app@{digest}", registry.address);

    let fetcher = Fetcher::new(options.clone(), dir.path()).expect("a fetcher");
    let artifact = fetcher
        .fetch(&tag, ArtifactKind::Component)
        .await
        .expect("an artifact");
    assert_eq!(artifact.read().await.expect("bytes").as_ref(), b"code");
    assert_eq!(artifact.image_digest.as_deref(), Some(digest.as_str()));

    let before = registry.requests.load(Ordering::SeqCst);
    fetcher
        .fetch(&pinned, ArtifactKind::Component)
        .await
        .expect("an artifact");
    assert_eq!(
        registry.requests.load(Ordering::SeqCst),
        before,
        "a pinned digest never asks"
    );

    drop(registry);
    let fetcher = Fetcher::new(options, dir.path()).expect("a fetcher");
    for reference in [&tag, &pinned] {
        let artifact = fetcher
            .fetch(reference, ArtifactKind::Component)
            .await
            .expect("an artifact");
        assert_eq!(
            artifact.read().await.expect("bytes").as_ref(),
            b"code",
            "{reference}"
        );
    }
}

#[tokio::test]
async fn damaged_content_is_fetched_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = FakeRegistry::start().await;
    registry.image(&[b"code"], WASM);
    let fetcher = Fetcher::new(registry.options(), dir.path()).expect("a fetcher");
    let artifact = fetcher
        .fetch(&registry.reference(), ArtifactKind::Component)
        .await
        .expect("an artifact");
    std::fs::write(&artifact.path, b"CODE").expect("a write");
    assert!(artifact.read().await.is_err());
    let artifact = fetcher
        .fetch(&registry.reference(), ArtifactKind::Component)
        .await
        .expect("an artifact");
    assert_eq!(artifact.read().await.expect("bytes").as_ref(), b"code");
}

#[tokio::test]
async fn a_moved_tag_brings_the_new_content() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = FakeRegistry::start().await;
    let fetcher = Fetcher::new(registry.options(), dir.path()).expect("a fetcher");
    for content in [b"one".as_slice(), b"two"] {
        registry.image(&[content], WASM);
        let artifact = fetcher
            .fetch(&registry.reference(), ArtifactKind::Component)
            .await
            .expect("an artifact");
        assert_eq!(artifact.read().await.expect("bytes").as_ref(), content);
    }
}

#[tokio::test]
async fn layers_are_joined_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = FakeRegistry::start().await;
    registry.image(&[b"one", b"two"], "application/vnd.oci.image.layer.v1.tar");
    let fetcher = Fetcher::new(registry.options(), dir.path()).expect("a fetcher");
    let artifact = fetcher
        .fetch(&registry.reference(), ArtifactKind::Component)
        .await
        .expect("an artifact");
    assert_eq!(artifact.read().await.expect("bytes").as_ref(), b"onetwo");
}

#[tokio::test]
async fn hostile_images_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = FakeRegistry::start().await;
    let options = FetchOptions {
        component_bytes_max: 100,
        ..registry.options()
    };
    let fetcher = Fetcher::new(options, dir.path()).expect("a fetcher");
    let reference = registry.reference();

    registry.image(&[b"code"], WASM);
    registry.answer(&format!("/v2/app/blobs/{}", digest_of(b"code")), b"evil");
    assert!(
        failure(&fetcher, &reference)
            .await
            .contains("the content was changed")
    );

    registry.answer(
        &format!("/v2/app/blobs/{}", digest_of(b"code")),
        b"code and much more",
    );
    assert!(
        failure(&fetcher, &reference)
            .await
            .contains("sent more than 4 bytes")
    );

    registry.image(&[&[7; 200]], WASM);
    assert!(
        failure(&fetcher, &reference)
            .await
            .contains("has 200 bytes, this host takes a component of at most 100")
    );

    let layers: Vec<Vec<u8>> = (0..17).map(|number| vec![number]).collect();
    registry.image(&layers.iter().map(Vec::as_slice).collect::<Vec<_>>(), WASM);
    assert!(
        failure(&fetcher, &reference)
            .await
            .contains("it has 17 layers")
    );

    registry.image(&[b"x"], "text/html");
    assert!(
        failure(&fetcher, &reference)
            .await
            .contains("a layer of type `text/html`")
    );

    registry.answer("/v2/app/manifests/1", b"<html>");
    assert!(
        failure(&fetcher, &reference)
            .await
            .contains("not a usable image manifest")
    );

    registry.manifest(&serde_json::json!({"schemaVersion": 2, "config": {"mediaType": "x", "digest": "d", "size": 1},
        "layers": [{"mediaType": WASM, "digest": "sha256:../../../../etc/passwd", "size": 4}]}));
    assert!(
        failure(&fetcher, &reference)
            .await
            .contains("is not a sha256 digest")
    );

    registry.manifest(&serde_json::json!({"schemaVersion": 2, "config": {"mediaType": "x", "digest": "d", "size": 1},
        "layers": [{"mediaType": WASM, "digest": digest_of(b"code"), "size": -1}]}));
    assert!(failure(&fetcher, &reference).await.contains("bytes"));
}

#[tokio::test]
async fn credentials_are_used_and_the_registrys_words_are_passed_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = FakeRegistry::start().await;
    registry.image(&[b"code"], WASM);
    *registry.authorization.lock().expect("lock") = Some("Basic dTpw".into());
    let fetcher = Fetcher::new(registry.options(), dir.path()).expect("a fetcher");
    let said = failure(&fetcher, &registry.reference()).await;
    assert!(
        said.contains("401 Unauthorized") && said.contains("UNAUTHORIZED: who are you"),
        "{said}"
    );
    let credential = Credential::from_parts(Some("u".into()), Some("p".into()), None);
    fetcher.set_credential(&registry.address, credential);
    fetcher
        .fetch(&registry.reference(), ArtifactKind::Component)
        .await
        .expect("an artifact");
    let said = failure(&fetcher, &format!("{}/app:2", registry.address)).await;
    assert!(
        said.contains("404 Not Found") && said.contains("MANIFEST_UNKNOWN: no such tag"),
        "{said}"
    );
}

#[tokio::test]
async fn concurrent_pulls_share_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = FakeRegistry::start().await;
    registry.image(&[b"code"], WASM);
    let fetcher = Fetcher::new(registry.options(), dir.path()).expect("a fetcher");
    let reference = registry.reference();
    let pulls = (0..20).map(|_| fetcher.fetch(&reference, ArtifactKind::Component));
    for pull in futures::future::join_all(pulls).await {
        pull.expect("an artifact");
    }
    assert_eq!(
        registry.requests.load(Ordering::SeqCst),
        2,
        "one manifest, one blob"
    );
}

#[tokio::test]
async fn mirrors_stand_in_for_registries() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = FakeRegistry::start().await;
    registry.image(&[b"code"], WASM);
    let mirror = format!("registry.example/acme={}", registry.address)
        .parse()
        .expect("a mirror");
    let options = FetchOptions {
        mirrors: vec![mirror],
        ..FetchOptions::default()
    };
    let fetcher = Fetcher::new(options, dir.path()).expect("a fetcher");
    fetcher
        .fetch("registry.example/acme/app:1", ArtifactKind::Component)
        .await
        .expect("an artifact");
}

#[tokio::test]
async fn files_and_latest_need_leave() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.wasm");
    std::fs::write(&file, b"code").expect("a write");
    let reference = format!("file://{}", file.display());
    let strict =
        Fetcher::new(FetchOptions::default(), &dir.path().join("cache")).expect("a fetcher");
    let said = failure(&strict, &reference).await;
    assert_eq!(
        said,
        "unable to start component from file, file loading is disabled"
    );
    let said = failure(&strict, "r.example/a:latest").await;
    assert!(
        said.starts_with("fetching images tagged 'latest' is currently prohibited in this host."),
        "{said}"
    );
    let options = FetchOptions {
        allow_file_load: true,
        ..FetchOptions::default()
    };
    let lenient = Fetcher::new(options, &dir.path().join("cache")).expect("a fetcher");
    let artifact = lenient
        .fetch(&reference, ArtifactKind::Component)
        .await
        .expect("an artifact");
    assert_eq!(artifact.read().await.expect("bytes").as_ref(), b"code");
}
