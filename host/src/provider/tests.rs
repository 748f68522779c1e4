use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use futures::StreamExt;
use proto::link::{InterfaceLinkDefinition, Link};
use proto::provider::HostData;
use proto::subject::ProviderSubject;

use super::*;
use crate::capability::testing::Server as NatsServer;

const SOON: Duration = Duration::from_secs(20);

/// A provider that writes down what it was started with: `{dir}/start.{n}`, its number and its
/// environment; then waits.
pub(crate) const SCRIPT: &str = r#"#!/bin/sh
dir=${0%/*}
n=$(/bin/ls "$dir" | /bin/grep -c '^start\.')
/usr/bin/env > "$dir/env"
read -r line
echo "$line" > "$dir/new"
echo $$ > "$dir/pid"
/bin/mv "$dir/new" "$dir/start.$n"
exec /bin/sleep 600
"#;

struct Bench {
    nats: NatsServer,
    client: async_nats::Client,
    dir: tempfile::TempDir,
    events: Arc<Mutex<Vec<ProviderEvent>>>,
}

impl Bench {
    async fn start() -> Self {
        let nats = NatsServer::nats();
        let client = async_nats::connect(nats.address()).await.unwrap();
        Self {
            nats,
            client,
            dir: tempfile::tempdir().unwrap(),
            events: Arc::default(),
        }
    }

    fn context(&self) -> ProviderContext {
        ProviderContext {
            lattice: Lattice::default(),
            host: HostId::new("NHOST").unwrap(),
            client: self.client.clone(),
            rpc_url: format!("nats://{}", self.nats.address()),
            rpc_jwt: String::new(),
            rpc_seed: String::new(),
            rpc_timeout: Duration::from_millis(1500),
            host_xkey: Arc::new(proto::xkey::new()),
            structured_logging: false,
            log_level: Some(LogLevel::Info),
            otel: OtelConfig::default(),
            dir: self.dir.path().join("notes"),
            shutdown_delay: Duration::from_millis(300),
        }
    }

    async fn provider(&self, settings: Settings) -> (ProviderContext, ProviderProcess) {
        let executable = self.dir.path().join("provider");
        fs::write(&executable, SCRIPT).unwrap();
        fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).unwrap();
        let spec = ProviderSpec {
            id: id("kv"),
            executable,
            settings,
        };
        let events = self.events.clone();
        let sink: EventSink = Arc::new(move |event| events.lock().unwrap().push(event));
        let cx = self.context();
        let process = ProviderProcess::start(cx.clone(), spec, sink)
            .await
            .unwrap();
        (cx, process)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    async fn started(&self, n: usize) -> HostData {
        let path = self.path(&format!("start.{n}"));
        until(|| path.exists()).await;
        HostData::from_line(&fs::read_to_string(path).unwrap()).unwrap()
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.path("pid"))
            .unwrap()
            .trim()
            .to_owned()
    }
}

fn id(text: &str) -> ComponentId {
    ComponentId::new(text).unwrap()
}

fn link(name: &str, bucket: &str) -> Arc<ResolvedLink> {
    let mut link = Link::new(id("web"), id("kv"), "wasi", "keyvalue", ["store"]);
    link.name = proto::id::LinkName::new(name).unwrap();
    let mut link = ResolvedLink::plain(link);
    link.target_config.insert("bucket".into(), bucket.into());
    Arc::new(link)
}

async fn until(condition: impl Fn() -> bool) {
    let give_up = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < give_up, "the condition did not come about");
        tokio::task::yield_now().await;
    }
}

fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    // A process that has ended but was not waited for counts as ended.
    stat.is_ok_and(|s| {
        !s.rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_dies_is_back_with_what_is_true_now() {
    let bench = Bench::start().await;
    let mut secret = ResolvedLink::clone(&link("default", "old"));
    secret
        .target_secrets
        .insert("password".into(), SecretValue::String("s3cr3t".into()));
    let settings = Settings {
        config: BTreeMap::from([("a".into(), "1".into())]),
        secrets: BTreeMap::from([("token".into(), SecretValue::String("t".into()))]),
        links: vec![Arc::new(secret)],
    };
    let (cx, provider) = bench.provider(settings).await;
    let first = bench.started(0).await;
    assert_eq!(first.provider_key, "kv");
    assert_eq!(first.lattice_rpc_prefix, "default");
    assert_eq!(first.default_rpc_timeout_ms, Some(1500));
    assert_eq!(first.config["a"], "1");
    assert_eq!(first.secrets["token"], SecretValue::String("t".into()));
    // Only the provider opens the link's secrets.
    let own = proto::xkey::from_seed(&first.provider_xkey_private_key).unwrap();
    let sealed = first.link_definitions[0].target_secrets.clone().unwrap();
    let opened = proto::xkey::open(&own, &first.host_xkey_public_key, &sealed).unwrap();
    assert!(String::from_utf8(opened).unwrap().contains("s3cr3t"));
    let environment = fs::read_to_string(bench.path("env")).unwrap();
    assert!(!environment.contains("HOME="), "{environment}");
    assert!(cx.dir.join("kv.pid.json").exists());

    provider.put_link(link("default", "new"));
    provider.put_link(link("spare", "spare"));
    provider.delete_link(&link("spare", "").link.key());
    provider.set_config(BTreeMap::from([("a".into(), "2".into())]));
    let pid = bench.pid();
    Command::new("kill").args(["-9", &pid]).status().unwrap();
    let second = bench.started(1).await;
    assert_eq!(second.config["a"], "2");
    assert_eq!(second.link_definitions.len(), 1);
    assert_eq!(second.link_definitions[0].target_config["bucket"], "new");
    assert_ne!(second.instance_id, first.instance_id);
    until(|| provider.restarts() == 1).await;
    let events = bench.events.lock().unwrap().clone();
    assert!(
        matches!(
            &events[..],
            [
                ProviderEvent::Exited {
                    again_in: Duration::ZERO,
                    ..
                },
                ProviderEvent::Restarted { restarts: 1 },
            ]
        ),
        "{events:?}"
    );

    let pid = bench.pid();
    assert!(runs(&pid));
    provider.stop().await;
    assert!(!runs(&pid));
    assert!(!cx.dir.join("kv.pid.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_hears_of_links_config_health_and_its_end() {
    let bench = Bench::start().await;
    // What the provider's own library would do, from here.
    let all = ProviderSubject::all(&Lattice::default());
    let mut heard = bench.client.subscribe(all.clone()).await.unwrap();
    let (_cx, provider) = bench.provider(Settings::default()).await;
    let data = bench.started(0).await;
    let xkey = proto::xkey::from_seed(&data.provider_xkey_private_key)
        .unwrap()
        .public_key();
    provider.put_link(link("default", "b"));
    provider.set_config(BTreeMap::from([("k".into(), "v".into())]));
    let mut subjects = Vec::new();
    let mut stopping = None;
    let mut provider = Some(provider);
    let give_up = tokio::time::Instant::now() + SOON;
    loop {
        let message = tokio::time::timeout_at(give_up, heard.next())
            .await
            .unwrap()
            .unwrap();
        let subject = message
            .subject
            .strip_prefix(all.trim_end_matches('>'))
            .unwrap()
            .to_owned();
        if subject.ends_with("linkdefs.put") {
            let link: InterfaceLinkDefinition = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(link.target_config["bucket"], "b");
        }
        if subject == "kv.config.update" {
            subjects.push(format!(
                "{subject} {}",
                String::from_utf8_lossy(&message.payload)
            ));
        } else {
            subjects.push(subject.clone());
        }
        if let Some(reply) = message.reply {
            let answer = if subject == "kv.health" {
                r#"{"healthy":true}"#
            } else {
                "shutting down"
            };
            bench.client.publish(reply, answer.into()).await.unwrap();
        }
        if subject == "kv.health"
            && let Some(provider) = provider.take()
        {
            let told = bench.events.clone();
            stopping = Some(tokio::spawn(async move {
                until(|| told.lock().unwrap().contains(&ProviderEvent::HealthPassed)).await;
                provider.stop().await;
            }));
        }
        if subject == "kv.default.shutdown" {
            assert_eq!(message.payload, r#"{"host_id":"NHOST"}"#);
            break;
        }
    }
    stopping.unwrap().await.unwrap();
    let put = format!("{xkey}.linkdefs.put");
    for expected in [
        "kv.config.update {}",
        &put,
        "kv.config.update {\"k\":\"v\"}",
        "kv.health",
    ] {
        assert!(
            subjects.iter().any(|s| s == expected),
            "{expected}: {subjects:?}"
        );
    }
    // What came before the provider was known to listen came again when it was.
    let after = subjects.iter().position(|s| s == "kv.health").unwrap();
    assert!(subjects[after..].contains(&put), "{subjects:?}");
}

#[tokio::test]
async fn what_cannot_start_says_so() {
    let bench = Bench::start().await;
    let executable = bench.path("nothing");
    let spec = ProviderSpec {
        id: id("kv"),
        executable,
        settings: Settings::default(),
    };
    let started = ProviderProcess::start(bench.context(), spec, Arc::new(|_| {})).await;
    let error = started.err().unwrap();
    assert!(matches!(error, ProviderError::Spawn { .. }), "{error}");
}

/// Not a test: the host that the next test kills.
#[tokio::test]
#[ignore = "run by `a_killed_host_leaves_no_provider`"]
async fn host_that_is_killed() {
    let executable = std::env::var("PROVIDER_FOR_TEST").unwrap();
    let process = super::process::Process::start(Path::new(&executable), "x\n")
        .await
        .unwrap();
    println!("\npid {}", process.pid());
    std::future::pending::<()>().await;
}

#[test]
fn a_killed_host_leaves_no_provider() {
    let dir = tempfile::tempdir().unwrap();
    let executable = dir.path().join("provider");
    fs::write(&executable, SCRIPT).unwrap();
    fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).unwrap();
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "provider::tests::host_that_is_killed",
            "--nocapture",
        ])
        .env("PROVIDER_FOR_TEST", &executable)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let pid = lines
        .find_map(|line| line.strip_prefix("pid ").map(str::to_owned))
        .unwrap();
    assert!(runs(&pid));
    host.kill().unwrap();
    host.wait().unwrap();
    let give_up = Instant::now() + SOON;
    while runs(&pid) {
        assert!(Instant::now() < give_up, "the provider outlived its host");
        std::thread::yield_now();
    }
}
