//! How long to wait after a failure.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::command::Subject;

/// The longest pause between two attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// The pause after so many failures: 1, 2, 4 … 300 s, a tenth up or down. The tenth comes from the
/// subject, so that it differs between hosts and is the same in every run.
#[must_use]
pub fn backoff(subject: &Subject, attempts: u32) -> Duration {
    let doubled = 1_u64
        .checked_shl(attempts.saturating_sub(1))
        .unwrap_or(u64::MAX);
    let millis = doubled.min(BACKOFF_MAX.as_secs()) * 1000;
    let digest = Sha256::digest(format!("{subject:?}{attempts}"));
    let share = u64::from(u16::from_be_bytes([digest[0], digest[1]]));
    Duration::from_millis(millis - millis / 10 + millis / 5 * share / u64::from(u16::MAX))
}
