//! Why something does not run.

use std::time::Duration;

use proto::id::ComponentId;

use crate::capability::HttpError;

/// Why a component cannot be compiled or started, or the runtime itself cannot.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine cannot be set up.
    #[error("cannot set up the WebAssembly engine: {reason}")]
    Engine {
        /// What the engine reported.
        reason: String,
    },
    /// The bytes are something else.
    #[error("not a component: {found}; {hint}")]
    NotAComponent {
        /// What the bytes are, e.g. `a core WebAssembly module`.
        found: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// It is larger than this host takes.
    #[error(
        "the component has {size} bytes, more than this host takes ({limit}); raise `--max-component-size-bytes`"
    )]
    TooLarge {
        /// Its size.
        size: u64,
        /// The host's limit.
        limit: u64,
    },
    /// The bytes cannot be read.
    #[error("cannot read the component {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system reported.
        reason: String,
    },
    /// It is a component, but not a valid one, or it uses what this engine does not have.
    #[error("the component does not compile: {reason}")]
    Compile {
        /// What the compiler reported.
        reason: String,
    },
    /// An import has another type here.
    #[error("the component's imports do not fit this host: {reason}")]
    Imports {
        /// Which import, and how it differs.
        reason: String,
    },
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No instance became free in time.
    #[error("`{component}` is at its limit of {limit} calls at one time; retry in {}s", retry_after.as_secs())]
    Overloaded {
        /// Who was called.
        component: ComponentId,
        /// Its limit.
        limit: u32,
        /// When to try again.
        retry_after: Duration,
    },
    /// It took longer than it may.
    #[error("`{component}` took longer than it may ({limit:?})")]
    Deadline {
        /// Who was called.
        component: ComponentId,
        /// Its limit.
        limit: Duration,
    },
    /// It asked for more memory than it may have.
    #[error("`{component}` asked for more memory than it may have ({limit} bytes)")]
    Memory {
        /// Who was called.
        component: ComponentId,
        /// Its limit.
        limit: u64,
    },
    /// It trapped.
    #[error("`{component}` failed: {reason}")]
    Trap {
        /// Who was called.
        component: ComponentId,
        /// The trap.
        reason: String,
    },
    /// It does not export this.
    #[error("`{component}` exports no `{export}`")]
    NoSuchExport {
        /// Who was called.
        component: ComponentId,
        /// What was asked for.
        export: String,
    },
    /// Components call each other in a circle.
    #[error(
        "calls between components go more than {limit} deep at `{component}`; do their links make a circle?"
    )]
    TooDeep {
        /// Who was called.
        component: ComponentId,
        /// The limit.
        limit: u8,
    },
    /// It is being stopped.
    #[error("`{component}` is stopping")]
    Stopping {
        /// Who was called.
        component: ComponentId,
    },
    /// It answered an HTTP request with one of `wasi:http`'s errors.
    #[error("`{component}` answered with an HTTP error: {error}")]
    Http {
        /// Who was called.
        component: ComponentId,
        /// The error.
        error: HttpError,
    },
}
