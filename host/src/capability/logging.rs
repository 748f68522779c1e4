//! `wasi:logging`: what components say, in the host's log under their ids.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use super::{BuiltinProvider, Capability, Remote};
use crate::link::{Binding, LinkError, ResolvedLink};
use crate::runtime::Ctx;

/// Longest message that is logged whole, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

mod unversioned {
    wasmtime::component::bindgen!({
        path: "../proto/wit/deps/wasi-logging",
        world: "wasi:logging/imports",
    });
    pub(super) use self::wasi::logging::logging;
}

mod draft {
    wasmtime::component::bindgen!({
        path: "../proto/wit/deps/wasi-logging-0.1.0-draft",
        world: "wasi:logging/imports",
    });
    pub(super) use self::wasi::logging::logging;
}

/// `wasi:logging` for components. It needs no link.
pub struct Logging;

impl Capability for Logging {
    fn name(&self) -> &'static str {
        "wasi:logging"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &["wasi:logging/logging"]
    }

    fn add_to_linker(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        unversioned::logging::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
        draft::logging::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn bind(
        &self,
        _link: &ResolvedLink,
        _peer: Option<&Arc<dyn BuiltinProvider>>,
        _remote: &Arc<dyn Remote>,
    ) -> Result<Binding, LinkError> {
        Ok(Binding::none())
    }
}

macro_rules! logging_host {
    ($logging:ident) => {
        impl $logging::logging::Host for Ctx {
            fn log(&mut self, level: $logging::logging::Level, context: String, message: String) {
                use $logging::logging::Level;
                let component = self.component();
                let message = shortened(&message);
                match level {
                    Level::Trace => {
                        tracing::trace!(target: "component", %component, context, "{message}");
                    }
                    Level::Debug => {
                        tracing::debug!(target: "component", %component, context, "{message}");
                    }
                    Level::Info => {
                        tracing::info!(target: "component", %component, context, "{message}");
                    }
                    Level::Warn => {
                        tracing::warn!(target: "component", %component, context, "{message}");
                    }
                    Level::Error => {
                        tracing::error!(target: "component", %component, context, "{message}");
                    }
                    Level::Critical => {
                        tracing::error!(
                            target: "component", %component, context, critical = true, "{message}"
                        );
                    }
                }
            }
        }
    };
}

logging_host!(unversioned);
logging_host!(draft);

/// The start of a message that is too long for a log.
fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "é".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(shortened(&long).len(), MESSAGE_BYTES_MAX);
        let odd = format!("a{long}");
        assert_eq!(shortened(&odd).len(), MESSAGE_BYTES_MAX - 1);
    }
}
