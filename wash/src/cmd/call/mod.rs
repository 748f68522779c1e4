//! `wash call`: calls a function of a component, over NATS as another component would.

mod http;
pub mod wave;

use std::path::PathBuf;
use std::time::Duration;

use host::capability::RemoteTarget;
use host::rpc::{Client, ClientOptions, RpcError, Transport};
use proto::{ComponentId, LinkName};
use serde_json::{Map, Value};

use self::http::HttpOptions;
use self::wave::Signature;
use super::inspect::load;
use crate::cli::Outcome;
use crate::connect::{Auth, ConnectError, Target, address};
use crate::context::Context;
use crate::error::{Advice, UsageError, WashError};
use crate::exit::Exit;
use crate::lattice::{Lattice, LatticeError, LatticeOps, NatsLattice};
use crate::output::{Answer, Printer, Style, keys};
use crate::registry::RegistryOptions;

/// Who calls, as the called one sees it.
const SOURCE: &str = "wash";
/// The function that means an HTTP request.
const HTTP_HANDLER: &str = "wasi:http/incoming-handler";

/// `wash call`.
#[derive(Debug, clap::Args)]
pub struct CallCommand {
    /// Component, by its id on the lattice
    pub component_id: String,
    /// Function, e.g. acme:shop/prices.lookup, or wasi:http/incoming-handler.handle
    pub function: String,
    /// Arguments, each in WAVE: 7, "text", {x: 1}, some([a, b])
    #[arg(value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub arguments: Vec<String>,
    /// The component's file or image, for its types [default: asked of the hosts]
    #[arg(long, value_name = "IMAGE")]
    pub types: Option<String>,
    #[command(flatten)]
    pub http: HttpOptions,
    #[command(flatten)]
    pub connect: RpcOptions,
}

/// Where calls go.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct RpcOptions {
    /// NATS host, or a URL
    #[arg(short = 'r', long, env = "WASMCLOUD_RPC_HOST", value_name = "HOST")]
    pub rpc_host: Option<String>,
    /// NATS port
    #[arg(short = 'p', long, env = "WASMCLOUD_RPC_PORT", value_name = "PORT")]
    pub rpc_port: Option<u16>,
    /// User JWT, or a file with one
    #[arg(
        long,
        env = "WASMCLOUD_RPC_JWT",
        value_name = "JWT",
        hide_env_values = true
    )]
    pub rpc_jwt: Option<String>,
    /// Seed of an nkey, or a file with one
    #[arg(
        long,
        env = "WASMCLOUD_RPC_SEED",
        value_name = "SEED",
        hide_env_values = true
    )]
    pub rpc_seed: Option<String>,
    /// NATS credentials file
    #[arg(long, env = "WASH_RPC_CREDS", value_name = "FILE")]
    pub rpc_credsfile: Option<PathBuf>,
    /// Certificates to trust beside the system's
    #[arg(long, env = "WASH_RPC_TLS_CA_FILE", value_name = "FILE")]
    pub rpc_ca_file: Option<PathBuf>,
    /// Our certificate, for a server that asks for one
    #[arg(
        long,
        env = "WASH_RPC_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "rpc_key_file"
    )]
    pub rpc_cert_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(
        long,
        env = "WASH_RPC_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "rpc_cert_file"
    )]
    pub rpc_key_file: Option<PathBuf>,
    /// First part of the subjects on which answers arrive [default: _INBOX]
    #[arg(long, env = "WASH_NATS_INBOX_PREFIX", value_parser = proto::subject::inbox::prefix, value_name = "PREFIX")]
    pub nats_inbox_prefix: Option<String>,
    /// Lattice
    #[arg(short = 'x', long, env = "WASMCLOUD_LATTICE", value_name = "LATTICE")]
    pub lattice: Option<String>,
    /// Milliseconds the call may take [default: 2000]
    #[arg(short = 't', long, env = "WASMCLOUD_RPC_TIMEOUT_MS", value_name = "MS")]
    pub rpc_timeout_ms: Option<u64>,
    /// Context to take what is not given from
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Directory of contexts
    #[arg(long, env = "WASH_CONTEXT_DIR", value_name = "DIR")]
    pub context_dir: Option<PathBuf>,
}

impl RpcOptions {
    fn context(&self) -> Result<Context, WashError> {
        let dir = match &self.context_dir {
            Some(dir) => dir.clone(),
            None => crate::dirs::Dirs::from_env()?.contexts(),
        };
        Ok(crate::context::Contexts::new(dir).choose(self.context.as_deref())?)
    }

