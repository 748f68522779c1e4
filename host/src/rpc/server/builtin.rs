//! Serving built-in providers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use proto::id::ComponentId;

use super::{Endpoint, Handler, Refusal, ServeHandle, ServerOptions};
use super::{blobstore, http, keyvalue, messaging};
use crate::capability::BuiltinProvider;
use crate::link::{Binding, ResolvedLink};
use crate::rpc::client::{LINK_NAME, SOURCE_ID};
use crate::rpc::codec::{Wire, encode_to_vec};
use crate::rpc::exchange::Source;
use crate::rpc::transport::Incoming;

/// The links over which components call a built-in provider, bound to its backends.
pub(super) struct Links {
    id: ComponentId,
    provider: Arc<dyn BuiltinProvider>,
    table: ArcSwap<Table>,
}

/// By source and link name: the package, as `namespace:package`, and what the link is bound to.
type Table = HashMap<(String, String), Vec<(String, Binding)>>;

impl Links {
    pub(super) fn new(id: ComponentId, provider: Arc<dyn BuiltinProvider>) -> Self {
        Self {
            id,
            provider,
            table: ArcSwap::default(),
        }
    }

    /// Replaces all links; those that the provider refuses are left out.
    fn set(&self, links: &[Arc<ResolvedLink>]) {
        let mut table = Table::new();
        for resolved in links.iter().filter(|l| l.link.target == self.id) {
            let link = &resolved.link;
            match self.provider.backend(resolved) {
                Ok(binding) => table
                    .entry((link.source_id.to_string(), link.name.to_string()))
                    .or_default()
                    .push((
                        format!("{}:{}", link.wit_namespace, link.wit_package),
                        binding,
                    )),
                Err(error) => tracing::warn!(
                    provider = %self.id,
                    source = %link.source_id,
                    link_name = %link.name,
                    %error,
                    "a link is not served"
                ),
            }
        }
        self.table.store(Arc::new(table));
    }

    /// What the caller's link for `package` is bound to.
    ///
    /// # Errors
    /// The words of upstream's providers for a caller without a link.
    pub(super) fn find<T: Clone + Send + Sync + 'static>(
        &self,
        call: &Incoming,
        package: &str,
    ) -> Result<T, String> {
        let source = call.header(SOURCE_ID).unwrap_or("<unknown>").to_owned();
        let name = call.header(LINK_NAME).unwrap_or("default").to_owned();
        let key = (source, name);
        let table = self.table.load();
        let bound = table.get(&key).into_iter().flatten();
        bound
            .filter(|(of, _)| of == package)
            .find_map(|(_, binding)| binding.get::<T>().cloned())
            .ok_or_else(|| format!("consumer component not linked: {}", key.0))
    }
}

/// A built-in provider being served.
pub struct BuiltinHandle {
    links: Arc<Links>,
    serving: ServeHandle,
}

impl BuiltinHandle {
    pub(super) fn new(links: Arc<Links>, serving: ServeHandle) -> Self {
        Self { links, serving }
    }

    /// Replaces the links over which components elsewhere call the provider: all links with it as
    /// target, whenever one of them or its configuration changes.
    pub fn set_links(&self, links: &[Arc<ResolvedLink>]) {
        self.links.set(links);
    }

    /// As [`ServeHandle::stop`].
    pub async fn stop(self, grace: Duration) -> bool {
        self.serving.stop(grace).await
    }
}

/// The functions that a built-in provider of this kind offers to components.
pub(super) fn endpoints(links: &Arc<Links>) -> Vec<Endpoint> {
    let kind = links.provider.kind();
    match kind.split('-').next() {
        _ if kind == "http-client" => http::endpoints(links),
        Some("keyvalue") => keyvalue::endpoints(links),
        Some("blobstore") => blobstore::endpoints(links),
        Some("messaging") => messaging::endpoints(links),
        // http-server is a source only: nobody calls it.
        _ => Vec::new(),
    }
}

/// Endpoints of one instance, each with a handler made from the function's name.
pub(super) fn instance<H: Handler>(
    instance: &str,
    functions: &[&'static str],
    handler: impl Fn(&'static str) -> H,
) -> Vec<Endpoint> {
    functions
        .iter()
        .map(|&function| Endpoint {
            instance: Some(instance.to_owned()),
            function: function.to_owned(),
            handler: Arc::new(handler(function)),
        })
        .collect()
}

/// Reads the parameters of a typed function.
pub(super) async fn params<P: Wire>(
    call: &mut Incoming,
    options: &ServerOptions,
) -> Result<P, Refusal> {
    let subject = call.subject().to_owned();
    let mut reader = call.params();
    let mut source = Source {
        reader: &mut reader,
        subject: &subject,
        pause_max: Some(options.params_pause_max),
    };
    let params = source.typed().await?;
    params.ok_or_else(|| Refusal("it came without parameters".into()))
}

/// Answers a typed function that has no streams or futures.
pub(super) async fn reply<R: Wire>(call: &mut Incoming, result: &R) -> Result<(), Refusal> {
    call.answer(encode_to_vec(result).into(), &[]).await?;
    Ok(())
}

/// Reads the parameters, does the work, answers.
pub(super) async fn respond<P: Wire, R: Wire>(
    call: &mut Incoming,
    options: &ServerOptions,
    work: impl AsyncFnOnce(P) -> R,
) -> Result<(), Refusal> {
    let params = params(call, options).await?;
    reply(call, &work(params).await).await
}
