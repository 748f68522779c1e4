//! The memory one instance may use.

use wasmtime::ResourceLimiter;

/// Table elements of one instance.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Counts the linear memory of one instance, all its memories together.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    max: u64,
    used: u64,
    refused: bool,
}

impl MemoryLimit {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            max,
            used: 0,
            refused: false,
        }
    }

    /// Whether the instance ever asked for more than it may have.
    pub(crate) fn was_exceeded(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self
            .used
            .saturating_add(desired.saturating_sub(current) as u64);
        if used > self.max {
            self.refused = true;
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}
