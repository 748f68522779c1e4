//! A component's standard output and error: lines in the host's log.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::id::ComponentId;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Lines that one component may write in one [`PERIOD`]; the rest is counted and dropped.
const LINES_MAX: u32 = 200;
/// See [`LINES_MAX`].
const PERIOD: Duration = Duration::from_secs(1);
/// Bytes of one line; a longer one is cut in pieces.
const LINE_BYTES_MAX: usize = 4096;

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// Where the lines of all instances of one component go.
pub(super) struct LineLog {
    component: ComponentId,
    budget: Mutex<Budget>,
}

struct Budget {
    since: Instant,
    lines: u32,
}

impl LineLog {
    pub(super) fn new(component: ComponentId) -> Arc<Self> {
        let budget = Mutex::new(Budget {
            since: Instant::now(),
            lines: 0,
        });
        Arc::new(Self { component, budget })
    }

    fn line(&self, stream: Stream, line: &[u8]) {
        let component = &self.component;
        match self.spend() {
            Spent::Dropped => return,
            Spent::Granted { dropped_before: 0 } => {}
            Spent::Granted { dropped_before } => {
                tracing::warn!(%component, dropped = dropped_before, "component writes too many lines; some were dropped");
            }
        }
        let line = String::from_utf8_lossy(line);
        match stream {
            Stream::Out => tracing::info!(target: "component", %component, "{line}"),
            Stream::Err => tracing::warn!(target: "component", %component, "{line}"),
        }
    }

    fn spend(&self) -> Spent {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped_before = 0;
        if budget.since.elapsed() >= PERIOD {
            dropped_before = budget.lines.saturating_sub(LINES_MAX);
            *budget = Budget {
                since: Instant::now(),
                lines: 0,
            };
        }
        budget.lines = budget.lines.saturating_add(1);
        if budget.lines > LINES_MAX {
            Spent::Dropped
        } else {
            Spent::Granted { dropped_before }
        }
    }
}

enum Spent {
    Granted { dropped_before: u32 },
    Dropped,
}

/// One instance's stream: keeps the unfinished line.
#[derive(Clone)]
pub(super) struct LogStream {
    log: Arc<LineLog>,
    stream: Stream,
    partial: Arc<Mutex<Vec<u8>>>,
}

impl LogStream {
    pub(super) fn new(log: &Arc<LineLog>, stream: Stream) -> Self {
        Self {
            log: Arc::clone(log),
            stream,
            partial: Arc::default(),
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            partial.extend_from_slice(piece);
            if partial.ends_with(b"\n") {
                partial.pop();
                self.log.line(self.stream, &partial);
                partial.clear();
            }
            while partial.len() >= LINE_BYTES_MAX {
                let rest = partial.split_off(LINE_BYTES_MAX);
                self.log.line(self.stream, &partial);
                *partial = rest;
            }
        }
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        if Arc::strong_count(&self.partial) == 1 {
            let partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
            if !partial.is_empty() {
                self.log.line(self.stream, &partial);
            }
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(LINE_BYTES_MAX)
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LogStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
