//! The distribution API, as far as pulling needs it. Every answer is bounded in size and time.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::StreamExt as _;
use oci_distribution::Reference;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::{Response, StatusCode};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::auth::{Challenge, challenge, header};
use super::manifest::Manifest;
use super::settings::{Credential, FetchOptions};
use super::store::{self, Draft};
use super::{FetchError, RegistryError};

/// A registry that does not take the connection in this time is not there.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest wait for a manifest: a tag whose registry is gone is then taken from the cache.
const MANIFEST_WAIT: Duration = Duration::from_secs(10);
/// Longest silence in the middle of a download.
const SILENCE: Duration = Duration::from_secs(30);
/// Largest manifest taken.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Largest answer of a token service taken.
const TOKEN_BYTES_MAX: u64 = 256 << 10;
/// How much of a registry's error text is passed on.
const WORDS_MAX: usize = 600;

const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// Speaks to registries.
pub struct Registry {
    client: reqwest::Client,
    plain: std::collections::BTreeSet<String>,
    docker_credentials: bool,
    credentials: ArcSwap<BTreeMap<String, Credential>>,
}

impl Registry {
    /// Sets up the client with the machine's and the given certificate authorities.
    pub fn new(options: &FetchOptions) -> Result<Self, FetchError> {
        let tls = tls_config(options)?;
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .user_agent(concat!("lattice-host/", env!("CARGO_PKG_VERSION")));
        for proxy in proxies() {
            client = client.proxy(proxy);
        }
        let client = client.build().map_err(|error| FetchError::Setup {
            reason: error.to_string(),
        })?;
        let mut plain = options.insecure.clone();
        plain.extend(
            options
                .mirrors
                .iter()
                .filter(|mirror| mirror.insecure)
                .map(|mirror| mirror.to.split('/').next().unwrap_or(&mirror.to).to_owned()),
        );
        let credentials = ArcSwap::from_pointee(options.credentials.clone());
        Ok(Self {
            client,
            plain,
            docker_credentials: options.docker_credentials,
            credentials,
        })
    }

    /// Sets or replaces one registry's credential.
    pub fn set_credential(&self, registry: &str, credential: Credential) {
        self.credentials.rcu(|old| {
            let mut new = BTreeMap::clone(old);
            new.insert(registry.to_lowercase(), credential.clone());
            Arc::new(new)
        });
    }

    /// Fetches the manifest a tag or digest names.
    pub async fn manifest(&self, image: &Reference) -> Result<Manifest, RegistryError> {
        let version = image.digest().or(image.tag()).unwrap_or("latest");
        let path = format!("{}/manifests/{version}", image.repository());
        let fetch = async {
            let response = self.get(image, &path, MANIFEST_TYPES).await?;
            let url = response.url().to_string();
            let bytes = read_bounded(response, MANIFEST_BYTES_MAX).await?;
            let digest = store::digest_of(&bytes);
            if let Some(expected) = image.digest().filter(|expected| *expected != digest) {
                return Err(RegistryError::WrongDigest {
                    url,
                    expected: expected.to_owned(),
                    actual: digest,
                });
            }
            Ok(Manifest { bytes, digest, url })
        };
        match tokio::time::timeout(MANIFEST_WAIT, fetch).await {
            Ok(result) => result,
            Err(_) => Err(RegistryError::TimedOut {
                url: image.whole(),
                waited: MANIFEST_WAIT,
            }),
        }
    }

