//! Host, wadm and wash reach a NATS server in every way that it can ask who they are, and say what to
//! do when it does not let them in.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use harness::lattice::http_answers;
use harness::{
    Access, Lattice, Nats, Operator, Permissions, Process, Who, eventually, program, repository,
};
use nkeys::KeyPair;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

/// The exit code of wash for "nobody to talk to".
const UNREACHABLE: i32 = 3;

/// What the programs say when the server does not know them.
const REFUSED: Advice = Advice {
    host: "--nats-creds",
    wadm: "--nats-creds-file",
    wash: "--ctl-credsfile",
};

/// What they say when they do not trust its certificate.
const UNTRUSTED: Advice = Advice {
    host: "--nats-tls-ca",
    wadm: "--nats-tls-ca-file",
    wash: "--ctl-tls-ca-file",
};

/// What they say when it asks for a certificate of theirs.
const UNKNOWN: Advice = Advice {
    host: "--nats-tls-cert",
    wadm: "--nats-tls-cert-file",
    wash: "--ctl-tls-cert-file",
};

/// The option that each program names.
struct Advice {
    host: &'static str,
    wadm: &'static str,
    wash: &'static str,
}

async fn server(config: String, access: Access) -> anyhow::Result<Nats> {
    let mut nats = Nats::start_with(Some(config)).await?;
    nats.set_access(access);
    Ok(nats)
}

/// An application is deployed with wash and answers: all three programs are in.
async fn works(nats: Nats) -> anyhow::Result<Nats> {
    let mut lattice = Lattice::on(nats)?;
    lattice.start_wadm()?;
    let host = lattice.start_host(&[]).await?;
    let image = repository("examples/http-hello/http-hello.wasm").canonicalize()?;
    let file = lattice.folder().join("hello.yaml");
    let manifest = format!(
        "apiVersion: core.oam.dev/v1beta1\nkind: Application\nmetadata: {{name: hello}}\nspec:\n  components:\n\
         \x20   - name: web\n      type: component\n      properties: {{image: 'file://{}'}}\n\
         \x20     traits: [{{type: spreadscaler, properties: {{instances: 1}}}}]\n",
        image.display()
    );
    std::fs::write(&file, manifest)?;
    let file = file.display().to_string();
    let deploy = ["app", "deploy", &file, "--wait", "--timeout", "60s"];
    lattice.wash_ok(&deploy).await?;
    let port = lattice.hosts[host].http_port;
    http_answers(port, "web.hello.localhost", "/", 200, SOON).await?;
    // The connection for calls is made apart.
    let call = ["call", "hello-web", "wasi:http/incoming-handler.handle"];
    lattice.wash_ok(&call).await?;
    let Lattice { nats, .. } = lattice;
    Ok(nats)
}

/// With `access` each program says what failed, on which server and what to try, and none says a word
/// of `secrets`.
async fn says(
    mut nats: Nats,
    access: Access,
    advice: &Advice,
    secrets: &[&str],
) -> anyhow::Result<()> {
    let port = nats.port();
    nats.set_access(access.clone());
    let at = format!("127.0.0.1:{port}");
    let lattice = Lattice::on(nats)?;

    let wash = lattice.wash(&["get", "hosts"]).await?;
    let said = String::from_utf8_lossy(&wash.stderr).into_owned();
    assert_eq!(wash.status.code(), Some(UNREACHABLE), "{said}");
    plain("wash", &said, &[&at, advice.wash], secrets);

    let folder = lattice.folder();
    let data = folder.join("host").display().to_string();
    let mut host = Command::new(program("host")?);
    host.args(access.host(port)).args(["--data-dir", &data]);
    let mut wadm = Command::new(program("wadm")?);
    wadm.args(access.wadm(port));
    let host = Process::start("host", folder, &mut host)?;
    let wadm = Process::start("wadm", folder, &mut wadm)?;
    for (process, name, option) in [(host, "host", advice.host), (wadm, "wadm", advice.wadm)] {
        eventually(&format!("advice from {name}"), SOON, || async {
            let log = process.log();
            anyhow::ensure!(log.contains(option) && log.contains(&at), "{log}");
            Ok(())
        })
        .await?;
        plain(name, &process.log(), &[], secrets);
    }
    Ok(())
}

fn plain(who: &str, said: &str, words: &[&str], secrets: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{who} does not say `{word}`:\n{said}");
    }
    for unwanted in ["panicked", "backtrace"].iter().chain(secrets) {
        assert!(!said.contains(unwanted), "{who} says `{unwanted}`:\n{said}");
    }
}

/// Certificates and keys of a server on loopback and of the parts, and the private authority that
/// signed them.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn new() -> anyhow::Result<Self> {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "authority of a test");
        let authority = authority.self_signed(&authority_key)?;
        let key = KeyPair::generate()?;
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let server = CertificateParams::new(names)?.signed_by(&key, &authority, &authority_key)?;
        let folder = TempDir::new()?;
        std::fs::write(folder.path().join("ca.pem"), authority.pem())?;
        std::fs::write(folder.path().join("server.pem"), server.pem())?;
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem())?;
        let key = KeyPair::generate()?;
        let part =
            CertificateParams::new(Vec::new())?.signed_by(&key, &authority, &authority_key)?;
        std::fs::write(folder.path().join("part.pem"), part.pem())?;
        std::fs::write(folder.path().join("part-key.pem"), key.serialize_pem())?;
        Ok(Self { folder })
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What the parts show to a server that asks for a certificate.
    fn part(&self) -> (PathBuf, PathBuf) {
        let folder = self.folder.path();
        (folder.join("part.pem"), folder.join("part-key.pem"))
    }

    fn config(&self, more: &str) -> String {
        let folder = self.folder.path().display();
        format!(
            "tls {{ cert_file: \"{folder}/server.pem\", key_file: \"{folder}/key.pem\"{more} }}\n"
        )
    }
}

