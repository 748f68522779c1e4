//! Guest calls of `wasi:keyvalue`, in the two drafts that components in use import.

use std::sync::Arc;

use proto::id::LinkName;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTableError};

use super::{ATOMICS, BATCH, Backend, Current, Error, KeyPage, Linked, STORE};
use crate::runtime::Ctx;

mod draft {
    wasmtime::component::bindgen!({
        path: "../proto/wit/deps/wasi-keyvalue-0.2.0-draft",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": super::Bucket },
        trappable_error_type: { "wasi:keyvalue/store.error" => super::Failure },
    });
    pub(super) use self::wasi::keyvalue::{atomics, batch, store};
}

mod draft2 {
    wasmtime::component::bindgen!({
        path: "../proto/wit/deps/wasi-keyvalue-0.2.0-draft2",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": super::Bucket,
            "wasi:keyvalue/atomics.cas": super::Cas,
        },
        trappable_error_type: { "wasi:keyvalue/store.error" => super::Failure },
    });
    pub(super) use self::wasi::keyvalue::{atomics, batch, store};
}

/// Adds both drafts.
pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    draft::store::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    draft::atomics::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    draft::batch::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    draft2::store::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    draft2::atomics::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    draft2::batch::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
}

/// A bucket that a guest has open. Which store it is, is looked up at each call.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// The name the guest opened.
    name: String,
    /// The link of that name, where there is one; else the link the guest chose decides.
    link: Option<LinkName>,
}

/// A value that a guest means to swap.
#[derive(Debug)]
pub struct Cas {
    bucket: Bucket,
    key: String,
    seen: Current,
}