    /// Writes the blob of `digest` into `draft`, no more than `size` bytes.
    pub async fn blob(
        &self,
        image: &Reference,
        digest: &str,
        size: u64,
        draft: &mut Draft,
    ) -> Result<(), RegistryError> {
        let path = format!("{}/blobs/{digest}", image.repository());
        let response = self.get(image, &path, "*/*").await?;
        let url = response.url().to_string();
        let mut stream = response.bytes_stream();
        let mut total: u64 = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|source| RegistryError::Unreachable {
                url: url.clone(),
                source,
            })?;
            total += chunk.len() as u64;
            if total > size {
                return Err(RegistryError::TooMuch {
                    url,
                    bytes_max: size,
                });
            }
            draft
                .write(&chunk)
                .await
                .map_err(|source| RegistryError::Disk { source })?;
        }
        let actual = draft.digest();
        if actual != digest {
            return Err(RegistryError::WrongDigest {
                url,
                expected: digest.to_owned(),
                actual,
            });
        }
        Ok(())
    }

    /// One GET with whatever authentication the registry asks for.
    async fn get(
        &self,
        image: &Reference,
        path: &str,
        accept: &str,
    ) -> Result<Response, RegistryError> {
        let registry = image.resolve_registry();
        let mut last = None;
        for scheme in self.schemes(registry) {
            let url = format!("{scheme}://{registry}/v2/{path}");
            match self.get_url(image, registry, &url, accept).await {
                // TLS against a plain port: a registry on this machine may still speak HTTP.
                Err(RegistryError::Unreachable { url, source }) => {
                    last = Some(RegistryError::Unreachable { url, source });
                }
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| RegistryError::Manifest {
            url: path.to_owned(),
            reason: "no scheme".into(),
        }))
    }

    async fn get_url(
        &self,
        image: &Reference,
        registry: &str,
        url: &str,
        accept: &str,
    ) -> Result<Response, RegistryError> {
        let credential = self.credential(registry);
        let first = self.send(url, accept, None).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return checked(first).await;
        }
        let authorization = match challenge(first.headers()) {
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let scope =
                    scope.unwrap_or_else(|| format!("repository:{}:pull", image.repository()));
                self.bearer(&credential, &realm, service.as_deref(), &scope)
                    .await?
            }
            _ => match header(&credential) {
                Some(value) => value,
                None => return checked(first).await,
            },
        };
        checked(self.send(url, accept, Some(&authorization)).await?).await
    }

    async fn send(
        &self,
        url: &str,
        accept: &str,
        authorization: Option<&str>,
    ) -> Result<Response, RegistryError> {
        let mut request = self.client.get(url).header(ACCEPT, accept);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        request
            .send()
            .await
            .map_err(|source| RegistryError::Unreachable {
                url: url.to_owned(),
                source: source.without_url(),
            })
    }

    /// Exchanges the credential for a token, as the registry's challenge says.
    async fn bearer(
        &self,
        credential: &Credential,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<String, RegistryError> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        if let Credential::Bearer(token) = credential {
            return Ok(format!("Bearer {}", token.expose_secret()));
        }
        let mut query = vec![("scope", scope)];
        query.extend(service.map(|service| ("service", service)));
        let mut request = self.client.get(realm).query(&query);
        if let Credential::Basic { user, password } = credential {
            request = request.basic_auth(user, Some(password.expose_secret()));
        }
        let response = request
            .send()
            .await
            .map_err(|source| RegistryError::Unreachable {
                url: realm.to_owned(),
                source: source.without_url(),
            })?;
        let bytes = read_bounded(checked(response).await?, TOKEN_BYTES_MAX).await?;
        let token: Option<Token> = serde_json::from_slice(&bytes).ok();
        match token.and_then(|token| token.token.or(token.access_token)) {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(RegistryError::Manifest {
                url: realm.to_owned(),
                reason: "the token service's answer holds no token".into(),
            }),
        }
    }

    fn credential(&self, registry: &str) -> Credential {
        if let Some(known) = self.credentials.load().get(registry) {
            return known.clone();
        }
        if !self.docker_credentials {
            return Credential::Anonymous;
        }
        match docker_credential::get_credential(registry) {
            Ok(docker_credential::DockerCredential::UsernamePassword(user, password)) => {
                Credential::Basic {
                    user,
                    password: password.into(),
                }
            }
            Ok(docker_credential::DockerCredential::IdentityToken(token)) => {
                Credential::Bearer(token.into())
            }
            Err(_) => Credential::Anonymous,
        }
    }

    /// How to reach a registry: one of this machine may do without TLS.
    fn schemes(&self, registry: &str) -> &'static [&'static str] {
        if self.plain.contains(registry) {
            return &["http"];
        }
        let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if local {
            &["https", "http"]
        } else {
            &["https"]
        }
    }
}

