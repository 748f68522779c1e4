//! `wasi:config`: a component's configuration, as it is at the moment of the call.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use super::{BuiltinProvider, Capability, Remote};
use crate::link::{Binding, LinkError, ResolvedLink};
use crate::runtime::Ctx;

mod draft {
    wasmtime::component::bindgen!({
        path: "../proto/wit/deps/wasi-config-0.2.0-draft",
        world: "wasi:config/imports",
    });
    pub(super) use self::wasi::config::{runtime, store};
}

mod rc1 {
    wasmtime::component::bindgen!({
        path: "../proto/wit/deps/wasi-config-0.2.0-rc.1",
        world: "wasi:config/imports",
    });
    pub(super) use self::wasi::config::store;
}

/// `wasi:config` for components. It needs no link: the configuration was named at the start.
pub struct Config;

impl Capability for Config {
    fn name(&self) -> &'static str {
        "wasi:config"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &["wasi:config/store", "wasi:config/runtime"]
    }

    fn add_to_linker(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        draft::runtime::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
        draft::store::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
        rc1::store::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
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

/// The three spellings of one interface.
macro_rules! config_host {
    ($interface:path, $error:path) => {
        impl $interface for Ctx {
            fn get(&mut self, key: String) -> Result<Option<String>, $error> {
                Ok(self.config().get(&key).cloned())
            }

            fn get_all(&mut self) -> Result<Vec<(String, String)>, $error> {
                let config = self.config();
                Ok(config
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect())
            }
        }
    };
}

config_host!(draft::runtime::Host, draft::runtime::ConfigError);
config_host!(draft::store::Host, draft::store::Error);
config_host!(rc1::store::Host, rc1::store::Error);
