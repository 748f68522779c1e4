//! The value encoding of invocations: WIT values as bytes, without type information.
//!
//! Both ends know the function's type; the bytes only say what the type leaves open. Two ways in:
//! * [`Encoder`]/[`Decoder`] work on [`wasmtime::component::Val`] and a [`Ty`] known at run time;
//! * [`Wire`] is for Rust types known when the host is compiled (the standard interfaces).
//!
//! The module does no I/O and holds no connection. A decoder is fed pieces as they come and never
//! needs more memory than its [`Limits`] allow, whatever the bytes say.
//!
//! Values that live in a component's store travel in their wire form: a resource as
//! `list<u8>` (an opaque handle), a stream as a list (empty: its elements come on an index path),
//! a future as an option (none: its value comes on an index path).

mod chunks;
mod decode;
mod encode;
mod frame;
mod ty;
mod typed;
mod wire;

#[cfg(test)]
pub(super) mod tests;

pub(crate) use chunks::{Chunks, write_chunks};
pub use decode::{Decoded, Decoder, decode_all};
pub use encode::{Encoder, encode_all};
pub use ty::{FuncTy, Ty};
pub use typed::{Reader, Wire, decode_from, encode_to_vec};
pub(crate) use typed::{put_case, put_len};
pub(crate) use wire::take_len;
pub use wire::{CodecError, Limits, Path};
