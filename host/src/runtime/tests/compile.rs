//! Bytes of every kind, and the cache.

use super::*;

fn cached(dir: &std::path::Path) -> Arc<Runtime> {
    let options = RuntimeOptions {
        cache_dir: Some(dir.to_path_buf()),
        pool_instances: Some(4),
        max_component_bytes: 10_000,
        ..RuntimeOptions::default()
    };
    Runtime::new(options, Vec::new()).unwrap()
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let engine = std::fs::read_dir(dir)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut files: Vec<_> = std::fs::read_dir(engine)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn what_is_no_component_is_named() {
    for (bytes, expected) in [
        (b"\0asm\x01\0\0\0".to_vec(), "core WebAssembly module"),
        (b"\x1f\x8bxx".to_vec(), "gzip archive"),
        (b"\x7fELF".to_vec(), "native program"),
        (b"<html>".to_vec(), "no WebAssembly at all"),
        (Vec::new(), "empty"),
        (b"\0asm\x0d\0\x01\0garbage".to_vec(), "does not compile"),
        (
            b"\0asm\x63\0\0\0".to_vec(),
            "a version that this host does not know",
        ),
    ] {
        let Err(error) = runtime().compile(&Artifact::from_bytes(bytes)).await else {
            panic!("{expected}: compiled")
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_component_that_is_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = cached(dir.path())
        .compile(&Artifact::from_bytes(vec![0; 10_001]))
        .await
        .err();
    assert!(matches!(
        error,
        Some(RuntimeError::TooLarge {
            size: 10_001,
            limit: 10_000
        })
    ));
}

#[tokio::test]
async fn compiled_code_is_kept_and_a_damaged_file_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let artifact = Artifact::from_bytes(OPS);
    cached(dir.path()).compile(&artifact).await.unwrap();
    let kept = files(dir.path());
    assert_eq!(kept.len(), 2, "{kept:?}");
    let written = |path: &std::path::Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let first = written(&kept[0]);

    // What is kept is enough: the bytes are not read again.
    let gone = Artifact {
        digest: artifact.digest.clone(),
        source: ArtifactSource::File("/nowhere/at/all.wasm".into()),
    };
    cached(dir.path()).compile(&gone).await.unwrap();
    assert_eq!(written(&kept[0]), first);

    std::fs::write(&kept[0], b"damaged").unwrap();
    let error = cached(dir.path()).compile(&gone).await.err();
    assert!(
        matches!(error, Some(RuntimeError::Unreadable { .. })),
        "now the bytes are needed"
    );
    cached(dir.path()).compile(&artifact).await.unwrap();
    assert!(std::fs::metadata(&kept[0]).unwrap().len() > 100);
    cached(dir.path()).compile(&gone).await.unwrap();
}

#[tokio::test]
async fn the_same_code_is_compiled_once() {
    let artifact = Artifact::from_bytes(OPS);
    let (one, two) = tokio::join!(runtime().compile(&artifact), runtime().compile(&artifact));
    assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
}

#[tokio::test]
async fn the_linker_knows_which_versions_it_serves() {
    let runtime = runtime();
    for (interface, served) in [
        ("wasi:http/types@0.2.0", true),
        ("wasi:http/types@0.2.99", true),
        ("wasi:http/types@0.3.0", true),
        ("wasi:http/types@0.4.0", false),
        ("wasi:cli/environment@0.2.3", true),
        ("wasmcloud:bus/lattice@1.0.0", true),
        ("wasmcloud:bus/lattice@2.0.0", true),
        ("test:math/ops@0.1.0", false),
    ] {
        assert_eq!(
            runtime.known.serves(&runtime.linker, interface),
            served,
            "{interface}"
        );
    }
}