#[tokio::test]
async fn tls_with_a_private_authority() -> anyhow::Result<()> {
    let certificates = Certificates::new()?;
    let access = Access {
        authority: Some(certificates.authority()),
        ..Access::default()
    };
    let nats = works(server(certificates.config(""), access).await?).await?;
    says(nats, Access::default(), &UNTRUSTED, &[]).await
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides() -> anyhow::Result<()> {
    let certificates = Certificates::new()?;
    let authority = certificates.authority();
    let asks = format!(", ca_file: \"{}\", verify: true", authority.display());
    let without = Access {
        authority: Some(authority),
        ..Access::default()
    };
    let access = Access {
        identity: Some(certificates.part()),
        ..without.clone()
    };
    let nats = works(server(certificates.config(&asks), access).await?).await?;
    says(nats, without, &UNKNOWN, &[]).await
}

#[tokio::test]
async fn tls_with_a_server_that_another_authority_signed() -> anyhow::Result<()> {
    let (certificates, other) = (Certificates::new()?, Certificates::new()?);
    let access = Access {
        authority: Some(other.authority()),
        ..Access::default()
    };
    let nats = server(certificates.config(""), Access::default()).await?;
    says(nats, access, &UNTRUSTED, &[]).await
}

#[tokio::test]
async fn no_password_is_sent_in_clear_where_an_authority_is_named() -> anyhow::Result<()> {
    let certificates = Certificates::new()?;
    let config = "authorization { user: u, password: very-secret }".to_owned();
    let access = Access {
        authority: Some(certificates.authority()),
        ..Access::all(Who::user("u", "very-secret"))
    };
    // The server speaks no TLS, so the password would travel for everybody to read.
    let nats = server(config, Access::default()).await?;
    says(nats, access, &UNTRUSTED, &["very-secret"]).await
}

#[tokio::test]
async fn user_and_password() -> anyhow::Result<()> {
    // Characters that an address cannot hold as they are.
    let password = "p@ss:w/rd 100%";
    let config = format!("authorization {{ user: \"the part\", password: '{password}' }}");
    let access = Access::all(Who::user("the part", password));
    let nats = works(server(config, access).await?).await?;
    let wrong = Access::all(Who::user("the part", "not-the-password"));
    says(nats, wrong, &REFUSED, &["not-the-password"]).await
}

#[tokio::test]
async fn nkeys_of_users() -> anyhow::Result<()> {
    let (right, wrong) = (KeyPair::new_user(), KeyPair::new_user());
    let config = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        right.public_key()
    );
    let access = Access::all(Who::Nkey(right.seed()?));
    let nats = works(server(config, access).await?).await?;
    let seed = wrong.seed()?;
    says(
        nats,
        Access::all(Who::Nkey(seed.clone())),
        &REFUSED,
        &[&seed],
    )
    .await
}

#[tokio::test]
async fn credentials_files_of_an_operator() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (operator, other) = (Operator::new()?, Operator::new()?);
    let all = Permissions::default();
    let who =
        |name: &str| Ok::<_, anyhow::Error>(operator.credentials(folder.path(), name, &all)?.0);
    let access = Access {
        host: Who::Credentials(who("host")?),
        wadm: Who::Credentials(who("wadm")?),
        wash: Who::Credentials(who("wash")?),
        ..Access::default()
    };
    let nats = works(server(operator.config(), access).await?).await?;
    let (file, seed) = other.credentials(folder.path(), "stranger", &all)?;
    says(
        nats,
        Access::all(Who::Credentials(file)),
        &REFUSED,
        &[&seed],
    )
    .await
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() -> anyhow::Result<()> {
    let mut nats = Nats::start().await?;
    let missing = PathBuf::from("/nowhere/at-all");
    let port = nats.port();
    for access in [
        Access::all(Who::Credentials(missing.clone())),
        Access {
            authority: Some(missing.clone()),
            ..Access::default()
        },
        Access {
            identity: Some((missing.clone(), missing.clone())),
            ..Access::default()
        },
    ] {
        nats.set_access(access.clone());
        let mut host = tokio::process::Command::new(program("host")?);
        let mut wadm = tokio::process::Command::new(program("wadm")?);
        let mut wash = tokio::process::Command::new(program("wash")?);
        for (name, command) in [
            ("host", host.args(access.host(port))),
            ("wadm", wadm.args(access.wadm(port))),
            ("wash", wash.args(["get", "hosts"]).envs(access.wash(port))),
        ] {
            let command = command
                .env("RUST_BACKTRACE", "0")
                .kill_on_drop(true)
                .output();
            let ended = tokio::time::timeout(SOON, command).await??;
            let said = [ended.stdout, ended.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert_eq!(ended.status.code(), Some(1), "{name}: {said}");
            plain(name, &said, &["/nowhere/at-all"], &[]);
        }
    }
    Ok(())
}