/// How a guest call ends early.
#[derive(Debug)]
pub enum Failure {
    /// With an error value.
    Store(Error),
    /// With a trap: the guest used a handle it does not have.
    Trap(wasmtime::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<ResourceTableError> for Failure {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

/// A store to call, and the bucket's name there.
type Opened = (Arc<dyn Backend>, String);

/// Pairs of key and value, as guests give and take them.
type Pairs = Vec<(String, Vec<u8>)>;

impl Ctx {
    fn keyvalue_open(&mut self, name: String) -> Result<Resource<Bucket>, Failure> {
        let named = LinkName::new(name.as_str()).ok();
        let link = named.filter(|link| {
            *link != LinkName::default() && self.grants.links.get(link, STORE).is_some()
        });
        let bucket = Bucket { name, link };
        self.keyvalue(&bucket, STORE)?;
        Ok(self.table.push(bucket)?)
    }

    /// The store behind a bucket, for the functions of `interface`.
    fn keyvalue(&self, bucket: &Bucket, interface: &str) -> Result<Arc<dyn Backend>, Error> {
        let link = match &bucket.link {
            Some(name) => self.grants.links.get(name, interface).cloned(),
            None => self.link(interface),
        };
        let Some(link) = link else {
            self.missing_link(interface);
            return Err(Error::AccessDenied);
        };
        let Some(linked) = link.binding.get::<Linked>() else {
            let target = self.grants.remote_target(&link);
            return Ok(self.grants.remote().keyvalue(target));
        };
        linked.open(&bucket.name).inspect_err(|_| {
            let name = &bucket.name;
            tracing::warn!(
                component = %self.component(),
                "no bucket `{name}`: open `default`, or the name of a link for `{interface}`"
            );
        })
    }

    fn opened(&self, bucket: &Resource<Bucket>, interface: &str) -> Result<Opened, Failure> {
        let bucket = self.table.get(bucket)?;
        Ok((self.keyvalue(bucket, interface)?, bucket.name.clone()))
    }

    async fn keyvalue_get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let (store, name) = self.opened(&bucket, STORE)?;
        Ok(store.get(&name, &key).await?.map(Vec::from))
    }

    async fn keyvalue_page(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> Result<KeyPage, Failure> {
        let (store, name) = self.opened(&bucket, STORE)?;
        Ok(store.list_keys(&name, cursor).await?)
    }

    async fn keyvalue_get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Failure> {
        let (store, name) = self.opened(&bucket, BATCH)?;
        let pairs = store.get_many(&name, keys).await?;
        let owned = |(key, value): (String, bytes::Bytes)| (key, Vec::from(value));
        Ok(pairs.into_iter().map(|pair| pair.map(owned)).collect())
    }

    async fn keyvalue_set_many(
        &mut self,
        bucket: Resource<Bucket>,
        pairs: Pairs,
    ) -> Result<(), Failure> {
        let (store, name) = self.opened(&bucket, BATCH)?;
        let pairs = pairs
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect();
        Ok(store.set_many(&name, pairs).await?)
    }

    async fn keyvalue_delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<(), Failure> {
        let (store, name) = self.opened(&bucket, BATCH)?;
        Ok(store.delete_many(&name, keys).await?)
    }
}

/// The functions that both drafts spell alike.
macro_rules! same_in_every_draft {
    ($draft:ident, $cursor:ty) => {
        impl $draft::store::Host for Ctx {
            async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, Failure> {
                self.keyvalue_open(identifier)
            }

            fn convert_error(&mut self, error: Failure) -> wasmtime::Result<$draft::store::Error> {
                match error {
                    Failure::Store(error) => Ok(error.into()),
                    Failure::Trap(trap) => Err(trap),
                }
            }
        }

        impl From<Error> for $draft::store::Error {
            fn from(error: Error) -> Self {
                match error {
                    Error::NoSuchStore => Self::NoSuchStore,
                    Error::AccessDenied => Self::AccessDenied,
                    Error::Other(text) => Self::Other(text),
                }
            }
        }

        impl $draft::batch::Host for Ctx {
            async fn get_many(
                &mut self,
                bucket: Resource<Bucket>,
                keys: Vec<String>,
            ) -> Result<Vec<Option<(String, Vec<u8>)>>, Failure> {
                self.keyvalue_get_many(bucket, keys).await
            }

            async fn set_many(
                &mut self,
                bucket: Resource<Bucket>,
                pairs: Pairs,
            ) -> Result<(), Failure> {
                self.keyvalue_set_many(bucket, pairs).await
            }

            async fn delete_many(
                &mut self,
                bucket: Resource<Bucket>,
                keys: Vec<String>,
            ) -> Result<(), Failure> {
                self.keyvalue_delete_many(bucket, keys).await
            }
        }

        impl $draft::store::HostBucket for Ctx {
            async fn get(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
            ) -> Result<Option<Vec<u8>>, Failure> {
                self.keyvalue_get(bucket, key).await
            }

            async fn set(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
                value: Vec<u8>,
            ) -> Result<(), Failure> {
                let (store, name) = self.opened(&bucket, STORE)?;
                Ok(store.set(&name, &key, value.into()).await?)
            }

            async fn delete(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
            ) -> Result<(), Failure> {
                let (store, name) = self.opened(&bucket, STORE)?;
                Ok(store.delete(&name, &key).await?)
            }

            async fn exists(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
            ) -> Result<bool, Failure> {
                let (store, name) = self.opened(&bucket, STORE)?;
                Ok(store.exists(&name, &key).await?)
            }

            async fn list_keys(
                &mut self,
                bucket: Resource<Bucket>,
                cursor: Option<$cursor>,
            ) -> Result<$draft::store::KeyResponse, Failure> {
                let cursor = cursor.map(Cursor::position).transpose()?;
                let KeyPage { keys, cursor } = self.keyvalue_page(bucket, cursor).await?;
                Ok($draft::store::KeyResponse {
                    keys,
                    cursor: cursor.map(Cursor::at),
                })
            }

            async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
                self.table.delete(bucket)?;
                Ok(())
            }
        }
    };
}

same_in_every_draft!(draft, u64);
same_in_every_draft!(draft2, String);

/// Where a page of keys starts: a number in the first draft, text in the second.
trait Cursor: Sized {
    fn at(position: u64) -> Self;
    fn position(self) -> Result<u64, Error>;
}

impl Cursor for u64 {
    fn at(position: u64) -> Self {
        position
    }

    fn position(self) -> Result<u64, Error> {
        Ok(self)
    }
}

impl Cursor for String {
    fn at(position: u64) -> Self {
        position.to_string()
    }

    fn position(self) -> Result<u64, Error> {
        self.parse()
            .map_err(|_| Error::Other(format!("`{self}` is no cursor of this store")))
    }
}

impl draft::atomics::Host for Ctx {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> Result<u64, Failure> {
        let (store, name) = self.opened(&bucket, ATOMICS)?;
        Ok(store.increment(&name, &key, delta).await?)
    }
}

impl draft2::atomics::Host for Ctx {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<i64, Failure> {
        let (store, name) = self.opened(&bucket, ATOMICS)?;
        Ok(store.add(&name, &key, delta).await?)
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), draft2::atomics::CasError>> {
        use draft2::atomics::CasError;
        let Cas { bucket, key, seen } = self.table.delete(cas)?;
        let store = self.keyvalue(&bucket, ATOMICS);
        let swapped = async {
            let store = store?;
            if store.swap(&bucket.name, &key, &seen, value.into()).await? {
                return Ok(None);
            }
            store.current(&bucket.name, &key).await.map(Some)
        };
        Ok(match swapped.await {
            Ok(None) => Ok(()),
            Ok(Some(seen)) => Err(CasError::CasFailed(self.table.push(Cas {
                bucket,
                key,
                seen,
            })?)),
            Err(error) => Err(CasError::StoreError(error.into())),
        })
    }
}

impl draft2::atomics::HostCas for Ctx {
    async fn new(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Resource<Cas>, Failure> {
        let bucket = self.table.get(&bucket)?.clone();
        let store = self.keyvalue(&bucket, ATOMICS)?;
        let seen = store.current(&bucket.name, &key).await?;
        Ok(self.table.push(Cas { bucket, key, seen })?)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.table.get(&cas)?.seen.value.clone().map(Vec::from))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}
