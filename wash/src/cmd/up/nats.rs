//! The NATS server of an `up`: its configuration, and whether one is there already.

use std::ffi::OsString;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::UpError;
use super::child::{Program, log_path};
use super::options::NatsOptions;
use crate::dirs;
use crate::error::FileError;

/// How long a server may take to greet.
const GREETING: Duration = Duration::from_secs(1);

/// What is on the port.
#[derive(Debug, PartialEq, Eq)]
pub enum OnPort {
    /// Nothing.
    Nothing,
    /// A NATS server.
    Nats,
    /// Something else.
    Other,
}

/// Looks at the port. NATS greets first: `INFO {…}`.
pub async fn look(host: &str, port: u16) -> OnPort {
    let connect = tokio::net::TcpStream::connect((host, port));
    let Ok(Ok(mut stream)) = tokio::time::timeout(GREETING, connect).await else {
        return OnPort::Nothing;
    };
    let mut greeting = [0; 64];
    let Ok(Ok(count)) = tokio::time::timeout(GREETING, stream.read(&mut greeting)).await else {
        return OnPort::Other;
    };
    if greeting[..count].starts_with(b"INFO ") {
        OnPort::Nats
    } else {
        OnPort::Other
    }
}

/// Whether a port can be listened on.
pub fn is_free(host: &str, port: u16) -> bool {
    let Ok(mut addresses) = (host, port).to_socket_addrs() else {
        return false;
    };
    addresses.all(|address| TcpListener::bind(address).is_ok())
}

/// Text as a NATS configuration string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn configuration(options: &NatsOptions, store: &Path) -> String {
    let mut text = String::from("# Written by `wash up`; changes are lost.\njetstream {\n");
    text.push_str(&format!(
        "  store_dir: {}\n",
        quoted(&store.to_string_lossy())
    ));
    if let Some(domain) = &options.nats_js_domain {
        text.push_str(&format!("  domain: {}\n", quoted(domain)));
    }
    text.push_str("}\n");
    if let Some(remote) = &options.nats_remote_url {
        text.push_str(&format!(
            "leafnodes {{\n  remotes: [ {{ url: {}",
            quoted(remote)
        ));
        if let Some(credentials) = &options.nats_credsfile {
            text.push_str(&format!(
                ", credentials: {}",
                quoted(&credentials.to_string_lossy())
            ));
        }
        text.push_str(" } ]\n}\n");
    }
    if let Some(port) = options.nats_websocket_port {
        text.push_str(&format!(
            "websocket {{\n  port: {port}\n  no_tls: true\n}}\n"
        ));
    }
    text
}

/// The server as a program to start; its files are in `dir`, its streams in `store`.
pub fn program(
    options: &NatsOptions,
    server: PathBuf,
    dir: &Path,
    logs: &Path,
) -> Result<Program, UpError> {
    let store = dir.join("jetstream");
    dirs::create_private(&store)?;
    let config = match &options.nats_config_file {
        Some(own) => own.clone(),
        None => {
            let path = dir.join("nats.conf");
            dirs::write_atomically(&path, configuration(options, &store).as_bytes(), 0o600)?;
            path
        }
    };
    if !config.is_file() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(FileError::new("read", config, missing).into());
    }
    let mut arguments: Vec<OsString> = vec!["--jetstream".into()];
    arguments.extend([OsString::from("--addr"), (&options.nats_host).into()]);
    arguments.extend([
        OsString::from("--port"),
        options.nats_port.to_string().into(),
    ]);
    arguments.extend([OsString::from("--config"), config.into()]);
    Ok(Program {
        name: "nats".into(),
        path: server,
        arguments,
        environment: Vec::new(),
        log: log_path(logs, "nats"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_empty_nats_or_something_else() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert_eq!(look("127.0.0.1", free).await, OnPort::Nothing);

        for (greeting, expected) in [
            (
                "INFO {\"server_id\":\"N\",\"version\":\"2.11.8\"} \r\n",
                OnPort::Nats,
            ),
            ("SSH-2.0-x\r\n", OnPort::Other),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::io::AsyncWriteExt::write_all(&mut stream, greeting.as_bytes())
                    .await
                    .unwrap();
                stream
            };
            let (_stream, seen) = tokio::join!(server, look("127.0.0.1", port));
            assert_eq!(seen, expected);
        }
    }
}
