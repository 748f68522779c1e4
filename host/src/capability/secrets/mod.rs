//! `wasmcloud:secrets`: secrets by name, shown only when a component asks to see them.

use std::fmt;
use std::sync::Arc;

use proto::provider::SecretValue;
use wasmtime::component::{HasSelf, Linker, Resource};

use super::{BuiltinProvider, Capability, Remote};
use crate::link::{Binding, LinkError, ResolvedLink};
use crate::runtime::Ctx;

mod fetch;
#[cfg(test)]
pub(crate) mod tests;

pub use fetch::{FetchError, Requester, SecretsClient};

mod wit {
    wasmtime::component::bindgen!({
        path: "../proto/wit/deps/wasmcloud-secrets-0.1.0-draft",
        inline: "
            package lattice:host;
            world guest {
                import wasmcloud:secrets/store@0.1.0-draft;
                import wasmcloud:secrets/reveal@0.1.0-draft;
            }
        ",
        world: "lattice:host/guest",
        imports: { default: trappable },
        with: { "wasmcloud:secrets/store.secret": super::Secret },
    });
    pub(super) use self::wasmcloud::secrets::{reveal, store};
}

use wit::store::SecretsError;

/// A secret that a guest holds a handle of.
pub struct Secret {
    name: String,
    /// The value when the guest asked for it; shown if the secret is gone by then.
    value: SecretValue,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

/// `wasmcloud:secrets` for components. It needs no link: the secrets were named at the start.
pub struct SecretStore;

impl Capability for SecretStore {
    fn name(&self) -> &'static str {
        "wasmcloud:secrets"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &["wasmcloud:secrets/store", "wasmcloud:secrets/reveal"]
    }

    fn add_to_linker(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        wit::store::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
        wit::reveal::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
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

impl wit::store::Host for Ctx {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Resource<Secret>, SecretsError>> {
        let Some(value) = self.secrets().get(&key).cloned() else {
            return Ok(Err(SecretsError::NotFound));
        };
        Ok(Ok(self.table.push(Secret { name: key, value })?))
    }
}

impl wit::store::HostSecret for Ctx {
    fn drop(&mut self, secret: Resource<Secret>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl wit::reveal::Host for Ctx {
    fn reveal(&mut self, secret: Resource<Secret>) -> wasmtime::Result<wit::store::SecretValue> {
        let secrets = self.secrets();
        let secret = self.table.get(&secret)?;
        // A secret that was changed since shows its new value.
        Ok(
            match secrets.get(&secret.name).unwrap_or(&secret.value).clone() {
                SecretValue::String(text) => wit::store::SecretValue::String(text),
                SecretValue::Bytes(bytes) => wit::store::SecretValue::Bytes(bytes),
            },
        )
    }
}
