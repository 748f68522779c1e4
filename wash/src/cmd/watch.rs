//! `--watch`: the same answer again and again, until Ctrl-C.

use std::future::Future;
use std::time::Duration;

use crate::cli::Outcome;
use crate::error::WashError;
use crate::exit::Exit;
use crate::output::{Answer, Printer};

/// How often to look again.
#[derive(Debug, Clone, clap::Args)]
pub struct Watch {
    /// Show it again and again, until Ctrl-C; a number is milliseconds, `2s` works too
    #[arg(short = 'w', long = "watch", value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1000", value_parser = interval)]
    pub interval: Option<Duration>,
}

/// Reads milliseconds or a duration with a unit.
pub fn interval(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<u64>() {
        Ok(millis) => Ok(Duration::from_millis(millis)),
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| format!("{error}; write 500, 500ms or 2s")),
    }?;
    if parsed.is_zero() {
        Err("the interval must be longer than nothing".into())
    } else {
        Ok(parsed)
    }
}

impl Watch {
    /// Shows the answer once, or again and again.
    pub async fn run<A, F>(
        &self,
        printer: &Printer,
        mut ask: impl FnMut() -> F,
    ) -> Result<Outcome, WashError>
    where
        A: Answer + 'static,
        F: Future<Output = Result<A, WashError>>,
    {
        let Some(interval) = self.interval else {
            return Ok(ask().await?.into());
        };
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(Outcome::Shown(Exit::Ok)),
                _ = tick.tick() => {}
            }
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(Outcome::Shown(Exit::Ok)),
                answer = ask() => printer.frame(&answer?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_milliseconds_or_has_a_unit() {
        assert_eq!(interval("500"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert!(interval("0").is_err());
        assert!(interval("soon").is_err());
    }
}