    fn target(&self, context: &Context) -> Result<Target, ConnectError> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let host = self.rpc_host.clone().or_else(|| given(&context.rpc_host));
        let flags =
            self.rpc_credsfile.is_some() || self.rpc_jwt.is_some() || self.rpc_seed.is_some();
        let auth = match flags {
            true => Auth::choose(
                self.rpc_credsfile.clone(),
                self.rpc_jwt.clone(),
                self.rpc_seed.clone(),
            ),
            false => Auth::choose(
                context.rpc_credsfile.clone(),
                given(&context.rpc_jwt),
                given(&context.rpc_seed),
            ),
        }?;
        Ok(Target {
            url: address(
                host.as_deref().unwrap_or("127.0.0.1"),
                self.rpc_port.unwrap_or(context.rpc_port),
            )?,
            auth,
            ca_file: self
                .rpc_ca_file
                .clone()
                .or_else(|| context.rpc_tls_ca_file.clone()),
            identity: self
                .rpc_cert_file
                .clone()
                .zip(self.rpc_key_file.clone())
                .or_else(|| context.rpc_tls_identity()),
            tls_first: context.rpc_tls_first.unwrap_or(false),
            inbox_prefix: self
                .nats_inbox_prefix
                .clone()
                .or_else(|| context.nats_inbox_prefix.clone()),
            timeout: Duration::from_millis(self.rpc_timeout_ms.unwrap_or(context.rpc_timeout)),
        })
    }
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody serves it.
    #[error("nobody on lattice `{lattice}` serves `{function}` of `{component}`")]
    Nobody {
        /// The lattice.
        lattice: proto::Lattice,
        /// The component.
        component: ComponentId,
        /// The function.
        function: String,
    },
    /// The call failed.
    #[error("the call of `{function}` failed")]
    Rpc {
        /// The function.
        function: String,
        /// How.
        #[source]
        source: RpcError,
    },
    /// The HTTP request failed.
    #[error("the HTTP request to `{component}` failed: {reason}")]
    Http {
        /// The component.
        component: ComponentId,
        /// How.
        reason: String,
    },
    /// The component has no such function.
    #[error("`{component}` exports no `{function}`")]
    NoFunction {
        /// The component.
        component: ComponentId,
        /// The function.
        function: String,
        /// What it exports.
        known: Vec<String>,
    },
    /// An argument does not fit.
    #[error("argument {index} (`{name}`) is no {ty}: {reason}")]
    Argument {
        /// Counted from 1.
        index: usize,
        /// The parameter's name.
        name: String,
        /// Its type.
        ty: String,
        /// What is wrong.
        reason: String,
    },
    /// Too many or too few.
    #[error("`{function}` takes {wanted} argument(s), not {given}: {signature}")]
    Count {
        /// The function.
        function: String,
        /// As declared.
        wanted: usize,
        /// As given.
        given: usize,
        /// The whole signature.
        signature: String,
    },
    /// Types that cannot be written down.
    #[error("`{function}` uses types that have no text form: {reason}")]
    Types {
        /// The function.
        function: String,
        /// Which.
        reason: String,
    },
    /// The answer could not be used.
    #[error("the answer of `{function}` cannot be shown: {reason}")]
    Result {
        /// The function.
        function: String,
        /// Why not.
        reason: String,
    },
}

