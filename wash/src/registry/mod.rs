//! OCI registries: references, credentials, and the client that pushes and pulls.

mod artifact;
mod error;
mod transfer;

use std::path::{Path, PathBuf};

use oci_distribution::Reference;
use oci_distribution::client::{
    Certificate, CertificateEncoding, Client, ClientConfig, ClientProtocol,
};
use oci_distribution::secrets::RegistryAuth;

pub use artifact::{Kind, digest_of};
pub use error::RegistryError;
pub use transfer::{digest, pull, push};

use crate::error::FileError;

/// How to get into a registry.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistryOptions {
    /// User name; without it the Docker credentials are used
    #[arg(short = 'u', long, env = "WASH_REG_USER", value_name = "USER")]
    pub user: Option<String>,
    /// Password
    #[arg(
        short = 'p',
        long,
        env = "WASH_REG_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true
    )]
    pub password: Option<String>,
    /// Speak plain HTTP (always so for a registry on this machine)
    #[arg(long)]
    pub insecure: bool,
    /// Do not check the registry's certificate
    #[arg(long)]
    pub insecure_skip_tls_verify: bool,
    /// Certificates to trust beside the system's
    #[arg(long, env = "WASH_REG_CA_FILE", value_name = "FILE")]
    pub registry_ca_file: Option<PathBuf>,
}

/// A reference to one artifact, understood.
#[derive(Debug, Clone)]
pub struct Image {
    /// The parsed reference.
    pub reference: Reference,
    https: bool,
}

impl Image {
    /// Reads a reference; `oci://`, `http://` and `https://` in front are allowed, and so is a
    /// registry that is named apart from it.
    pub fn parse(
        text: &str,
        registry: Option<&str>,
        allow_latest: bool,
    ) -> Result<Self, RegistryError> {
        let (scheme, bare) = text.split_once("://").unwrap_or(("oci", text));
        if !matches!(scheme, "oci" | "http" | "https") {
            return Err(RegistryError::Scheme(text.to_owned()));
        }
        let joined = match registry {
            Some(registry) => {
                let registry = registry
                    .split_once("://")
                    .map_or(registry, |(_, rest)| rest);
                format!("{}/{bare}", registry.trim_end_matches('/'))
            }
            None => bare.to_owned(),
        };
        let reference: Reference =
            joined
                .to_lowercase()
                .parse()
                .map_err(|source| RegistryError::Reference {
                    text: text.to_owned(),
                    source,
                })?;
        let explicit = joined
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':') || last.contains('@'));
        if !allow_latest
            && (!explicit || reference.tag() == Some("latest"))
            && reference.digest().is_none()
        {
            return Err(RegistryError::Latest(text.to_owned()));
        }
        Ok(Self {
            reference,
            https: scheme == "https",
        })
    }

    /// The last part of the repository's name.
    pub fn short_name(&self) -> &str {
        self.reference
            .repository()
            .rsplit('/')
            .next()
            .unwrap_or_default()
    }
}

/// Whether a registry is on this machine, where plain HTTP is the rule.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl RegistryOptions {
    /// A client for this image.
    pub fn client(&self, image: &Image, monolithic: bool) -> Result<Client, RegistryError> {
        let plain =
            self.insecure || (!image.https && is_loopback(image.reference.resolve_registry()));
        let extra_root_certificates = match &self.registry_ca_file {
            Some(path) => {
                let data =
                    std::fs::read(path).map_err(|source| FileError::new("read", path, source))?;
                vec![Certificate {
                    encoding: CertificateEncoding::Pem,
                    data,
                }]
            }
            None => Vec::new(),
        };
        Ok(Client::new(ClientConfig {
            protocol: if plain {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            accept_invalid_certificates: self.insecure_skip_tls_verify,
            use_monolithic_push: monolithic,
            extra_root_certificates,
            connect_timeout: Some(transfer::CONNECT_TIMEOUT),
            read_timeout: Some(transfer::STALL_TIMEOUT),
            https_proxy: proxy("HTTPS_PROXY"),
            http_proxy: proxy("HTTP_PROXY"),
            no_proxy: proxy("NO_PROXY"),
            user_agent: concat!("wash/", env!("CARGO_PKG_VERSION")),
            platform_resolver: None,
            ..ClientConfig::default()
        }))
    }

    /// The flags' credentials, else Docker's, else none.
    pub fn auth(&self, image: &Image) -> Result<RegistryAuth, RegistryError> {
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => {
                return Ok(RegistryAuth::Basic(user.clone(), password.clone()));
            }
            (Some(_), None) => return Err(RegistryError::HalfCredentials("--password")),
            (None, Some(_)) => return Err(RegistryError::HalfCredentials("--user")),
            (None, None) => {}
        }
        let registry = match image.reference.resolve_registry() {
            "index.docker.io" => "https://index.docker.io/v1/",
            registry => registry,
        };
        Ok(match docker_credential::get_credential(registry) {
            Ok(docker_credential::DockerCredential::UsernamePassword(user, password)) => {
                RegistryAuth::Basic(user, password)
            }
            // An identity token would have to be exchanged first; nobody's registry here asks for it.
            Ok(docker_credential::DockerCredential::IdentityToken(_)) | Err(_) => {
                RegistryAuth::Anonymous
            }
        })
    }
}

fn proxy(name: &str) -> Option<String> {
    let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    get(name).or_else(|| get(&name.to_ascii_lowercase()))
}

/// Whether a target is a file here rather than a reference.
pub fn is_file(target: &str) -> bool {
    target.starts_with("file://") || Path::new(target).is_file()
}

/// The path of a target that is a file.
pub fn file_path(target: &str) -> PathBuf {
    PathBuf::from(target.strip_prefix("file://").unwrap_or(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_with_and_without_scheme_and_registry() {
        for (text, registry, expected) in [
            ("ghcr.io/acme/web:1", None, "ghcr.io/acme/web:1"),
            ("oci://ghcr.io/acme/web:1", None, "ghcr.io/acme/web:1"),
            ("http://127.0.0.1:5000/web:1", None, "127.0.0.1:5000/web:1"),
            ("web:1", Some("https://reg.example/"), "reg.example/web:1"),
            ("GHCR.io/Acme/web:1", None, "ghcr.io/acme/web:1"),
        ] {
            let image = Image::parse(text, registry, false).unwrap();
            assert_eq!(image.reference.whole(), expected, "{text}");
        }
    }

    #[test]
    fn latest_has_to_be_asked_for() {
        for text in [
            "ghcr.io/acme/web:latest",
            "ghcr.io/acme/web",
            "localhost:5000/web",
        ] {
            assert!(
                matches!(
                    Image::parse(text, None, false),
                    Err(RegistryError::Latest(_))
                ),
                "{text}"
            );
            Image::parse(text, None, true).unwrap();
        }
        let pinned = format!("ghcr.io/acme/web@sha256:{}", "0".repeat(64));
        Image::parse(&pinned, None, false).unwrap();
    }

    #[test]
    fn loopback_registries_speak_plain_http() {
        for (registry, loopback) in [
            ("127.0.0.1:5000", true),
            ("localhost:5000", true),
            ("localhost", true),
            ("registry.localhost", true),
            ("[::1]:5000", true),
            ("ghcr.io", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(is_loopback(registry), loopback, "{registry}");
        }
    }
}