/// Passes a good answer on; makes of any other an error in the registry's own words.
async fn checked(response: Response) -> Result<Response, RegistryError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let url = response.url().to_string();
    let mut stream = response.bytes_stream();
    let mut body = Vec::new();
    while let Some(Ok(chunk)) = stream.next().await {
        body.extend_from_slice(&chunk);
        if body.len() > WORDS_MAX * 4 {
            break;
        }
    }
    Err(RegistryError::Refused {
        status,
        url,
        words: words(&body),
    })
}

/// The readable part of an error body: code and message of the API's errors, else its text.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        code: Option<String>,
        message: Option<String>,
    }
    let text = match serde_json::from_slice::<Errors>(body) {
        Ok(errors) => {
            let said = errors
                .errors
                .into_iter()
                .map(|error| match (error.code, error.message) {
                    (Some(code), Some(message)) => format!("{code}: {message}"),
                    (code, message) => code.or(message).unwrap_or_default(),
                });
            said.collect::<Vec<_>>().join("; ")
        }
        Err(_) => String::from_utf8_lossy(body)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    };
    text.chars()
        .filter(|c| !c.is_control())
        .take(WORDS_MAX)
        .collect()
}

async fn read_bounded(response: Response, bytes_max: u64) -> Result<Bytes, RegistryError> {
    let url = response.url().to_string();
    let mut stream = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|source| RegistryError::Unreachable {
            url: url.clone(),
            source,
        })?;
        if (bytes.len() + chunk.len()) as u64 > bytes_max {
            return Err(RegistryError::TooMuch { url, bytes_max });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

fn tls_config(options: &FetchOptions) -> Result<rustls::ClientConfig, FetchError> {
    let setup = |reason: String| FetchError::Setup { reason };
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in &options.ca_files {
        let pem = std::fs::File::open(path)
            .map_err(|error| setup(format!("{}: {error}", path.display())))?;
        let mut added = 0;
        for cert in rustls_pemfile::certs(&mut io::BufReader::new(pem)) {
            let cert = cert.map_err(|error| setup(format!("{}: {error}", path.display())))?;
            roots
                .add(cert)
                .map_err(|error| setup(format!("{}: {error}", path.display())))?;
            added += 1;
        }
        if added == 0 {
            return Err(setup(format!("{}: no certificate in it", path.display())));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The proxies of the usual environment variables.
fn proxies() -> Vec<reqwest::Proxy> {
    let variable = |name: &str| {
        let value = std::env::var(name).or_else(|_| std::env::var(name.to_lowercase()));
        value.ok().filter(|value| !value.is_empty())
    };
    let direct = || reqwest::NoProxy::from_string(&variable("NO_PROXY").unwrap_or_default());
    let mut proxies = Vec::new();
    if let Some(proxy) = variable("HTTPS_PROXY").and_then(|url| reqwest::Proxy::https(url).ok()) {
        proxies.push(proxy.no_proxy(direct()));
    }
    // As everywhere, the upper-case name is not read: a web server may set it from a request.
    let plain = std::env::var("http_proxy")
        .ok()
        .filter(|value| !value.is_empty());
    if let Some(proxy) = plain.and_then(|url| reqwest::Proxy::http(url).ok()) {
        proxies.push(proxy.no_proxy(direct()));
    }
    proxies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_become_one_line_of_bounded_length() {
        let json = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        assert_eq!(words(json), "UNAUTHORIZED: authentication required");
        assert_eq!(words(b"<html>\n  no\n</html>"), "<html> no </html>");
        assert_eq!(words(&[b'x'; 5000]).len(), WORDS_MAX);
        assert_eq!(words(&[0xff, 0xfe]).chars().count(), 2);
    }
}