impl Advice for CallError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Nobody { .. } => {
                "see what runs with `wash get inventory`; its exports with `wash inspect IMAGE`"
                    .into()
            }
            Self::Rpc { .. } | Self::Http { .. } => {
                "the log of the host it runs on has the reason; wait longer with --rpc-timeout-ms"
                    .into()
            }
            Self::NoFunction { known, .. } if known.is_empty() => {
                "it exports no functions at all".into()
            }
            Self::NoFunction { known, .. } => format!("choose one of {}", known.join(", ")),
            Self::Argument { .. } => {
                "write it in WAVE: 7, \"text\", true, [1, 2], {x: 1}, some(1), ok(2)".into()
            }
            Self::Count { .. } => {
                "give each argument as one word, in quotes if it has spaces".into()
            }
            Self::Types { .. } => "call it from a component".into(),
            Self::Result { .. } => "see the raw messages with `wash spy`".into(),
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Nobody { .. } => Exit::Unreachable,
            Self::Argument { .. } | Self::Count { .. } | Self::NoFunction { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// What a function returned, in WAVE.
pub struct Returned(String);

impl Answer for Returned {
    fn text(&self, _: &Style) -> String {
        self.0.clone()
    }

    fn json(&self) -> Map<String, Value> {
        keys([("result", self.0.clone().into())])
    }
}

/// `acme:shop/prices@0.1.0.lookup` is an interface and a function; the last dot divides them.
fn split(text: &str) -> (Option<&str>, &str) {
    let interface_end = text.rfind('/').and_then(|slash| {
        let rest = &text[slash..];
        // The dots of a version belong to it: the function starts after the first part that is no number.
        let mut at = slash;
        let mut version = false;
        for part in rest.split('.') {
            at += part.len();
            version |= part.contains('@');
            let next = text.get(at + 1..)?.split('.').next().unwrap_or_default();
            let numeric = next.starts_with(|c: char| c.is_ascii_digit());
            if !(version && numeric) {
                return Some(at);
            }
            at += 1;
        }
        None
    });
    match interface_end {
        Some(end) => (Some(&text[..end]), &text[end + 1..]),
        None => (None, text),
    }
}

impl CallCommand {
    /// Calls it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let id = ComponentId::new(self.component_id.as_str()).map_err(LatticeError::from)?;
        let context = self.connect.context()?;
        let target = self.connect.target(&context)?;
        let name = self
            .connect
            .lattice
            .clone()
            .unwrap_or_else(|| context.lattice.clone());
        let name = proto::Lattice::new(name).map_err(LatticeError::from)?;
        let (interface, function) = split(&self.function);
        if self.function.contains('/') && function.is_empty() {
            return Err(UsageError::new(
                format!("`{}` names no function", self.function),
                "write it as NAMESPACE:PACKAGE/INTERFACE.FUNCTION",
            )
            .into());
        }
        let (client, complaint) = target.connect().await?;
        let rpc_error = |source| CallError::Rpc {
            function: self.function.clone(),
            source,
        };
        let transport = Transport::new(client.clone()).await.map_err(rpc_error)?;
        let options = ClientOptions {
            deadline: target.timeout,
            ..ClientOptions::default()
        };
        let rpc = Client::new(transport, name.clone(), options);
        let to = RemoteTarget {
            source: ComponentId::new(SOURCE).map_err(LatticeError::from)?,
            target: id.clone(),
            link_name: LinkName::default(),
            trace: Default::default(),
        };
        if interface.is_some_and(|interface| interface.split('@').next() == Some(HTTP_HANDLER)) {
            return Ok(http::call(&rpc, &to, &self.http).await?.into());
        }
        let lattice = NatsLattice::over(client, complaint, name, target.timeout);
        let signature = self
            .signature(&lattice, &id, interface, function, printer)
            .await?;
        let params = signature.read(&self.arguments)?;
        let instance = signature.instance.clone().unwrap_or_default();
        let called = rpc
            .call_values(
                &to,
                &instance,
                &signature.function,
                &params,
                &signature.wire,
            )
            .await;
        let results = called.map_err(|source| self.failed(source, lattice.name(), &id))?;
        Ok(Returned(signature.write(&results)?).into())
    }

    fn failed(
        &self,
        source: RpcError,
        lattice: &proto::Lattice,
        component: &ComponentId,
    ) -> CallError {
        let function = self.function.clone();
        match source {
            RpcError::NoResponders { .. } => CallError::Nobody {
                lattice: lattice.clone(),
                component: component.clone(),
                function,
            },
            source => CallError::Rpc { function, source },
        }
    }

    /// The types of the function, from the component's own bytes.
    async fn signature(
        &self,
        lattice: &NatsLattice,
        id: &ComponentId,
        interface: Option<&str>,
        function: &str,
        printer: &Printer,
    ) -> Result<Signature, WashError> {
        let image = match &self.types {
            Some(image) => Some(image.clone()),
            None => image_of(lattice, id).await?,
        };
        let Some(image) = image else {
            return Ok(Signature::plain(interface, function));
        };
        match load(&image, None, true, &RegistryOptions::default(), printer).await {
            Ok((bytes, _)) => Ok(Signature::find(&bytes, id, interface, function)?),
            // Without the bytes there are no types; then only the simplest function can be called.
            Err(error) if self.types.is_none() && self.arguments.is_empty() => {
                printer.warn(&format!(
                    "taking no arguments and a string as result: {}",
                    error.message()
                ));
                Ok(Signature::plain(interface, function))
            }
            Err(error) => Err(error),
        }
    }
}

/// The image of a component, as some host runs it.
pub async fn image_of(
    lattice: &NatsLattice,
    id: &ComponentId,
) -> Result<Option<String>, LatticeError> {
    let inventories = match lattice.inventories().await {
        Ok(inventories) => inventories,
        // Credentials for calls need not permit control requests.
        Err(LatticeError::NotPermitted { .. } | LatticeError::NoHosts { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut components = inventories
        .into_iter()
        .flat_map(|inventory| inventory.components);
    Ok(components
        .find(|component| component.id == *id)
        .map(|component| component.image_ref))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_divided_from_its_interface() {
        for (text, interface, function) in [
            (
                "acme:shop/prices.lookup",
                Some("acme:shop/prices"),
                "lookup",
            ),
            (
                "acme:shop/prices@0.1.0.lookup",
                Some("acme:shop/prices@0.1.0"),
                "lookup",
            ),
            (
                "acme:shop/prices@0.1.0-draft.lookup",
                Some("acme:shop/prices@0.1.0-draft"),
                "lookup",
            ),
            (
                "acme:shop/prices@0.1.0.cart.total",
                Some("acme:shop/prices@0.1.0"),
                "cart.total",
            ),
            ("run", None, "run"),
        ] {
            assert_eq!(split(text), (interface, function), "{text}");
        }
    }
}
